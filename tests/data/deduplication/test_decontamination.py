"""Leaked evaluation data are found and shown; other rows are left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_rows import prompt, row, rows
from llmasos.data.deduplication.decontamination import Decontaminate, DecontaminationFilter
from llmasos.data.row import Row
from llmasos.data.sources.config import FileSource

QUESTION = (
    "Natalia sold clips to 48 of her friends in April and then she sold half as many clips in May. How many clips?"
)
CHINESE = "某工厂生产一批零件，原计划每天生产三百个，实际每天多生产六十个，结果提前五天完成任务。"
CONFIG = Decontaminate(against=(FileSource(path="evaluation.jsonl"),))


def find(data: list[Row], evaluation: list[Row], **changes: object) -> list[tuple[str, str] | None]:
    config = Decontaminate.model_validate({**CONFIG.model_dump(), **changes})
    verdicts = DecontaminationFilter(config, evaluation).judge(data)
    return [None if verdict is None else (verdict.reason, verdict.detail) for verdict in verdicts]


def test_a_run_of_thirteen_words_is_found_and_shown() -> None:
    evaluation = [prompt(QUESTION, "72", 7)]
    leaked = "Here is one: NATALIA sold clips, to 48 of her friends in April -- and then she went home."
    twelve = "Natalia sold clips to 48 of her friends in April and then nothing more was said about it."
    found = find(rows([leaked, twelve, "Something else."]), evaluation)
    assert found[1:] == [None, None]
    assert found[0] is not None
    assert found[0][0] == "in_evaluation_set"
    assert "13 words or characters shared with made/file.jsonl:7" in found[0][1]
    assert '"natalia sold clips, to 48 of her friends in april -- and then she"' in found[0][1]


def test_longer_runs_are_joined_and_their_share_is_told() -> None:
    index = DecontaminationFilter(CONFIG, [row(QUESTION, 1)])
    (matches,) = index.find([row(f"Q: {QUESTION} A: 72", 2)])
    (match,) = matches
    assert match.tokens == 23
    assert match.share == 1.0
    assert match.text.startswith("natalia") and match.text.endswith("clips")


def test_chinese_is_compared_by_characters() -> None:
    evaluation = [row(CHINESE, 3)]
    found = find(rows([f"题目：{CHINESE[5:35]}", CHINESE[:18] + "。"]), evaluation)
    assert found[0] is not None
    assert "made/file.jsonl:3" in found[0][1]
    assert found[1] is None


def test_short_evaluation_texts_are_found_as_a_whole() -> None:
    evaluation = [row("a gorgeous and witty seduction of a film", 1), row("very good", 2)]
    index = DecontaminationFilter(CONFIG, evaluation).index
    assert index.too_short == 1
    found = find(
        rows(["it is a gorgeous and witty seduction of a film, no doubt", "gorgeous and witty seduction of a film"]),
        evaluation,
    )
    assert [item is not None for item in found] == [True, False]


def test_templates_of_evaluation_sets_do_not_count() -> None:
    template = "Read the question below carefully and choose the right answer from the four options that are given"
    evaluation = [row(f"{template}: unique{number} alpha{number} beta{number}", number) for number in range(1, 15)]
    assert find(rows([f"{template} in the list."]), evaluation) == [None]
    assert find(rows([f"{template} in the list."]), evaluation, common=20) != [None]
    assert find(rows([f"{template}: unique3 alpha3 beta3"]), evaluation)[0] is not None


def test_a_run_twice_in_one_evaluation_text_is_no_template() -> None:
    run = " ".join(f"w{number}" for number in range(13))
    assert find([row(run)], [row(f"{run} and {run}", 5)], common=1)[0] is not None


def test_least_share_lets_single_runs_pass() -> None:
    evaluation = [row(QUESTION, 1)]
    leaked = rows(["Natalia sold clips to 48 of her friends in April and then she left.", QUESTION])
    assert [item is not None for item in find(leaked, evaluation, least_share=0.9)] == [False, True]


def test_runs_do_not_cross_texts() -> None:
    words = QUESTION.split()
    split = prompt(" ".join(words[:8]), " ".join(words[8:16]))
    assert find([split], [row(" ".join(words[:16]))]) == [None]
    assert find([row(" ".join(words[:16]))], [row(" ".join(words[:16]))])[0] is not None


def test_evaluation_sets_are_read_from_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "test.jsonl").write_text(f'{{"text": "{QUESTION}"}}\n{{"text": "tiny"}}\n', encoding="utf-8")
    config = Decontaminate(against=(FileSource(path="test.jsonl"),)).resolve_paths(tmp_path)
    verdict = config.build().judge([row(QUESTION)])[0]
    assert verdict is not None
    assert verdict.related == ("test/test.jsonl:1",)
    assert "1 evaluation texts are too short" in caplog.text


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=5), st.lists(st.text(max_size=40), max_size=5))
def test_any_texts_can_be_compared(data: list[str], evaluation: list[str]) -> None:
    assert len(find(rows(data), rows(evaluation), words=2, characters=2, shortest=0.1)) == len(data)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), max_size=20),
    st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), max_size=20),
)
def test_matches_are_those_of_plain_python(data: list[str], evaluation: list[str]) -> None:
    runs = {tuple(evaluation[place : place + 3]) for place in range(len(evaluation) - 2)}
    expected = any(tuple(data[place : place + 3]) in runs for place in range(len(data) - 2))
    found = find([row(" ".join(data))], [row(" ".join(evaluation))], words=3, shortest=1)
    assert (found[0] is not None) == expected
