"""Lengths, packing and micro-batches that follow from a recipe."""

from __future__ import annotations

from typing import Any

import pytest

from llmasos.data.packing import BestFit, Unpacked
from llmasos.data.rendering.options import Drop, Split
from llmasos.errors import InvalidRecipe
from llmasos.training import limits
from llmasos.training.recipe.kinds import KINDS, TrainingRecipe


def recipe(kind: str = "sft", *, data: dict[str, Any] | None = None, **keys: Any) -> TrainingRecipe:
    raw = {"kind": kind, "model": "some/model", "data": {"train": [{"path": "x.jsonl"}], **(data or {})}, **keys}
    return KINDS[kind].model_validate(raw)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("data", "context", "expected"),
    [
        ({}, 8192, 1024),
        ({}, 512, 512),
        ({"sequence_length": 256}, 512, 256),
        ({"rendering": {"max_length": 300}}, 512, 300),
        ({"rendering": {"max_length": 200}, "sequence_length": 400}, 512, 400),
    ],
)
def test_sequence_length(data: dict[str, Any], context: int, expected: int) -> None:
    assert limits.sequence_length(recipe(data=data), context) == expected


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"sequence_length": 600}, "data.sequence_length = 600: at most 512"),
        ({"rendering": {"max_length": 600}}, "data.rendering.max_length = 600: at most 512"),
        ({"rendering": {"max_length": 300}, "sequence_length": 200}, "data.rendering.max_length = 300: at most 200"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(data: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidRecipe, match=named):
        limits.sequence_length(recipe(data=data), 512)


def test_prompt_vectors_take_places_of_the_context() -> None:
    method = {"kind": "prompt-tuning", "tokens": 12}
    assert limits.sequence_length(recipe(method=method), 512) == 500
    with pytest.raises(InvalidRecipe, match="at most 500"):
        limits.sequence_length(recipe(method=method, data={"sequence_length": 501}), 512)


def test_texts_for_pretraining_are_divided_unless_the_recipe_says_otherwise() -> None:
    assert limits.rendering_options(recipe("pretrain"), 512).overlong == Split(overlap=1)
    assert limits.rendering_options(recipe("pretrain"), 512).max_length == 512
    dropping = recipe("pretrain", data={"rendering": {"overlong": {"kind": "drop"}}})
    assert limits.rendering_options(dropping, 512).overlong == Drop()
    assert limits.rendering_options(recipe("sft"), 512).overlong == Drop()


def test_packing_is_for_decoders_that_keep_documents_apart() -> None:
    assert limits.packing(recipe("pretrain"), packable=True) == (BestFit(), None)
    packing, remark = limits.packing(recipe("sft"), packable=False)
    assert packing == Unpacked()
    assert remark is not None
    assert "does not keep" in remark
    assert limits.packing(recipe("classify"), packable=True) == (Unpacked(), None)
    packing, remark = limits.packing(recipe(method={"kind": "prefix-tuning"}), packable=True)
    assert packing == Unpacked()
    assert remark is not None
    assert "prefix-tuning" in remark


@pytest.mark.parametrize(
    ("wanted", "packable"),
    [
        (recipe("classify", data={"packing": {"kind": "best_fit"}}), True),
        (recipe("reward", data={"packing": {"kind": "sequential"}}), True),
        (recipe("sft", data={"packing": {"kind": "best_fit"}}), False),
        (recipe("sft", data={"packing": {"kind": "best_fit"}}, method={"kind": "p-tuning"}), True),
    ],
)
def test_packing_that_is_asked_for_and_not_possible_is_refused(wanted: TrainingRecipe, packable: bool) -> None:
    with pytest.raises(InvalidRecipe, match="packing"):
        limits.packing(wanted, packable=packable)


@pytest.mark.parametrize(
    ("batch", "tokens", "world", "expected"), [(16, 128, 1, 16), (16, 512, 1, 4), (12, 512, 2, 3), (16, 5000, 1, 1)]
)
def test_micro_batches_keep_the_device_busy(batch: int, tokens: float, world: int, expected: int) -> None:
    wanted = recipe(trainer={"batch_size": batch})
    assert limits.micro_batch_size(wanted, tokens=tokens, world=world, device="cpu") == expected


def test_batches_that_cannot_be_shared_are_refused() -> None:
    with pytest.raises(InvalidRecipe, match="not a multiple of the 3 processes"):
        limits.micro_batch_size(recipe(trainer={"batch_size": 16}), tokens=10, world=3, device="cpu")
    given = recipe(trainer={"batch_size": 16, "micro_batch_size": 8})
    assert limits.micro_batch_size(given, tokens=10, world=2, device="cpu") == 8
    with pytest.raises(InvalidRecipe, match="times 4 processes"):
        limits.micro_batch_size(given, tokens=10, world=4, device="cpu")
