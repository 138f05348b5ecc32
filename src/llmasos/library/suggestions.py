"""What to tell somebody whose name is not in the library."""

from __future__ import annotations

from collections.abc import Iterable

from llmasos.errors import NotFound, suggest
from llmasos.i18n import t
from llmasos.library import builtin
from llmasos.library.digest import is_digest


def not_found(text: str, names: Iterable[str]) -> NotFound:
    """The error for a reference that means nothing here, with the most likely next step as its hint.

    Args:
        text: the reference as it was written.
        names: the names in the library.
    """
    message = t("the library has nothing named {name!r}", name=text)
    if is_digest(text):
        return NotFound(message, hint=t("`llmasos list --all` shows all versions with their digests."))
    here = list(names)
    offered = list(builtin.names())
    if text in offered or f"{text}:latest" in offered:
        return NotFound(message, hint=t("Get it with `llmasos pull {name}`.", name=text))
    repository = text.partition("@")[0].partition(":")[0]
    other_tags = [name for name in here if name.partition(":")[0] == repository]
    near = other_tags[:5] or suggest(text, dict.fromkeys([*here, *offered]))
    if near:
        return NotFound(message, hint=t("did you mean {names}?", names=", ".join(near)))
    return NotFound(message, hint=t("`llmasos list` shows what is here, `llmasos search` what can be pulled."))
