"""What a caller chooses beside the task."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmasos.errors import InvalidRequest
from llmasos.evaluation.task import ChatUse
from llmasos.i18n import t


@dataclass(frozen=True)
class RunOptions:
    """Choices that hold for all tasks of a run.

    Raises:
        InvalidRequest: a value is not allowed.
    """

    limit: int | None = None
    """Most samples of each task, spread evenly over its rows; ``None``: all."""
    few_shot: int | None = None
    """Solved examples; ``None``: what the task says."""
    chat: ChatUse | None = None
    """Whether prompts go through the chat template; ``None``: what the task says."""
    seed: int | None = None
    """Of examples and of sampled answers; ``None``: what the task says, and 0."""
    sample: bool = False
    """Use the few made-up rows that come with the task."""
    data: Path | None = None
    """Folder in which the data is looked for first."""
    unchecked_data: bool = False
    """Take files of ``data`` that are not those of the task."""
    max_tokens: int | None = None
    """Most tokens of an answer; ``None``: what the task says."""
    resamples: int = 1000
    """Resamples of bootstrap intervals."""
    unsafe_code: bool = False
    """Run generated programs without isolation where the machine offers none."""

    def __post_init__(self) -> None:
        for name, low in (("limit", 1), ("few_shot", 0), ("seed", 0), ("max_tokens", 1), ("resamples", 0)):
            value = getattr(self, name)
            if value is not None and value < low:
                raise InvalidRequest(
                    t("{name} = {value}: allowed is {allowed}", name=name, value=value,
                      allowed=t("a whole number from {low}", low=low)),
                    hint=t("Correct the value."),
                )  # fmt: skip
        if self.chat not in (None, "auto", "on", "off"):
            raise InvalidRequest(
                t("{name} = {value}: allowed is {allowed}", name="chat", value=repr(self.chat),
                  allowed="auto, on, off"),
                hint=t("Correct the value."),
            )  # fmt: skip

    def deciding(self) -> dict[str, Any]:
        """What decides records, and so whether two runs are the same: not where data lies or how intervals are made."""
        values = asdict(self)
        for name in ("data", "resamples", "unsafe_code"):
            del values[name]
        # By identity: 0 equals False, and is a choice.
        return {name: value for name, value in values.items() if value is not None and value is not False}
