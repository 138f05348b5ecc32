"""From tasks to evaluations on disk and in the library: resume after kill -9, garbage, bad input, determinism."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

import llmasos
import tiny_models
from evaluation_cases import (
    ScriptedBackend,
    choice_task,
    classification_task,
    generation_task,
    make_task,
    perplexity_task,
    write_rows,
)
from llmasos import settings
from llmasos.errors import InvalidRecipe, InvalidRequest, NotFound
from llmasos.evaluation.evaluate import Evaluated, evaluate, evaluate_in_memory, run_folder
from llmasos.evaluation.options import RunOptions
from llmasos.evaluation.parquet import read_records
from llmasos.evaluation.prepare import prepare
from llmasos.evaluation.records import Record, Status
from llmasos.evaluation.runner import prompts
from llmasos.evaluation.store import attach, evaluations, read_evaluation, samples_path
from llmasos.evaluation.tasks.find import FoundTask
from llmasos.library.metadata import Metadata
from llmasos.library.reference import Reference
from llmasos.library.scores import attached_scores
from llmasos.library.store import Library
from llmasos.progress import Event, reporting

pytestmark = pytest.mark.integration  # by its time: seconds, not milliseconds


def one(
    backend: Any, found: FoundTask, *, output: Path | None = None, resume: bool = False, **options: Any
) -> Evaluated:
    (done,) = evaluate(backend, [found], RunOptions(**options), output=output, resume=resume)
    return done


def timeless(records: list[Record]) -> list[Record]:
    return [replace(record, latency_seconds=None) for record in records]


def test_what_a_run_leaves(tmp_path: Path) -> None:
    done = one(ScriptedBackend(["0"]), generation_task(tmp_path), output=tmp_path / "out")
    assert done.folder == tmp_path / "out" / "generation"
    assert read_records(done.folder / "samples.parquet") == done.records
    assert read_evaluation(done.folder) == done.evaluation
    evaluation = done.evaluation
    assert evaluation.counts == {"correct": 1, "wrong": 11}
    assert evaluation.scores["accuracy"].value == pytest.approx(1 / 12)
    assert evaluation.scores["accuracy"].low is not None
    assert (evaluation.samples, evaluation.model, evaluation.model_digest) == (12, "scripted", None)
    assert evaluation.settings == {"few_shot": 0, "chat": False, "model.dtype": "none"}
    assert evaluation.versions["llmasos"] == llmasos.__version__
    assert any("has no checksum" in note for note in evaluation.notes)


def test_the_default_folder_is_the_same_for_the_same_run(tmp_path: Path, home: Path) -> None:
    found, backend = generation_task(tmp_path), ScriptedBackend(reference="org/model:1")
    first = run_folder(prepare(found, backend, RunOptions()), backend, None)
    assert first.parent == home / "evaluations"
    assert first.name.startswith("org-model-1-generation-")
    assert run_folder(prepare(found, backend, RunOptions()), backend, None) == first
    assert run_folder(prepare(found, backend, RunOptions(limit=3)), backend, None) != first


def test_garbage_is_unparsed_and_not_silently_wrong(tmp_path: Path) -> None:
    done = one(ScriptedBackend(["blah blah"]), generation_task(tmp_path))
    assert done.evaluation.counts == {"unparsed": 12}
    assert done.evaluation.scores["accuracy"].value == 0


def test_a_model_that_fails_on_everything_has_no_scores(tmp_path: Path) -> None:
    for found in (perplexity_task(tmp_path), choice_task(tmp_path), generation_task(tmp_path)):
        done = one(ScriptedBackend(error="log-probability nan"), found)
        assert done.evaluation.counts == {"error": 12}
        assert done.evaluation.scores == {}
        assert "the first error: log-probability nan" in done.evaluation.notes


def test_samples_are_spread_evenly_over_the_rows(tmp_path: Path) -> None:
    done = one(ScriptedBackend(["0"]), generation_task(tmp_path), limit=4)
    assert [record.index for record in done.records] == [0, 3, 6, 9]
    whole = one(ScriptedBackend(["0"]), generation_task(tmp_path))
    assert {record.sample_id for record in done.records} <= {record.sample_id for record in whole.records}
    assert any("4 of 12 samples" in note for note in done.evaluation.notes)


def test_rows_are_chosen_by_a_template(tmp_path: Path) -> None:
    found = generation_task(tmp_path, data={"where": "{{label == 'neutral'}}", "where_few_shot": False,
                                            "id": "row {{q}}"})  # fmt: skip
    done = one(ScriptedBackend(["0"]), found)
    assert [record.index for record in done.records] == [1, 4, 7, 10]
    assert done.records[0].details["name"] == "row What is 1 plus 1?"
    none = generation_task(tmp_path, name="none", data={"where": "{{label == 'other'}}"})
    with pytest.raises(InvalidRequest, match="none of 12 rows fits"):
        one(ScriptedBackend(), none)


def test_the_folder_of_data_may_stand_in_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from evaluation_cases import SUMS

    url = {"source": "url", "url": "http://127.0.0.1:9/none.jsonl"}
    found = generation_task(tmp_path, data={"splits": {"test": url}})
    write_rows(tmp_path / "data" / "generation" / "test.jsonl", SUMS[:3])
    monkeypatch.setenv("LLMASOS_EVALUATION_DATA", str(tmp_path / "data"))
    settings.get_settings.cache_clear()
    assert one(ScriptedBackend(["0"]), found).evaluation.samples == 3


def test_what_was_cut_is_said(tmp_path: Path) -> None:
    class Cutting(ScriptedBackend):
        def _answer(self, index: int, call: Any) -> Any:
            return replace(super()._answer(index, call), truncated_tokens=5 if index < 2 else 0)

    done = one(Cutting(["0"], finish_reason="length"), generation_task(tmp_path))
    assert done.evaluation.truncated_prompts == 2
    assert done.records[0].details["truncated_tokens"] == 5
    assert "2 of 12 prompts did not fit and lost their beginning" in done.evaluation.notes
    assert "12 of 12 outputs reached the token limit" in done.evaluation.notes


def test_a_mistake_in_the_last_task_shows_before_the_first_runs(tmp_path: Path) -> None:
    backend = ScriptedBackend(["0"])
    wrong = make_task(tmp_path, "generation", name="wrong", prompt="{{questoin}}", references="x")
    with pytest.raises(InvalidRecipe, match="wrong: prompt: 'questoin' is undefined"):
        list(evaluate(backend, [generation_task(tmp_path), wrong], RunOptions()))
    metric = generation_task(tmp_path, name="metric", metrics=["accuracie"])
    with pytest.raises(InvalidRecipe, match="there is no metric 'accuracie'") as caught:
        list(evaluate(backend, [generation_task(tmp_path), metric], RunOptions()))
    assert "accuracy" in str(caught.value.hint)
    assert backend.calls == []


def test_progress_is_reported(tmp_path: Path) -> None:
    events: list[Event] = []
    with reporting(events.append):
        one(ScriptedBackend(["0"]), generation_task(tmp_path))
    assert events[0].label == "generation"
    assert events[-1].kind == "finished"
    assert (events[-1].completed, events[-1].total, events[-1].unit) == (12, 12, "samples")


def test_resume_asks_only_what_is_missing(tmp_path: Path) -> None:
    class Failing(ScriptedBackend):
        def _answer(self, index: int, call: Any) -> Any:
            if index == 5:
                raise KeyboardInterrupt
            return super()._answer(index, call)

    found = generation_task(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        one(Failing(["0"]), found, output=tmp_path / "out")
    with pytest.raises(NotFound, match="no finished evaluation"):
        read_evaluation(tmp_path / "out" / "generation")
    backend = ScriptedBackend(["0"])
    done = one(backend, found, output=tmp_path / "out", resume=True)
    assert len(backend.calls) == 7
    whole = one(ScriptedBackend(["0"]), found, output=tmp_path / "other")
    assert timeless(done.records) == timeless(whole.records)
    # Whatever decides the records is another run.
    for options in ({"limit": 6}, {"few_shot": 1}, {"seed": 3}, {"seed": 0}):
        backend = ScriptedBackend(["0"])
        one(backend, found, output=tmp_path / "out", resume=True, **options)
        assert len(backend.calls) == options.get("limit", 12)


def test_zero_is_a_choice_and_what_was_not_chosen_is_none() -> None:
    assert RunOptions(seed=0, few_shot=0).deciding() == {"seed": 0, "few_shot": 0}
    assert RunOptions(sample=True).deciding() == {"sample": True}


def test_other_examples_are_another_run(tmp_path: Path) -> None:
    backend = ScriptedBackend(["0"])
    found = generation_task(tmp_path, few_shot={"count": 1})
    before = prepare(found, backend, RunOptions())
    assert prepare(found, backend, RunOptions()).key(backend) == before.key(backend)
    assert "examples" not in prepare(found, backend, RunOptions(few_shot=0)).settings
    write_rows(tmp_path / "examples.jsonl", [{"q": "another", "choices": ["1"], "answer": 0}])
    after = prepare(found, backend, RunOptions())
    assert after.key(backend) != before.key(backend)
    assert after.settings["examples"] != before.settings["examples"]


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_is_not_finished_leaves_no_scores_of_the_one_before(tmp_path: Path, resume: bool) -> None:
    class Failing(ScriptedBackend):
        def _answer(self, index: int, call: Any) -> Any:
            raise KeyboardInterrupt

    done = one(ScriptedBackend(["0"]), generation_task(tmp_path), output=tmp_path / "out")
    assert done.folder is not None
    assert (done.folder / "scores.parquet").exists()
    with pytest.raises(KeyboardInterrupt):
        one(Failing(), generation_task(tmp_path), output=tmp_path / "out", resume=resume, seed=5)
    assert {path.name for path in done.folder.iterdir()} == {"run.json"}


def test_a_run_that_fails_on_everything_leaves_no_scores_of_the_one_before(tmp_path: Path) -> None:
    one(ScriptedBackend(["0"]), generation_task(tmp_path), output=tmp_path / "out")
    done = one(ScriptedBackend(error="no"), generation_task(tmp_path), output=tmp_path / "out")
    assert done.folder is not None
    assert not (done.folder / "scores.parquet").exists()


def test_accuracy_by_log_probability_alone_is_always_there(tmp_path: Path) -> None:
    rows = [{"q": "Q", "choices": ["yes", "no, never"], "answer": 1}]
    found = choice_task(tmp_path, rows=rows, normalization="characters")
    done = one(ScriptedBackend(logprobs={"yes": -2.0, "no, never": -3.0}), found)
    values = {name: entry.value for name, entry in done.evaluation.scores.items()}
    assert (values["accuracy"], values["accuracy_normalized"], values["accuracy_raw"]) == (1, 1, 0)
    assert next(iter(values)) == "accuracy"


def test_other_metrics_need_no_new_answers(tmp_path: Path) -> None:
    one(ScriptedBackend(["0"]), generation_task(tmp_path), output=tmp_path / "out")
    backend = ScriptedBackend(["0"])
    again = generation_task(tmp_path, metrics=["accuracy", "token_f1"])
    done = one(backend, again, output=tmp_path / "out", resume=True)
    assert backend.calls == []
    assert {"accuracy", "token_f1"} <= set(done.evaluation.scores)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build("llama", tmp_path_factory.mktemp("models") / "llama")


def test_a_run_that_was_killed_goes_on_and_gives_the_same_scores(tmp_path: Path, llama: Path, home: Path) -> None:
    """kill -9 of a real process in the middle of a run on the real engine."""
    rows = [{"q": f"number {number}", "a": str(number)} for number in range(150)]
    keys: dict[str, Any] = {
        "rows": rows, "prompt": "{{q}}:", "references": "{{a}}", "extraction": {"kind": "last_number"},
        "match": "numeric", "generation": {"max_tokens": 48},
    }  # fmt: skip
    found = make_task(tmp_path, "generation", **keys)
    out = tmp_path / "out"
    code = (
        "import sys, llmasos; "
        "llmasos.evaluate(sys.argv[1], sys.argv[2], output=sys.argv[3], resume=True, dtype='float32', chat='off')"
    )
    arguments = [sys.executable, "-c", code, str(llama), str(tmp_path / "generation.yaml"), str(out)]
    environment = {**os.environ, "LLMASOS_HOME": str(home)}
    process = subprocess.Popen(arguments, env=environment)
    journal = out / "generation" / "journal-00000.jsonl"
    end = time.monotonic() + 120
    while not (journal.exists() and journal.read_bytes().count(b"\n") >= 5):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = journal.read_bytes().count(b"\n")
    assert not (out / "generation" / "evaluation.json").exists()
    subprocess.run(arguments, env=environment, check=True)
    resumed = read_records(out / "generation" / "samples.parquet")
    written = b"".join(path.read_bytes() for path in sorted((out / "generation").glob("journal-*"))).splitlines()
    assert kept >= 5
    assert len({orjson.loads(line)["index"] for line in written}) == 150
    assert len(written) <= 151, "what was done is not done again"
    with llmasos.load(llama, dtype="float32") as model:
        (whole,) = llmasos.evaluate(model, tmp_path / "generation.yaml", output=tmp_path / "whole", chat="off")
    assert timeless(resumed) == timeless(whole.records)
    assert read_evaluation(out / "generation").scores == whole.evaluation.scores
    assert found.task.name == "generation"


def test_two_runs_are_equal_to_the_bit(tmp_path: Path, llama: Path) -> None:
    tasks = [choice_task(tmp_path), perplexity_task(tmp_path),
             generation_task(tmp_path, generation={"max_tokens": 8, "temperature": 1.0, "samples": 2})]  # fmt: skip
    with llmasos.load(llama, dtype="float32") as model:
        from llmasos.evaluation.backends.open import backend_of

        first = [timeless(evaluate_in_memory(backend_of(model), found, RunOptions()).records) for found in tasks]
        model.engine.clear_cache()
        again = [timeless(evaluate_in_memory(backend_of(model), found, RunOptions()).records) for found in tasks]
    assert first == again


def publish(folder: Path, name: str) -> str:
    with Library().draft() as draft:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            draft.add_file(str(file.relative_to(folder)), file)
        return draft.publish(Reference.parse(name), Metadata(task_family="causal")).digest


def test_scores_belong_to_the_version_of_the_model(tmp_path: Path, llama: Path) -> None:
    digest = publish(llama, "my/llama:v1")
    library = Library()
    choice_task(tmp_path)
    (done,) = llmasos.evaluate("my/llama:v1", tmp_path / "choice.yaml", limit=4)
    assert done.evaluation.model_digest == digest
    assert done.version is not None and done.version.startswith("evaluations/choice:")
    ((version, evaluation),) = evaluations(library, digest)
    assert evaluation == done.evaluation
    assert read_records(samples_path(library, version)) == done.records
    assert list(evaluations(library, "sha256:" + "0" * 64)) == []
    (scores,) = attached_scores(library, digest)
    assert scores.task == "choice"
    assert scores.metrics["accuracy"] == done.evaluation.scores["accuracy"].value
    assert scores.settings["limit"] == 4
    # The same run again replaces it, another one stands beside it.
    llmasos.evaluate("my/llama:v1", tmp_path / "choice.yaml", limit=4)
    assert len(list(evaluations(library, digest))) == 1
    llmasos.evaluate("my/llama:v1", tmp_path / "choice.yaml", few_shot=1)
    assert len(list(evaluations(library, digest))) == len(attached_scores(library, digest)) == 2
    library.gc()
    assert len(list(evaluations(library, digest))) == 2
    assert library.verify().ok


def test_scores_that_are_no_numbers_can_be_kept(tmp_path: Path, llama: Path) -> None:
    from llmasos.evaluation.result import ScoreEntry

    digest = publish(llama, "my/llama:v1")
    done = one(ScriptedBackend(), perplexity_task(tmp_path))
    assert done.folder is not None
    scores = {"perplexity": ScoreEntry(float("inf")), "accuracy": ScoreEntry(0.5)}
    evaluation = replace(done.evaluation, model_digest=digest, scores=scores)
    attach(Library(), done.folder, evaluation)
    ((_, found),) = evaluations(Library(), digest)
    assert found.scores["accuracy"].value == 0.5
    assert found.scores["perplexity"].value != found.scores["perplexity"].value


def test_a_loaded_model_and_a_task_as_a_mapping(tmp_path: Path, llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choice_task(tmp_path)
    monkeypatch.chdir(tmp_path)
    task = {"name": "t", "kind": "choice", "data": {"splits": {"test": "choice-rows.jsonl"}}, "prompt": "{{q}}",
            "choices": "{{choices}}", "answer": "{{answer}}"}  # fmt: skip
    with llmasos.load(llama) as model:
        first, second = llmasos.evaluate(model, [task, tmp_path / "choice.yaml"], limit=2, output="out")
        assert model.generate("still open", max_tokens=2).text is not None
    assert (first.evaluation.task, second.evaluation.task) == ("t", "choice")
    assert (tmp_path / "out" / "t" / "evaluation.json").is_file()


def test_a_classifier_through_the_sdk(tmp_path: Path) -> None:
    folder = tiny_models.build("bert_classifier", tmp_path / "bert")
    classification_task(tmp_path)
    (done,) = llmasos.evaluate(folder, str(tmp_path / "classification.yaml"))
    assert done.evaluation.samples == 12
    assert set(done.evaluation.counts) <= {"correct", "wrong"}
    with llmasos.load(folder) as model:
        for record in done.records:
            assert record.output == model.classify(record.prompt).label
            assert (record.status is Status.CORRECT) == (record.output == record.references[0])


def test_prompts_are_shown_as_sent(tmp_path: Path) -> None:
    backend = ScriptedBackend(chat=True)
    found = generation_task(tmp_path, system="Add.")
    assert prompts(prepare(found, backend, RunOptions()), backend, 2) == [
        "<system>Add.<user>Q: What is 0 plus 0?\nA:", "<system>Add.<user>Q: What is 1 plus 1?\nA:",
    ]  # fmt: skip
    assert prompts(prepare(perplexity_task(tmp_path), backend, RunOptions()), backend, 1) == [
        "the model reads line 0 of the text"
    ]


@pytest.mark.parametrize(("name", "value"), [("limit", 0), ("few_shot", -1), ("seed", -1), ("max_tokens", 0),
                                             ("chat", "maybe")])  # fmt: skip
def test_options_that_are_not_allowed(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=name):
        RunOptions(**{name: value})


def test_a_damaged_or_newer_evaluation(tmp_path: Path) -> None:
    from llmasos.errors import IntegrityError

    for data, message in ((b"{", "is damaged"), (b"[]", "is damaged"), (b'{"format": 99}', "newer LLMasOS")):
        (tmp_path / "evaluation.json").write_bytes(data)
        with pytest.raises(IntegrityError, match=message):
            read_evaluation(tmp_path)
