from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evaluation_cases import EXAMPLES, SUMS, ScriptedBackend, choice_task, generation_task, make_task
from llmasos.errors import InvalidRecipe, InvalidRequest, Unsupported
from llmasos.evaluation.backends.protocol import Continue, Write
from llmasos.evaluation.options import RunOptions
from llmasos.evaluation.prepare import PreparedTask, prepare
from llmasos.evaluation.tasks.find import FoundTask

PLAIN = ScriptedBackend()
CHAT = ScriptedBackend(chat=True)


def calls(prepared: PreparedTask, number: int = 0) -> list[Any]:
    return prepared.judge.calls(prepared.samples[number])


def prompt_of(found: FoundTask, backend: ScriptedBackend = PLAIN, **options: Any) -> str:
    prepared = prepare(found, backend, RunOptions(**options))
    call = calls(prepared)[0]
    assert isinstance(call, Continue | Write)
    return backend.show(call.prompt) + (f"|{call.continuation}" if isinstance(call, Continue) else "")


def test_a_plain_prompt_with_examples(tmp_path: Path) -> None:
    found = choice_task(tmp_path, few_shot={"count": 2, "choose": "first"}, system="Add up.")
    assert prompt_of(found) == (
        "Add up.\n\nQ: What is 100 plus 1?\nA: 101\n\nQ: What is 101 plus 1?\nA: 102\n\nQ: What is 0 plus 0?\nA:| 0"
    )


def test_a_conversation_of_several_turns(tmp_path: Path) -> None:
    found = generation_task(tmp_path, few_shot={"count": 1, "choose": "first"}, system="Add up.")
    assert prompt_of(found, CHAT) == (
        "<system>Add up.<user>Q: What is 100 plus 1?\nA:<assistant>101<user>Q: What is 0 plus 0?\nA:"
    )


def test_a_conversation_of_one_turn(tmp_path: Path) -> None:
    found = generation_task(tmp_path, few_shot={"count": 1, "choose": "first", "multi_turn": False})
    assert prompt_of(found, CHAT) == "<user>Q: What is 100 plus 1?\nA: 101\n\nQ: What is 0 plus 0?\nA:"


def test_the_beginning_of_the_answer(tmp_path: Path) -> None:
    found = choice_task(tmp_path, answer_prefix="The sum is", few_shot={"count": 1, "choose": "first"})
    assert prompt_of(found) == "Q: What is 100 plus 1?\nA: The sum is 101\n\nQ: What is 0 plus 0?\nA: The sum is| 0"
    prepared = prepare(found, CHAT, RunOptions(chat="on"))
    first = calls(prepared)[0]
    assert first.prompt.answer_prefix == "The sum is"
    assert first.continuation == " 0"
    closed = choice_task(tmp_path, answer_prefix="Sum: (", name="closed")
    assert prompt_of(closed) == "Q: What is 0 plus 0?\nA: Sum: (| 0"
    spaced = choice_task(tmp_path, answer_prefix="Sum: ", name="spaced")
    assert prompt_of(spaced) == "Q: What is 0 plus 0?\nA: Sum: |0"


def test_no_delimiter_for_chinese(tmp_path: Path) -> None:
    rows = [{"q": "一加一等于几？", "a": ["二", "三"]}]
    found = make_task(tmp_path, "choice", rows=rows, prompt="{{q}}\n答案：", choices="{{a}}", answer="二", delimiter="")
    assert prompt_of(found) == "一加一等于几？\n答案：|二"


@pytest.mark.parametrize(
    ("task_chat", "option", "template", "expected"),
    [
        ("auto", None, True, True),
        ("auto", None, False, False),
        ("auto", None, None, True),  # an endpoint knows
        ("off", None, True, False),
        ("on", None, True, True),
        ("on", "off", True, False),
        ("off", "on", True, True),
    ],
)
def test_when_the_template_is_used(
    tmp_path: Path, task_chat: str, option: Any, template: bool | None, expected: bool
) -> None:
    found = generation_task(tmp_path, chat=task_chat)
    prepared = prepare(found, ScriptedBackend(chat=template), RunOptions(chat=option))
    assert prepared.settings["chat"] is expected
    assert (calls(prepared)[0].prompt.messages is not None) is expected


def test_log_likelihoods_use_no_template_unless_told(tmp_path: Path) -> None:
    assert prepare(choice_task(tmp_path), CHAT, RunOptions()).settings["chat"] is False
    assert prepare(choice_task(tmp_path), CHAT, RunOptions(chat="on")).settings["chat"] is True


def test_a_model_without_template_is_refused_only_if_one_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="no chat template"):
        prepare(generation_task(tmp_path), PLAIN, RunOptions(chat="on"))


def test_examples_are_the_same_for_all_samples_and_all_runs(tmp_path: Path) -> None:
    found = choice_task(tmp_path, few_shot={"count": 3})
    prepared = prepare(found, PLAIN, RunOptions())
    heads = {calls(prepared, number)[0].prompt.text.rpartition("\n\n")[0] for number in range(12)}
    assert len(heads) == 1
    again = prepare(found, PLAIN, RunOptions())
    assert calls(again)[0].prompt.text.rpartition("\n\n")[0] in heads
    other = prepare(found, PLAIN, RunOptions(seed=7))
    assert calls(other)[0].prompt.text.rpartition("\n\n")[0] not in heads


