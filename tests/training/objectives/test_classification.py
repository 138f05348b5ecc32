"""Classification: equal to the loss of transformers, with and without padding, single texts and pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from sklearn.metrics import accuracy_score, f1_score
from torch.nn import functional

import training_batches as batches
from llmasos.data.rendering.sample import RenderedSample
from llmasos.training.batches import ClassBatch
from llmasos.training.objectives.classification import ClassificationObjective, class_weights
from llmasos.training.objectives.network import Traits, find_traits
from llmasos.training.objectives.objective import evaluate
from llmasos.training.objectives.scores import find_way

ENCODER: dict[str, Any] = {**batches.SIZES, "num_labels": 3}


def bert() -> Any:
    return transformers.BertForSequenceClassification(transformers.BertConfig(**ENCODER, pad_token_id=0))


def roberta() -> Any:
    config = transformers.RobertaConfig(**{**ENCODER, "max_position_embeddings": 70}, pad_token_id=1, type_vocab_size=1)
    return transformers.RobertaForSequenceClassification(config)


def distilbert() -> Any:
    config = transformers.DistilBertConfig(
        vocab_size=batches.VOCABULARY, dim=32, n_layers=2, n_heads=4, hidden_dim=48, num_labels=3, pad_token_id=0
    )
    return transformers.DistilBertForSequenceClassification(config)


def modernbert() -> Any:
    """Windows, and a mean over tokens in the head, which is not known here."""
    config = transformers.ModernBertConfig(
        **ENCODER, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
        classifier_pooling="mean", local_attention=8,
    )  # fmt: skip
    return transformers.ModernBertForSequenceClassification(config)


def llama() -> Any:
    config = transformers.LlamaConfig(**batches.SIZES, num_key_value_heads=2, num_labels=3, pad_token_id=0)
    return transformers.LlamaForSequenceClassification(config)


MODELS = {build.__name__: build for build in (bert, roberta, distilbert, modernbert, llama)}


def batch_of(model: Any, *, pairs: bool = False) -> ClassBatch:
    samples = [
        RenderedSample(sample.ids, np.zeros(len(sample), np.bool_), pair_start=len(sample) // 2 if pairs else None)
        for sample in batches.documents((7, 20, 3, 12))
    ]
    return ClassBatch(batches.unpacked(samples, model.config.pad_token_id), np.array([2, 0, 1, 1]))


def scores(model: Any, batch: ClassBatch) -> torch.Tensor:
    """As transformers gives them for padded rows."""
    text = batch.text
    types = {"token_type_ids": torch.from_numpy(text.token_type_ids)} if model.config.model_type == "bert" else {}
    logits: torch.Tensor = model(
        input_ids=torch.from_numpy(text.ids), attention_mask=torch.from_numpy(text.documents > 0).long(), **types
    ).logits
    return logits


def objective(model: Any, **options: Any) -> ClassificationObjective:
    traits = find_traits(model, causal_head=False)
    return ClassificationObjective(traits, find_way(model, traits), classes=3, **options)


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_are_those_of_transformers(name: str, pairs: bool) -> None:
    model = batches.loud(MODELS[name]())
    batch = batch_of(model, pairs=pairs)
    expected = functional.cross_entropy(scores(model, batch), torch.from_numpy(batch.classes), reduction="sum")
    expected.backward()
    grads = batches.gradients(model)
    own = objective(model)
    found = own.loss(model, batch)
    assert found.count == own.count(batch) == 4
    assert float(found.total) == pytest.approx(float(expected), rel=1e-6)
    found.total.backward()
    batches.assert_alike(batches.gradients(model), grads, tolerance=1e-4)


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "llama"])
def test_known_heads_need_no_padding(name: str) -> None:
    model = batches.loud(MODELS[name]())
    traits = find_traits(model, causal_head=False)
    assert traits.packable
    assert find_way(model, traits) is not None


def test_types_of_a_pair_matter() -> None:
    model = batches.loud(bert())
    own = objective(model)
    single, pair = (float(own.loss(model, batch_of(model, pairs=pairs)).total) for pairs in (False, True))
    assert abs(single - pair) > 1e-6


def test_weights_and_smoothing_are_those_of_torch() -> None:
    model = batches.loud(bert())
    batch = batch_of(model)
    weights = [0.5, 2.0, 1.5]
    expected = functional.cross_entropy(
        scores(model, batch), torch.from_numpy(batch.classes), reduction="sum", label_smoothing=0.1,
        weight=torch.tensor(weights, dtype=torch.float64),
    )  # fmt: skip
    found = objective(model, weights=weights, label_smoothing=0.1).loss(model, batch)
    assert float(found.total) == pytest.approx(float(expected), rel=1e-6)


def test_one_batch_equals_its_texts_one_at_a_time() -> None:
    model = batches.loud(llama())
    own = objective(model)
    batch = batch_of(model)
    whole = float(own.loss(model, batch).total)
    parts = 0.0
    for row, sample in enumerate(batches.documents((7, 20, 3, 12))):
        bare = RenderedSample(sample.ids, np.zeros(len(sample), np.bool_))
        parts += float(own.loss(model, ClassBatch(batches.unpacked([bare]), batch.classes[row : row + 1])).total)
    assert parts == pytest.approx(whole, rel=1e-9)


def test_texts_that_do_not_count() -> None:
    model = batches.loud(bert())
    found = objective(model).loss(model, batch_of(model).uncounted())
    assert (found.count, float(found.total)) == (0, 0.0)
    found.total.backward()
    assert all(not grad.any() for grad in batches.gradients(model).values())


def test_balanced_weights_and_named_ones() -> None:
    assert class_weights("none", ["a", "b"], [1, 3]) is None
    balanced = class_weights("balanced", ["a", "b"], [1, 3])
    assert balanced == [2.0, pytest.approx(2 / 3)]
    assert sum(weight * count for weight, count in zip(balanced, [1, 3], strict=True)) == pytest.approx(4)
    assert class_weights({"b": 5.0}, ["a", "b"], [1, 3]) == [1.0, 5.0]


def test_measures_equal_those_of_scikit_learn() -> None:
    chance = np.random.default_rng(0)
    truth, said = chance.integers(0, 3, 200), chance.integers(0, 2, 200)  # class 2 is never said
    own = ClassificationObjective(Traits(False), None, classes=3)
    sums: dict[str, float] = {"samples": 200.0, "loss": 50.0}
    for right, guess in zip(truth, said, strict=True):
        name = f"is {right} said {guess}"
        sums[name] = sums.get(name, 0.0) + 1
    found = own.summarise(sums)
    assert found["loss"] == 0.25
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, said))
    assert found["f1_macro"] == pytest.approx(f1_score(truth, said, average="macro"))


def test_validation_batches_are_measured() -> None:
    model = batches.loud(bert())
    own = objective(model)
    batch = batch_of(model)
    found = evaluate(own, model, [batch, batch.uncounted()])
    logits = scores(model.eval(), batch)
    classes = torch.from_numpy(batch.classes)
    assert found["loss"] == pytest.approx(float(functional.cross_entropy(logits, classes)), rel=1e-6)
    assert found["accuracy"] == pytest.approx(float((logits.argmax(-1) == classes).double().mean()))
