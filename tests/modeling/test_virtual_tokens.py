"""Virtual tokens: rows with and without padding, and outputs that grow token by token, get what PEFT computes alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from llmasos.errors import Unsupported
from llmasos.modeling.folder import Family
from llmasos.modeling.virtual_tokens import install, prefix_shape, stored_tokens
from training.methods.models import MODELS, inputs, loader

COUNT = 3
CASES = [
    (name, prefix)
    for name in ("llama", "gemma3", "llama-classifier", "bert", "roberta", "t5", "marian")
    for prefix in (False, True)
    if not (prefix and name in ("t5", "marian"))
]


def values(model: Any, prefix: bool) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    layers, heads, size = prefix_shape(model.config) if prefix else (0, 0, 0)
    width = 2 * layers * heads * size if prefix else model.get_input_embeddings().weight.shape[1]
    return torch.randn(COUNT, width, generator=generator, dtype=torch.float64) * 0.5


def with_tokens(name: str, prefix: bool, folder: Path) -> Any:
    model = loader(folder, name)()
    install(model, stored_tokens(values(model, prefix), prefix=prefix), MODELS[name][2])
    return model.eval()


@pytest.mark.parametrize(("name", "prefix"), [case for case in CASES if case[0] not in ("marian", "llama-classifier")])
def test_equal_to_peft_for_one_row(name: str, prefix: bool, tmp_path: Path) -> None:
    model = with_tokens(name, prefix, tmp_path)
    base = loader(tmp_path, name)()
    task = {"sft": "CAUSAL_LM", "classify": "SEQ_CLS", "seq2seq": "SEQ_2_SEQ_LM"}[MODELS[name][3]]
    config: Any
    if prefix:
        layers, heads, size = prefix_shape(base.config)
        config = peft.PrefixTuningConfig(
            task_type=task, num_virtual_tokens=COUNT, num_layers=layers, num_attention_heads=heads,
            token_dim=heads * size,
        )  # fmt: skip
    else:
        config = peft.PromptTuningConfig(task_type=task, num_virtual_tokens=COUNT, num_transformer_submodules=1)
    other: Any = peft.get_peft_model(base, config).double().eval()
    other.prompt_encoder.default.embedding.weight.data.copy_(values(base, prefix))
    batch = inputs(name, rows=1)
    found, expected = model(**batch).logits, other(**batch).logits
    if MODELS[name][2] is Family.CAUSAL:
        expected = expected[:, -found.shape[1] :]
    assert float((found - expected).norm() / expected.norm()) < 1e-12


@pytest.mark.parametrize(("name", "prefix"), CASES)
def test_padding_changes_nothing(name: str, prefix: bool, tmp_path: Path) -> None:
    model = with_tokens(name, prefix, tmp_path)
    batch = inputs(name)
    padding = model.config.get_text_config().pad_token_id
    padded = {**batch, "input_ids": batch["input_ids"].clone(), "attention_mask": batch["attention_mask"].clone()}
    padded["input_ids"][1, 6:], padded["attention_mask"][1, 6:] = padding, 0
    alone = {key: value[1:] for key, value in batch.items()}
    alone |= {"input_ids": batch["input_ids"][1:, :6], "attention_mask": batch["attention_mask"][1:, :6]}
    found, expected = model(**padded).logits[1:], model(**alone).logits
    if found.ndim == 3 and MODELS[name][2] is Family.CAUSAL:
        found = found[:, :6]
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("prefix", [False, True])
@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_outputs_grow_as_without_a_cache(name: str, prefix: bool, tmp_path: Path) -> None:
    model = with_tokens(name, prefix, tmp_path)
    batch = inputs(name)
    found = model.generate(**batch, max_new_tokens=8, do_sample=False, eos_token_id=None, use_cache=True)
    ids = batch["input_ids"]
    for _ in range(8):
        ids = torch.cat([ids, model(input_ids=ids, use_cache=False).logits[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(found, ids)


@pytest.mark.parametrize("prefix", [False, True])
def test_padding_on_the_left_changes_no_output(prefix: bool, tmp_path: Path) -> None:
    model = with_tokens("llama", prefix, tmp_path)
    batch = inputs("llama")
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
    alone = model.generate(**batch, **options)
    padded = {
        "input_ids": torch.cat([torch.zeros(2, 4, dtype=torch.long), batch["input_ids"]], dim=1),
        "attention_mask": torch.cat([torch.zeros(2, 4, dtype=torch.long), batch["attention_mask"]], dim=1),
    }
    assert torch.equal(model.generate(**padded, **options)[:, 4:], alone)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("name", ["t5", "marian"])
def test_decoders_see_the_virtual_tokens_at_every_step(name: str, beams: int, tmp_path: Path) -> None:
    model = with_tokens(name, False, tmp_path)
    batch = {key: value for key, value in inputs(name).items() if "decoder" not in key}
    options = {"max_new_tokens": 8, "num_beams": beams, "do_sample": False}
    assert torch.equal(model.generate(**batch, **options), model.generate(**batch, **options, use_cache=False))


@pytest.mark.parametrize("name", ["t5", "marian"])
def test_encoder_decoder_models_take_no_prefix(name: str, tmp_path: Path) -> None:
    model = loader(tmp_path, name)()
    with pytest.raises(Unsupported, match="half of the trained vectors"):
        install(model, stored_tokens(torch.zeros(2, 8), prefix=True), Family.SEQ2SEQ)


def test_a_packed_call_is_a_mistake_of_the_program(tmp_path: Path) -> None:
    model = with_tokens("llama", False, tmp_path)
    with pytest.raises(AssertionError, match="one document"):
        model(input_ids=torch.ones(1, 4, dtype=torch.long), document_lengths=torch.tensor([2, 2]))
