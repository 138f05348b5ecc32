"""Tasks of lm-evaluation-harness on our engine agree with the harness's own model; its files are read and written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import llmasos
import tiny_models
from llmasos.errors import IntegrityError, InvalidRequest, NotFound, Unsupported
from llmasos.evaluation.backends.open import backend_of
from llmasos.evaluation.backends.protocol import Backend
from llmasos.evaluation.harness.files import to_harness, write_harness_files
from llmasos.evaluation.harness.reading import from_harness, read_harness_files
from llmasos.evaluation.records import Status

pytest.importorskip("lm_eval")

pytestmark = pytest.mark.integration  # importing the harness takes long

from llmasos.evaluation.harness.model import EngineLM  # noqa: E402 - needs the harness
from llmasos.evaluation.harness.run import run_harness  # noqa: E402

WORDS = ["sun", "moon", "river", "stone", "bread", "salt", "lamp", "door"]
ROWS = [
    {"question": f"What is near the {word}?", "choices": [WORDS[(i + k) % 8] for k in (1, 3, 5)], "answer": i % 3}
    for i, word in enumerate(WORDS)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build("llama", tmp_path_factory.mktemp("model") / "llama")


@pytest.fixture(scope="module")
def backend(folder: Path) -> Iterator[Backend]:
    with llmasos.load(folder, dtype="float32", device="cpu") as model:
        yield backend_of(model)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tasks")
    data = place / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    common = f"dataset_path: json\ndataset_kwargs: {{data_files: {{test: {data}}}}}\ntest_split: test\n"
    (place / "choose.yaml").write_text(
        "task: own_choose\n" + common + "output_type: multiple_choice\n"
        'doc_to_text: "Question: {{question}}\\nAnswer:"\ndoc_to_choice: "{{choices}}"\ndoc_to_target: answer\n'
        "metric_list:\n  - {metric: acc, aggregation: mean, higher_is_better: true}\n"
        "  - {metric: acc_norm, aggregation: mean, higher_is_better: true}\n"
    )
    (place / "write.yaml").write_text(
        "task: own_write\n" + common + "output_type: generate_until\n"
        'doc_to_text: "{{question}}"\ndoc_to_target: "{{choices[answer]}}"\n'
        'generation_kwargs: {max_gen_toks: 6, until: ["\\n"], do_sample: false}\n'
        "metric_list:\n  - {metric: exact_match, aggregation: mean, higher_is_better: true}\n"
    )
    (place / "predict.yaml").write_text(
        "task: own_predict\n" + common + "output_type: loglikelihood_rolling\n"
        'doc_to_text: ""\ndoc_to_target: "{{question}}"\n'
        "metric_list:\n  - {metric: word_perplexity}\n  - {metric: bits_per_byte}\n"
    )
    return place


@pytest.fixture(scope="module")
def theirs(folder: Path, tasks: Path) -> dict[str, Any]:
    """The same tasks by the harness's own model."""
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    model = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=4)
    found = simple_evaluate(
        model, tasks=["own_choose", "own_write", "own_predict"], num_fewshot=0, log_samples=True, bootstrap_iters=0,
        task_manager=TaskManager(include_path=str(tasks)),
    )  # fmt: skip
    assert found is not None
    return dict(found)


def test_agrees_with_the_harness(backend: Backend, tasks: Path, theirs: dict[str, Any], tmp_path: Path) -> None:
    ours = run_harness(backend, ["own_choose", "own_write", "own_predict"], include=tasks, few_shot=0, output=tmp_path)
    by_task = {item.evaluation.task: item for item in ours.imported}
    expected = {item.evaluation.task: item for item in from_harness(theirs, theirs["samples"])}
    for name, item in by_task.items():
        reference = expected[name]
        assert len(item.records) == len(reference.records) == len(ROWS)
        for mine, other in zip(item.records, reference.records, strict=True):
            assert (mine.index, mine.sample_id, mine.prompt) == (other.index, other.sample_id, other.prompt)
            assert (mine.status, mine.output, mine.parsed) == (other.status, other.output, other.parsed)
            assert mine.choice_logprobs == pytest.approx(other.choice_logprobs, abs=1e-3)
            assert mine.loglikelihood == pytest.approx(other.loglikelihood, abs=1e-3)
        for metric, entry in reference.evaluation.scores.items():
            assert item.evaluation.scores[metric].value == pytest.approx(entry.value, rel=1e-4), (name, metric)
    assert {"accuracy", "accuracy_normalized"} <= set(by_task["own_choose"].evaluation.scores)

    again = {item.evaluation.task: item for item in read_harness_files(ours.files[0])}
    for name, item in by_task.items():
        assert again[name].records == item.records
        assert again[name].evaluation.scores == item.evaluation.scores


