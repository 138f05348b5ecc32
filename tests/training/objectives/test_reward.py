"""Reward models: the closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers

import training_batches as batches
from llmasos.training.batches import PairBatch
from llmasos.training.objectives.network import find_traits
from llmasos.training.objectives.objective import evaluate
from llmasos.training.objectives.reward import RewardObjective
from llmasos.training.objectives.scores import find_way


def model_and_batch() -> tuple[Any, PairBatch]:
    config = transformers.LlamaConfig(**batches.SIZES, num_key_value_heads=2, num_labels=1, pad_token_id=0)
    model = batches.loud(transformers.LlamaForSequenceClassification(config))
    chosen, rejected = batches.documents((7, 20, 3)), batches.documents((9, 4, 12))
    return model, PairBatch(batches.unpacked(chosen), batches.unpacked(rejected), np.array([True, True, True]))


def rewards(model: Any, batch: PairBatch) -> tuple[torch.Tensor, torch.Tensor]:
    found = [
        model(input_ids=torch.from_numpy(part.ids), attention_mask=torch.from_numpy(part.documents > 0).long()).logits[
            :, 0
        ]
        for part in (batch.chosen, batch.rejected)
    ]
    return found[0], found[1]


def objective(model: Any, **options: Any) -> RewardObjective:
    traits = find_traits(model, causal_head=False)
    return RewardObjective(traits, find_way(model, traits), **options)


@pytest.mark.parametrize(("margin", "center"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.1), (0.7, 0.01)])
def test_equals_the_closed_form(margin: float, center: float) -> None:
    model, batch = model_and_batch()
    chosen, rejected = rewards(model, batch)
    expected = torch.log1p(torch.exp(-(chosen - rejected - margin))).sum() + center * (chosen + rejected).square().sum()
    expected.backward()
    grads = batches.gradients(model)
    own = objective(model, margin=margin, center=center)
    found = own.loss(model, batch)
    assert found.count == own.count(batch) == 3
    assert float(found.total) == pytest.approx(float(expected), rel=1e-6)
    assert found.metrics["accuracy"] == (float((chosen > rejected).sum()), 3.0)
    found.total.backward()
    batches.assert_alike(batches.gradients(model), grads, tolerance=1e-4)


def test_pairs_that_do_not_count() -> None:
    model, batch = model_and_batch()
    own = objective(model)
    half = PairBatch(batch.chosen, batch.rejected, np.array([True, False, True]))
    with torch.no_grad():
        chosen, rejected = rewards(model, batch)
    expected = float(-torch.nn.functional.logsigmoid(chosen - rejected)[[0, 2]].sum())
    assert float(own.loss(model, half).total) == pytest.approx(expected, rel=1e-6)
    assert float(own.loss(model, batch.uncounted()).total) == 0.0
    found = evaluate(own, model, [half])
    assert found["loss"] == pytest.approx(expected / 2, rel=1e-6)
    assert found["margin"] == pytest.approx(float((chosen - rejected)[[0, 2]].mean()), rel=1e-6)
    assert found["accuracy"] == float((chosen > rejected)[[0, 2]].double().mean())
