"""Exact duplicates of rows and of parts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_rows import labelled, prompt, removed, row, rows, run_corpus_step
from llmasos.data.deduplication.exact import ExactDuplicates, Normalization, digest, normalized
from llmasos.data.deduplication.units import Unit, part_spans, without_spans
from llmasos.data.row import Message, Origin, Row, Text, UnpairedPreference
from llmasos.data.sources.config import FileSource


@pytest.mark.parametrize(("normalize", "expected"), [("none", [1]), ("spaces", [1, 2]), ("letters", [1, 2, 3, 4])])
def test_what_counts_as_the_same(tmp_path: Path, normalize: Normalization, expected: list[int]) -> None:
    texts = [
        "Good morning.",
        "Good morning.",
        " Good \n morning.",
        "good morning!",
        "ＧＯＯＤ morning",
        "Good evening.",
    ]
    outcomes = run_corpus_step(ExactDuplicates(normalize=normalize).build(), rows(texts), tmp_path)
    assert removed(outcomes) == expected
    rejection = outcomes[1].rejection
    assert rejection is not None
    assert (rejection.reason, rejection.detail, rejection.related) == (
        "exact_duplicate", "same as made/file.jsonl:1", ("made/file.jsonl:1",)
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", "", "今天"]), max_size=40), st.integers(1, 5))
def test_the_first_of_each_stays_whatever_the_shards(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], shards: int
) -> None:
    outcomes = run_corpus_step(ExactDuplicates().build(), rows(texts), tmp_path_factory.mktemp("exact"), shards=shards)
    expected = [index for index, text in enumerate(texts) if text and text in texts[:index]]
    assert removed(outcomes) == expected
    for index in expected:
        rejection = outcomes[index].rejection
        assert rejection is not None
        assert rejection.related == (f"made/file.jsonl:{texts.index(texts[index]) + 1}",)


def test_rows_that_teach_different_things_are_kept(tmp_path: Path) -> None:
    def judged(desirable: bool) -> Row:
        messages = (Message("assistant", "Yes."),)
        return row(UnpairedPreference((Message("user", "Really?"),), messages, desirable))

    data = [labelled("fine", "good"), labelled("fine", "bad"), labelled("fine", "good"), judged(True), judged(False)]
    assert removed(run_corpus_step(ExactDuplicates().build(), data, tmp_path)) == [2]


def test_places_choose_what_is_compared(tmp_path: Path) -> None:
    data = [prompt("same", "one", 1), prompt("same", "two", 2)]
    assert removed(run_corpus_step(ExactDuplicates().build(), data, tmp_path / "a")) == []
    assert removed(run_corpus_step(ExactDuplicates(places=("prompt",)).build(), data, tmp_path / "b")) == [1]


def test_other_data_win(tmp_path: Path) -> None:
    file = tmp_path / "other.jsonl"
    file.write_text('{"text": "known"}\n{"text": "known"}\nbroken\n', encoding="utf-8")
    data = rows(["known", "new", "new"])
    source = FileSource(path=str(file))
    outcomes = run_corpus_step(ExactDuplicates(against=(source,)).build(), data, tmp_path / "a", shards=2)
    assert removed(outcomes) == [0, 2]
    assert outcomes[0].rejection is not None
    assert outcomes[0].rejection.reason == "exact_duplicate_of_other_data"
    only = ExactDuplicates(against=(source,), within=False)
    assert removed(run_corpus_step(only.build(), data, tmp_path / "b")) == [0]


def test_unreadable_records_of_other_data_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "other.jsonl"
    file.write_text("".join(json.dumps({"text": str(n)}) + "\n" for n in range(5)) + "{broken\n", encoding="utf-8")
    run_corpus_step(ExactDuplicates(against=(FileSource(path=str(file)),)).build(), rows(["x"]), tmp_path / "notes")
    assert "other: 1 records could not be read and were not compared" in caplog.text


def test_repeated_lines_are_cut_and_short_ones_stay(tmp_path: Path) -> None:
    menu = "Home, About us, Contact, News, Sign in, Register, Help, Language"
    data = rows([f"{menu}\nFirst page.\nYes.", f"{menu}\nSecond page.\nYes.", menu])
    outcomes = run_corpus_step(ExactDuplicates(unit="line").build(), data, tmp_path)
    assert outcomes[0].row == data[0]
    assert outcomes[1].row.sample == Text("Second page.\nYes.")
    assert outcomes[1].counts == {"lines_cut": 1, "characters_cut": len(menu) + 1}
    assert outcomes[2].rejection is not None
    assert outcomes[2].rejection.reason == "only_exact_duplicate_lines"


def test_repeated_chinese_sentences_are_cut(tmp_path: Path) -> None:
    data = rows(["版权所有，未经许可不得转载。今天天气很好。", "我们去看长城。版权所有，未经许可不得转载。"])
    outcomes = run_corpus_step(ExactDuplicates(unit="sentence").build(), data, tmp_path)
    assert outcomes[1].row.text() == "我们去看长城。"


def test_ids_of_any_characters_are_kept(tmp_path: Path) -> None:
    data = [Row(f"数据/\ud800{number}", Origin("a", "b", number), Text("same text")) for number in (1, 2)]
    rejection = run_corpus_step(ExactDuplicates().build(), data, tmp_path)[1].rejection
    assert rejection is not None
    assert rejection.related == ("数据/\ud8001",)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab. \n\u3000。！\r", max_size=60), st.sampled_from(["paragraph", "line", "sentence"]))
@example(text="\n\n", unit="paragraph")
@example(text="\n \na\n\n\nb\nc\n\n", unit="paragraph")
def test_parts_are_the_whole_text(text: str, unit: Unit) -> None:
    spans = part_spans(text, unit)
    assert "".join(text[start:end] for start, end in spans) == text
    assert without_spans(text, spans) == ""
    assert without_spans(text, []) == text.strip()


def test_paragraphs_and_lines() -> None:
    text = "one\nmore\n \n\ntwo\n\nthree"
    assert [text[start:end] for start, end in part_spans(text, "paragraph")] == ["one\nmore\n \n\n", "two\n\n", "three"]
    assert [text[start:end] for start, end in part_spans(text, "line")][:3] == ["one\n", "more\n", " \n"]


def test_a_paragraph_ends_where_its_last_sentence_was_cut() -> None:
    text = "One here. Two there.\n\nThree."
    spans = part_spans(text, "sentence")
    assert [text[start:end] for start, end in spans] == ["One here. ", "Two there.\n\n", "Three."]
    assert without_spans(text, [spans[1]]) == "One here.\n\nThree."
    assert without_spans(text, [spans[0]]) == "Two there.\n\nThree."
    assert without_spans("a\nb\nc", [(2, 4)]) == "a\nc"


def test_digests_of_any_text() -> None:
    assert digest("a\ud800") != digest("a")
    assert len(digest("")) == 16
    assert normalized("  a \u3000 b\n", "spaces") == "a b"
    assert normalized("Ａ_b-1!", "letters") == "ab1"
