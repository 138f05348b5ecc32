from __future__ import annotations

from pathlib import Path

import nltk
import pytest
from nltk.corpus.reader.wordnet import WordNetCorpusReader
from nltk.translate.meteor_score import meteor_score

from llmasos.errors import MissingDependency, Unsupported
from llmasos.evaluation.metrics.base import Context
from score_records import scores, texts


def _write_wordnet(folder: Path) -> None:
    """A WordNet with one set of synonyms: dog, hound."""
    folder.mkdir(parents=True)
    for part in ("adj", "adv", "noun", "verb"):
        (folder / f"{part}.exc").write_text("")
        (folder / f"data.{part}").write_text("")
        (folder / f"index.{part}").write_text("")
    (folder / "index.sense").write_text("")
    (folder / "lexnames").write_text("".join(f"{number:02d}\tnoun.made{number}\t1\n" for number in range(45)))
    (folder / "data.noun").write_text("00000000 05 n 02 dog 0 hound 0 000 | an animal  \n")
    (folder / "index.noun").write_text("dog n 1 0 1 0 00000000  \nhound n 1 0 1 0 00000000  \n")


@pytest.fixture
def wordnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "nltk" / "corpora" / "wordnet"
    _write_wordnet(folder)
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path / "nltk")])
    return folder


@pytest.mark.filterwarnings("ignore:The multilingual functions")
def test_it_equals_nltk_and_knows_stems_and_synonyms(wordnet: Path) -> None:
    pairs = [
        ("The hounds were running", "A dog runs"),
        ("The hound barked.", "The dog barked."),
        ("Nothing shared", "at all"),
        ("", "Something"),
    ]
    found = scores(texts(pairs), "meteor", Context("en"))["meteor"]
    reader = WordNetCorpusReader(str(wordnet), None)
    words = [(output.replace(".", " .").split(), known.replace(".", " .").split()) for output, known in pairs]
    expected = [meteor_score([known], output, wordnet=reader) for output, known in words]
    assert found.per_sample is not None
    assert found.per_sample.tolist() == pytest.approx(expected, abs=1e-9)
    # The synonym counts: without it two of four words match, in two chunks.
    assert found.per_sample[1] > 0.9
    assert found.per_sample[2:].tolist() == [0, 0]


def test_without_wordnet_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    with pytest.raises(MissingDependency, match="WordNet") as caught:
        scores(texts([("a", "b")]), "meteor", Context("en"))
    assert "nltk.downloader wordnet" in (caught.value.hint or "")


def test_other_languages_are_refused() -> None:
    with pytest.raises(Unsupported, match="the task is in zh"):
        scores(texts([("狗", "犬")]), "meteor", Context("zh"))
