"""Results and samples of lm-evaluation-harness as evaluations and records of ours, so that they can be compared.

Format: ``results_<date>.json`` and ``samples_<task>_<date>.jsonl``, as version 0.4 of the harness writes them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from llmasos.errors import IntegrityError, InvalidRequest, NotFound
from llmasos.evaluation.records import Record, Status, sample_id
from llmasos.evaluation.result import Evaluation, ScoreEntry
from llmasos.i18n import t

INVALID = "[invalid]"
"""What filters of the harness give where they find no answer."""

OUR_NAMES = {
    "acc": "accuracy",
    "acc_norm": "accuracy_normalized",
    "acc_bytes": "accuracy_normalized_bytes",
    "exact_match": "exact_match",
    "word_perplexity": "word_perplexity",
    "byte_perplexity": "byte_perplexity",
    "bits_per_byte": "bits_per_byte",
    "perplexity": "sample_perplexity",  # of LAMBADA: a sample is the unit
    "token_perplexity": "perplexity",  # our name for ours there
    "mcc": "mcc",
    "f1": "f1",
    "ter": "ter",
    "bleu": "bleu",
    "chrf": "chrf",
}
"""Names of metrics there and here; others keep theirs."""
VERDICT = "accuracy"
"""What our files call accuracy by the task's own verdict, where that is not by log-probability alone as ``acc`` is."""

_VERDICTS = (VERDICT, "acc", "exact_match", "pass@1", "pass_at_1", "em", "prompt_level_strict_acc")
"""Metrics of a sample that say whether it is right, the first that it has."""
_LOWER_IS_BETTER = ("perplexity", "bits_per_byte", "ter", "brier")


@dataclass(frozen=True)
class Imported:
    """One task of a results file."""

    evaluation: Evaluation
    records: list[Record]


def read_harness_files(results: Path, samples: Sequence[Path] = ()) -> list[Imported]:
    """Read a results file and the samples beside it.

    Args:
        samples: default: the ``samples_*.jsonl`` with the same date in the same folder.

    Raises:
        NotFound: a file is not there.
        IntegrityError: a file is damaged or something else.
        InvalidRequest: the file has no task.
    """
    document = _document(results)
    date = results.stem.removeprefix("results_")
    found = list(samples) or sorted(results.parent.glob(f"samples_*_{date}.jsonl"))
    by_task: dict[str, list[Mapping[str, Any]]] = {}
    for path in found:
        task = path.stem.removeprefix("samples_").removesuffix(f"_{date}")
        by_task[task] = list(_lines(path))
    unknown = sorted(set(by_task) - set(document["results"]))
    if unknown:
        raise InvalidRequest(
            t("{path} has no task {name!r}, of which there are samples", path=results, name=unknown[0]),
            hint=t("Its tasks: {names}.", names=", ".join(document["results"])),
        )
    try:
        return list(from_harness(document, by_task))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise _damaged(results, f"{type(error).__name__}: {error}") from error


def from_harness(
    results: Mapping[str, Any],
    samples: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    model: str | None = None,
    model_digest: str | None = None,
) -> Iterator[Imported]:
    """The tasks of a results document. Groups, which sum up tasks, are left out."""
    groups = set(results.get("groups") or ())
    for task in results["results"]:
        if task in groups and task not in samples:
            continue
        records = _records(task, results, samples.get(task, ()))
        yield Imported(_evaluation(task, results, records, model, model_digest), records)


# --- scores ----------------------------------------------------------------------------------------------------------


def _evaluation(
    task: str, results: Mapping[str, Any], records: Sequence[Record], model: str | None, model_digest: str | None
) -> Evaluation:
    config = results.get("configs", {}).get(task, {})
    run = results.get("config", {})
    settings = {
        "harness": "lm-evaluation-harness",
        "few_shot": results.get("n-shot", {}).get(task),
        "limit": run.get("limit"),
        "chat": "off" if results.get("chat_template") in (None, "") else "on",
        "seed": run.get("fewshot_seed"),
    }
    counts = Counter(record.status for record in records)
    counted = results.get("n-samples", {}).get(task, {}).get("effective", len(records))
    moment = results.get("date")
    version = results.get("lm_eval_version")
    return Evaluation(
        model=model or str(results.get("model_name") or run.get("model_args") or "unknown"),
        model_digest=model_digest,
        task=task,
        task_version=_version(results.get("versions", {}).get(task)),
        task_digest=_digest(_definition(config)),
        data_digest=_digest([record.sample_id for record in records]),
        settings=settings,
        settings_digest=_digest(settings),
        scores=dict(_scores(results["results"][task], results.get("higher_is_better", {}).get(task) or {})),
        counts={status.value: counts[status] for status in Status if counts[status]},
        samples=int(counted),
        seconds=float(results.get("total_evaluation_time_seconds") or 0.0),
        created="" if moment is None else datetime.fromtimestamp(float(moment), UTC).isoformat(timespec="seconds"),
        versions={} if version is None else {"lm_eval": str(version)},
        notes=(t("read from files of lm-evaluation-harness"),),
    )


