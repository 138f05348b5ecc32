"""Files of lm-evaluation-harness: ``results_<date>.json`` and ``samples_<task>_<date>.jsonl``."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmasos.evaluation.harness.reading import OUR_NAMES, VERDICT
from llmasos.evaluation.metrics.classes import is_right
from llmasos.evaluation.records import Record, Status
from llmasos.evaluation.result import Evaluation
from llmasos.i18n import t
from llmasos.library.disk import full_disk_as_error, write_file

_THEIR_NAMES = {ours: theirs for theirs, ours in OUR_NAMES.items()}
_PROPORTIONS = ("acc", "acc_norm", "acc_bytes", VERDICT, "exact_match")


def write_harness_files(
    folder: Path, results: Mapping[str, Any], samples: Mapping[str, Sequence[Mapping[str, Any]]]
) -> tuple[Path, ...]:
    """Write results and samples as the harness does, into a folder named by the model.

    Raises:
        OutOfDisk: they do not fit.
    """
    date = datetime.now().isoformat().replace(":", "-")
    place = folder / re.sub(r"[^A-Za-z0-9._-]+", "__", str(results.get("model_name") or "model"))
    written = [place / f"results_{date}.json"]
    with full_disk_as_error(folder):
        place.mkdir(parents=True, exist_ok=True)
        for task, entries in samples.items():
            path = place / f"samples_{task}_{date}.jsonl"
            write_file(path, "".join(_line(entry) for entry in entries).encode())
            written.append(path)
        write_file(written[0], json.dumps(results, indent=2, default=str, ensure_ascii=False).encode())
    return tuple(written)


def _line(sample: Mapping[str, Any]) -> str:
    entry = dict(sample)
    if not isinstance(entry["arguments"], Mapping):
        entry["arguments"] = {
            f"gen_args_{index}": {f"arg_{place}": value for place, value in enumerate(arguments)}
            for index, arguments in enumerate(entry["arguments"])
        }
    entry["target"] = str(entry["target"])
    return json.dumps(entry, default=str, ensure_ascii=False) + "\n"


def to_harness(
    evaluations: Sequence[tuple[Evaluation, Sequence[Record]]],
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """Evaluations of one model as the results and samples of the harness.

    Rows of the data are not kept in records, so ``doc`` holds the sample's id and its references.
    """
    results: dict[str, Any] = {
        "results": {}, "configs": {}, "versions": {}, "n-shot": {}, "higher_is_better": {}, "n-samples": {},
        "group_subtasks": {}, "config": {"model": "llmasos"},
    }  # fmt: skip
    samples: dict[str, list[dict[str, Any]]] = {}
    for evaluation, records in evaluations:
        task = evaluation.task
        kind = _output_type(records)
        verdicts = _verdicts(records, kind)
        metrics, better = _metrics(evaluation, verdicts)
        results["results"][task] = {"name": task, "alias": task, "sample_len": evaluation.samples, **metrics}
        results["higher_is_better"][task] = better
        results["configs"][task] = {
            "task": task, "output_type": kind, "metadata": {"version": evaluation.task_version},
            "llmasos": {"task_digest": evaluation.task_digest, "settings": dict(evaluation.settings)},
        }  # fmt: skip
        results["versions"][task] = evaluation.task_version
        results["n-shot"][task] = evaluation.settings.get("few_shot")
        results["n-samples"][task] = {"original": evaluation.samples, "effective": evaluation.samples}
        results["group_subtasks"][task] = []
        results["model_name"], results["model_source"] = evaluation.model, "llmasos"
        results["chat_template"] = None if evaluation.settings.get("chat") in (None, "off", False) else evaluation.model
        results["total_evaluation_time_seconds"] = str(evaluation.seconds)
        if evaluation.created:
            results["date"] = datetime.fromisoformat(evaluation.created).astimezone(UTC).timestamp()
        samples[task] = [_sample(record, found, kind) for record, found in zip(records, verdicts, strict=True)]
    return results, samples


def _metrics(evaluation: Evaluation, verdicts: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, bool]]:
    """Scores under the harness's names, and whether more is better."""
    found: dict[str, Any] = {}
    better: dict[str, bool] = {}
    apart = any(VERDICT in entry for entry in verdicts)
    names = {**_THEIR_NAMES, "accuracy_raw": "acc", **({"accuracy": VERDICT} if apart else {})}

    def add(theirs: str, value: float, higher_is_better: bool) -> None:
        found[f"{theirs},none"] = value
        proportion = theirs in _PROPORTIONS and len(verdicts) > 1
        error = math.sqrt(max(value * (1 - value), 0.0) / (len(verdicts) - 1)) if proportion else "N/A"
        found[f"{theirs}_stderr,none"] = error  # for the intervals of other metrics the format has no place
        better[theirs] = higher_is_better

    for name, entry in evaluation.scores.items():
        if name == "accuracy_raw" and not apart and "accuracy" in evaluation.scores:
            continue  # they are the same
        add(names.get(name, name), entry.value, entry.higher_is_better)
    if apart and "acc" not in better:
        add("acc", sum(entry["acc"] for entry in verdicts) / len(verdicts), True)
    return found, better


