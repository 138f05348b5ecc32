"""The 4-bit base of bitsandbytes, where it is installed and there is a GPU for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from llmasos.modeling.folder import Family
from llmasos.training.methods.apply import apply_method, load_trained, save_trained
from llmasos.training.recipe import methods
from training.methods.models import inputs, loader

bitsandbytes = pytest.importorskip("bitsandbytes")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def test_updates_over_a_4_bit_base_are_trained_saved_and_read(tmp_path: Path) -> None:
    load = loader(tmp_path / "base", "llama", torch.bfloat16)
    batch = {name: tensor.cuda() for name, tensor in inputs("llama").items()}
    method = methods.Qlora(rank=4)
    module = load().cuda()
    applied = apply_method(module, method, family=Family.CAUSAL, kind="sft", seed=0)
    layer = module.model.layers[0].mlp.up_proj.base_layer
    assert isinstance(layer, bitsandbytes.nn.Linear4bit)
    module(**batch).logits.float().pow(2).mean().backward()
    assert all((weight.grad is not None) == weight.requires_grad for weight in module.parameters())
    with torch.no_grad():
        for _, weight in applied.parameters():
            weight.add_(0.01)
    save_trained(applied, tmp_path / "trained")
    other = apply_method(load().cuda(), method, family=Family.CAUSAL, kind="sft", seed=1)
    load_trained(other, tmp_path / "trained")
    assert torch.equal(other.module(**batch).logits, module(**batch).logits)
