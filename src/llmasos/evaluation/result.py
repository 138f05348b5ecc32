"""What a run of one task comes to: scores with intervals, how many samples got which verdict, and all that decides
whether two runs may be compared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

FORMAT = 1
"""Version of ``evaluation.json``."""


@dataclass(frozen=True, slots=True)
class ScoreEntry:
    """One number of a run."""

    value: float
    low: float | None = None
    """Lower end of the interval; ``None``: there is none."""
    high: float | None = None
    higher_is_better: bool = True
    signature: str | None = None
    """How exactly it was computed, as sacrebleu writes it."""
    interval: str | None = None
    """Method and level of the interval, such as ``bootstrap-bca 95 %``."""
    samples: int | None = None
    """Samples that it rests on; fewer than all where some do not count, such as failed ones in a perplexity."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One model on one task. ``samples.parquet`` beside it has the records."""

    model: str
    model_digest: str | None
    """Digest of the version in the library; ``None`` for folders, endpoints and modules."""
    task: str
    task_version: int
    task_digest: str
    """Digest of the task's definition: what is asked and how it is judged."""
    data_digest: str
    """Digest of the sample ids in their order."""
    settings: Mapping[str, Any]
    """What the caller chose beside the task: limit, few_shot, chat, seed, ..."""
    settings_digest: str
    scores: Mapping[str, ScoreEntry]
    counts: Mapping[str, int]
    """Samples by :class:`~llmasos.evaluation.records.Status`."""
    samples: int
    truncated_prompts: int = 0
    """Samples of which the beginning of the prompt was left out because it did not fit."""
    seconds: float = 0.0
    created: str = ""
    """Moment of the end, ISO 8601, UTC."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of llmasos and the packages that compute."""
    notes: tuple[str, ...] = ()
    """What a reader of the scores must know: data that was not checked, examples that were fewer than asked."""
    license: str | None = None
    """Of the data."""
    format: int = FORMAT

    def as_json(self) -> dict[str, Any]:
        """The evaluation as JSON values. Scores that are no finite number are null, for JSON has no word for them."""
        values = asdict(self)
        for entry in values["scores"].values():
            entry["value"] = entry["value"] if math.isfinite(entry["value"]) else None
        return values

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Evaluation:
        """The evaluation that :meth:`as_json` wrote."""
        scores = {
            name: ScoreEntry(**{**entry, "value": math.nan if entry["value"] is None else entry["value"]})
            for name, entry in value["scores"].items()
        }
        return cls(**{**value, "scores": scores, "notes": tuple(value.get("notes", ()))})
