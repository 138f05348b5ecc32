"""The code with which the first browser makes the admin: whoever can read the server's terminal has it."""

from __future__ import annotations

import hmac
import secrets

_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # nothing that looks like something else
_GROUPS, _GROUP = 4, 4


class SetupCode:
    """Good once.

    Attributes:
        text: to be shown to the owner.
    """

    def __init__(self) -> None:
        self.text = "-".join("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS))
        self._used = False

    def is_right(self, given: str) -> bool:
        """Whether it is this one, and has not been used; spaces, hyphens and small letters are forgiven."""
        same = hmac.compare_digest(_bare(given).encode(), _bare(self.text).encode())
        return same and not self._used

    def use(self) -> None:
        """Make it useless."""
        self._used = True


def _bare(text: str) -> str:
    return "".join(character for character in text.upper() if character.isalnum())
