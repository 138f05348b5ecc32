"""Applies the method of a recipe to a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, assert_never

import torch
from torch import nn

from llmasos.modeling.folder import Family
from llmasos.training.methods import defaults
from llmasos.training.methods.applied import Applied, ParameterGroup
from llmasos.training.methods.storage import load_trained, save_trained
from llmasos.training.recipe import methods

if TYPE_CHECKING:
    from llmasos.modeling.tokenizer import Tokenizer

__all__ = ["Applied", "ParameterGroup", "apply_method", "load_trained", "save_trained"]


def apply_method(
    module: nn.Module,
    method: methods.Method,
    *,
    family: Family,
    kind: str,
    seed: int,
    new_head: Sequence[str] = (),
    scratch: bool = False,
    tokenizer: Tokenizer | None = None,
) -> Applied:
    """Choose which weights of a model are trained, and add new ones.

    The module is changed in place. On torch's meta device only shapes are made.

    Args:
        module: a module of transformers; see :class:`llmasos.training.opening.OpenedModel`.
        method: what the recipe says.
        family: CAUSAL, SEQ2SEQ or ENCODER; a classifier counts as what it is built on.
        kind: of the recipe: pretrain, sft, classify, seq2seq or reward.
        seed: of the new weights.
        new_head: names of weights with random values; they are trained and saved whatever the method.
        scratch: whether all weights have random values.
        tokenizer: needed for prompt-tuning that begins at a text.

    Raises:
        InvalidRecipe: the method cannot be used with this model or kind, or names layers that it does not have.
        MissingDependency: a package that the method needs is not installed.
    """
    device = next(module.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        applied = _apply(module, method, family, kind, new_head, tokenizer)
    weights = {id(weight): weight for weight in module.parameters()}.values()
    applied.total = sum(weight.numel() for weight in weights)
    applied.trainable = sum(weight.numel() for weight in weights if weight.requires_grad)
    usual = defaults.default(method.kind, kind, scratch=scratch, weights=applied.total)
    applied.learning_rate = method.learning_rate or usual.learning_rate
    applied.warnings[:0] = defaults.warnings(method, kind, scratch=scratch)
    return applied


def _apply(
    module: nn.Module,
    method: methods.Method,
    family: Family,
    kind: str,
    new_head: Sequence[str],
    tokenizer: Tokenizer | None,
) -> Applied:
    from llmasos.training.methods.freeze import apply_freeze
    from llmasos.training.methods.full import apply_full
    from llmasos.training.methods.ia3 import apply_ia3
    from llmasos.training.methods.lora import apply_lora
    from llmasos.training.methods.prompts import apply_virtual_tokens
    from llmasos.training.methods.quantized import apply_qlora

    match method:
        case methods.Full():
            return apply_full(module, method)
        case methods.Freeze():
            return apply_freeze(module, method, new_head)
        case methods.Lora():
            return apply_lora(module, method, family=family, kind=kind, new_head=new_head)
        case methods.Qlora():
            return apply_qlora(module, method, family=family, kind=kind, new_head=new_head)
        case methods.Ia3():
            return apply_ia3(module, method, family=family, kind=kind, new_head=new_head)
        case methods.PromptTuning() | methods.PrefixTuning() | methods.PTuning():
            return apply_virtual_tokens(
                module, method, family=family, kind=kind, new_head=new_head, tokenizer=tokenizer
            )
        case _:
            assert_never(method)