def test_our_runs_survive_the_harness_format(backend: Backend, tmp_path: Path) -> None:
    from llmasos.evaluation.evaluate import evaluate_in_memory
    from llmasos.evaluation.options import RunOptions
    from llmasos.evaluation.tasks.find import find

    done = [
        evaluate_in_memory(backend, find(name), RunOptions(sample=True, few_shot=0)) for name in ("arc-easy", "gsm8k")
    ]
    files = write_harness_files(tmp_path, *to_harness([(item.evaluation, item.records) for item in done]))
    found = {item.evaluation.task: item for item in read_harness_files(files[0])}
    assert set(found) == {"arc-easy", "gsm8k"}
    for item in done:
        back = found[item.evaluation.task]
        assert [record.status for record in back.records] == [
            Status.UNPARSED if record.status is Status.UNPARSED else
            Status.CORRECT if record.status is Status.CORRECT else Status.WRONG for record in item.records
        ]  # fmt: skip
        for name in ("accuracy", "exact_match"):
            if name in item.evaluation.scores:
                assert back.evaluation.scores[name].value == item.evaluation.scores[name].value


class TestBadInput:
    def test_unknown_task(self, backend: Backend, tasks: Path) -> None:
        with pytest.raises(NotFound, match="no task 'own_chose'") as caught:
            run_harness(backend, ["own_chose"], include=tasks)
        assert "own_choose" in str(caught.value.hint)

    def test_missing_folder(self, backend: Backend, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match="there is no folder"):
            run_harness(backend, ["x"], include=tmp_path / "none")

    @pytest.mark.parametrize(("name", "value", "taken"), [("num_beams", 4, False), ("num_beams", 1, True),
                                                          ("top_k", 1, False), ("top_k", 0, True)])  # fmt: skip
    def test_setting_that_is_not_honoured(self, backend: Backend, name: str, value: int, taken: bool) -> None:
        from lm_eval.api.instance import Instance

        request = Instance("generate_until", {}, ("Hello", {"until": [], name: value, "max_gen_toks": 4}), 0)
        if taken:
            assert len(EngineLM(backend).generate_until([request])) == 1
            return
        with pytest.raises(InvalidRequest, match=name):
            EngineLM(backend).generate_until([request])

    def test_model_without_template(self, tmp_path: Path) -> None:
        with llmasos.load(tiny_models.build("qwen2", tmp_path / "qwen2"), device="cpu") as model:
            plain = backend_of(model)
            assert plain.has_chat_template is False
            with pytest.raises(Unsupported, match="no chat template"):
                EngineLM(plain).chat_template(True)

    @pytest.mark.parametrize("content", ["", "[]", '{"results": 1}', "{"])
    def test_damaged_results(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / "results_x.json"
        path.write_text(content)
        with pytest.raises(IntegrityError, match="no file of lm-evaluation-harness"):
            read_harness_files(path)

    def test_damaged_samples(self, tmp_path: Path) -> None:
        path = tmp_path / "results_1.json"
        path.write_text('{"results": {"a": {"acc,none": 1.0}}}')
        (tmp_path / "samples_a_1.jsonl").write_text('{"doc_id": 0}\n')
        with pytest.raises(IntegrityError, match="KeyError"):
            read_harness_files(path)
        (tmp_path / "samples_a_1.jsonl").write_text("{\n")
        with pytest.raises(IntegrityError, match="line 1"):
            read_harness_files(path)

    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match="there is no file"):
            read_harness_files(tmp_path / "results_1.json")
