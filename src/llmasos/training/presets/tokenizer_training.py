"""New tokenizers from texts; the same texts always give the same tokenizer."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from llmasos.errors import InvalidRecipe, InvalidRequest
from llmasos.i18n import t
from llmasos.training.presets.special_tokens import SpecialTokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Algorithm = Literal["bpe", "unigram", "wordpiece", "characters"]
Texts = Callable[[], Iterator[str]]
"""Gives the texts from the start, each time it is called."""

_CONTINUES = "##"
_PIECE_BYTES = 4000
"""Longest text that SentencePiece's trainer takes as one; it leaves out those over 4,192 bytes."""
_SPACE = "▁"
_THREADS = 4
"""Of SentencePiece's trainer, whatever the machine has: the scores depend on how the texts are divided."""
_RARE = 0.9995
"""Share of all characters that get entries of their own where there are too many kinds of them (SentencePiece)."""


@dataclass(frozen=True)
class TrainedTokenizer:
    """A tokenizer and what it was trained on.

    Attributes:
        unknown_id: the token for what the vocabulary lacks, ``None`` if it lacks nothing.
        texts: how many were read.
        bytes: of these, as UTF-8.
    """

    tokenizer: Tokenizer
    unknown_id: int | None
    texts: int
    bytes: int


def train_tokenizer(
    algorithm: Algorithm, texts: Texts, special: SpecialTokens, *, vocabulary_size: int | None
) -> TrainedTokenizer:
    """Train a tokenizer.

    Args:
        vocabulary_size: entries, special tokens included; fewer if the texts hold no more. Not for characters, whose
            number follows from the texts.

    Raises:
        InvalidRequest: there is no text.
        InvalidRecipe: the vocabulary is too small for what must be in it.
    """
    count, size = 0, 0
    for text in texts():
        count += 1
        size += len(text.encode("utf-8", "surrogatepass"))
    if not size:
        raise InvalidRequest(
            t("a tokenizer cannot be trained: the texts are empty"), hint=t("Check the sources of the recipe.")
        )
    if algorithm == "characters":
        tokenizer = _characters(texts, special)
    else:
        assert vocabulary_size is not None
        tokenizer = {"bpe": _bpe, "unigram": _unigram, "wordpiece": _word_piece}[algorithm](
            texts, special, vocabulary_size
        )
        found = tokenizer.get_vocab_size()
        if found > vocabulary_size:
            raise _too_small(vocabulary_size, found)
    if special.single is not None:
        from tokenizers import processors

        ids = [(token, tokenizer.token_to_id(token)) for token in special.tokens if token in special.single]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=special.single, pair=special.pair, special_tokens=ids
        )
    unknown = None if algorithm == "bpe" else tokenizer.token_to_id(special.unknown)
    return TrainedTokenizer(tokenizer, unknown, count, size)


def _too_small(size: int, least: int) -> InvalidRecipe:
    return InvalidRecipe(
        t("model.tokenizer.vocabulary_size = {size}: these texts need at least {least} entries", size=size,
          least=least),
        hint=t("Raise it, or choose the algorithm bpe, which needs no entry for each character."),
    )  # fmt: skip


def _bpe(texts: Texts, special: SpecialTokens, size: int) -> Tokenizer:
    """Byte-level byte-pair encoding (Radford et al. 2019); digits stand alone, so that numbers are read evenly."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    used = [token for token in special.tokens if token != special.unknown or special.single is not None]
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=used, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return tokenizer


def _characters(texts: Texts, special: SpecialTokens) -> Tokenizer:
    """One entry for each character, in the order of their code points."""
    from tokenizers import Tokenizer, decoders, models

    found: set[str] = set()
    for text in texts():
        found.update(text)
    entries = [*special.tokens, *sorted(found)]
    vocabulary = {entry: number for number, entry in enumerate(entries)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token=special.unknown))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(list(special.tokens))
    return tokenizer


def _word_piece(texts: Texts, special: SpecialTokens, size: int) -> Tokenizer:
    """WordPiece as BERT has it: lower case, no accents.

    The package's trainer numbers the continuing letters by chance, and ties between pairs follow these numbers. So
    they are given to it in order, as special tokens, which they are not any more in what comes out.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    normalizer = normalizers.BertNormalizer(lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    continuing: set[str] = set()
    for text in texts():
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)):
            continuing.update(word[1:])
    letters = [f"{_CONTINUES}{letter}" for letter in sorted(continuing)]
    trained = Tokenizer(models.WordPiece(unk_token=special.unknown))
    trained.normalizer = normalizer
    trained.pre_tokenizer = splitter
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=[*special.tokens, *letters], show_progress=False
    )
    trained.train_from_iterator(texts(), trainer)
    tokenizer = Tokenizer(models.WordPiece(trained.get_vocab(), unk_token=special.unknown))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(list(special.tokens))
    return tokenizer


def _unigram(texts: Texts, special: SpecialTokens, size: int) -> Tokenizer:
    """A unigram language model of pieces (Kudo 2018), trained by SentencePiece: the trainer of the package tokenizers
    does not give the same pieces twice."""
    import sentencepiece
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    normalizer = normalizers.NFKC()
    characters: Counter[str] = Counter()
    for text in texts():
        characters.update(normalizer.normalize_str(text))
    others = sorted(letter for letter in characters if letter in "\n\r\t")
    room = size - len(special.tokens) - len(others)
    kinds = len(characters) - len(others)
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_short(normalizer.normalize_str(text) for text in texts()), model_writer=model,
            model_type="unigram", vocab_size=room + 1, hard_vocab_limit=False, num_threads=_THREADS,
            character_coverage=1.0 if 4 * kinds <= room else _RARE, normalization_rule_name="identity",
            remove_extra_whitespaces=False, unk_id=0, bos_id=-1, eos_id=-1, pad_id=-1, minloglevel=2,
        )  # fmt: skip
    except RuntimeError as error:
        raise _too_small(size, kinds + len(special.tokens) + len(others) + 2) from error
    trained = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [(trained.id_to_piece(number), trained.get_score(number)) for number in range(1, trained.get_piece_size())]
    total = sum(characters.values())
    breaks = [(letter, math.log(characters[letter] / total)) for letter in others]
    entries = [*((token, 0.0) for token in special.tokens), *pieces, *breaks]
    tokenizer = Tokenizer(models.Unigram(entries, unk_id=special.tokens.index(special.unknown), byte_fallback=False))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement=_SPACE, prepend_scheme="always")
    tokenizer.add_special_tokens(list(special.tokens))
    return tokenizer


def _short(texts: Iterator[str]) -> Iterator[str]:
    """The lines of texts, long ones cut at spaces or, without a space, anywhere."""
    for text in texts:
        for line in text.splitlines():
            while len(line.encode()) > _PIECE_BYTES:
                begin = line[: _PIECE_BYTES // 4]
                cut = begin.rfind(" ") + 1 or len(begin)
                yield line[:cut]
                line = line[cut:]
            if line:
                yield line
