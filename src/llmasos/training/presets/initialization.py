"""First weights as published, where transformers sets others.

Everything else keeps what the model classes of transformers set: BERT's normal distribution (Devlin et al. 2019) and
the layers of T5 (Raffel et al. 2020).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmasos.training.presets.shape import Shape

if TYPE_CHECKING:
    from torch import nn

_RESIDUAL = ("o_proj.weight", "down_proj.weight")


def initialize(module: nn.Module, shape: Shape) -> None:
    """Set the weights of a new module in place, with torch's random numbers."""
    import torch

    with torch.no_grad():
        if shape.family == "llama":
            _scale_residuals(module, shape)
        elif shape.family == "marian":
            _glorot(module, shape)


def _scale_residuals(module: nn.Module, shape: Shape) -> None:
    """What is added to the residual stream starts smaller by ``sqrt(2 layers)`` (GPT-2, Radford et al. 2019), so that
    the sum of all layers has the same spread whatever their number."""
    for name, parameter in module.named_parameters():
        if name.endswith(_RESIDUAL):
            parameter.mul_((2 * shape.layers) ** -0.5)


def _glorot(module: nn.Module, shape: Shape) -> None:
    """Matrices as Marian sets them (Glorot and Bengio 2010); embeddings with a spread of 1 after their scaling
    (Vaswani et al. 2017)."""
    from torch import nn

    embeddings = module.get_submodule("model.shared")
    assert isinstance(embeddings, nn.Embedding)
    embeddings.weight.normal_(0.0, shape.hidden_size**-0.5)
    for part in ("model.encoder.layers", "model.decoder.layers"):
        for layer in module.get_submodule(part).modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
