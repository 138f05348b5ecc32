"""Files of lm-evaluation-harness without the harness: what is read from them can be compared, and ours come back."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluation_cases import ScriptedBackend, choice_task, generation_task, perplexity_task
from llmasos.evaluation.evaluate import Evaluated, evaluate_in_memory
from llmasos.evaluation.harness.files import to_harness, write_harness_files
from llmasos.evaluation.harness.reading import Imported, read_harness_files
from llmasos.evaluation.harness.store import contributions, write_imported
from llmasos.evaluation.options import RunOptions
from llmasos.evaluation.records import Status
from llmasos.evaluation.runs import runs_in
from llmasos.evaluation.tasks.find import FoundTask

Run = Callable[..., tuple[int, str, str]]


def results_of(folder: Path, model: str, right: Sequence[bool], kind: str = "multiple_choice") -> Path:
    """Files as the harness writes them for one task ``own``."""
    folder.mkdir()
    numbers = [float(value) for value in right]
    likelihoods = [-1.0 - number for number in range(len(right))]
    each: Mapping[str, list[Any]] = {
        "multiple_choice": {"acc": numbers, "acc_norm": numbers[::-1]},
        "generate_until": {"exact_match": numbers, "bleu": [["reference", "output"]] * len(right)},
        "loglikelihood": {"perplexity": likelihoods, "acc": numbers},
        "loglikelihood_rolling": {"word_perplexity": [[value, 4] for value in likelihoods]},
    }[kind]
    share = sum(numbers) / len(numbers)
    scores = {
        "acc": share, "acc_norm": share, "exact_match": share, "bleu": 12.0,
        "perplexity": math.exp(-_mean(likelihoods)), "word_perplexity": math.exp(-_mean(likelihoods) / 4),
    }  # fmt: skip
    lines = []
    for number, good in enumerate(right):
        answers: list[Any] = {
            "multiple_choice": [[[-1.0, True]], [[-2.0, False]]],
            "generate_until": [[f"it is {good}"]],
            "loglikelihood": [[[likelihoods[number], good]]],
            "loglikelihood_rolling": [[likelihoods[number]]],
        }[kind]
        lines.append({
            "doc_id": number, "doc": {"q": number}, "target": "0", "resps": answers, "filter": "none",
            "filtered_resps": [answer[0] for answer in answers], "metrics": list(each),
            "arguments": {f"gen_args_{place}": {"arg_0": f"Q{number}", "arg_1": " a"} for place in range(len(answers))},
            **{name: values[number] for name, values in each.items()},
        })  # fmt: skip
    results = {
        "results": {"own": {"alias": "own", **{f"{name},none": scores[name] for name in each}}},
        "configs": {"own": {"task": "own", "output_type": kind, "metadata": {"version": 1.0, "pretrained": model}}},
        "versions": {"own": 1.0}, "n-shot": {"own": 0}, "model_name": model, "config": {"limit": None}, "date": 1.7e9,
        "higher_is_better": {"own": {name: "perplexity" not in name for name in each}},
    }  # fmt: skip
    path = folder / "results_2026.json"
    path.write_text(json.dumps(results))
    (folder / "samples_own_2026.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def imported(path: Path) -> Imported:
    (found,) = read_harness_files(path)
    return found


def test_two_imported_runs_are_compared(llmasos: Run, tmp_path: Path) -> None:
    for name, right in (("one", [True, False, False, False]), ("two", [True, True, True, False])):
        path = results_of(tmp_path / f"files-{name}", name, right)
        code, _, error = llmasos("harness", "import", str(path), "--output", str(tmp_path / name))
        assert code == 0, error
    code, text, error = llmasos("compare", str(tmp_path / "one"), str(tmp_path / "two"), "--json")
    assert code == 0, error
    (test,) = json.loads(text)["tasks"][0]["tests"]
    assert (test["metric"], test["difference"], test["better"], test["worse"]) == ("accuracy", 0.5, 2, 0)


def test_what_a_sample_contributes(tmp_path: Path) -> None:
    found = contributions(imported(results_of(tmp_path / "a", "m", [True, False, False])))
    assert set(found) == {"accuracy", "accuracy_normalized"}
    assert found["accuracy"].per_sample is not None
    assert found["accuracy"].per_sample.tolist() == [1, 0, 0]
    assert found["accuracy"].is_proportion
    written = contributions(imported(results_of(tmp_path / "b", "m", [True, False], "generate_until")))
    assert set(written) == {"exact_match"}, "BLEU is of the whole"
    lambada = imported(results_of(tmp_path / "c", "m", [True, False], "loglikelihood"))
    assert set(lambada.evaluation.scores) == {"sample_perplexity", "accuracy"}
    scores = contributions(lambada)
    assert scores["sample_perplexity"].value == pytest.approx(math.exp(1.5))
    assert not scores["sample_perplexity"].higher_is_better
    rolling = contributions(imported(results_of(tmp_path / "d", "m", [True, False], "loglikelihood_rolling")))
    assert rolling["word_perplexity"].value == pytest.approx(math.exp(3 / 8))


def test_a_mean_that_is_not_the_score_of_the_files_is_left_out(tmp_path: Path) -> None:
    path = results_of(tmp_path / "a", "m", [True, False, False])
    path.write_text(path.read_text().replace('"acc_norm,none": 0.333', '"acc_norm,none": 0.433'))
    assert set(contributions(imported(path))) == {"accuracy"}


def test_another_import_into_the_same_folder_replaces_the_first(tmp_path: Path) -> None:
    first = imported(results_of(tmp_path / "a", "m", [True, False]))
    write_imported(tmp_path / "out", first)
    (run,) = runs_in(tmp_path / "out")
    assert run.evaluation == first.evaluation
    assert set(run.contributions.scores) == {"accuracy", "accuracy_normalized"}
    write_imported(tmp_path / "out", replace(first, records=[]))
    assert not (tmp_path / "out" / "scores.parquet").exists()


def test_tasks_are_the_same_whatever_model_they_were_run_with(tmp_path: Path) -> None:
    one, two = (imported(results_of(tmp_path / name, name, [True])) for name in ("one", "two"))
    assert one.evaluation.task_digest == two.evaluation.task_digest


ROWS = [
    {"q": "Q1", "choices": ["yes", "no, never"], "answer": 1},
    {"q": "Q2", "choices": ["yes", "no, never"], "answer": 0},
    {"q": "Q3", "choices": ["yes", "no, never"], "answer": 1},
]


def there_and_back(done: Evaluated, folder: Path) -> tuple[Imported, dict[str, Any]]:
    files = write_harness_files(folder, *to_harness([(done.evaluation, done.records)]))
    return imported(files[0]), json.loads(files[0].read_text())["results"][done.evaluation.task]


def evaluated(found: FoundTask, backend: ScriptedBackend) -> Evaluated:
    return evaluate_in_memory(backend, found, RunOptions())


def test_accuracy_by_length_is_acc_norm_there_and_comes_back(tmp_path: Path) -> None:
    backend = ScriptedBackend(logprobs={"yes": -2.0, "no, never": -3.0})  # by characters the longer one is likelier
    done = evaluated(choice_task(tmp_path, rows=ROWS, normalization="characters"), backend)
    back, theirs = there_and_back(done, tmp_path / "out")
    assert (theirs["acc,none"], theirs["acc_norm,none"]) == pytest.approx((1 / 3, 2 / 3))
    values = {name: entry.value for name, entry in done.evaluation.scores.items()}
    assert {name: entry.value for name, entry in back.evaluation.scores.items()} == pytest.approx(values)
    assert [record.status for record in back.records] == [record.status for record in done.records]
    metrics = [record.details["metrics"] for record in back.records]
    assert [(each["acc,none"], each["acc_norm,none"]) for each in metrics] == [(0, 1), (1, 0), (0, 1)]
    scores = contributions(back)
    assert {"accuracy", "accuracy_raw", "accuracy_normalized", "accuracy_normalized_bytes"} <= set(scores)


def test_accuracy_alone_is_acc_there(tmp_path: Path) -> None:
    backend = ScriptedBackend(logprobs={"yes": -2.0, "no, never": -3.0})
    back, theirs = there_and_back(evaluated(choice_task(tmp_path, rows=ROWS), backend), tmp_path / "out")
    assert (theirs["acc,none"], theirs["acc_norm,none"]) == pytest.approx((1 / 3, 2 / 3))
    assert "accuracy,none" not in theirs
    assert back.evaluation.scores["accuracy"].value == pytest.approx(1 / 3)


def test_answers_that_were_written_can_be_compared_too(tmp_path: Path) -> None:
    back, theirs = there_and_back(evaluated(generation_task(tmp_path), ScriptedBackend(["0"])), tmp_path / "out")
    assert theirs["acc,none"] == pytest.approx(1 / 12)
    assert contributions(back)["accuracy"].value == pytest.approx(1 / 12)


def test_the_perplexity_of_lambada_is_that_of_samples(tmp_path: Path) -> None:
    found = perplexity_task(
        tmp_path, context="{{text.rsplit(' ', 1)[0]}}", text=" {{text.rsplit(' ', 1)[1]}}",
        metrics=["accuracy", "perplexity"],
    )  # fmt: skip
    done = evaluated(found, ScriptedBackend(logprobs={"text": -0.5}))
    back, theirs = there_and_back(done, tmp_path / "out")
    assert theirs["perplexity,none"] == done.evaluation.scores["sample_perplexity"].value
    assert theirs["token_perplexity,none"] == done.evaluation.scores["perplexity"].value
    values = {name: entry.value for name, entry in done.evaluation.scores.items()}
    assert {name: entry.value for name, entry in back.evaluation.scores.items()} == values
    assert [(record.status, record.loglikelihood) for record in back.records] == [(Status.CORRECT, -0.5)] * 12
    assert {"accuracy", "sample_perplexity"} <= set(contributions(back))


def test_whole_texts_come_back(tmp_path: Path) -> None:
    done = evaluated(perplexity_task(tmp_path), ScriptedBackend())
    back, _ = there_and_back(done, tmp_path / "out")
    assert {"word_perplexity", "byte_perplexity", "bits_per_byte"} <= set(contributions(back))


def test_samples_that_failed_can_be_exported(tmp_path: Path) -> None:
    class Broken(ScriptedBackend):
        def _answer(self, index: int, call: Any) -> Any:
            found = super()._answer(index, call)
            return replace(found, error="no") if index == 0 else found

    lambada = {"context": "{{text.rsplit(' ', 1)[0]}}", "text": " {{text.rsplit(' ', 1)[1]}}", "name": "lambada"}
    for found in (choice_task(tmp_path), perplexity_task(tmp_path), perplexity_task(tmp_path, **lambada)):
        back, _ = there_and_back(evaluated(found, Broken()), tmp_path / found.task.name)
        assert len(back.records) == 12
        assert back.records[0].status is not Status.CORRECT
