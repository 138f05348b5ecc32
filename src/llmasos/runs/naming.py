"""What runs are called: ids such as ``sft-20261126-104512-k3f``, and which run a person means."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime

from llmasos.errors import InvalidRequest, NotFound, did_you_mean
from llmasos.i18n import t
from llmasos.runs.run import Run

_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # without those that look alike
_SHOWN = 6


def new_id(kind: str) -> str:
    """An id that says what and when: kind, local time, and three letters by chance."""
    letters = "".join(secrets.choice(_LETTERS) for _ in range(3))
    return f"{kind}-{datetime.now().astimezone():%Y%m%d-%H%M%S}-{letters}"


def find(text: str, runs: Sequence[Run]) -> Run:
    """The run that ``text`` means: an id, a name (the newest run of that name), or the beginning or end of an id.

    Args:
        runs: all runs, the newest first.

    Raises:
        NotFound: there is none; the hint offers near names.
        InvalidRequest: several ids match, or the text is empty.
    """
    for run in runs:
        if run.id == text:
            return run
    for run in runs:
        if run.name == text:
            return run
    matching = [run for run in runs if run.id.startswith(text) or run.id.endswith(f"-{text}")] if text else []
    if len(matching) == 1:
        return matching[0]
    if matching:
        shown = ", ".join(run.id for run in matching[:_SHOWN]) + (" ..." if len(matching) > _SHOWN else "")
        raise InvalidRequest(
            t("{text!r} could be any of {count} runs: {ids}", text=text, count=len(matching), ids=shown),
            hint=t("Write more of the id."),
        )
    names = [name for run in runs for name in (run.id, run.name) if name is not None]
    raise NotFound(
        t("there is no run {text!r}", text=text),
        hint=did_you_mean(text, dict.fromkeys(names)) or t("`llmasos runs list` shows all runs."),
    )