def _definition(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the configuration of a task says of the task, without what it says of the run: the arguments of the model,
    and in files of ours the settings."""
    own = {name: value for name, value in (config.get("llmasos") or {}).items() if name != "settings"}
    version = (config.get("metadata") or {}).get("version")
    kept = {name: value for name, value in config.items() if name not in ("metadata", "llmasos")}
    return {**kept, "version": version, **own}


def _version(given: Any) -> int:
    """The number before the point; tasks without one say ``Yaml``."""
    number = str(given).partition(".")[0]
    return max(int(number), 1) if number.isdecimal() else 1


def our_name(key: str, keys: Iterable[str]) -> str:
    """Our name of a metric ``name,filter`` among all of a task."""
    name, _, filter_ = key.partition(",")
    ours = OUR_NAMES.get(name, name)
    if name == "acc" and any(other.partition(",")[0] == VERDICT for other in keys):
        ours = "accuracy_raw"
    return ours if filter_ == "none" else f"{ours}.{filter_}"


def _scores(metrics: Mapping[str, Any], better: Mapping[str, Any]) -> Iterator[tuple[str, ScoreEntry]]:
    for key, value in metrics.items():
        name, _, filter_ = key.partition(",")
        if not filter_ or name.endswith("_stderr") or not isinstance(value, int | float):
            continue
        error = metrics.get(f"{name}_stderr,{filter_}")
        width = 1.96 * error if isinstance(error, int | float) and math.isfinite(error) else None
        higher = better.get(name)
        yield (
            our_name(key, metrics),
            ScoreEntry(
                float(value),
                low=None if width is None else value - width,
                high=None if width is None else value + width,
                higher_is_better=bool(higher) if higher is not None else not any(x in name for x in _LOWER_IS_BETTER),
                interval=None if width is None else "normal 95 %",
            ),
        )


# --- samples ---------------------------------------------------------------------------------------------------------


def _records(task: str, results: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]) -> list[Record]:
    kind = results.get("configs", {}).get(task, {}).get("output_type", "")
    by_document: dict[int, list[Mapping[str, Any]]] = {}
    for sample in samples:
        by_document.setdefault(int(sample["doc_id"]), []).append(sample)
    return [_record(task, kind, place, found) for place, found in sorted(by_document.items())]


def _record(task: str, kind: str, place: int, samples: Sequence[Mapping[str, Any]]) -> Record:
    """The record of a document, which is there once for each filter; the first filter gives the verdict."""
    first = samples[0]
    arguments = _arguments(first["arguments"])
    values: dict[str, Any] = {"output": "", "parsed": None, "target": None}
    target = first["target"]
    if kind == "multiple_choice":
        values |= _rated(first, arguments, target)
    elif kind in ("loglikelihood", "loglikelihood_rolling"):
        values["loglikelihood"] = _number(_innermost(first["resps"]))
    else:
        parsed = _innermost(first["filtered_resps"])
        values["output"] = str(_innermost(first["resps"]))
        values["parsed"] = None if parsed == INVALID else str(parsed)
    details = {
        "metrics": {f"{name},{sample.get('filter', 'none')}": _plain(sample.get(name))
                    for sample in samples for name in sample.get("metrics", ())}
    }  # fmt: skip
    references = target if isinstance(target, list) else [target]
    return Record(
        task=task,
        index=place,
        sample_id=sample_id(first["doc"]),
        prompt=str(arguments[0][0]) if kind != "loglikelihood_rolling" else "",
        prompt_tokens=0,
        references=tuple(str(item) for item in references),
        status=_status(first, values["parsed"], kind),
        details=details,
        **values,
    )


def _rated(sample: Mapping[str, Any], arguments: Sequence[Sequence[Any]], target: Any) -> dict[str, Any]:
    logprobs = tuple(_number(_innermost(answer)) for answer in sample["resps"])
    texts = [str(entry[1]) if len(entry) > 1 else "" for entry in arguments]
    rated = texts[: len(logprobs)]
    best = max(range(len(rated)), key=lambda index: logprobs[index])
    place = int(target) if str(target).lstrip("-").isdecimal() else None
    return {
        "output": rated[best].strip(),
        "parsed": rated[best].strip(),
        "target": place,
        "choice_logprobs": logprobs,
    }


def _status(sample: Mapping[str, Any], parsed: str | None, kind: str) -> Status:
    verdict = next((sample[name] for name in _VERDICTS if isinstance(sample.get(name), int | float)), None)
    if verdict is None:
        return Status.SCORED
    if kind == "generate_until" and parsed is None:
        return Status.UNPARSED
    return Status.CORRECT if float(verdict) >= 1 else Status.WRONG


def _arguments(given: Any) -> list[list[Any]]:
    """Arguments of the requests: lists in memory, mappings ``gen_args_0: {arg_0: ...}`` in files."""
    if isinstance(given, Mapping):
        return [list(entry.values()) if isinstance(entry, Mapping) else list(entry) for entry in given.values()]
    return [list(entry) for entry in given]


def _innermost(value: Any) -> Any:
    """The first thing in nested lists: one answer of the one request, without what stands beside it."""
    while isinstance(value, list | tuple) and value:
        value = value[0]
    return value


def _plain(value: Any) -> Any:
    """Tuples, which files hold as lists, as lists."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _number(value: Any) -> float:
    """A number, which files of the harness may hold as text."""
    return float(value)


# --- files -----------------------------------------------------------------------------------------------------------


def _document(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise NotFound(t("there is no file {path}", path=path), hint=t("Check the path.")) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(found, dict) or not isinstance(found.get("results"), dict):
        raise _damaged(path, t("it has no results"))
    if not found["results"]:
        raise InvalidRequest(t("{path} has no task", path=path), hint=t("Run the harness again with --tasks."))
    return found


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(t("there is no file {path}", path=path), hint=t("Check the path.")) from error
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            yield json.loads(line)  # not orjson: the harness writes NaN
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise _damaged(path, t("line {line}: {problem}", line=number, problem=error)) from error


def _damaged(path: Path, problem: str) -> IntegrityError:
    return IntegrityError(
        t("{path} is no file of lm-evaluation-harness, or it is damaged: {problem}", path=path, problem=problem),
        hint=t("Give the results_....json that `lm_eval run --log_samples --output_path` wrote."),
    )


def _digest(value: Any) -> str:
    data = orjson.dumps(value, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return "sha256:" + hashlib.sha256(data).hexdigest()
