"""Vectors that scale keys, values and feed-forward activations (IA3), through PEFT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn

from llmasos.errors import InvalidRecipe
from llmasos.i18n import t
from llmasos.modeling.folder import Family
from llmasos.training.methods import layers
from llmasos.training.methods.applied import HEAD_FACTOR, Applied, ParameterGroup
from llmasos.training.methods.lora import modules_to_save, refuse_overlap, settle, task_type
from llmasos.training.recipe.methods import Ia3

_KEYS_AND_VALUES = frozenset({
    "k", "v", "k_proj", "v_proj", "key", "value", "k_lin", "v_lin", "key_proj", "value_proj", "kv_proj",
    "c_attn", "query_key_value", "qkv_proj", "Wqkv", "in_proj",
})  # fmt: skip
"""What layers of keys and values are called; in some models one matrix makes queries as well."""


def apply_ia3(module: nn.Module, method: Ia3, *, family: Family, kind: str, new_head: Sequence[str]) -> Applied:
    """Scale keys, values and the input of the last feed-forward matrix, or the layers that the method names.

    Raises:
        InvalidRecipe: a layer is not there, or feedforward names one that is not scaled.
    """
    from peft import IA3Config, get_peft_model
    from transformers.pytorch_utils import Conv1D

    inner = _feedforward(module)
    if method.targets is not None:
        targets = layers.named_layers(module, method.targets, "method.targets")
    else:
        attention = layers.attention_layers(module)
        targets = {name: part for name, part in attention.items() if name.rpartition(".")[2] in _KEYS_AND_VALUES}
        if not targets:
            raise InvalidRecipe(
                t("method ia3 does not know which layers of {model} make keys and values", model=type(module).__name__),
                hint=t("Name them: targets: [{names}]", names=", ".join(layers.shortest_names(attention, module))),
            )
        targets |= inner
    if method.feedforward is not None:
        forward = layers.named_layers(module, method.feedforward, "method.feedforward")
        if extra := [name for name in forward if name not in targets]:
            raise InvalidRecipe(
                t("method.feedforward names layers that are not in targets: {names}", names=", ".join(extra[:10])),
                hint=t("Add them to targets."),
            )
    else:
        forward = {name: part for name, part in targets.items() if name in inner}
    whole = modules_to_save(module, method.train_also, kind=kind, new_head=new_head)
    refuse_overlap(targets, whole)
    module.requires_grad_(False)
    config = IA3Config(
        task_type=task_type(family, kind),
        target_modules=layers.shortest_names(targets, module),
        feedforward_modules=layers.shortest_names(forward, module),
        modules_to_save=whole or None,
        fan_in_fan_out=all(isinstance(part, Conv1D) for part in targets.values()),
    )
    adapter = get_peft_model(cast(Any, module), config)
    settle(adapter, module)
    trained = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
    # They scale by one at the start: decay would draw them to zero.
    vectors = {name: weight for name, weight in trained.items() if ".ia3_l." in name}
    heads = {name: weight for name, weight in trained.items() if name not in vectors}
    groups = [ParameterGroup(vectors, decay=False), *([ParameterGroup(heads, HEAD_FACTOR)] if heads else [])]
    return Applied(module, method, groups, 0, 0, 0.0, "adapter", adapter=adapter)


def _feedforward(module: nn.Module) -> dict[str, nn.Module]:
    """The last matrix of each feed-forward block: outside attention, and from more to fewer numbers."""
    attention = layers.attention_layers(module)
    found = {}
    for name, part in layers.linear_layers(module).items():
        if name in attention:
            continue
        rows, columns = cast(Tensor, part.weight).shape
        outer, inner = (rows, columns) if isinstance(part, nn.Linear) else (columns, rows)
        if inner > outer:
            found[name] = part
    return found
