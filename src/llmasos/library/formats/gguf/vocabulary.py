"""The vocabulary of a GGUF file: tokens, what they are for, and which of them begin and end a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from llmasos.errors import Unsupported
from llmasos.i18n import t
from llmasos.library.formats.gguf.fields import Fields
from llmasos.library.formats.gguf.header import Header, damaged


class TokenType(IntEnum):
    """What llama.cpp uses a token for."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


# Tokens that end an answer, by their text (llama.cpp, llama-vocab.cpp: special_eog_ids), without those that only end
# a file inside a fill-in-the-middle prompt. They count only where the file marks them as control tokens: in Gemma's
# vocabulary `</s>` is the HTML tag for strike-through.
_END_TEXTS = frozenset(
    {
        "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>",
        "_<EOT>", "[EOT]", "<|end_of_text|>", "<end_of_utterance>", "<eos>", "<turn|>", "<｜end▁of▁sentence｜>",
    }
)  # fmt: skip

_ID_KEYS = {
    "bos": "bos_token_id",
    "eos": "eos_token_id",
    "eot": "eot_token_id",
    "eom": "eom_token_id",
    "unk": "unknown_token_id",
    "sep": "seperator_token_id",  # the format's own spelling
    "pad": "padding_token_id",
    "mask": "mask_token_id",
}


@dataclass(frozen=True)
class Vocabulary:
    """``tokens[i]`` is the text of token ``i``. ``ids`` has those of bos, eos, eot, ... that the file names."""

    model: str
    pre: str | None
    tokens: Sequence[str]
    types: Sequence[int]
    scores: Sequence[float] | None
    merges: Sequence[str] | None
    ids: dict[str, int]
    add_bos: bool | None
    add_eos: bool | None
    add_space_prefix: bool | None
    chat_templates: dict[str, str]

    def of_type(self, *types: TokenType) -> list[int]:
        """The tokens of these types, in order."""
        return [index for index, kind in enumerate(self.types) if kind in types]

    @property
    def end_ids(self) -> list[int]:
        """Every token that ends an answer; the one that the file names first."""
        named = [self.ids[name] for name in ("eos", "eot", "eom") if name in self.ids]
        found = [index for index in self.of_type(TokenType.CONTROL) if self.tokens[index] in _END_TEXTS]
        return list(dict.fromkeys(named + found))


def read_vocabulary(header: Header, rows: int) -> Vocabulary:
    """Read the vocabulary of a model whose embedding has ``rows`` rows.

    Raises:
        IntegrityError: lists of different lengths, tokens that come twice, ids outside the vocabulary.
        Unsupported: no vocabulary in the file.
    """
    fields = Fields(header)
    model = fields.text("tokenizer.ggml.model")
    tokens = fields.texts("tokenizer.ggml.tokens")
    if model is None or model in ("none", "no_vocab") or not tokens:
        raise Unsupported(
            t("{path} has no vocabulary, so no text can go in or out", path=header.path),
            hint=t("Fetch a file that was made together with its tokenizer."),
        )
    if len(tokens) > rows:
        raise damaged(
            header.path, t("{tokens} tokens do not fit {rows} rows of the embedding", tokens=len(tokens), rows=rows)
        )
    # llama.cpp gives tokens without text this name too; it keeps every id distinct.
    tokens = [token or f"[EMPTY_{index}]" for index, token in enumerate(tokens)]
    if len(set(tokens)) != len(tokens):
        raise damaged(header.path, _describe_duplicate(tokens))
    types = _column(fields, "tokenizer.ggml.token_type", len(tokens))
    return Vocabulary(
        model=model,
        pre=fields.text("tokenizer.ggml.pre"),
        tokens=tokens,
        types=[int(kind) for kind in types] if types is not None else [TokenType.NORMAL] * len(tokens),
        scores=_column(fields, "tokenizer.ggml.scores", len(tokens)),
        merges=fields.texts("tokenizer.ggml.merges"),
        ids=_ids(fields, len(tokens)),
        add_bos=fields.boolean("tokenizer.ggml.add_bos_token"),
        add_eos=fields.boolean("tokenizer.ggml.add_eos_token"),
        add_space_prefix=fields.boolean("tokenizer.ggml.add_space_prefix"),
        chat_templates=_chat_templates(fields),
    )


def _describe_duplicate(tokens: Sequence[str]) -> str:
    seen: dict[str, int] = {}
    for index, token in enumerate(tokens):
        if token in seen:
            return t(
                "the tokens {first} and {second} are both {token!r}", first=seen[token], second=index, token=token[:80]
            )
        seen[token] = index
    raise AssertionError("called for tokens without a duplicate")


def _column(fields: Fields, name: str, count: int) -> Sequence[int] | Sequence[float] | None:
    values = fields.numbers(name)
    if values is not None and len(values) != count:
        raise damaged(
            fields.header.path,
            t("{key} has {count} entries for {tokens} tokens", key=name, count=len(values), tokens=count),
        )
    return values


def _ids(fields: Fields, count: int) -> dict[str, int]:
    ids = {}
    for name, key in _ID_KEYS.items():
        key = f"tokenizer.ggml.{key}"
        value = fields.header.metadata.get(key)
        # Converters write -1, as uint32 or as int32, for "there is none".
        if value is None or value in (-1, 2**32 - 1):
            continue
        number = fields.required(key, least=0)
        if number >= count:
            raise damaged(
                fields.header.path,
                t("{key} is {value}, but there are {count} tokens", key=key, value=number, count=count),
            )
        ids[name] = number
    return ids


def _chat_templates(fields: Fields) -> dict[str, str]:
    """Templates by name; the one without a name is ``default``."""
    templates = {}
    default = fields.text("tokenizer.chat_template")
    if default:
        templates["default"] = default
    for name in fields.texts("tokenizer.chat_templates") or ():
        template = fields.text(f"tokenizer.chat_template.{name}")
        if template:
            templates[name] = template
    return templates
