"""Samples as the model will see them: every token, which are learned, and what is wrong with them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from llmasos.data.rendering.account import RenderingAccount
from llmasos.data.rendering.options import Drop, LearnEverything
from llmasos.data.rendering.renderer import Renderer
from llmasos.data.rendering.sample import RejectedRow, RenderedSample
from llmasos.data.rendering.turns import UnstableTemplate
from llmasos.data.row import Row
from llmasos.i18n import t
from llmasos.modeling.detokenizer import IncrementalDetokenizer
from llmasos.modeling.tokenizer import Tokenizer

_UNLIMITED = 2**31 - 1


@dataclass(frozen=True, slots=True)
class PreviewToken:
    """One token.

    Attributes:
        text: what it adds to the text; empty for a token that is only a part of a character, which the last of its
            tokens shows.
        piece: its entry in the vocabulary.
        special: whether it is a control token.
    """

    id: int
    text: str
    piece: str
    trained: bool
    special: bool


@dataclass(frozen=True, slots=True)
class PreviewSequence:
    """One sequence of a sample: ``text``, or ``chosen``, ``rejected``, ``source``, ``target``."""

    name: str
    tokens: tuple[PreviewToken, ...]
    trained: int
    """How many tokens are learned."""


@dataclass(frozen=True, slots=True)
class PreviewSample:
    """One sample.

    Attributes:
        row: where the row came from.
        problem: why it would be left out; its tokens are shown all the same, none of them learned.
    """

    row: str
    sequences: tuple[PreviewSequence, ...]
    label: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """Some samples and the answers to what everybody should ask before training.

    Attributes:
        end_trained: whether every learned turn ends with a token that is learned; ``None`` if nothing is learned.
        end_tokens: the tokens that end learned turns, and how often.
        trained_share: share of the tokens that are learned.
        masked_by: how the learned tokens were found: ``generation_blocks``, ``prefixes`` or ``everything``; ``None``
            without a chat template.
        warnings: what is wrong or should be known, in sentences.
    """

    samples: tuple[PreviewSample, ...]
    tokens: int
    trained: int
    trained_share: float
    end_trained: bool | None
    end_tokens: dict[str, int]
    masked_by: str | None
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The preview as plain data, the text of every token as it is."""
        return asdict(self)


def preview(renderer: Renderer, rows: Iterable[Row]) -> Preview:
    """Render rows and describe the result.

    Args:
        rows: a few rows; all of them are shown.

    Raises:
        Unsupported: conversations for a model without chat template.
        ContextLengthExceeded: a row is too long and the policy is to stop.
    """
    account = RenderingAccount()
    viewer = _Viewer(renderer)
    samples = [sample for row in rows for sample in viewer.samples(row, account)]
    warnings = [sample.problem for sample in samples if sample.problem] + account.notes()
    if samples and not account.trained and any(viewer.learns(sample) for sample in samples):
        warnings.insert(0, t("nothing is learned: no token of these samples is a target"))
    if renderer.template is not None and renderer.template.reads_clock() and renderer.options.today is None:
        warnings.append(t("the chat template writes the date: set `today` to get the same tokens another day"))
    return Preview(
        tuple(samples),
        account.tokens,
        account.trained,
        account.trained_share,
        account.end_trained,
        dict(account.ends_trained),
        _masked_by(renderer),
        tuple(dict.fromkeys(warnings)),
    )


def _masked_by(renderer: Renderer) -> str | None:
    if renderer.template is None:
        return None
    if isinstance(renderer.options.learn, LearnEverything):
        return "everything"
    return "generation_blocks" if renderer.template.marks_answers() else "prefixes"


