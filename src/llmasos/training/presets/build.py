"""A preset as a module of transformers with its first, random weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmasos.modeling.tokenizer import Tokenizer
from llmasos.training.presets.configuration import Vocabulary, configuration
from llmasos.training.presets.initialization import initialize
from llmasos.training.presets.shape import shape_of
from llmasos.training.presets.table import check_kind
from llmasos.training.recipe.models import PresetModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def build(
    model: PresetModel,
    tokenizer: Tokenizer | Vocabulary,
    *,
    kind: str,
    labels: Sequence[str] = (),
    seed: int = 42,
    meta: bool = False,
) -> PreTrainedModel:
    """The module of a preset, in float32 and in train mode.

    Args:
        tokenizer: decides the size of the vocabulary and the special tokens.
        kind: of the recipe, which decides the head.
        labels: names of the classes, for ``classify``.
        seed: of the random weights.
        meta: on torch's meta device: shapes without memory and without values.

    Raises:
        InvalidRecipe: the sizes do not fit, the kind cannot train this preset, or the tokenizer lacks a token.
    """
    import torch
    import transformers

    shape = shape_of(model)
    check_kind(shape.preset, kind)
    vocabulary = Vocabulary.of(tokenizer) if isinstance(tokenizer, Tokenizer) else tokenizer
    config, generation = configuration(shape, vocabulary, kind=kind, labels=labels)
    assert config.architectures is not None
    name = getattr(transformers, config.architectures[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        with torch.device("meta" if meta else "cpu"):
            module: PreTrainedModel = name(config)
        if not meta:
            initialize(module, shape)
    if generation is not None:
        module.generation_config = generation
    module.train()
    return module
