"""Small tokenizers and chat templates in the manner of well-known model families.

The templates follow the originals in what matters for rendering and masks. ``[[`` and ``]]`` stand around what the
assistant says: gone in the plain variant, ``generation`` blocks in the marked one, by which transformers computes the
mask that ours is compared with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from llmasos.modeling.chat_template import ChatTemplate
from llmasos.modeling.tokenizer import FastTokenizer

CORPUS = [
    "system user assistant tool model The weather in Paris is fine. What is two plus two? It is four, of course.",
    "You are a helpful assistant. Be brief. Thank you! 你好，世界。今天天气很好。 🎉 🎉 naïve café",
    '{"name": "weather", "arguments": {"city": "Paris"}} Reasoning: first this, then that.\n\n1. one\n2. two\n',
] * 3

_CHATML_BODY = (
    "{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' %}[[{{ m.content + '<|im_end|>' }}]]"
    "{% else %}{{ m.content + '<|im_end|>' }}{% endif %}"
    "{{ '\n' }}"
)
_CHATML_OPENING = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
_CALLS = (
    "{% for c in m.tool_calls or [] %}{{ '\n<tool_call>\n' + (c.function | tojson) + '\n</tool_call>' }}{% endfor %}"
)
_QWEN_HEAD = (
    "{% if tools %}{{ '<|im_start|>system\n' }}"
    "{% if messages[0].role == 'system' %}{{ messages[0].content + '\n\n' }}{% endif %}"
    "{{ '# Tools\n<tools>' }}{% for tool in tools %}{{ '\n' + (tool | tojson) }}{% endfor %}"
    "{{ '\n</tools><|im_end|>\n' }}"
    "{% elif messages[0].role == 'system' %}{{ '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}"
)
_QWEN_TOOL = (
    "{% if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{ '<|im_start|>user' }}{% endif %}"
    "{{ '\n<tool_response>\n' + m.content + '\n</tool_response>' }}"
    "{% if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{ '<|im_end|>\n' }}{% endif %}"
)

TEMPLATES: Mapping[str, str] = {
    "chatml": "{% for m in messages %}" + _CHATML_BODY + "{% endfor %}" + _CHATML_OPENING,
    "smollm2": "{% for m in messages %}"
    "{% if loop.first and m.role != 'system' %}{{ '<|im_start|>system\nYou are helpful<|im_end|>\n' }}{% endif %}"
    + _CHATML_BODY
    + "{% endfor %}"
    + _CHATML_OPENING,
    "qwen2.5": _QWEN_HEAD
    + "{% else %}{{ '<|im_start|>system\nYou are Qwen.<|im_end|>\n' }}{% endif %}"
    + "{% for m in messages %}"
    "{% if m.role == 'user' or (m.role == 'system' and not loop.first) %}"
    "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% elif m.role == 'assistant' %}{{ '<|im_start|>assistant\n' }}[[{{ m.content }}"
    + _CALLS
    + "{{ '<|im_end|>' }}]]{{ '\n' }}{% elif m.role == 'tool' %}"
    + _QWEN_TOOL
    + "{% endif %}{% endfor %}"
    + _CHATML_OPENING,
    "qwen3": _QWEN_HEAD + "{% endif %}"
    "{% set ns = namespace(last=messages | length - 1, looking=true) %}"
    "{% for m in messages[::-1] %}{% if ns.looking and m.role == 'user' %}"
    "{% set ns.looking = false %}{% set ns.last = messages | length - 1 - loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}"
    "{% if m.role == 'user' or (m.role == 'system' and not loop.first) %}"
    "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% elif m.role == 'assistant' %}{{ '<|im_start|>assistant\n' }}"
    "{% set said = m.content.split('</think>')[-1].lstrip('\n') %}"
    "{% set thought = m.content.split('</think>')[0].split('<think>')[-1].strip('\n') if '</think>' in m.content "
    "else '' %}[["
    "{% if loop.index0 > ns.last and (loop.last or thought) %}"
    "{{ '<think>\n' + thought + '\n</think>\n\n' + said }}{% else %}{{ said }}{% endif %}"
    + _CALLS
    + "{{ '<|im_end|>' }}]]{{ '\n' }}{% elif m.role == 'tool' %}"
    + _QWEN_TOOL
    + "{% endif %}{% endfor %}"
    + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{% endif %}",
    "llama3": "{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' }}"
    "{% if m.role == 'assistant' %}[[{{ (m.content | trim) + '<|eot_id|>' }}]]"
    "{% else %}{{ (m.content | trim) + '<|eot_id|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "mistral": "{{ bos_token }}{% set ns = namespace(system='') %}"
    "{% for m in messages %}{% if m.role == 'system' %}{% set ns.system = m.content + '\n\n' %}"
    "{% elif m.role == 'user' %}{{ '[INST] ' + ns.system + m.content + ' [/INST]' }}{% set ns.system = '' %}"
    "{% elif m.role == 'assistant' %}[[{{ ' ' + m.content + eos_token }}]]"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}",
    "gemma3": "{{ bos_token }}"
    "{% if messages[0].role == 'system' %}{% set head = messages[0].content + '\n\n' %}{% set rest = messages[1:] %}"
    "{% else %}{% set head = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}"
    "{% if m.role == 'assistant' %}{{ '<start_of_turn>model\n' }}[[{{ (m.content | trim) + '<end_of_turn>' }}]]"
    "{% else %}{{ '<start_of_turn>' + m.role + '\n' + (head if loop.first else '') + (m.content | trim) }}"
    "{{ '<end_of_turn>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
}

# special tokens, ordinary added tokens, beginning, end
_TOKENS: Mapping[str, tuple[list[str], list[str], str | None, str]] = {
    "chatml": (["<|endoftext|>", "<|im_start|>", "<|im_end|>"], [], None, "<|im_end|>"),
    "smollm2": (["<|endoftext|>", "<|im_start|>", "<|im_end|>"], [], "<|im_start|>", "<|im_end|>"),
    "qwen2.5": (["<|endoftext|>", "<|im_start|>", "<|im_end|>"], ["<tool_call>", "</tool_call>"], None, "<|im_end|>"),
    "qwen3": (
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        ["<tool_call>", "</tool_call>", "<think>", "</think>"],
        None,
        "<|im_end|>",
    ),
    "llama3": (
        ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
        [],
        "<|begin_of_text|>",
        "<|eot_id|>",
    ),
    "mistral": (["<s>", "</s>"], [], "<s>", "</s>"),
    "gemma3": (["<pad>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"], [], "<bos>", "<eos>"),
}

FAMILIES = tuple(TEMPLATES)


@dataclass(frozen=True)
class ChatModel:
    """A tokenizer and its template, ours and that of transformers."""

    tokenizer: FastTokenizer
    template: ChatTemplate
    marked_template: ChatTemplate
    reference: PreTrainedTokenizerFast
    marked_source: str

    def reference_tokens(self, messages: list[dict[str, Any]], **options: Any) -> tuple[list[int], list[bool]]:
        """Tokens and mask by transformers, from the template with generation blocks."""
        found = self.reference.apply_chat_template(
            messages, chat_template=self.marked_source, return_dict=True, return_assistant_tokens_mask=True, **options
        )
        return list(found["input_ids"]), [bool(flag) for flag in found["assistant_masks"]]


@cache
def chat_model(family: str, template: str | None = None) -> ChatModel:
    """The model of a family, with its own template or another."""
    special, ordinary, beginning, end = _TOKENS[family]
    backend = _sentence_piece(special) if family in ("mistral", "gemma3") else _byte_level(special)
    backend.add_tokens(ordinary)
    names = {"eos_token": end, **({"bos_token": beginning} if beginning else {})}
    source = TEMPLATES[family] if template is None else template
    plain = source.replace("[[", "").replace("]]", "")
    marked = source.replace("[[", "{% generation %}").replace("]]", "{% endgeneration %}")
    reference = PreTrainedTokenizerFast(
        tokenizer_object=Backend.from_str(backend.to_str()), chat_template=plain, **names
    )
    tokenizer = FastTokenizer(backend, names)
    ours, ours_marked = (
        ChatTemplate(text, special_tokens=names, added_tokens=tokenizer.added_tokens) for text in (plain, marked)
    )
    return ChatModel(tokenizer, ours, ours_marked, reference, marked)


def _byte_level(special: list[str]) -> Backend:
    backend = Backend(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    return backend


def _sentence_piece(special: list[str]) -> Backend:
    """As SentencePiece models are converted: spaces written as ``▁``, unknown characters as bytes."""
    backend = Backend(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<unk>", *special, *bytes_], show_progress=False, limit_alphabet=60
    )
    backend.train_from_iterator(CORPUS, trainer)
    # The bytes are vocabulary, not added tokens that a text could spell.
    parsed = json.loads(backend.to_str())
    parsed["added_tokens"] = [token for token in parsed["added_tokens"] if token["content"] not in bytes_]
    return Backend.from_str(json.dumps(parsed))
