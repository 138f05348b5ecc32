"""A preset with the recipe's own sizes in place of its own, checked, and how many weights that makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llmasos.errors import InvalidRecipe
from llmasos.i18n import t
from llmasos.training.presets.table import Preset, PresetFamily, find
from llmasos.training.recipe.models import PresetModel

_MULTIPLE = 32
"""Widths of feed-forward layers that follow another width are rounded up to a multiple: kernels like that."""
BUCKETS = 32
"""Relative distances that T5 tells apart."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a model; see :class:`~llmasos.training.presets.table.Preset`."""

    preset: Preset
    layers: int
    hidden_size: int
    heads: int
    kv_heads: int
    head_size: int
    intermediate_size: int
    context_length: int
    dropout: float

    @property
    def family(self) -> PresetFamily:
        return self.preset.family

    def body_weights(self) -> int:
        """Weights without those that grow with the vocabulary, and without the head of a classifier."""
        return _BODY[self.family](self)

    def vocabulary_weights(self, entries: int) -> int:
        """Weights of the token embeddings, which are the output layer too."""
        return entries * self.hidden_size

    def weights(self, entries: int) -> int:
        """Trained weights of the model with a vocabulary of so many entries."""
        return self.body_weights() + self.vocabulary_weights(entries)


def shape_of(model: PresetModel) -> Shape:
    """The sizes that a recipe asks for.

    The feed-forward width grows with ``hidden_size`` where only that is given; grouped-query attention keeps its
    ratio as nearly as the number of heads allows.

    Raises:
        InvalidRecipe: there is no such preset, or the sizes do not fit each other.
    """
    preset = find(model.preset)
    hidden = model.hidden_size or preset.hidden_size
    heads = model.heads or preset.heads
    _check_heads(model, preset, hidden, heads)
    head_size = preset.head_size or hidden // heads
    intermediate = model.intermediate_size or _grown(preset, hidden)
    return Shape(
        preset=preset,
        layers=model.layers or preset.layers,
        hidden_size=hidden,
        heads=heads,
        kv_heads=_kv_heads(preset, heads),
        head_size=head_size,
        intermediate_size=intermediate,
        context_length=model.context_length or preset.context_length,
        dropout=model.dropout,
    )


def _check_heads(model: PresetModel, preset: Preset, hidden: int, heads: int) -> None:
    rotary = preset.family == "llama"
    if preset.head_size is not None:
        return
    step = 2 if rotary else 1
    if hidden % (heads * step):
        near = [number for number in range(1, hidden + 1) if hidden % (number * step) == 0]
        near.sort(key=lambda number: (abs(number - heads), number))
        key = "heads" if model.heads is not None or model.hidden_size is None else "hidden_size"
        rule = t("each head needs an even, equal share") if rotary else t("each head needs an equal share")
        raise InvalidRecipe(
            t("model.{key} = {value}: a width of {hidden} cannot be divided among {heads} heads; {rule}",
              key=key, value=heads if key == "heads" else hidden, hidden=hidden, heads=heads, rule=rule),
            hint=t("With this width, heads may be {values}.", values=", ".join(map(str, sorted(near[:4])))),
        )  # fmt: skip
    if preset.family == "marian" and hidden % 2:
        raise InvalidRecipe(
            t("model.hidden_size = {value}: it must be even for the position embeddings", value=hidden),
            hint=t("Choose {value}.", value=hidden + 1),
        )


def _grown(preset: Preset, hidden: int) -> int:
    if hidden == preset.hidden_size:
        return preset.intermediate_size
    return -(-hidden * preset.intermediate_size // (preset.hidden_size * _MULTIPLE)) * _MULTIPLE


def _kv_heads(preset: Preset, heads: int) -> int:
    if preset.kv_heads is None:
        return heads
    most = max(heads * preset.kv_heads // preset.heads, 1)
    return max(number for number in range(1, most + 1) if heads % number == 0)


# --- weights of each family ------------------------------------------------------------------------------------------


def _llama(shape: Shape) -> int:
    hidden = shape.hidden_size
    attention = hidden * shape.head_size * 2 * (shape.heads + shape.kv_heads)
    return shape.layers * (attention + 3 * hidden * shape.intermediate_size + 2 * hidden) + hidden


def _t5(shape: Shape) -> int:
    hidden = shape.hidden_size
    attention = 4 * hidden * shape.heads * shape.head_size
    gated = 3 * hidden * shape.intermediate_size
    layers = shape.layers * (3 * attention + 2 * gated + 5 * hidden)
    return layers + 2 * (BUCKETS * shape.heads + hidden)


def _block(shape: Shape, attentions: int) -> int:
    """A layer with biases, and a normalisation after each of its parts."""
    hidden, wide = shape.hidden_size, shape.intermediate_size
    return attentions * (4 * (hidden * hidden + hidden) + 2 * hidden) + 2 * hidden * wide + wide + 3 * hidden


def _marian(shape: Shape) -> int:
    return shape.layers * (_block(shape, 1) + _block(shape, 2))


def _bert(shape: Shape) -> int:
    hidden = shape.hidden_size
    embeddings = (shape.context_length + 2 + 2) * hidden
    pooler = hidden * hidden + hidden
    return embeddings + shape.layers * _block(shape, 1) + pooler


_BODY: dict[PresetFamily, Callable[[Shape], int]] = {"llama": _llama, "t5": _t5, "marian": _marian, "bert": _bert}
