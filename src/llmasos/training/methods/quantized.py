"""A quantised base below low-rank updates (QLoRA, Dettmers et al. 2023)."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from llmasos.errors import InvalidRecipe, MissingDependency
from llmasos.i18n import t
from llmasos.modeling.folder import Family
from llmasos.training.methods import layers
from llmasos.training.methods.int8 import Int8Linear
from llmasos.training.methods.lora import apply_lora

if TYPE_CHECKING:
    from llmasos.training.methods.applied import Applied
    from llmasos.training.recipe.methods import Qlora

Format = Literal["nf4", "int8"]


def apply_qlora(module: nn.Module, method: Qlora, *, family: Family, kind: str, new_head: Sequence[str]) -> Applied:
    """Quantise the linear layers outside the head and put low-rank updates beside them.

    Raises:
        InvalidRecipe: the format is not for this device or these options.
        MissingDependency: bitsandbytes is needed and missing.
    """
    device = next(module.parameters()).device.type
    base = base_format(method, device)
    if base == "int8":
        # PEFT makes the updates of floating-point layers, whose values PiSSA needs; then these become integers.
        applied = apply_lora(module, method, family=family, kind=kind, new_head=new_head)
        _to_int8(module)
        return applied
    _to_nf4(module)
    return apply_lora(module, method, family=family, kind=kind, new_head=new_head)


def base_format(method: Qlora, device: str) -> Format:
    """In which format the frozen weights are on a kind of device.

    Raises:
        InvalidRecipe: the format is not for this device or these options.
        MissingDependency: bitsandbytes is needed and missing.
    """
    base: Format = ("nf4" if device == "cuda" else "int8") if method.base == "auto" else method.base
    if base == "nf4":
        if device != "cuda":
            raise InvalidRecipe(
                t("method.base = nf4 needs a CUDA device; the model is on {device}", device=device),
                hint=t("Use base: int8, which computes on any device."),
            )
        if importlib.util.find_spec("bitsandbytes") is None:
            raise MissingDependency(
                t("method qlora with base nf4 needs the package bitsandbytes"),
                hint=t("pip install bitsandbytes, or use base: int8."),
            )
        if method.initialization == "pissa":
            raise InvalidRecipe(
                t("method: initialization pissa and base nf4 exclude each other: PEFT cannot take singular values of "
                  "4-bit weights"),
                hint=t("Use initialization: zero, or base: int8."),
            )  # fmt: skip
    elif method.dora:
        raise InvalidRecipe(
            t("method: dora and base int8 exclude each other: DoRA needs the norms of exact weights at every step"),
            hint=t("Use method: {{kind: lora, dora: true}}, or leave dora out."),
        )
    return base


def _to_int8(module: nn.Module) -> None:
    """Replace every frozen linear layer outside the head, also those below updates."""
    targets = _frozen_linear(module)
    for name, layer in targets.items():
        parent, _, last = name.rpartition(".")
        setattr(module.get_submodule(parent), last, Int8Linear(layer))


def _to_nf4(module: nn.Module) -> None:
    import bitsandbytes

    dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    for name, layer in _frozen_linear(module).items():
        made: Any = bitsandbytes.nn.Linear4bit(
            layer.in_features, layer.out_features, bias=layer.bias is not None, compute_dtype=dtype,
            compress_statistics=True, quant_type="nf4",
        )  # fmt: skip
        made.weight = bitsandbytes.nn.Params4bit(
            layer.weight.detach().to(dtype).cpu(), requires_grad=False, quant_type="nf4", compress_statistics=True
        )
        if layer.bias is not None:
            made.bias = layer.bias
        parent, _, last = name.rpartition(".")
        setattr(module.get_submodule(parent), last, made.to(layer.weight.device))


def _frozen_linear(module: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers that can be quantised: not in a head, not among new weights, not trained whole."""
    copies = [name for name, part in module.named_modules() if hasattr(part, "modules_to_save")]
    return {
        name: part
        for name, part in layers.linear_layers(module).items()
        if type(part) is nn.Linear
        and not any(mark in name for mark in (".lora_A", ".lora_B"))
        and not any(name == copy or name.startswith(f"{copy}.") for copy in copies)
    }
