"""Tiny random models written as GGUF files, the way llama.cpp's converters write them.

Nothing here comes from the code under test: tensor names are those of the ``gguf`` package, and what is done to the
tensors follows conversion/*.py of llama.cpp.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType as Type
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tiny_models import CORPUS

TYPES = (Type.F32, Type.F16, Type.BF16, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0, Type.Q2_K, Type.Q3_K,
         Type.Q4_K, Type.Q5_K, Type.Q6_K)  # fmt: skip
CHAT_TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"

_SIZES = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4,
          "num_key_value_heads": 2, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5}  # fmt: skip
_MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", "LlamaForCausalLM", {}),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", {}),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", {"head_dim": 128}),
    "gemma": ("GemmaConfig", "GemmaForCausalLM", {"head_dim": 128}),
    "gemma2": (
        "Gemma2Config",
        "Gemma2ForCausalLM",
        {
            "head_dim": 128,
            "query_pre_attn_scalar": 128,
            "sliding_window": 16,
            "attn_logit_softcapping": 7.0,
            "final_logit_softcapping": 5.0,
        },
    ),
    "gemma3": (
        "Gemma3TextConfig",
        "Gemma3ForCausalLM",
        {
            "head_dim": 128,
            "query_pre_attn_scalar": 128,
            "sliding_window": 16,
            "num_hidden_layers": 7,
        },
    ),
    "phi3": ("Phi3Config", "Phi3ForCausalLM", {"original_max_position_embeddings": 2048}),
}
ARCHITECTURES = tuple(_MODELS)


# --- models ------------------------------------------------------------------------------------------------------


def tiny_model(architecture: str, *, tie: bool = True, **config: Any) -> Any:
    """A random float32 model whose norms and biases are not the ones and zeros that hide mistakes."""
    config_class, model_class, own = _MODELS[architecture]
    torch.manual_seed(7)
    settings = {**_SIZES, "vocab_size": 512, "tie_word_embeddings": tie, "bos_token_id": 1, "eos_token_id": 2,
                "pad_token_id": 0, **own, **config}  # fmt: skip
    model = getattr(transformers, model_class)(getattr(transformers, config_class)(**settings))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.3)
            elif "embed" not in name and "lm_head" not in name:
                parameter.mul_(4)
    return model.float().eval()


# --- vocabularies ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Vocab:
    """What the tokenizer keys of a GGUF file hold."""

    model: str
    tokens: list[str]
    types: list[int]
    scores: list[float] | None = None
    merges: list[str] | None = None
    pre: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@cache
def byte_level_vocab(pre: str = "gpt-2", size: int = 512) -> Vocab:
    """A byte-level BPE vocabulary with three control tokens, a user-defined one and padding, trained on a corpus."""
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=size - 8, special_tokens=specials, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())  # fmt: skip
    tokenizer.train_from_iterator([*CORPUS, "  2024 12345 x  =  10;\n\n\tdon't DON'T 99"], trainer)
    vocab = tokenizer.get_vocab()
    tokens = sorted(vocab, key=vocab.__getitem__)
    types = [gguf.TokenType.CONTROL if token in specials else gguf.TokenType.NORMAL for token in tokens]
    tokens.append("<tool_call>")
    types.append(gguf.TokenType.USER_DEFINED)
    while len(tokens) < size:
        tokens.append(f"[PAD{len(tokens)}]")
        types.append(gguf.TokenType.UNUSED)
    merges = [" ".join(pair) for pair in _merges(tokenizer)]
    return Vocab("gpt2", tokens, [int(t) for t in types], merges=merges, pre=pre,
                 extra={"bos": 1, "eos": 2, "pad": 0})  # fmt: skip


def _merges(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    import json

    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in merges]


def _user_symbols(prefix: bool) -> list[str]:
    """Llama's fine-tunes add markers, Gemma's vocabulary has runs of spaces and new lines."""
    return ["<start_of_turn>"] if prefix else ["<start_of_turn>", "\n", "\n\n", "▁▁", "▁▁▁", "▁▁▁▁▁"]


@cache
def sentence_piece_model(size: int = 512, *, prefix: bool = True) -> bytes:
    """A SentencePiece BPE model with byte fallback: like Llama's (``prefix``) or like Gemma's."""
    import io

    import sentencepiece

    buffer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=buffer, vocab_size=size, model_type="bpe", byte_fallback=True,
        add_dummy_prefix=prefix, normalization_rule_name="identity", remove_extra_whitespaces=False,
        user_defined_symbols=_user_symbols(prefix), unk_id=0, bos_id=1, eos_id=2, pad_id=3,
        split_digits=True, allow_whitespace_only_pieces=True, minloglevel=2, hard_vocab_limit=False,
    )  # fmt: skip
    return buffer.getvalue()


@cache
def sentence_piece_vocab(*, prefix: bool = True) -> Vocab:
    """The same as GGUF keeps it: user-defined symbols with real spaces (llama.cpp, conversion/base.py)."""
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_proto=sentence_piece_model(prefix=prefix))
    user = set(_user_symbols(prefix))
    tokens, types, scores = [], [], []
    for index in range(processor.vocab_size()):
        piece = processor.id_to_piece(index)
        kind, score = gguf.TokenType.NORMAL, processor.get_score(index)
        if processor.is_unknown(index):
            kind = gguf.TokenType.UNKNOWN
        elif processor.is_control(index):
            kind = gguf.TokenType.CONTROL
        elif processor.is_byte(index):
            kind = gguf.TokenType.BYTE
        elif piece in user:
            kind, score, piece = gguf.TokenType.USER_DEFINED, -1000.0, piece.replace("▁", " ")
        tokens.append(piece)
        types.append(int(kind))
        scores.append(score)
    return Vocab("llama", tokens, types, scores=scores, pre="default",
                 extra={"bos": 1, "eos": 2, "unk": 0, "pad": 3, "space_prefix": prefix})  # fmt: skip


# --- files -------------------------------------------------------------------------------------------------------


def write_gguf(
    path: Path,
    model: Any,
    vocab: Vocab,
    *,
    kind: Type | Callable[[str], Type] = Type.F32,
    architecture: str | None = None,
    extra: Callable[[gguf.GGUFWriter], None] | None = None,
    tensors: dict[str, np.ndarray] | None = None,
    **writer_options: Any,
) -> Path:
    """Write ``model``; ``kind`` is the type of its matrices, or chooses it by the tensor's GGUF name.

    Types that the ``gguf`` package cannot quantise to get random blocks.
    """
    config = model.config
    name = architecture or {"gemma3_text": "gemma3"}.get(config.model_type, config.model_type)
    writer = gguf.GGUFWriter(path, name, **writer_options)
    writer.add_type("model")
    writer.add_name(f"Tiny {name}")
    writer.add_license("apache-2.0")
    writer.add_languages(["en", "zh"])
    _add_hyperparameters(writer, name, config)
    _add_vocab(writer, vocab)
    if extra is not None:
        extra(writer)
    for tensor_name, data in (tensors if tensors is not None else gguf_tensors(model, name)).items():
        chosen = kind(tensor_name) if callable(kind) else kind
        if data.ndim == 1:
            chosen = Type.F32
        _add_tensor(writer, tensor_name, data, chosen)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_hyperparameters(writer: gguf.GGUFWriter, name: str, config: Any) -> None:
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = config.rope_parameters
    rope = rope.get("full_attention", rope)
    if name != "gemma":  # its converter leaves the base out
        writer.add_rope_freq_base(rope["rope_theta"])
    if name in ("llama", "phi3"):
        writer.add_rope_dimension_count(int(head * rope.get("partial_rotary_factor", 1.0)))
    if name == "llama":
        writer.add_vocab_size(config.vocab_size)
    if head * config.num_attention_heads != config.hidden_size or name.startswith("gemma"):
        writer.add_key_length(head)
        writer.add_value_length(head)
    if name in ("gemma2", "gemma3"):
        writer.add_sliding_window(config.sliding_window)
    if name == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if name == "phi3":
        writer.add_rope_scaling_orig_ctx_len(config.original_max_position_embeddings)
        writer.add_sliding_window(config.sliding_window or 0)
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    elif rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    elif rope["rope_type"] == "longrope":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE)
        scale = config.max_position_embeddings / config.original_max_position_embeddings
        writer.add_rope_scaling_attn_factors(
            math.sqrt(1 + math.log(scale) / math.log(config.original_max_position_embeddings))
        )


def _add_vocab(writer: gguf.GGUFWriter, vocab: Vocab) -> None:
    writer.add_tokenizer_model(vocab.model)
    if vocab.pre is not None:
        writer.add_tokenizer_pre(vocab.pre)
    writer.add_token_list(vocab.tokens)
    writer.add_token_types(vocab.types)
    if vocab.scores is not None:
        writer.add_token_scores(vocab.scores)
    if vocab.merges is not None:
        writer.add_token_merges(vocab.merges)
    add = {"bos": writer.add_bos_token_id, "eos": writer.add_eos_token_id, "pad": writer.add_pad_token_id,
           "unk": writer.add_unk_token_id, "eot": writer.add_eot_token_id, "add_bos": writer.add_add_bos_token,
           "add_eos": writer.add_add_eos_token, "space_prefix": writer.add_add_space_prefix,
           "template": writer.add_chat_template}  # fmt: skip
    for key, value in vocab.extra.items():
        add[key](value)


def gguf_tensors(model: Any, name: str) -> dict[str, np.ndarray]:
    """The tensors of a model under GGUF's names, changed as llama.cpp's converters change them."""
    config = model.config
    arch = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == name)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    tensors = {}
    for key, value in model.state_dict().items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        stem, suffix = key.rsplit(".", 1)
        target = names.get_name(stem)
        assert target is not None, key
        data = value.float().numpy()
        if name == "llama" and stem.endswith(("q_proj", "k_proj")):
            heads = config.num_attention_heads if stem.endswith("q_proj") else config.num_key_value_heads
            data = (
                data.reshape(heads, 2, data.shape[0] // heads // 2, *data.shape[1:]).swapaxes(1, 2).reshape(data.shape)
            )
        if name.startswith("gemma") and stem.endswith("norm"):
            data = data + 1
        tensors[f"{target}.{suffix}"] = np.ascontiguousarray(data)
    return tensors | rope_tensors(config)


def rope_tensors(config: Any) -> dict[str, np.ndarray]:
    """Factors of the rotation frequencies, where the model has them (conversion/llama.py, conversion/phi.py)."""
    rope = config.rope_parameters
    if rope.get("rope_type") == "llama3":
        head = config.head_dim
        freqs = 1.0 / (rope["rope_theta"] ** (torch.arange(0, head, 2, dtype=torch.float32) / head))
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        context, factor = rope["original_max_position_embeddings"], rope["factor"]
        factors = []
        for freq in freqs:
            length = 2 * math.pi / freq
            if length < context / high:
                factors.append(1.0)
            elif length > context / low:
                factors.append(factor)
            else:
                smooth = (context / length - low) / (high - low)
                factors.append(1 / ((1 - smooth) / factor + smooth))
        return {"rope_freqs.weight": np.array(factors, dtype=np.float32)}
    if rope.get("rope_type") == "longrope":
        return {
            "rope_factors_long.weight": np.array(rope["long_factor"], dtype=np.float32),
            "rope_factors_short.weight": np.array(rope["short_factor"], dtype=np.float32),
        }
    return {}


def _add_tensor(writer: gguf.GGUFWriter, name: str, data: np.ndarray, kind: Type) -> None:
    if kind in (Type.F32, Type.F16):
        writer.add_tensor(name, data.astype(np.float32 if kind == Type.F32 else np.float16))
        return
    try:
        raw = gguf.quantize(data, kind)
    except NotImplementedError:
        raw = random_blocks(data.shape, kind)
    writer.add_tensor(name, raw, raw_shape=raw.shape, raw_dtype=kind)


def random_blocks(shape: Iterable[int], kind: Type, seed: int = 3) -> np.ndarray:
    """Random bits of a K-quant with small scales, so that the weights are of a usual size."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    *rows, columns = shape
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 256, size=(*rows, columns // block, size), dtype=np.uint8)
    scale_places = {Type.Q2_K: (80, 82), Type.Q3_K: (108,), Type.Q4_K: (0, 2), Type.Q5_K: (0, 2), Type.Q6_K: (208,)}
    for place in scale_places[kind]:
        scale = rng.uniform(1e-5, 2e-4, size=raw.shape[:-1]).astype(np.float16)
        raw[..., place : place + 2] = scale[..., None].view(np.uint8)
    return raw.reshape(*rows, columns // block * size)
