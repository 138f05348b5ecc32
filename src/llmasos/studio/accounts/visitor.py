"""Who looks at a page."""

from __future__ import annotations

from dataclasses import dataclass

from llmasos.studio.accounts.users import Role


@dataclass(frozen=True, slots=True)
class Visitor:
    """A person in front of a browser.

    Attributes:
        name: of their account; ``None``: the owner of the machine, where nobody has to sign in.
        session: its :func:`~llmasos.studio.accounts.sessions.identity`.
    """

    name: str | None
    role: Role
    session: str | None = None

    @property
    def is_admin(self) -> bool:
        """Whether they may manage people, keys, models and settings."""
        return self.role == "admin"


OWNER = Visitor(None, "admin")
