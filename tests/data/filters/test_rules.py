"""Filters that measure texts: language, length, quality, repetition, profanity."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data_rows import prompt, row
from llmasos.data.filters.language import FilterLanguage, IdentifyLanguage, identify_language
from llmasos.data.filters.length import FilterLength
from llmasos.data.filters.measures import is_spaced, units, word_count
from llmasos.data.filters.profanity import FilterProfanity, built_in_words
from llmasos.data.filters.quality import FilterC4Quality, FilterFineWebQuality, FilterGopherQuality
from llmasos.data.filters.repetition import (
    FilterRepetition,
    duplicate_share,
    repeated_ngram_share,
    top_ngram_share,
)
from llmasos.data.step import FilterConfig
from llmasos.errors import NotFound, Unsupported
from tiny_models import build

ENGLISH = (
    "The committee met on Tuesday to discuss the plan for the new library. Several members asked about the cost of "
    "the building. Others wanted to know when the doors would open to the public. The chair explained that work "
    "would begin in spring and that the old reading room should stay open until then. Nobody spoke against it."
)
CHINESE = (
    "委员会星期二开会讨论新图书馆的计划。几位委员询问了建筑的费用，也有人想知道什么时候对公众开放。"
    "主席说明工程将在春天开始，旧阅览室在那之前会继续开放。没有人反对这个方案，大家对设计也很满意。"
    "会后他们一起参观了工地，看到工人们正在准备材料。明年夏天，孩子们就可以在明亮的大厅里读书了。"
)
GERMAN = "Der Ausschuss traf sich am Dienstag, um den Plan für die neue Bibliothek zu besprechen."


def reason(config: FilterConfig, text: str) -> str | None:
    built = config.build()
    assert not hasattr(built, "judge")
    rejection = built(row(text))
    return None if rejection is None else f"{rejection.reason}: {rejection.detail}"


def test_languages_are_identified() -> None:
    assert [identify_language(text)[0] for text in (ENGLISH, CHINESE, GERMAN)] == ["en", "zh", "de"]
    assert all(0.9 < identify_language(text)[1] <= 1 for text in (ENGLISH, CHINESE, GERMAN))


def test_other_languages_are_rejected_with_what_was_found() -> None:
    config = FilterLanguage(languages=("en", "zh"))
    assert reason(config, ENGLISH) is None
    assert reason(config, CHINESE) is None
    assert reason(config, GERMAN) == "wrong_language: de with probability 1.00, wanted en, zh"
    assert reason(config, "Ja, gut.") is None  # too short to tell
    assert reason(FilterLanguage(languages=("en",), shortest=0, confidence=1), "ok ok") is not None
    assert reason(FilterLanguage(languages=("zh",)), "今天天气很好，我们走吧") is None
    only_prompt = FilterLanguage(languages=("en",), places=("prompt",)).build()
    assert only_prompt(prompt(ENGLISH, GERMAN)) is None
    assert only_prompt(prompt(GERMAN, ENGLISH)) is not None


def test_wrong_languages_in_the_configuration_are_refused() -> None:
    with pytest.raises(ValidationError, match="codes of two or three small letters"):
        FilterLanguage(languages=("English",))
    with pytest.raises(Unsupported, match="py3langid does not know the language 'xx'"):
        FilterLanguage(languages=("xx",)).build()


def test_the_language_is_written_into_the_metadata() -> None:
    step = IdentifyLanguage().build()
    after, counts = step.transform_row(row(GERMAN, 1, kept=1))
    assert after.metadata == {"kept": 1, "language": "de", "language_probability": pytest.approx(1, abs=0.01)}
    assert counts == {}
    assert step.transform_row(row("123 !"))[1] == {"rows_without_letters": 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", 0), ("one two, three!", 3), ("don't well-known", 2), ("今天天气", 3), ("我爱 Python 3", 3), ("...", 0)],
)
def test_words_are_counted_in_both_scripts(text: str, expected: int) -> None:
    assert word_count(text) == expected


def test_units() -> None:
    assert units("我爱Python，don't 3") == ["我", "爱", "Python", "don't", "3"]
    assert is_spaced(ENGLISH) and not is_spaced(CHINESE)


def test_length() -> None:
    assert reason(FilterLength(least=5), "abcd") == "too_short: 4 characters, at least 5"
    assert reason(FilterLength(most=3), "abcd") == "too_long: 4 characters, at most 3"
    assert reason(FilterLength(least=4, most=4), "abcd") is None
    assert reason(FilterLength(unit="words", least=3), "one two") == "too_short: 2 words, at least 3"
    assert FilterLength(least=2, places=("completion",)).build()(prompt("long prompt", "x")) is not None


def test_length_in_tokens(tmp_path: Path) -> None:
    folder = build("llama", tmp_path / "model")
    config = FilterLength(unit="tokens", most=3, model=str(folder))
    assert reason(config, "The") is None
    rejected = reason(config, "The quick brown fox jumps over the lazy dog.")
    assert rejected is not None and rejected.endswith("tokens, at most 3")


@pytest.mark.parametrize(
    "wrong", [{}, {"least": 5, "most": 4}, {"unit": "tokens", "least": 1}, {"least": 1, "model": "m"}]
)
def test_contradicting_lengths_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FilterLength.model_validate(wrong)


@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
def test_good_texts_pass_all_rules(text: str) -> None:
    for config in (
        FilterGopherQuality(), FilterC4Quality(), FilterFineWebQuality(), FilterRepetition(), FilterProfanity(),
    ):  # fmt: skip
        assert reason(config, text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Too short.", "gopher_few_words: words 2, at least 50"),
        ("短文。", "gopher_few_words: words 1, at least 50"),
        (" ".join(["it", "of", "a", "to", "be"] * 20), "gopher_short_words: mean word length 1.8, at least 3"),
        (" ".join(["the", "to", *["extraordinarily"] * 60]), "gopher_long_words"),
        (ENGLISH + " #" * 20, "gopher_hash_signs"),
        (ENGLISH + " ..." * 20, "gopher_ellipses"),
        ("\n".join(f"- {sentence}." for sentence in ENGLISH.split(".") if sentence), "gopher_bullet_lines"),
        ("\n".join(f"{sentence}..." for sentence in ENGLISH.split(".") if sentence), "gopher_ellipsis_lines"),
        (ENGLISH + " 123" * 40, "gopher_not_alphabetic"),
        (" ".join(["Haus", "Garten", "schön", "laufen"] * 20), "gopher_few_function_words: function words 0"),
        ("魑魅魍魉" * 30, "gopher_few_function_words: function words 0"),
    ],
)
def test_gopher_rules(text: str, expected: str) -> None:
    found = reason(FilterGopherQuality(), text)
    assert found is not None and found.startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ENGLISH + " Lorem ipsum dolor.", "c4_lorem_ipsum"),
        ("int main() { return 0; }", "c4_curly_bracket"),
        ("Please enable Javascript to read this.\n" + ENGLISH, "c4_javascript_notice"),
        (ENGLISH + "\nPrivacy policy", "c4_policy_lines: share of lines about policies 0.5, at most 0.2"),
        ("a title\nanother title\nmenu", "c4_lines_without_end: share of text in ended lines 0, at least 0.5"),
        ("One. Two. Three.", "c4_few_sentences: sentences 3, at least 5"),
        ("一句。两句！三句？", "c4_few_sentences: sentences 3, at least 5"),
    ],
)
def test_c4_rules(text: str, expected: str) -> None:
    found = reason(FilterC4Quality(), text)
    assert found is not None and found.startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "fineweb_empty"),
        ("\n".join(["a line of text that is long enough but never ends with a mark"] * 3), "fineweb_lines_without_end"),
        ("Home.\nNews.\nAbout.\n" + ENGLISH, "fineweb_short_lines"),
        ("首页。\n新闻。\n关于。\n" + CHINESE, "fineweb_short_lines"),
        ("\n".join([ENGLISH, ENGLISH]), "fineweb_duplicate_lines"),
    ],
)
def test_fineweb_rules(text: str, expected: str) -> None:
    found = reason(FilterFineWebQuality(), text)
    assert found is not None and found.startswith(expected)


def test_lists_are_told_by_their_line_breaks() -> None:
    text = "\n".join(f"{word}." for word in dict.fromkeys(ENGLISH.split()))
    config = FilterFineWebQuality(most_short_lines=1)
    assert (reason(config, text) or "").startswith("fineweb_list: line breaks for each word")


def test_measures_of_repetition_on_fixed_words() -> None:
    words = ["ab", "cd", "ab", "cd", "ab", "xy"]  # 12 characters; "ab cd" twice, "cd ab" twice
    assert top_ngram_share(words, 2) == pytest.approx(8 / 12)
    assert top_ngram_share(["a", "b"], 2) == 0.0
    assert repeated_ngram_share(words, 2) == pytest.approx(6 / 12)  # words 3 to 5 repeat what stands before
    assert repeated_ngram_share(["a"] * 10, 5) == pytest.approx(0.9)  # all but the first word
    assert duplicate_share(["aa", "b", "aa"]) == (pytest.approx(1 / 3), pytest.approx(2 / 5))
    assert duplicate_share([]) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "\n".join([*ENGLISH.split(". "), *ENGLISH.split(". ")]),
            "repeated_lines: share of repeated lines 0.5, at most 0.3",
        ),
        ("good morning " * 30, "frequent_2_gram"),
        ("早上好早上好早上好早上好早上好早上好早上好早上好", "frequent_2_gram"),
        (f"{ENGLISH} {ENGLISH}", "repeated_5_grams: share of repeated 5-grams"),
    ],
)
def test_repetition_rules(text: str, expected: str) -> None:
    found = reason(FilterRepetition(), text)
    assert found is not None and found.startswith(expected)


def test_short_texts_may_repeat_themselves() -> None:
    assert reason(FilterRepetition(), "ha ha ha ha ha") is None


def test_profanity(tmp_path: Path) -> None:
    config = FilterProfanity()
    assert reason(config, "What the FUCKING hell") == "profanity: coarse words 1, at most 0: fucking"
    assert reason(config, "你这个王八蛋") == "profanity: coarse words 1, at most 0: 王八蛋"
    for harmless in ("a classic Scunthorpe assessment of cockpits and shiitake", "正常操作，请勿装载"):
        assert reason(config, harmless) is None
    assert reason(FilterProfanity(languages=("en",)), "王八蛋") is None
    assert reason(FilterProfanity(most=1), "shit happens") is None
    assert reason(FilterProfanity(allow=("Shit",)), "shit happens") is None
    (tmp_path / "own.txt").write_text("# mine\nfrobnicate\n讨厌鬼\n", encoding="utf-8")
    own = FilterProfanity(languages=(), files=("own.txt",)).resolve_paths(tmp_path)
    assert reason(own, "It frobnicates, 讨厌鬼") == "profanity: coarse words 2, at most 0: frobnicates, 讨厌鬼"
    assert reason(FilterProfanity(languages=()), "shit") is None
    assert len(built_in_words("en")) >= 30 and len(built_in_words("zh")) >= 30
    with pytest.raises(NotFound, match="there is no word list"):
        FilterProfanity(files=("missing.txt",)).resolve_paths(tmp_path).build()


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.text(max_size=80), st.text(alphabet="ab 今天。\n.#…-", max_size=80)))
def test_any_text_is_judged(text: str) -> None:
    for config in (
        FilterGopherQuality(least_words=0), FilterC4Quality(least_sentences=0), FilterFineWebQuality(),
        FilterRepetition(shortest=1), FilterProfanity(), FilterLanguage(languages=("en",), shortest=0),
        FilterLength(least=1),
    ):  # fmt: skip
        reason(config, text)