def test_other_examples_for_every_sample_if_told(tmp_path: Path) -> None:
    prepared = prepare(choice_task(tmp_path, few_shot={"count": 3, "per_sample": True}), PLAIN, RunOptions())
    heads = {calls(prepared, number)[0].prompt.text.rpartition("\n\n")[0] for number in range(12)}
    assert len(heads) > 6


def test_a_sample_is_no_example_for_itself(tmp_path: Path) -> None:
    found = choice_task(tmp_path, few_shot={"count": 11, "split": "test"})
    prepared = prepare(found, PLAIN, RunOptions())
    for number, row in enumerate(SUMS):
        prompt = calls(prepared, number)[0].prompt.text
        assert prompt.count(str(row["q"])) == 1
        assert prompt.count("Q:") == 12


def test_examples_of_the_same_subject(tmp_path: Path) -> None:
    rows = [{"q": f"{subject} {number}", "s": subject} for subject in "ab" for number in range(4)]
    found = make_task(
        tmp_path, "choice", rows=rows, prompt="{{q}}", choices=["x", "y"], answer="x",
        few_shot={"count": 2, "split": "test", "same": "s"},
    )  # fmt: skip
    prepared = prepare(found, PLAIN, RunOptions())
    for number, row in enumerate(rows):
        asked = [line.split()[0] for line in calls(prepared, number)[0].prompt.text.split("\n\n")]
        assert asked == [row["s"]] * 3


def test_more_examples_than_there_are(tmp_path: Path) -> None:
    found = choice_task(tmp_path)
    with pytest.raises(InvalidRequest, match="11 solved examples were asked for, and the task choice has 10") as caught:
        prepare(found, PLAIN, RunOptions(few_shot=11))
    assert "--few-shot" in str(caught.value.hint)
    prepare(found, PLAIN, RunOptions(few_shot=len(EXAMPLES)))


def test_a_row_that_stands_twice_is_no_example_for_itself(tmp_path: Path) -> None:
    row = {"q": "twice", "choices": ["x"], "answer": 0}
    found = choice_task(tmp_path, rows=[row, row, *SUMS[:2]], few_shot={"count": 2, "split": "test"})
    prepared = prepare(found, PLAIN, RunOptions())
    assert len({sample.id for sample in prepared.samples}) == 4
    for number in (0, 1):
        assert calls(prepared, number)[0].prompt.text.count("twice") == 1


def test_rows_in_the_task_itself(tmp_path: Path) -> None:
    examples = [{"q": "one?", "choices": ["yes"], "answer": 0}]
    found = choice_task(tmp_path, few_shot={"count": 1, "examples": examples})
    assert prompt_of(found).startswith("Q: one?\nA: yes\n\n")


def test_a_task_without_solutions_has_no_examples(tmp_path: Path) -> None:
    rows = [{"q": question, "ids": [], "args": []} for question in "xy"]
    found = make_task(
        tmp_path, "instructions", rows=rows, prompt="{{q}}", instructions="{{ids}}", arguments="{{args}}",
        few_shot={"count": 1, "split": "test"},
    )  # fmt: skip
    with pytest.raises(InvalidRequest, match="does not say how a solved example looks"):
        prepare(found, PLAIN, RunOptions())


def test_examples_may_be_chosen_by_a_template(tmp_path: Path) -> None:
    found = choice_task(tmp_path, few_shot={"count": 2, "choose": "first", "where": "{{'104' in q or '107' in q}}"})
    assert prompt_of(found).startswith("Q: What is 104 plus 1?\nA: 105\n\nQ: What is 107 plus 1?\nA: 108\n\n")


def test_rows_in_the_task_itself_are_not_filtered_like_the_data(tmp_path: Path) -> None:
    examples = [{"q": "one?", "choices": ["yes"], "answer": 0}]  # without the column that data.where reads
    few_shot = {"count": 1, "examples": examples}
    found = choice_task(tmp_path, few_shot=few_shot, data={"where": "{{label == 'neutral'}}"})
    assert prompt_of(found).startswith("Q: one?\nA: yes\n\nQ: What is 1 plus 1?")


def test_the_text_of_the_system_is_a_template(tmp_path: Path) -> None:
    found = generation_task(tmp_path, system="About {{label}} things.", few_shot={"count": 1})
    assert prompt_of(found).startswith("About negative things.\n\n")
    assert prompt_of(found, CHAT).startswith("<system>About negative things.<user>")


def test_a_wish_about_thinking_goes_with_conversations(tmp_path: Path) -> None:
    silent = calls(prepare(generation_task(tmp_path, thinking=False), CHAT, RunOptions()))[0].prompt
    assert (silent.wishes, silent.variables) == ({"enable_thinking": False}, {})
    assert calls(prepare(generation_task(tmp_path), CHAT, RunOptions()))[0].prompt.wishes == {}


def test_an_empty_reference_is_an_error_that_shows_the_row(tmp_path: Path) -> None:
    rows = [{"q": "fine", "a": "1"}, {"q": "the odd one", "a": " "}]
    found = make_task(tmp_path, "generation", rows=rows, prompt="{{q}}", references="{{a}}")
    with pytest.raises(InvalidRecipe, match="a reference is empty") as caught:
        prepare(found, PLAIN, RunOptions())
    assert "the odd one" in str(caught.value.hint)
    free = make_task(tmp_path, "generation", rows=rows, prompt="{{q}}", references="{{a}}", match="none", name="free")
    assert len(prepare(free, PLAIN, RunOptions()).samples) == 2
