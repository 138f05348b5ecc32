"""What a model's ``generation_config.json`` says: default options, end tokens and fixed rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmasos.modeling.folder import Family, ModelFolder
from llmasos.modeling.options import SamplingOptions, Seq2SeqOptions
from llmasos.modeling.tokenizer import Tokenizer

_POLICY = ("bad_words_ids", "forced_bos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens",
           "encoder_no_repeat_ngram_size", "encoder_repetition_penalty", "renormalize_logits")  # fmt: skip
_LEGACY_TOP_K = 50  # what transformers applies when a sampling configuration does not mention top_k


def default_options(folder: ModelFolder) -> SamplingOptions:
    """The options that hold where the caller gives none."""
    config = folder.generation_config
    values: dict[str, Any] = {}
    if config.get("do_sample"):
        values["temperature"] = float(_number(config, "temperature", 1.0))
        values["top_k"] = int(_number(config, "top_k", _LEGACY_TOP_K))
        values["top_p"] = float(_number(config, "top_p", 1.0))
        values["min_p"] = float(_number(config, "min_p", 0.0))
    values["repetition_penalty"] = float(_number(config, "repetition_penalty", 1.0))
    values["min_tokens"] = int(_number(config, "min_new_tokens", 0))
    stops = config.get("stop_strings")
    if stops:
        values["stop"] = (stops,) if isinstance(stops, str) else tuple(stops)
    if folder.family is not Family.SEQ2SEQ:
        return SamplingOptions(**values)
    # min_length counts the decoder's start token.
    values["min_tokens"] = values["min_tokens"] or max(int(_number(config, "min_length", 0)) - 1, 0)
    values["num_beams"] = 1 if config.get("do_sample") else int(_number(config, "num_beams", 1))
    values["length_penalty"] = float(_number(config, "length_penalty", 1.0))
    stopping = config.get("early_stopping")
    values["early_stopping"] = stopping if stopping in (True, "never") else False
    values["no_repeat_ngram_size"] = int(_number(config, "no_repeat_ngram_size", 0))
    return Seq2SeqOptions(**values)


def default_max_tokens(folder: ModelFolder) -> int | None:
    """The output length that the configuration names, ``None`` if it names none.

    ``max_length`` is used of encoder-decoder models only, where it is the length of the output and its start token;
    decoder-only models carry a meaningless 20 there.
    """
    config = folder.generation_config
    if isinstance(config.get("max_new_tokens"), int):
        return int(config["max_new_tokens"])
    length = config.get("max_length")
    if folder.family is Family.SEQ2SEQ and isinstance(length, int) and length > 1:
        return length - 1
    return None


def end_ids(folder: ModelFolder, tokenizer: Tokenizer) -> tuple[int, ...]:
    """The tokens that end an output: those of the configuration, and the tokenizer's end token."""
    value = folder.generation_config.get("eos_token_id", folder.text_config.get("eos_token_id"))
    ids = [value] if isinstance(value, int) else list(value or [])
    own = tokenizer.special.id("eos")
    return tuple(dict.fromkeys([*ids, *([own] if own is not None else [])]))


def policy(folder: ModelFolder, tokenizer: Tokenizer, ends: tuple[int, ...]) -> dict[str, Any]:
    """Rules that hold for every output, as keywords of transformers' GenerationConfig."""
    config = folder.generation_config
    values = {name: config[name] for name in _POLICY if config.get(name) is not None}
    pad = _id(folder, "pad_token_id")
    pad = tokenizer.special.id("pad") if pad is None else pad
    values["pad_token_id"] = pad if pad is not None else ends[0] if ends else 0
    values["bos_token_id"] = _id(folder, "bos_token_id")
    if folder.family is Family.SEQ2SEQ:
        start = _id(folder, "decoder_start_token_id")
        bos = values["bos_token_id"]
        values["decoder_start_token_id"] = start if start is not None else bos if bos is not None else pad
    return values


def _id(folder: ModelFolder, name: str) -> int | None:
    for config in (folder.generation_config, folder.config, folder.text_config):
        if isinstance(config.get(name), int):
            return int(config[name])
    return None


def _number(config: Mapping[str, Any], name: str, default: float) -> float:
    value = config.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else default
