"""A step that counts the words of all rows and writes a table of their frequencies; the rows stay as they are."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from llmasos.data.cleaning.counting import counted
from llmasos.data.linguistics.frequencies import WordFrequencies
from llmasos.data.linguistics.languages import resolve_language
from llmasos.data.linguistics.parts_of_speech import tag_parts_of_speech
from llmasos.data.linguistics.sentences import Segmenter
from llmasos.data.linguistics.stop_words import remove_stop_words, stop_words
from llmasos.data.linguistics.words import segment_words
from llmasos.data.row import Row
from llmasos.data.step import CorpusStepConfig, Counts, Outcome, Place


class CountWords(CorpusStepConfig):
    """Count the words of all rows and write a table of their frequencies; the rows stay as they are."""

    step: Literal["count_words"] = "count_words"
    file: str = Field(
        min_length=1, description="Table to write: TSV with word, part of speech if asked for, count, share."
    )
    language: str = Field("auto", description="ISO 639-1 code; auto: Chinese by its characters, else English.")
    segmenter: Segmenter = Field("auto", description="What finds the sentences; see segment_sentences.")
    stop_words: Literal["keep", "remove"] = Field("keep", description="Whether stop words (stopwords-iso) are counted.")
    parts_of_speech: bool = Field(False, description="Count a word once for each part of speech it stands as.")
    places: tuple[Place, ...] | None = Field(None, description="Texts of a row to look at. Default: all.")
    most: int = Field(
        1_000_000, ge=1000, description="Different words to remember; beyond, the rarest are forgotten and counted so."
    )

    def resolve_paths(self, folder: Path) -> CountWords:
        """The same with the file relative to this folder."""
        return self.model_copy(update={"file": str(folder / Path(self.file).expanduser())})

    def build(self) -> CountWordsStep:
        return CountWordsStep(self)


class CountWordsStep:
    """See :class:`llmasos.data.step.CorpusStep`. Memory: the table of one shard, and of all when it is written."""

    partitions = 1

    def __init__(self, config: CountWords) -> None:
        self._config = config

    def map_shard(self, rows: Iterable[Row], shard: int, folder: Path) -> None:
        frequencies = WordFrequencies(most=self._config.most)
        for row in rows:
            for place, text in row.texts():
                if self._config.places is None or place in self._config.places:
                    frequencies.add(self._words(text))
        folder.mkdir(parents=True, exist_ok=True)
        note = {"words": frequencies.words, "total": frequencies.total, "forgotten": frequencies.forgotten}
        (folder / f"words-{shard:05d}.json").write_text(json.dumps(note), encoding="utf-8")

    def _words(self, text: str) -> list[str]:
        """What is counted: words, or words with their tags behind a tab."""
        config = self._config
        language = resolve_language(config.language, text)
        stops = stop_words(language) if config.stop_words == "remove" else frozenset()
        if config.parts_of_speech:
            tagged = tag_parts_of_speech(text, language, config.segmenter)
            return [
                f"{word}\t{tag}" for word, tag in tagged if word.lower() not in stops and any(map(str.isalnum, word))
            ]
        return remove_stop_words(segment_words(text, language, config.segmenter), stops)

    def reduce_partition(self, partition: int, shards: int, folder: Path) -> None:
        """Nothing to compare: :meth:`conclude` adds the shards up."""

    def conclude(self, shards: int, folder: Path) -> Counts:
        frequencies = WordFrequencies(most=self._config.most)
        for shard in range(shards):
            note = json.loads((folder / f"words-{shard:05d}.json").read_text(encoding="utf-8"))
            part = WordFrequencies(most=self._config.most, total=note["total"], forgotten=note["forgotten"])
            part.words.update(note["words"])
            frequencies.merge(part)
        write_table(Path(self._config.file), frequencies, self._config.parts_of_speech)
        return counted(
            words=frequencies.total,
            different_words=frequencies.vocabulary,
            words_that_occur_once=frequencies.once,
            occurrences_forgotten=frequencies.forgotten,
        )

    def apply(self, rows: Iterable[Row], shard: int, folder: Path) -> Iterator[Outcome]:
        return (Outcome(row) for row in rows)


def write_table(path: Path, frequencies: WordFrequencies, parts_of_speech: bool) -> None:
    """Write words, counts and shares, the most frequent first; the file is complete or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with draft.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, delimiter="\t", lineterminator="\n")
            table.writerow(["word", *(["part_of_speech"] if parts_of_speech else []), "count", "share"])
            for word, count in frequencies.most_common(frequencies.vocabulary):
                table.writerow([*word.split("\t"), count, f"{count / frequencies.total:.6g}"])
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
