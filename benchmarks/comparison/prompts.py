"""Prompts as token ids, the same for all engines and other ones in every run."""

from __future__ import annotations

import random
from pathlib import Path

from tokenizers import Tokenizer

from comparison.scenarios import Scenario

_WORDS = """
river mountain old village market bridge winter letter captain garden stone silver morning engine
harbour teacher window forest paper music island kitchen summer doctor station yellow mirror evening
soldier painter valley machine library corner season chapter signal thunder farmer candle north
south company history answer question number picture system council temple border journey weather
planet ocean minute student question
""".split()  # noqa: SIM905 - a list of words is easier to read without quotes
_VERBS = """
found carried built watched followed opened remembered painted counted crossed described repaired
""".split()  # noqa: SIM905 - a list of words is easier to read without quotes
COPIES = 3
_INSTRUCTION = "\n\nThe same as a JSON record:\n"


def invented_text(sentences: int = 40_000) -> str:
    """Sentences of common words in an order that is the same every time."""
    draw = random.Random(7)
    parts = []
    for _ in range(sentences):
        nouns = draw.sample(_WORDS, 4)
        tail = f" and {draw.choice(_VERBS)} {nouns[3]} number {draw.randrange(1, 900)}" if draw.random() < 0.5 else ""
        parts.append(f"The {nouns[0]} {nouns[1]} {draw.choice(_VERBS)} the {nouns[2]}{tail}.")
    return " ".join(parts)


class PromptSource:
    """Cuts prompts out of one long text, each from a place of its own."""

    def __init__(self, tokenizer: Path, text: Path | None) -> None:
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        content = text.read_text(encoding="utf-8") if text is not None else invented_text()
        self._ids: list[int] = self._tokenizer.encode(content[:4_000_000], add_special_tokens=False).ids
        self._at = 0

    def take(self, count: int) -> list[int]:
        """The next ``count`` tokens; from the start again, a little further on, where the text ends."""
        if count + 7919 > len(self._ids):
            raise SystemExit(f"the text has {len(self._ids)} tokens; that is too short")
        if self._at + count > len(self._ids):
            self._at = self._at % 7919 + 13
        found = self._ids[self._at : self._at + count]
        self._at += count
        return found

    def prompts(self, scenario: Scenario) -> list[list[int]]:
        """One run's prompts."""
        if scenario.kind == "copy":
            # The same passage several times and its beginning once more: a model goes on copying, even a small one.
            passages = [self.take(scenario.prompt_tokens) for _ in range(scenario.streams)]
            return [[*passage * COPIES, *passage[:8]] for passage in passages]
        prefix = self.take(scenario.prefix_tokens) if scenario.prefix_tokens else []
        tail: list[int] = []
        if scenario.kind == "json":
            tail = self._tokenizer.encode(_INSTRUCTION, add_special_tokens=False).ids
        own = scenario.prompt_tokens - len(tail)
        return [[*prefix, *self.take(own), *tail] for _ in range(scenario.streams)]

    def text(self, ids: list[int]) -> str:
        found: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return found


def copied_share(prompt: list[int], output: list[int], length: int = 4) -> float:
    """Part of the groups of ``length`` tokens of an output that its prompt has, too."""

    def groups(ids: list[int]) -> list[tuple[int, ...]]:
        return [tuple(ids[at : at + length]) for at in range(len(ids) - length + 1)]

    known, found = set(groups(prompt)), groups(output)
    return sum(group in known for group in found) / max(len(found), 1)