def _output_type(records: Sequence[Record]) -> str:
    first = next((record for record in records if record.status is not Status.ERROR), None)
    if first is not None and first.choice_logprobs is not None:
        return "multiple_choice"
    if first is not None and first.loglikelihood is not None:
        return "loglikelihood" if "greedy" in first.details else "loglikelihood_rolling"
    return "generate_until"


def _verdicts(records: Sequence[Record], kind: str) -> list[dict[str, Any]]:
    """The metrics of each sample under the harness's names.

    There ``acc`` goes by log-probabilities alone and ``acc_norm`` by those divided by characters. The verdict of a task
    of ours may go by either, or by something else, and stands beside them where it differs from ``acc``.
    """
    if kind != "multiple_choice":
        return [_verdict(record, kind) for record in records]
    lengths = any(record.choice_lengths is not None for record in records)
    found = [_rated(record, lengths=lengths) for record in records]
    if all(entry["acc"] == entry[VERDICT] for entry in found):
        for entry in found:
            del entry[VERDICT]
    return found


def _rated(record: Record, *, lengths: bool) -> dict[str, Any]:
    found = {"acc": float(is_right(record, "none"))}
    if lengths:
        found |= {"acc_norm": float(is_right(record, "characters")), "acc_bytes": float(is_right(record, "bytes"))}
    return {**found, VERDICT: float(record.status is Status.CORRECT)}


def _verdict(record: Record, kind: str) -> dict[str, Any]:
    loglikelihood, right = record.loglikelihood, float(record.status is Status.CORRECT)
    if kind == "generate_until":
        return {} if record.status is Status.SCORED else {"acc": right}
    if kind == "loglikelihood":
        return {"acc": right, "perplexity": _rating(loglikelihood)}
    if loglikelihood is None:
        return {}
    words, size = [loglikelihood, record.word_count], [loglikelihood, record.byte_count]
    return {"word_perplexity": words, "byte_perplexity": size, "bits_per_byte": size}


def _rating(logprob: float | None) -> float:
    """A log-probability; the format has no place for samples that failed, and nothing is less likely than this."""
    return -math.inf if logprob is None else logprob


def _sample(record: Record, verdicts: Mapping[str, Any], kind: str) -> dict[str, Any]:
    answers: list[Any]
    filtered: list[Any]
    target: Any = record.references[0] if record.references else ""
    if kind == "multiple_choice":
        filtered = [[value, False] for value in record.choice_logprobs or (_rating(None),)]
        answers, target = [[rated] for rated in filtered], record.target
    elif kind == "loglikelihood":
        filtered = [[_rating(record.loglikelihood), bool(record.details.get("greedy"))]]
        answers = [filtered]
    elif kind == "loglikelihood_rolling":
        filtered, target = [_rating(record.loglikelihood)], ""
        answers = [filtered]
    else:
        outputs = record.outputs or (record.output,)
        answers = [list(outputs)]
        filtered = ["[invalid]" if record.status is Status.UNPARSED else record.parsed or record.output]
    document = {"sample_id": record.sample_id, "references": list(record.references)}
    return {
        "doc_id": record.index,
        "doc": document,
        "target": target,
        "arguments": [[record.prompt, ""]] * len(answers),
        "resps": answers,
        "filtered_resps": filtered,
        "filter": "none",
        "metrics": list(verdicts),
        "doc_hash": _hash(json.dumps(document, indent=2, ensure_ascii=False)),
        "prompt_hash": _hash(record.prompt),
        "target_hash": _hash(str(target)),
        **verdicts,
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def about_export() -> str:
    """What the files lack, for the command that writes them."""
    return t("Rows of the data are not in the files: doc has the sample's id and its references.")
