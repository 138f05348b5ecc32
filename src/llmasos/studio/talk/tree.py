"""A conversation as a tree: an edited question and a second answer are branches, and nothing that was said is lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from llmasos.server.serving.job import TokenInfo

Role = Literal["user", "assistant"]


@dataclass(eq=False)
class Said:
    """One message, and what followed it.

    Attributes:
        thoughts: what a model thought before an answer, where its template marks it.
        tokens: of an answer, with their probabilities, where these were asked for.
        model: which gave an answer.
        note: what is told beneath it, such as the speed.
        following: the messages that came next, one for each branch.
        chosen: which of them is shown.
    """

    role: Role
    text: str = ""
    thoughts: str = ""
    tokens: list[TokenInfo] = field(default_factory=list)
    model: str = ""
    note: str = ""
    following: list[Said] = field(default_factory=list)
    chosen: int = 0
    before: Said | None = field(default=None, repr=False)

    def add(self, role: Role, text: str = "") -> Said:
        """A message after this one, on a branch of its own that is shown from now on."""
        new = Said(role, text, before=self)
        self.following.append(new)
        self.chosen = len(self.following) - 1
        return new

    @property
    def place(self) -> tuple[int, int]:
        """(which of how many) it is among the messages that came next after the one before, from 0."""
        if self.before is None:
            return 0, 1
        return self.before.following.index(self), len(self.before.following)

    def turn_to(self, place: int) -> None:
        """Show another message in the place of this one."""
        assert self.before is not None and 0 <= place < len(self.before.following)
        self.before.chosen = place

    def remove(self) -> None:
        """Take it and what follows it away."""
        assert self.before is not None
        self.before.following.remove(self)
        self.before.chosen = max(min(self.before.chosen, len(self.before.following) - 1), 0)


class Conversation:
    """What is shown is one path from the beginning through the tree."""

    def __init__(self) -> None:
        self._root = Said("assistant")

    @property
    def root(self) -> Said:
        """What the first questions follow; it is never shown."""
        return self._root

    def path(self) -> Iterator[Said]:
        """The messages that are shown, in order."""
        at = self._root
        while at.following:
            at = at.following[at.chosen]
            yield at

    @property
    def last(self) -> Said:
        """The end of the path; before anything was said, the root."""
        return next(reversed(list(self.path())), self._root)

    def ask(self, text: str) -> Said:
        """A question at the end of the path; in the place of one that was not answered, which stays as a branch."""
        last = self.last
        if last.role == "user":
            assert last.before is not None
            last = last.before
        return last.add("user", text)

    def messages_to(self, end: Said) -> list[dict[str, str]]:
        """The conversation up to a message, that one included, as models take it."""
        found: list[dict[str, str]] = []
        at: Said | None = end
        while at is not None and at is not self._root:
            found.append({"role": at.role, "content": at.text})
            at = at.before
        return found[::-1]
