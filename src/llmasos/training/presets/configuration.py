"""The configuration of transformers for a shape and a tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmasos.errors import InvalidRecipe
from llmasos.i18n import t
from llmasos.modeling.tokenizer import Tokenizer
from llmasos.training.presets.shape import BUCKETS, Shape
from llmasos.training.presets.table import PresetFamily

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedConfig

_CLASSES: dict[tuple[PresetFamily, bool], str] = {
    ("llama", False): "LlamaForCausalLM",
    ("llama", True): "LlamaForSequenceClassification",
    ("bert", True): "BertForSequenceClassification",
    ("t5", False): "T5ForConditionalGeneration",
    ("marian", False): "MarianMTModel",
}
"""Class of transformers by family, and whether the recipe classifies or scores."""
_END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class Vocabulary:
    """What a configuration says about a tokenizer: its size and the ids of its special tokens."""

    size: int
    pad: int | None
    eos: int | None
    bos: int | None
    ends: tuple[int, ...] = ()

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Vocabulary:
        """That of a tokenizer."""
        eos, text_end = tokenizer.special.id("eos"), tokenizer.token_id(_END_OF_TEXT)
        ends = tuple(dict.fromkeys(token for token in (eos, text_end) if token is not None))
        return cls(tokenizer.vocabulary_size, tokenizer.special.id("pad"), eos, tokenizer.special.id("bos"), ends)

    @classmethod
    def assumed(cls, size: int) -> Vocabulary:
        """One of a tokenizer that does not exist yet, for estimates of sizes."""
        return cls(size, 0, 1, None, (1,))


def configuration(
    shape: Shape, vocabulary: Vocabulary, *, kind: str, labels: Sequence[str] = ()
) -> tuple[PreTrainedConfig, GenerationConfig | None]:
    """The configuration of the model, and of its generation if it writes.

    Args:
        kind: of the recipe, which :func:`~llmasos.training.presets.table.check_kind` allows.
        labels: names of the classes.

    Raises:
        InvalidRecipe: the tokenizer lacks a token that the model needs.
    """
    import transformers

    scores = kind in ("classify", "reward")
    if shape.family != "llama" or scores:
        _require(vocabulary, "pad")
    if kind == "seq2seq":
        _require(vocabulary, "eos")
    shared: dict[str, Any] = {
        "vocab_size": vocabulary.size,
        "pad_token_id": vocabulary.pad,
        "eos_token_id": vocabulary.eos,
        "bos_token_id": vocabulary.bos,
        "architectures": [_CLASSES[shape.family, scores]],
        "dtype": "float32",
    }
    if kind == "classify":
        shared["id2label"] = dict(enumerate(labels))
        shared["label2id"] = {name: number for number, name in enumerate(labels)}
    elif kind == "reward":
        shared["num_labels"] = 1
    config = _FAMILIES[shape.family](shape, shared)
    if scores:
        return config, None
    generation: dict[str, Any] = {
        "pad_token_id": vocabulary.pad,
        "bos_token_id": vocabulary.bos,
        "eos_token_id": list(vocabulary.ends) if len(vocabulary.ends) > 1 else vocabulary.eos,
    }
    if kind == "seq2seq":
        generation["decoder_start_token_id"] = vocabulary.pad
        generation["bad_words_ids"] = [[vocabulary.pad]]
        generation["max_length"] = shape.context_length
        generation["num_beams"] = 4
    make: Any = transformers.GenerationConfig  # untyped
    return config, make(**generation)


def _require(vocabulary: Vocabulary, name: str) -> None:
    if getattr(vocabulary, name) is None:
        raise InvalidRecipe(
            t("model.tokenizer.model: its tokenizer has no {name} token, which this preset needs", name=name),
            hint=t("Choose another model's tokenizer, or train a new one: tokenizer: {{kind: train}}."),
        )


def _llama(shape: Shape, shared: dict[str, Any]) -> PreTrainedConfig:
    from transformers import LlamaConfig

    return LlamaConfig(
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        intermediate_size=shape.intermediate_size,
        max_position_embeddings=shape.context_length,
        attention_dropout=shape.dropout,
        initializer_range=shape.preset.initializer_range,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": shape.preset.rope_theta},
        tie_word_embeddings=True,
        **shared,
    )


def _t5(shape: Shape, shared: dict[str, Any]) -> PreTrainedConfig:
    from transformers import T5Config

    common: dict[str, Any] = {  # of all configurations, and not in the signature of this one
        # Tied, and scaled by 1 / sqrt(width), as in T5 1.0: transformers 5 ties the output layer of every new T5, and
        # without the scaling of T5 1.0 the first loss would be many times that of guessing.
        "tie_word_embeddings": True,
        "decoder_start_token_id": shared["pad_token_id"],
        "n_positions": shape.context_length,
    }
    return T5Config(
        d_model=shape.hidden_size,
        d_kv=shape.head_size,
        d_ff=shape.intermediate_size,
        num_layers=shape.layers,
        num_decoder_layers=shape.layers,
        num_heads=shape.heads,
        relative_attention_num_buckets=BUCKETS,
        feed_forward_proj="gated-gelu",
        dropout_rate=shape.dropout,
        **common,
        **shared,
    )


def _marian(shape: Shape, shared: dict[str, Any]) -> PreTrainedConfig:
    from transformers import MarianConfig

    sizes: dict[str, Any] = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (
            ("layers", shape.layers),
            ("attention_heads", shape.heads),
            ("ffn_dim", shape.intermediate_size),
        )
    }
    return MarianConfig(
        d_model=shape.hidden_size,
        max_position_embeddings=shape.context_length,
        activation_function="swish",
        dropout=shape.dropout,
        attention_dropout=shape.dropout,
        scale_embedding=True,
        share_encoder_decoder_embeddings=True,
        tie_word_embeddings=True,
        decoder_vocab_size=shared["vocab_size"],
        decoder_start_token_id=shared["pad_token_id"],
        forced_eos_token_id=None,
        **sizes,
        **shared,
    )


def _bert(shape: Shape, shared: dict[str, Any]) -> PreTrainedConfig:
    from transformers import BertConfig

    return BertConfig(
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate_size,
        max_position_embeddings=shape.context_length,
        hidden_dropout_prob=shape.dropout,
        attention_probs_dropout_prob=shape.dropout,
        initializer_range=shape.preset.initializer_range,
        **shared,
    )


_FAMILIES: dict[PresetFamily, Callable[[Shape, dict[str, Any]], Any]] = {
    "llama": _llama, "t5": _t5, "marian": _marian, "bert": _bert,
}  # fmt: skip
