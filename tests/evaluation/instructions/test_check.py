"""Strict and loose, names and arguments."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instruction_cases import CASES
from llmasos.errors import InvalidRequest
from llmasos.evaluation.instructions.base import Instruction
from llmasos.evaluation.instructions.check import check, follow, loose_readings, names, parse
from llmasos.evaluation.instructions.counting import count_sentences, count_words, detect_language

# Names and arguments as the public data have them.
PUBLIC: dict[str, dict[str, Any]] = {
    "change_case:capital_word_frequency": {"capital_frequency": 2, "capital_relation": "at least"},
    "change_case:english_capital": {},
    "change_case:english_lowercase": {},
    "combination:repeat_prompt": {"prompt_to_repeat": "Write"},
    "combination:two_responses": {},
    "detectable_content:number_placeholders": {"num_placeholders": 2},
    "detectable_content:postscript": {"postscript_marker": "P.S."},
    "detectable_format:constrained_response": {},
    "detectable_format:json_format": {},
    "detectable_format:multiple_sections": {"section_spliter": "Section", "num_sections": 2},
    "detectable_format:number_bullet_lists": {"num_bullets": 2},
    "detectable_format:number_highlighted_sections": {"num_highlights": 2},
    "detectable_format:title": {},
    "keywords:existence": {"keywords": ["a", "b"]},
    "keywords:forbidden_words": {"forbidden_words": ["a"]},
    "keywords:frequency": {"keyword": "a", "frequency": 2, "relation": "less than"},
    "keywords:letter_frequency": {"letter": "!", "let_frequency": 2, "let_relation": "at least"},
    "language:response_language": {"language": "de"},
    "length_constraints:nth_paragraph_first_word": {"num_paragraphs": 2, "nth_paragraph": 1, "first_word": "a"},
    "length_constraints:number_paragraphs": {"num_paragraphs": 2},
    "length_constraints:number_sentences": {"num_sentences": 2, "relation": "at least"},
    "length_constraints:number_words": {"num_words": 2, "relation": "less than"},
    "punctuation:no_comma": {},
    "startend:end_checker": {"end_phrase": "The end."},
    "startend:quotation": {},
}


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_the_public_names_and_arguments(name: str) -> None:
    """Also where every argument of every instruction is there, and null where it does not belong."""
    everything: dict[str, Any] = dict.fromkeys(key for arguments in PUBLIC.values() for key in arguments)
    assert parse(name, PUBLIC[name]) == parse(name, {**everything, **PUBLIC[name]})


def test_there_are_all_25_and_ours() -> None:
    assert len(PUBLIC) == 25
    assert set(names()) - set(PUBLIC) == {
        "chinese:full_width_punctuation", "chinese:no_latin_letters", "chinese:simplified", "chinese:traditional",
        "length_constraints:number_characters",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "arguments", "problem"),
    [
        ("punctuation:no_coma", {}, "there is no instruction 'punctuation:no_coma'"),
        ("punctuation:no_comma", {"x": 1}, "x: Extra inputs"),
        ("keywords:existence", {}, "keywords: Field required"),
        ("keywords:existence", {"keywords": []}, "keywords"),
        (
            "length_constraints:number_words",
            {"num_words": 3, "relation": "about"},
            "relation: Input should be 'at least'",
        ),
        ("keywords:letter_frequency", {"letter": "ab", "let_frequency": 1, "let_relation": "at least"}, "letter"),
    ],
)
def test_wrong_names_and_arguments(name: str, arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidRequest, match=problem) as error:
        check(name, arguments, "", "x")
    assert error.value.hint


def test_the_hint_names_what_is_near() -> None:
    with pytest.raises(InvalidRequest) as error:
        check("punctuation:no_coma", {}, "", "x")
    assert "did you mean punctuation:no_comma" in str(error.value.hint)


def test_relations_in_chinese() -> None:
    assert parse("length_constraints:number_words", {"num_words": 3, "relation": "少于"}) == parse(
        "length_constraints:number_words", {"num_words": 3, "relation": "less than"}
    )


def test_strict_and_loose() -> None:
    ids = ["punctuation:no_comma", "detectable_format:json_format", "keywords:existence"]
    arguments: list[dict[str, Any] | None] = [{}, None, {"keywords": ["cat"]}]
    found = follow(ids, arguments, "", 'Sure, here you are:\n{"animal": "cat"}\nHave fun, friend')
    assert found.strict == (False, False, True)
    assert found.loose == (True, True, True)
    found = follow(ids, arguments, "", "no, dog\nno, dog\nno, dog\nno, dog")
    assert found.strict == found.loose == (False, False, False)


def test_loose_takes_asterisks_off() -> None:
    assert follow(["startend:quotation"], [{}], "", '**"All of it"**').strict == (False,)
    assert follow(["startend:quotation"], [{}], "", '**"All of it"**').loose == (True,)


def test_loose_readings() -> None:
    assert loose_readings("a\n*b*\nc") == ["a\n*b*\nc", "*b*\nc", "a\n*b*", "*b*", "a\nb\nc", "b\nc", "a\nb", "b"]
    assert loose_readings("a") == ["a", ""]


def test_as_many_arguments_as_instructions() -> None:
    with pytest.raises(InvalidRequest, match="1 instructions and 0 sets"):
        follow(["punctuation:no_comma"], [], "", "x")


def test_the_prompt_is_repeated_where_no_other_text_is_named() -> None:
    assert check("combination:repeat_prompt", {}, "Write about cats.", "write about cats. Cats are...")
    assert not check("combination:repeat_prompt", {}, "Write about cats.", "Cats are...")


@pytest.mark.parametrize(
    ("text", "words"),
    [("one two", 2), ("it's 3.5", 4), ("我喜欢 Python 3", 5), ("", 0), ("——", 0), ("用AI做AI。", 4)],
)
def test_words(text: str, words: int) -> None:
    assert count_words(text) == words


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", 3),
        ("Dr. Smith came at 3.30 p.m. yesterday. He left.", 2),
        ("一。二！三？", 3),
        ("他说：“好。”她笑了……然后走了；雨停了。", 3),
        ("标题\n\n正文。", 2),
        ("价格是3.5元。", 1),
        ("没有句号", 1),
    ],
)
def test_sentences(text: str, sentences: int) -> None:
    assert count_sentences(text) == sentences


def test_languages() -> None:
    assert detect_language("DER HUND LÄUFT SCHNELL ÜBER DIE STRASSE NACH HAUSE") == "de"
    assert detect_language("今天天气很好，我们一起去公园散步吧。") == "zh"
    assert detect_language("123 !!!") is None


EVERY: list[Instruction] = [parse(name, groups[0][0]) for name, groups in sorted(CASES.items())]


@settings(deadline=None)  # the first text loads the model of languages
@given(st.text(max_size=200), st.sampled_from(EVERY))
def test_nothing_raises(answer: str, instruction: Instruction) -> None:
    assert instruction.followed(answer or "x", "prompt") in (True, False)
    loose_readings(answer)
