"""Records made for tests of metrics and reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmasos.evaluation.contributions import SCORES_FILE, write_contributions
from llmasos.evaluation.metrics.base import Context, Metric
from llmasos.evaluation.metrics.registry import compute, metric_of
from llmasos.evaluation.metrics.score import Score
from llmasos.evaluation.parquet import write_records
from llmasos.evaluation.records import Record, Status
from llmasos.evaluation.result import Evaluation
from llmasos.evaluation.scoring import entries
from llmasos.evaluation.store import SAMPLES_FILE, write_evaluation
from llmasos.evaluation.task import MetricUse


def record(index: int = 0, **values: Any) -> Record:
    """A record with what a test does not care about filled in."""
    given = {
        "task": "made", "index": index, "sample_id": f"id{index}", "prompt": f"question {index}", "prompt_tokens": 3,
        "output": "", "parsed": None, "references": (), "target": None, "status": Status.SCORED, **values,
    }  # fmt: skip
    return Record(**given)


def texts(pairs: Sequence[tuple[str, str | Sequence[str]]]) -> list[Record]:
    """Records of outputs with their references."""
    return [
        record(index, output=output, parsed=output, references=(known,) if isinstance(known, str) else tuple(known))
        for index, (output, known) in enumerate(pairs)
    ]


def classified(targets: Sequence[int], chosen: Sequence[int | None], names: Sequence[str]) -> list[Record]:
    """Records of a classification; ``None``: the model gave no class."""
    return [
        record(
            index, target=target, references=(names[target],), parsed=None if found is None else names[found],
            output="" if found is None else names[found],
            status=Status.UNPARSED if found is None else Status.CORRECT if found == target else Status.WRONG,
            details={} if found is None else {"chosen": found},
            choice_logprobs=None if found is None else tuple(-float(place != found) for place in range(len(names))),
        )
        for index, (target, found) in enumerate(zip(targets, chosen, strict=True))
    ]  # fmt: skip


def metric(name: str, **options: Any) -> Metric:
    return metric_of(MetricUse(name=name, options=options))


def scores(records: Sequence[Record], name: str, context: Context | None = None, **options: Any) -> dict[str, Score]:
    return metric(name, **options).compute(records, context or Context())


def write_run(
    folder: Path,
    records: Sequence[Record],
    metrics: Sequence[str],
    *,
    model: str = "small",
    context: Context | None = None,
    settings: Mapping[str, Any] | None = None,
    **values: Any,
) -> Evaluation:
    """A finished run as `llmasos eval` leaves it."""
    folder.mkdir(parents=True)
    found = compute([metric(name) for name in metrics], records, context or Context())
    counts = Counter(one.status.value for one in records)
    given = {
        "model": model, "model_digest": None, "task": "made", "task_version": 1, "task_digest": "sha256:task",
        "data_digest": "sha256:" + "".join(one.sample_id for one in records), "settings": settings or {"few_shot": 0},
        "settings_digest": "sha256:settings", "scores": entries(found, resamples=200), "counts": dict(counts),
        "samples": len(records), "created": "2026-01-02T03:04:05+00:00", "versions": {"llmasos": "1.0"}, **values,
    }  # fmt: skip
    evaluation = Evaluation(**given)
    write_records(folder / SAMPLES_FILE, records)
    write_contributions(folder / SCORES_FILE, [one.sample_id for one in records], found)
    write_evaluation(folder, evaluation)
    return evaluation


def answered(right: Sequence[bool], *, task: str = "made") -> list[Record]:
    """Records of right and wrong answers."""
    return [
        record(
            index, task=task, output=f"answer {index} {good}", parsed=str(good), references=("True",),
            status=Status.CORRECT if good else Status.WRONG,
        )
        for index, good in enumerate(right)
    ]  # fmt: skip