class _Viewer:
    """Renders single rows and takes them apart into tokens."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._tokenizer = renderer.tokenizer
        self._special = _special_ids(renderer)
        unmasked = {"learn": LearnEverything(), "overlong": Drop(), "max_length": _UNLIMITED}
        self._unmasked = renderer.with_options(renderer.options.model_copy(update=unmasked))

    def samples(self, row: Row, account: RenderingAccount) -> list[PreviewSample]:
        where = str(row.origin)
        try:
            items = list(self._renderer.render([row], account))
        except UnstableTemplate as error:
            return [self._unlearned(row, error.message)]
        samples = []
        for item in items:
            if isinstance(item, RejectedRow):
                samples.append(self._unlearned(row, f"{where}: {item.rejection.reason}: {item.rejection.detail}"))
                continue
            label = None if item.label is None else self._label(item.label)
            sequences = tuple(self._sequence(name, sample) for name, sample in item.parts.items())
            samples.append(PreviewSample(where, sequences, label))
        return samples

    @staticmethod
    def learns(sample: PreviewSample) -> bool:
        """Whether the model is to learn to write something of a sample; not where it only classifies."""
        return sample.label is None or sample.problem is not None

    def _label(self, number: int) -> str:
        names = self._renderer.labels
        return names[number] if number < len(names) else str(number)

    def _unlearned(self, row: Row, problem: str) -> PreviewSample:
        """The tokens of a row that would be left out, as far as it can be rendered."""
        (item, *_) = self._unmasked.render([row])
        if isinstance(item, RejectedRow):
            return PreviewSample(str(row.origin), (), problem=problem)
        sequences = tuple(self._sequence(name, sample, learned=False) for name, sample in item.parts.items())
        return PreviewSample(str(row.origin), sequences, problem=problem)

    def _sequence(self, name: str, sample: RenderedSample, *, learned: bool = True) -> PreviewSequence:
        ids = sample.ids.tolist()
        tokenizer = self._tokenizer.target if name == "target" else self._tokenizer
        texts = _texts(tokenizer, ids)
        flags = [learned and flag for flag in sample.trained.tolist()]
        tokens = tuple(
            PreviewToken(token, text, piece, flag, token in self._special)
            for token, text, piece, flag in zip(ids, texts, tokenizer.pieces(ids), flags, strict=True)
        )
        return PreviewSequence(name, tokens, sum(flags))


def _texts(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    detokenizer = IncrementalDetokenizer(lambda window: tokenizer.decode(window, skip_special_tokens=False))
    texts = [detokenizer.push([token]) for token in ids]
    if texts:
        texts[-1] += detokenizer.finish()
    return texts


def _special_ids(renderer: Renderer) -> frozenset[int]:
    """Ids of the special tokens, and of ordinary added tokens that the template writes, such as ``<think>``."""
    tokenizer = renderer.tokenizer
    control = renderer.template.control_tokens().all if renderer.template is not None else None
    texts = [
        text
        for text, special in tokenizer.added_tokens.items()
        if special or (control is not None and control.fullmatch(text))
    ]
    return frozenset(number for text in texts if (number := tokenizer.token_id(text)) is not None)


_MARKS = {" ": "·", "\n": "↵\n", "\t": "→\t", "\r": "␍", "\u00a0": "⍽", "\u3000": "□"}


def visible(text: str) -> str:
    """A text with its invisible characters shown: ``·`` for a space, ``↵`` before a line break, names in brackets."""
    return "".join(_MARKS.get(character) or _shown(character) for character in text)


def _shown(character: str) -> str:
    hidden = unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp", "Zs", "Cn", "Co", "Cs")
    return f"[U+{ord(character):04X}]" if hidden else character


def shown(token: PreviewToken) -> str:
    """What a view writes for a token; ``⟨…⟩`` for a part of the character that the next tokens complete."""
    return visible(token.text) if token.text else "⟨…⟩"


def facts(found: Preview) -> list[tuple[str, str]]:
    """The answers of a preview in words, as (question, answer)."""
    ends = ", ".join(visible(token) for token in found.end_tokens)
    answers = {True: t("yes ({tokens})", tokens=ends), False: t("no"), None: t("nothing is learned")}
    masks = {
        "generation_blocks": t("by the generation blocks of the chat template"),
        "prefixes": t("by comparing prefixes; proved for every message"),
        "everything": t("everything is learned"),
        None: t("no chat template"),
    }
    return [
        (t("tokens"), f"{found.tokens:,}"),
        (t("learned"), f"{found.trained:,} ({found.trained_share:.0%})"),
        (t("is the end token learned?"), answers[found.end_trained]),
        (t("learned tokens found"), masks[found.masked_by]),
    ]
