"""Small data of NLTK, made here, in a folder of their own; and caches that forget them afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nltk
import pytest
from nltk.tag.perceptron import PerceptronTagger
from nltk.tokenize.punkt import PunktParameters, save_punkt_params

from llmasos.data.linguistics import parts_of_speech, sentences, stop_words

TAGGED = [
    [("The", "DT"), ("dog", "NN"), ("barks", "VBZ"), (".", ".")],
    [("A", "DT"), ("cat", "NN"), ("sleeps", "VBZ"), (".", ".")],
    [("Dogs", "NNS"), ("bark", "VBP"), ("loudly", "RB"), (".", ".")],
] * 8


def forget() -> None:
    """Empty what the modules keep of NLTK's data."""
    sentences._punkt.cache_clear()
    stop_words.stop_words.cache_clear()
    stop_words._chosen.cache_clear()
    parts_of_speech._english.cache_clear()


@pytest.fixture
def without_nltk_data(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which NLTK has no data."""
    monkeypatch.setattr(nltk.data, "path", [])
    forget()
    yield
    forget()


@pytest.fixture
def nltk_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine on which NLTK has data of a sentence tokenizer, a tagger and stop words."""
    folder = tmp_path / "nltk_data"
    monkeypatch.setattr(nltk.data, "path", [str(folder)])  # NLTK writes below its own folders only
    punkt = folder / "tokenizers" / "punkt_tab" / "english"
    punkt.mkdir(parents=True)
    parameters = PunktParameters()
    parameters.abbrev_types.update({"dr", "mr", "e.g", "p.m"})
    save_punkt_params(parameters, str(punkt))
    lists = folder / "corpora" / "stopwords"
    lists.mkdir(parents=True)
    (lists / "english").write_text("the\nis\na\nof\nn't\n", encoding="utf-8")
    tagger = PerceptronTagger(load=False)
    tagger.train(TAGGED, nr_iter=3)
    tagger.save_to_json(lang="eng", loc=str(folder / "taggers" / "averaged_perceptron_tagger_eng"))
    forget()
    yield folder
    forget()
