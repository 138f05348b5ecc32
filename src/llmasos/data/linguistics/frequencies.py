"""Frequencies of words, with memory that stays bounded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class WordFrequencies:
    """Counts words, in lower case; those of several processes add up with :meth:`merge`.

    When more than ``most`` different words were seen, the rarest are forgotten (Manku and Motwani, 2002: lossy
    counting); ``forgotten`` says how many occurrences that were, so no count is off by more than that.
    """

    most: int = 1_000_000
    words: Counter[str] = field(default_factory=Counter)
    total: int = 0
    forgotten: int = 0

    def add(self, words: Iterable[str]) -> None:
        """Count the words that have a letter or digit."""
        lowered = [_lower(word) for word in words if any(map(str.isalnum, word))]
        self.words.update(lowered)
        self.total += len(lowered)
        self._bound()

    def merge(self, other: WordFrequencies) -> None:
        self.words.update(other.words)
        self.total += other.total
        self.forgotten += other.forgotten
        self._bound()

    def _bound(self) -> None:
        floor = 1
        while len(self.words) > self.most:
            rare = [word for word, count in self.words.items() if count <= floor]
            for word in rare:
                self.forgotten += self.words.pop(word)
            floor *= 2

    @property
    def vocabulary(self) -> int:
        """Different words, without forgotten ones."""
        return len(self.words)

    @property
    def once(self) -> int:
        """Words that occur once (hapax legomena)."""
        return sum(count == 1 for count in self.words.values())

    @property
    def type_token_ratio(self) -> float:
        """Different words over all words; 0 without words."""
        return self.vocabulary / self.total if self.total else 0.0

    def most_common(self, count: int = 50) -> list[tuple[str, int]]:
        """The most frequent words; of equally frequent ones the alphabetically first."""
        return sorted(self.words.items(), key=lambda item: (-item[1], item[0]))[:count]


def _lower(word: str) -> str:
    """The word in small letters; a tag behind a tab stays as it is."""
    text, tab, tag = word.partition("\t")
    return f"{text.lower()}{tab}{tag}"
