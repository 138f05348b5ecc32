"""Whether a run may go on with a recipe: only keys that do not change what is learned may differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from llmasos.errors import InvalidRecipe
from llmasos.i18n import t

HARMLESS = (
    "name",
    "variables",
    "output",
    "trackers",
    "checkpoints",
    "evaluation.every",
    "evaluation.at_start",
    "evaluation.tasks",
    "evaluation.samples",
    "evaluation.prompts",
    "evaluation.sample_tokens",
    "trainer.log_every",
    "trainer.threads",
    "trainer.activation_checkpointing",
)
"""Keys, with all below them, that may differ. Another number of threads can change the last digits of sums."""


def require_same_recipe(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Check that a run may go on.

    Args:
        before: the resolved recipe that the checkpoint was made with, as JSON has it.
        now: the one to go on with.

    Raises:
        InvalidRecipe: keys differ that change what is learned; the message has all of them with both values.
    """
    problems = [
        t("{key}: was {before}, is {now}", key=key, before=json.dumps(old), now=json.dumps(new))
        for key, old, new in _differences(before, now, "")
        if not any(key == known or key.startswith(known + ".") for known in HARMLESS)
    ]
    if problems:
        raise InvalidRecipe(
            t("the run cannot go on with another recipe; {count} key(s) differ:", count=len(problems))
            + "\n  "
            + "\n  ".join(problems),
            hint=t("Resume with the old values, or start a new run."),
        )


def require_same_data(before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Check that the data are those that the run has learned from so far.

    Raises:
        InvalidRecipe: a source has changed, is missing or new; the message has all of them.
    """
    changed = sorted({*before, *now} - {name for name in before if now.get(name) == before[name]})
    if changed:
        raise InvalidRecipe(
            t("the data have changed since the run was started: {names}", names=", ".join(changed)),
            hint=t("Put the old data back, or start a new run."),
        )


def _differences(before: object, now: object, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in {**before, **now}:
            yield from _differences(before.get(key), now.get(key), f"{path}.{key}" if path else str(key))
    elif before != now:
        yield path, before, now
