"""Stop words, stems, parts of speech, frequencies, and the warnings about them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import jieba.posseg
import nltk
import pytest
import stopwordsiso
from nltk.corpus import stopwords
from nltk.stem.snowball import SnowballStemmer

from data_rows import removed, rows, run_corpus_step
from llmasos import i18n
from llmasos.data.cleaning.unicode import CleanWhitespace
from llmasos.data.linguistics.count_words import CountWords
from llmasos.data.linguistics.frequencies import WordFrequencies
from llmasos.data.linguistics.parts_of_speech import TagPartsOfSpeech, tag_parts_of_speech
from llmasos.data.linguistics.stemming import StemWords, stem
from llmasos.data.linguistics.stop_words import RemoveStopWords, remove_stop_words, stop_words
from llmasos.data.linguistics.warnings import warn_about_steps
from llmasos.errors import NotFound, Unsupported

ENGLISH = "The dog is not a friend of the cat."


def test_lists_of_more_than_fifty_languages() -> None:
    assert len(stopwordsiso.langs()) >= 52
    for language in stopwordsiso.langs():
        assert stop_words(language)
    assert {"the", "of", "not"} <= stop_words("en")
    assert {"的", "了", "但是"} <= stop_words("zh")


def test_removal_equals_nltk(nltk_data: Path) -> None:
    expected = [word for word in nltk.word_tokenize(ENGLISH) if word.lower() not in set(stopwords.words("english"))]
    assert RemoveStopWords(list="nltk").build()(ENGLISH)[0] == " ".join(expected) == "dog not friend cat ."


def test_without_data_of_nltk_its_list_is_not_there(without_nltk_data: None) -> None:
    with pytest.raises(NotFound, match="stop words of NLTK"):
        stop_words("en", "nltk")


def test_a_language_without_a_list_is_refused() -> None:
    with pytest.raises(Unsupported, match="stopwords-iso does not know the language 'tlh'"):
        stop_words("tlh")


def test_own_words() -> None:
    config = RemoveStopWords(add=("dog",), keep=("Not",), segmenter="pysbd")
    assert config.build()(ENGLISH) == ("not friend cat .", {"words": 10, "stop_words_removed": 6})
    assert remove_stop_words(["A", "b"], frozenset("a")) == ["b"]


def test_chinese_stop_words() -> None:
    text, counts = RemoveStopWords().build()("我们的老师和学生都在北京")
    assert text == "老师 学生 北京"
    assert counts["stop_words_removed"] == counts["words"] - 3


@pytest.mark.parametrize("word", ["running", "easily", "flies", "generously", "Dogs"])
def test_stems_equal_nltk(word: str) -> None:
    assert stem(word) == SnowballStemmer("english").stem(word)


def test_stemming_a_text() -> None:
    assert StemWords(segmenter="pysbd").build()("Running dogs run.") == (
        "run dog run .",
        {"words": 4, "words_changed": 2},
    )
    assert stem("maisons", "fr") == SnowballStemmer("french").stem("maisons")
    with pytest.raises(Unsupported, match="Snowball does not know the language 'zh'"):
        stem("字", "zh")


def test_tags_equal_nltk_and_jieba(nltk_data: Path) -> None:
    text = "The dog sleeps. Dogs bark loudly."
    expected = [pair for sentence in nltk.sent_tokenize(text) for pair in nltk.pos_tag(nltk.word_tokenize(sentence))]
    assert tag_parts_of_speech(text) == expected
    assert ("dog", "NN") in expected
    chinese = "我爱北京天安门"
    assert tag_parts_of_speech(chinese) == [(word, tag) for word, tag in jieba.posseg.cut(chinese)]
    assert TagPartsOfSpeech(separator="_").build()(chinese) == ("我_r 爱_v 北京_ns 天安门_ns", {"words_tagged": 4})


def test_tags_without_data(without_nltk_data: None) -> None:
    with pytest.raises(NotFound, match="NLTK's tagger"):
        tag_parts_of_speech("The dog sleeps.")
    with pytest.raises(Unsupported, match="does not know the language 'fr'"):
        tag_parts_of_speech("Le chien dort.", "fr")


def test_frequencies() -> None:
    counts = WordFrequencies()
    counts.add(["The", "the", "cat", ",", "!"])
    other = WordFrequencies()
    other.add(["cat", "cat", "dog"])
    counts.merge(other)
    assert counts.most_common(2) == [("cat", 3), ("the", 2)]
    assert (counts.total, counts.vocabulary, counts.once, counts.forgotten) == (6, 3, 1, 0)
    assert counts.type_token_ratio == 0.5
    assert WordFrequencies().type_token_ratio == 0.0


def test_frequencies_stay_bounded_and_say_what_they_forgot() -> None:
    counts = WordFrequencies(most=100)
    for number in range(1000):
        counts.add(["often", "often", f"rare{number}"])
    assert counts.vocabulary <= 101
    assert counts.words["often"] == 2000
    assert counts.total == 3000
    assert counts.forgotten == 3000 - counts.words.total()


def table(folder: Path, **options: object) -> list[list[str]]:
    config = CountWords.model_validate({"file": "words.tsv", "segmenter": "pysbd", **options}).resolve_paths(folder)
    data = rows(["The cat saw the dog.", "The dog ran!", "狗在跑。狗在叫。"])
    outcomes = run_corpus_step(config.build(), data, folder / "notes", shards=2)
    assert [outcome.row for outcome in outcomes] == data
    assert removed(outcomes) == []
    return [line.split("\t") for line in (folder / "words.tsv").read_text(encoding="utf-8").splitlines()]


def test_a_table_of_frequencies_is_written(tmp_path: Path) -> None:
    head, *found = table(tmp_path)
    assert head == ["word", "count", "share"]
    counts = {word: int(count) for word, count, _ in found}
    assert counts == {"the": 3, "dog": 2, "cat": 1, "saw": 1, "ran": 1, "狗": 2, "在": 2, "跑": 1, "叫": 1}
    assert found[0] == ["the", "3", "0.214286"]
    assert {word for word, _, _ in table(tmp_path, stop_words="remove")[1:]} == {"dog", "cat", "狗", "跑"}


def test_a_table_by_parts_of_speech(tmp_path: Path, nltk_data: Path) -> None:
    head, *found = table(tmp_path, parts_of_speech=True, segmenter="auto")
    assert head == ["word", "part_of_speech", "count", "share"]
    expected = Counter(
        (word.lower(), tag)
        for text in ("The cat saw the dog.", "The dog ran!", "狗在跑。狗在叫。")
        for word, tag in tag_parts_of_speech(text)
        if word.isalnum()
    )
    assert {(word, tag): int(count) for word, tag, count, _ in found} == dict(expected)
    assert expected["狗", "n"] == 2


def test_stop_word_removal_before_training_is_warned_of() -> None:
    steps = [CleanWhitespace(), RemoveStopWords(), StemWords()]
    found = warn_about_steps(steps, ["messages", "label"])
    assert [warning.step for warning in found] == ["remove_stop_words", "stem_words"]
    assert "remove_stop_words on messages: a model that learns from these texts" in found[0].message
    assert warn_about_steps(steps, ["label"]) == []
    assert warn_about_steps([CleanWhitespace()], ["text"]) == []
    i18n.set_language("zh")
    assert "模型" in warn_about_steps(steps, ["text"])[0].message
