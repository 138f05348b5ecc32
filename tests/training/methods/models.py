"""Tiny random models of every family, for tests of methods."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

import tiny_models
from llmasos.modeling.folder import Family

#: name: (builder of tests/tiny_models.py, class of transformers, family, kind of recipe)
MODELS: dict[str, tuple[str, str, Family, str]] = {
    "llama": ("llama", "AutoModelForCausalLM", Family.CAUSAL, "sft"),
    "gemma3": ("gemma3", "AutoModelForCausalLM", Family.CAUSAL, "sft"),
    "llama-classifier": ("llama", "AutoModelForSequenceClassification", Family.CAUSAL, "classify"),
    "bert": ("bert_classifier", "AutoModelForSequenceClassification", Family.ENCODER, "classify"),
    "roberta": ("roberta_classifier", "AutoModelForSequenceClassification", Family.ENCODER, "classify"),
    "t5": ("t5", "AutoModelForSeq2SeqLM", Family.SEQ2SEQ, "seq2seq"),
    "marian": ("marian", "AutoModelForSeq2SeqLM", Family.SEQ2SEQ, "seq2seq"),
}


def loader(folder: Path, name: str, dtype: torch.dtype = torch.float64) -> Callable[[], Any]:
    """What loads the same model again each time it is called."""
    builder, kind, _, _ = MODELS[name]
    if not (folder / "config.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        tiny_models.BUILDERS[builder](folder)
    load = partial(getattr(transformers, kind).from_pretrained, folder, dtype=dtype)

    def again() -> Any:
        torch.manual_seed(3)  # of heads that are not in the files
        return load().eval()

    return again


def inputs(name: str, *, rows: int = 2, length: int = 9) -> dict[str, torch.Tensor]:
    """Token ids and a mask of ones, for a decoder too."""
    generator = torch.Generator().manual_seed(5)

    def ids(width: int) -> torch.Tensor:
        return torch.randint(5, 100, (rows, width), generator=generator)

    found = {"input_ids": ids(length), "attention_mask": torch.ones(rows, length, dtype=torch.long)}
    return found if MODELS[name][2] is not Family.SEQ2SEQ else {**found, "decoder_input_ids": ids(6)}
