"""Every weight is trained."""

from __future__ import annotations

from torch import nn

from llmasos.training.methods import layers
from llmasos.training.methods.applied import Applied, ParameterGroup
from llmasos.training.recipe.methods import Full


def apply_full(module: nn.Module, method: Full) -> Applied:
    """Train all that can be trained: fixed tables, such as Marian's positions, stay."""
    layers.freeze_tables(module)
    weights = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
    return Applied(module, method, [ParameterGroup(weights)], 0, 0, 0.0, "model")
