"""Sizes of presets: overrides, checks, and weights counted as transformers makes them."""

from __future__ import annotations

import pytest

from llmasos.errors import InvalidRecipe
from llmasos.training.presets.build import build
from llmasos.training.presets.configuration import Vocabulary
from llmasos.training.presets.shape import shape_of
from llmasos.training.presets.table import KINDS_OF_FAMILY, PRESETS, check_kind, find
from llmasos.training.recipe.models import PresetModel


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_the_weights_are_as_many_as_the_module_has(name: str) -> None:
    model = PresetModel(preset=name)
    shape = shape_of(model)
    kind = KINDS_OF_FAMILY[shape.family][0]
    module = build(model, Vocabulary.assumed(1000), kind=kind, labels=("a", "b"), meta=True)
    counted = sum(weight.numel() for name, weight in module.named_parameters()
                  if weight.requires_grad and not name.startswith(("classifier.", "score.")))  # fmt: skip
    assert shape.weights(1000) == counted
    assert all(weight.is_meta for weight in module.parameters())


@pytest.mark.parametrize(
    ("name", "entries", "published"),
    [
        ("llama-15m", 32_000, 15.2e6),
        ("llama-42m", 32_000, 41.7e6),
        ("llama-110m", 32_000, 110e6),
        ("llama-135m", 49_152, 134.5e6),
        ("llama-360m", 49_152, 361.8e6),
        ("llama-1b", 128_256, 1.24e9),
        ("t5-small", 32_128, 77e6 - 32_128 * 512),  # published with an output layer of its own
        ("t5-base", 32_128, 248e6 - 32_128 * 768),
        ("bert-tiny", 30_522, 4.4e6),
        ("bert-mini", 30_522, 11.3e6),
        ("bert-small", 30_522, 29.1e6),
        ("bert-medium", 30_522, 41.7e6),
        ("bert-base", 30_522, 110.1e6),
    ],
)
def test_with_the_published_vocabulary_it_is_the_published_size(name: str, entries: int, published: float) -> None:
    assert shape_of(PresetModel(preset=name)).weights(entries) == pytest.approx(published, rel=0.015)


def test_sizes_of_the_recipe_replace_those_of_the_preset() -> None:
    shape = shape_of(PresetModel(preset="llama-1m", layers=2, hidden_size=64, heads=2, context_length=32, dropout=0.1))
    assert (shape.layers, shape.hidden_size, shape.heads, shape.head_size) == (2, 64, 2, 32)
    assert (shape.context_length, shape.dropout) == (32, 0.1)
    assert shape.intermediate_size == 192  # 64 x 352/128, rounded up to a multiple of 32
    assert shape_of(PresetModel(preset="llama-1m", hidden_size=64, intermediate_size=100)).intermediate_size == 100


@pytest.mark.parametrize(("heads", "kv_heads"), [(9, 3), (18, 6), (8, 2), (1, 1), (16, 4)])
def test_grouped_queries_keep_their_ratio_as_nearly_as_they_can(heads: int, kv_heads: int) -> None:
    assert shape_of(PresetModel(preset="llama-135m", hidden_size=576, heads=heads)).kv_heads == kv_heads


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"heads": 3}, "model.heads = 3: a width of 128", "2, 4"),
        ({"hidden_size": 130}, "model.hidden_size = 130: a width of 130", "5"),
        ({"hidden_size": 12, "heads": 4}, "a width of 12", "3"),  # each head would have 3: odd
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, int], message: str, hint: str) -> None:
    with pytest.raises(InvalidRecipe) as caught:
        shape_of(PresetModel.model_validate({"preset": "llama-1m", **changes}))
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


def test_t5_has_heads_of_their_own_width() -> None:
    shape = shape_of(PresetModel(preset="t5-small", heads=5))
    assert (shape.heads, shape.head_size) == (5, 64)


def test_an_unknown_preset_is_answered_with_the_nearest() -> None:
    with pytest.raises(InvalidRecipe, match="no such preset") as caught:
        find("lama-15m")
    assert "llama-15m" in (caught.value.hint or "")


def test_a_kind_that_cannot_train_it_is_refused() -> None:
    with pytest.raises(InvalidRecipe, match="a recipe of kind pretrain cannot train it") as caught:
        check_kind(find("bert-mini"), "pretrain")
    assert "llama-1m" in (caught.value.hint or "")
    assert "t5" not in (caught.value.hint or "")


def test_every_kind_has_a_preset() -> None:
    kinds = {kind for kinds in KINDS_OF_FAMILY.values() for kind in kinds}
    assert kinds == {"pretrain", "sft", "classify", "seq2seq", "reward"}
