"""Trained tokenizers on disk, found again by the texts and options they were made from, and what they are worth."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from llmasos import progress
from llmasos.i18n import t
from llmasos.library.locks import file_lock
from llmasos.modeling.folder import read_json
from llmasos.modeling.tokenizer import FastTokenizer
from llmasos.training.presets.special_tokens import special_tokens
from llmasos.training.presets.table import PresetFamily
from llmasos.training.presets.tokenizer_files import building, write_tokenizer
from llmasos.training.presets.tokenizer_training import Texts, TrainedTokenizer, train_tokenizer
from llmasos.training.recipe.models import CharacterTokenizer, TrainTokenizer

MOST_BYTES = 128 * 2**20
"""Text, from the start of the sources, that a tokenizer is trained on: more changes little and costs memory."""
MEASURED_BYTES = 2**21
"""Text of which the report counts the tokens."""
_FORMAT = 1
"""Of these folders; part of their names, so that those of an older program are not found."""


@dataclass(frozen=True)
class TokenizerReport:
    """What a new tokenizer does with the texts it was trained on.

    Attributes:
        texts, bytes: what it was trained on; ``limited`` if that is only the beginning of the sources.
        measured_bytes: text at the beginning that was encoded to know the rest: ``tokens``, ``unknown`` of them
            standing for what the vocabulary lacks.
    """

    algorithm: str
    vocabulary: int
    texts: int
    bytes: int
    limited: bool
    measured_bytes: int
    tokens: int
    unknown: int

    @property
    def bytes_per_token(self) -> float:
        """Bytes of text in a token; more means shorter sequences."""
        return self.measured_bytes / max(self.tokens, 1)

    def notes(self) -> list[str]:
        """What a person should know, in sentences."""
        notes = [
            t("new tokenizer ({algorithm}): {vocabulary} entries from {texts} texts; {ratio} bytes a token",
              algorithm=self.algorithm, vocabulary=f"{self.vocabulary:,}", texts=f"{self.texts:,}",
              ratio=f"{self.bytes_per_token:.2f}")
        ]  # fmt: skip
        if self.limited:
            notes.append(
                t("the tokenizer is trained on the first {size} MiB of text only", size=f"{self.bytes / 2**20:,.0f}")
            )
        if self.unknown:
            notes.append(
                t("the new tokenizer lacks entries: {count} of {tokens} tokens of its own training text are unknown",
                  count=f"{self.unknown:,}", tokens=f"{self.tokens:,}")
            )  # fmt: skip
        return notes


def trained_tokenizer(
    source: TrainTokenizer | CharacterTokenizer,
    family: PresetFamily,
    *,
    chat: bool,
    texts: Texts,
    root: Path,
) -> tuple[Path, TokenizerReport]:
    """The folder of a tokenizer that is trained on texts, and its report; found if it was made before.

    Args:
        chat: with marks of turns and a chat template.
        root: folder that keeps them.

    Raises:
        InvalidRequest: there is no text.
        InvalidRecipe: the vocabulary is too small for what must be in it.
        OutOfDisk: the disk is full.
    """
    limited = _Beginning(texts)
    digest = hashlib.sha256(json.dumps([_FORMAT, source.model_dump(mode="json"), family, chat]).encode())
    for text in limited():
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    target = root / digest.hexdigest()[:32]
    with file_lock(root / "locks" / f"{target.name}.lock", timeout=-1, waiting_for=t("a tokenizer is being trained")):
        if not target.is_dir():
            with progress.current().task(t("train the tokenizer")):
                _train(source, family, chat, limited, target)
    report = read_json(target / "report.json")
    assert report is not None
    return target, TokenizerReport(**report)


class _Beginning:
    """Texts from the start up to a number of bytes."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts
        self.cut = False

    def __call__(self) -> Iterator[str]:
        left = MOST_BYTES
        self.cut = False
        for text in self._texts():
            size = len(text.encode("utf-8", "surrogatepass"))
            if size > left:
                self.cut = True
                if left == MOST_BYTES:  # one text longer than all that is read
                    yield text[: left // 4]
                return
            left -= size
            yield text


def _train(
    source: TrainTokenizer | CharacterTokenizer, family: PresetFamily, chat: bool, texts: _Beginning, target: Path
) -> None:
    special = special_tokens(family, chat=chat)
    algorithm = source.algorithm if isinstance(source, TrainTokenizer) else "characters"
    size = source.vocabulary_size if isinstance(source, TrainTokenizer) else None
    trained = train_tokenizer(algorithm, texts, special, vocabulary_size=size)
    tokens, unknown, measured = _measure(trained, texts)
    report = TokenizerReport(
        algorithm=algorithm,
        vocabulary=trained.tokenizer.get_vocab_size(),
        texts=trained.texts,
        bytes=trained.bytes,
        limited=texts.cut,
        measured_bytes=measured,
        tokens=tokens,
        unknown=unknown,
    )
    names = {name: token for name, token in special.names.items() if trained.tokenizer.token_to_id(token) is not None}
    with building(target) as folder:
        tokenizer = FastTokenizer(trained.tokenizer, names)
        write_tokenizer(folder, tokenizer, template=special.chat_template, limit=None)
        (folder / "report.json").write_text(json.dumps(asdict(report)), encoding="utf-8")


def _measure(trained: TrainedTokenizer, texts: Texts) -> tuple[int, int, int]:
    """(tokens, unknown tokens, bytes) of the beginning of the texts."""
    tokens, unknown, measured = 0, 0, 0
    for text in texts():
        piece = text[:MEASURED_BYTES]
        ids = trained.tokenizer.encode(piece, add_special_tokens=False).ids
        tokens += len(ids)
        unknown += sum(token == trained.unknown_id for token in ids) if trained.unknown_id is not None else 0
        measured += len(piece.encode("utf-8", "surrogatepass"))
        if measured >= MEASURED_BYTES:
            break
    return tokens, unknown, measured
