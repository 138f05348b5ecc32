"""The special tokens of new tokenizers: which there are, what they mean, where they are put."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from llmasos.training.presets.table import PresetFamily

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""ChatML: each message between marks, with its role in the first line."""


@dataclass(frozen=True)
class SpecialTokens:
    """Special tokens in the order of their ids, from 0.

    Attributes:
        names: ``eos_token``, ``pad_token``, ... and their texts, as ``tokenizer_config.json`` has them.
        single, pair: what the tokenizer puts around a text and a pair of texts, in the notation of the package
            tokenizers; ``None``: nothing.
    """

    tokens: tuple[str, ...]
    names: Mapping[str, str] = field(default_factory=dict)
    single: str | None = None
    pair: str | None = None
    chat_template: str | None = None

    @property
    def unknown(self) -> str:
        """The token for what the vocabulary lacks."""
        return self.names["unk_token"]


_LLAMA_END, _LLAMA_PAD, _LLAMA_UNKNOWN = "<|endoftext|>", "<|pad|>", "<|unknown|>"
_TURN_START, _TURN_END = "<|im_start|>", "<|im_end|>"


def special_tokens(family: PresetFamily, *, chat: bool = False) -> SpecialTokens:
    """The special tokens of a family.

    Args:
        chat: with marks of turns and a chat template; for decoder-only models.
    """
    if family == "llama":
        end = _TURN_END if chat else _LLAMA_END
        return SpecialTokens(
            (_LLAMA_END, _LLAMA_PAD, _LLAMA_UNKNOWN, *((_TURN_START, _TURN_END) if chat else ())),
            {"eos_token": end, "pad_token": _LLAMA_PAD, "unk_token": _LLAMA_UNKNOWN},
            chat_template=CHAT_TEMPLATE if chat else None,
        )
    if family == "bert":
        return SpecialTokens(
            ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
            {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
             "mask_token": "[MASK]"},
            "[CLS] $A [SEP]",
            "[CLS] $A [SEP] $B:1 [SEP]:1",
        )  # fmt: skip
    tokens = ("<pad>", "</s>", "<unk>") if family == "t5" else ("</s>", "<unk>", "<pad>")
    return SpecialTokens(
        tokens,
        {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"},
        "$A </s>",
        "$A $B </s>",
    )
