"""What single built-in tasks send to a model and take for right."""

from __future__ import annotations

from typing import Any

import pytest

from evaluation_cases import ScriptedBackend
from llmasos.errors import InvalidRecipe
from llmasos.evaluation.backends.protocol import Write
from llmasos.evaluation.evaluate import evaluate_in_memory
from llmasos.evaluation.options import RunOptions
from llmasos.evaluation.prepare import PreparedTask, prepare
from llmasos.evaluation.question import Questions
from llmasos.evaluation.task import WrittenTask
from llmasos.evaluation.tasks.find import builtin_tasks, find

CHAT = ScriptedBackend(chat=True)


def prepared(name: str, backend: ScriptedBackend = CHAT, **options: Any) -> PreparedTask:
    return prepare(find(name), backend, RunOptions(sample=True, unsafe_code=True, **options))


def prompt(found: PreparedTask, number: int = 0) -> str:
    call: Any = found.judge.calls(found.samples[number])[0]
    return CHAT.show(call.prompt)


def test_human_eval_is_completed_as_plain_text_also_by_chat_models() -> None:
    found = prepared("humaneval")
    assert found.settings["chat"] is False
    assert prompt(found).startswith("def double(x: int)")


def test_human_eval_as_a_conversation() -> None:
    found = prepared("humaneval-chat")
    assert found.settings["chat"] is True
    (call,) = found.judge.calls(found.samples[0])
    assert isinstance(call, Write)
    assert call.stop == ()
    assert "```python\ndef double(x: int) -> int:" in prompt(found)


def test_the_examples_of_mbpp_are_those_of_its_paper_without_carriage_returns() -> None:
    text = prompt(prepared("mbpp", ScriptedBackend()))
    asked = [text.index(words) for words in ("reverse a string", "the largest number", "is even", "square a number")]
    assert asked == sorted(asked)
    assert "add two numbers" not in text
    question = Questions(find("mbpp").task).of({
        "task_id": 2, "text": "Add.", "code": "def add(a, b):\r\n    return a + b", "test_list": ["assert add(1, 2)"],
    })  # fmt: skip
    assert question.solution == "def add(a, b):\n    return a + b\n[DONE]"


def test_the_subject_stands_before_the_questions_of_mmlu() -> None:
    found = prepared("mmlu")
    for number, sample in enumerate(found.samples):
        first = (
            f"The following are multiple choice questions (with answers) about {sample.question.row['subject']}.\n\n"
        )
        assert prompt(found, number).startswith(first)
    text = Questions(find("mmlu").task).system({"subject": "high_school_physics"})
    assert text is not None and text.endswith("about high school physics.")


@pytest.mark.parametrize(
    ("solution", "reference"),
    [
        (r"First $\boxed{1}$, no: $\boxed{\frac{1}{\sqrt{2}}}$.", r"\frac{1}{\sqrt{2}}"),
        (r"So it is $\fbox{7}$.", "7"),
        (r"So it is $\boxed 5$.", "5"),
    ],
)
def test_the_reference_of_math_is_the_last_box(solution: str, reference: str) -> None:
    assert Questions(find("math").task).of({"problem": "?", "solution": solution}).references == (reference,)


def test_a_solution_of_math_without_a_box_is_an_error_that_shows_the_row() -> None:
    with pytest.raises(InvalidRecipe, match="math: references") as caught:
        Questions(find("math").task).of({"problem": "the odd one", "solution": "It is 5."})
    assert "the odd one" in str(caught.value.hint)


def test_lambada_gives_first_what_papers_do() -> None:
    done = evaluate_in_memory(ScriptedBackend(logprobs={"keys": -0.5}), find("lambada"), RunOptions(sample=True))
    scores = done.evaluation.scores
    assert next(iter(scores)) == "accuracy"
    assert {record.word_count for record in done.records} == {1}
    assert scores["word_perplexity"].value == pytest.approx(scores["sample_perplexity"].value)


def test_a_stop_does_not_cut_thoughts() -> None:
    for found in builtin_tasks():
        if isinstance(found.task, WrittenTask) and found.task.generation.stop and found.task.chat != "off":
            assert found.task.thinking is False, found.task.name
    call: Any = prepared("gsm8k", few_shot=0).judge.calls(prepared("gsm8k", few_shot=0).samples[0])[0]
    assert call.prompt.wishes == {"enable_thinking": False}
