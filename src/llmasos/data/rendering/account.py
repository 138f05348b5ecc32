"""What happened to the samples on their way to tokens, in numbers and in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmasos.i18n import t


@dataclass(slots=True)
class RenderingAccount:
    """Counts of one rendering; those of several workers are added.

    Attributes:
        rows: rows looked at.
        samples: samples made of them.
        tokens: tokens of all samples, ``trained`` those that are learned.
        rejected: rows without a sample, by reason.
        left_out: samples left out of rows that gave others, by reason.
        escaped: control tokens spelled by texts and encoded as ordinary characters, by token.
        ends_trained: learned turns and texts whose end token is learned, by token.
        ends_untrained: learned turns and texts that have an end token which is not learned.
        ends_missing: learned turns and texts without an end token.
        empty: learned turns and texts of which nothing but the end token is learned.
        truncated: samples cut, ``truncated_tokens`` what was cut off, ``answers_cut`` those that lost learned tokens.
        divided: rows divided because they were too long, ``pieces`` into how many, ``pieces_left_out`` those of them
            without anything to learn.
        rewritten: conversations whose template rewrites earlier answers, ``rewritten_samples`` samples made for them
            beyond one each, ``turns_left_out`` answers not learned for that reason.
        crossing: tokens across the edge of a learned text, which are not learned.
    """

    rows: int = 0
    samples: int = 0
    tokens: int = 0
    trained: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    escaped: Counter[str] = field(default_factory=Counter)
    ends_trained: Counter[str] = field(default_factory=Counter)
    ends_untrained: int = 0
    ends_missing: int = 0
    empty: int = 0
    truncated: int = 0
    truncated_tokens: int = 0
    answers_cut: int = 0
    divided: int = 0
    pieces: int = 0
    pieces_left_out: int = 0
    rewritten: int = 0
    rewritten_samples: int = 0
    turns_left_out: int = 0
    crossing: int = 0

    def add(self, other: RenderingAccount) -> None:
        """Add the counts of another part of the work."""
        for name in self.__slots__:
            mine, theirs = getattr(self, name), getattr(other, name)
            if isinstance(mine, Counter):
                mine.update(theirs)
            else:
                setattr(self, name, mine + theirs)

    def as_json(self) -> dict[str, Any]:
        """Counts by name, counters as objects."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in values.items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RenderingAccount:
        account = cls()
        for name, item in value.items():
            setattr(account, name, Counter(item) if isinstance(item, dict) else item)
        return account

    @property
    def trained_share(self) -> float:
        """Share of the tokens that are learned, 0 without tokens."""
        return self.trained / self.tokens if self.tokens else 0.0

    @property
    def end_trained(self) -> bool | None:
        """Whether every learned turn teaches the model to stop; ``None`` if nothing is learned."""
        if not (self.ends_trained or self.ends_untrained or self.ends_missing):
            return None
        return not self.ends_untrained and not self.ends_missing

    def notes(self) -> list[str]:
        """What a person should know, most important first; empty if there is nothing."""
        notes: list[str] = []
        for reason, count in self.rejected.most_common():
            notes.append(t("{count} row(s) left out: {reason}", count=count, reason=_reason(reason)))
        for reason, count in self.left_out.most_common():
            notes.append(
                t("{count} sample(s) left out of rows that gave others: {reason}", count=count, reason=_reason(reason))
            )
        if self.ends_untrained:
            notes.append(
                t("{count} learned turn(s) have an end token that is not learned: the model will not learn to stop",
                  count=self.ends_untrained)
            )  # fmt: skip
        if self.ends_missing:
            notes.append(t("{count} learned text(s) have no end token", count=self.ends_missing))
        if self.empty:
            notes.append(t("{count} learned answer(s) are empty: the model learns to stop at once", count=self.empty))
        if self.truncated:
            notes.append(
                t("{count} sample(s) cut, {tokens} token(s) lost; {answers} of them lost learned tokens",
                  count=self.truncated, tokens=self.truncated_tokens, answers=self.answers_cut)
            )  # fmt: skip
        if self.divided:
            notes.append(
                t("{count} sample(s) divided into {pieces} pieces; {empty} pieces without learned tokens left out",
                  count=self.divided, pieces=self.pieces, empty=self.pieces_left_out)
            )  # fmt: skip
        if self.rewritten:
            notes.append(
                t("{count} conversation(s) whose earlier answers the chat template rewrites: {samples} further "
                  "sample(s) made, {turns} answer(s) not learned",
                  count=self.rewritten, samples=self.rewritten_samples, turns=self.turns_left_out)
            )  # fmt: skip
        if self.escaped:
            notes.append(
                t("{count} control token(s) spelled in texts were encoded as ordinary characters: {tokens}",
                  count=sum(self.escaped.values()), tokens=_most_common(self.escaped))
            )  # fmt: skip
        if self.crossing:
            notes.append(
                t("{count} token(s) lie across the edge of a learned text and are not learned", count=self.crossing)
            )
        return notes


def _most_common(counter: Counter[str]) -> str:
    return ", ".join(f"{token} ({count})" for token, count in counter.most_common(5))


def _reason(name: str) -> str:
    return {
        "too_long": t("too long"),
        "nothing_trained": t("no token to learn"),
        "answer_cut_away": t("cutting took everything that was to be learned"),
        "refused_by_template": t("the chat template refuses them"),
        "unknown_label": t("a label that is not among the classes"),
        "unsuitable": t("not for this model or these options"),
    }.get(name, name)
