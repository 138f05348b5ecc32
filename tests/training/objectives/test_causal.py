"""Next-token prediction: equal to the loss of transformers, however sequences are divided, packed and chunked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch.nn import functional

import training_batches as batches
from llmasos.data.batches import IGNORED, Batch
from llmasos.data.rendering.sample import RenderedSample
from llmasos.training.kernels.cross_entropy import LogitTransform
from llmasos.training.kernels.documents import NAME
from llmasos.training.objectives.causal import CausalObjective
from llmasos.training.objectives.network import Traits, find_traits, head_of
from llmasos.training.objectives.objective import evaluate


def reference(model: Any, batch: Batch) -> torch.Tensor:
    """The sum that transformers' own loss is the mean of, with padded rows and all logits."""
    ids, mask = torch.from_numpy(batch.ids), torch.from_numpy(batch.documents > 0)
    logits = model(input_ids=ids, attention_mask=mask.long()).logits.double()
    labels = torch.from_numpy(batch.labels)
    count = (labels[:, 1:] != IGNORED).sum()
    loss = model.loss_function(logits=logits, labels=labels, vocab_size=logits.shape[-1])
    total: torch.Tensor = loss * count
    return total


def objective(model: Any, **options: Any) -> CausalObjective:
    traits = find_traits(model, causal_head=True)
    assert traits.packable
    assert traits.transform is not None
    return CausalObjective(traits, **options)


@pytest.mark.parametrize("name", batches.DECODERS)
def test_loss_and_gradients_are_those_of_transformers(name: str) -> None:
    model = batches.DECODERS[name]()
    batch = batches.unpacked(batches.documents())
    theirs = reference(model, batch)
    theirs.backward()
    expected = batches.gradients(model)
    own = objective(model, chunk=16)
    found = own.loss(model, batch)
    assert found.count == np.count_nonzero(batch.labels[:, 1:] != IGNORED) == own.count(batch)
    assert float(found.total) == pytest.approx(float(theirs), rel=1e-6)
    found.total.backward()
    batches.assert_alike(batches.gradients(model), expected, tolerance=1e-4)


@pytest.mark.parametrize("name", batches.DECODERS)
def test_packed_equals_unpacked(name: str) -> None:
    model = batches.DECODERS[name]()
    samples = batches.documents()
    own = objective(model)
    apart, together = (own.loss(model, batch) for batch in (batches.unpacked(samples), batches.packed(samples)))
    assert together.count == apart.count
    assert float(together.total) == pytest.approx(float(apart.total), rel=1e-9)
    theirs = reference(model, batches.unpacked(samples))
    assert float(together.total) == pytest.approx(float(theirs), rel=1e-6)
    theirs.backward()
    expected = batches.gradients(model)
    together.total.backward()
    batches.assert_alike(batches.gradients(model), expected, tolerance=1e-4)


def loss_of_middle(model: Any, samples: list[RenderedSample]) -> float:
    batch = batches.packed(samples)
    batch.labels[batch.documents != 2] = IGNORED
    return float(objective(model).loss(model, batch).total)


@pytest.mark.parametrize("name", batches.DECODERS)
def test_documents_in_one_row_do_not_see_each_other(name: str) -> None:
    model = batches.DECODERS[name]()
    samples = batches.documents((9, 11, 8))
    others = [batches.document(9, 77), samples[1], batches.document(8, 78)]
    alone = float(objective(model).loss(model, batches.packed([samples[1]])).total)
    assert loss_of_middle(model, samples) == pytest.approx(loss_of_middle(model, others), rel=1e-12)
    assert loss_of_middle(model, samples) == pytest.approx(alone, rel=1e-6)


def test_one_batch_of_eight_equals_eight_of_one() -> None:
    model = batches.llama()
    own = objective(model)
    samples = batches.documents()
    whole = own.loss(model, batches.unpacked(samples))
    (whole.total / whole.count).backward()
    expected = batches.gradients(model)
    count = sum(own.count(batches.unpacked([sample])) for sample in samples)
    assert count == whole.count
    total = 0.0
    for sample in samples:
        part = own.loss(model, batches.unpacked([sample]))
        (part.total / count).backward()
        total += float(part.total)
    assert total == pytest.approx(float(whole.total), rel=1e-9)
    batches.assert_alike(batches.gradients(model), expected, tolerance=1e-6)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_the_chunk_does_not_matter(chunk: int) -> None:
    model = batches.llama()
    batch = batches.packed(batches.documents())
    objective(model, chunk=10).loss(model, batch).total.backward()
    expected = batches.gradients(model)
    objective(model, chunk=chunk).loss(model, batch).total.backward()
    batches.assert_alike(batches.gradients(model), expected, tolerance=1e-6)


def test_label_smoothing_is_that_of_torch() -> None:
    model = batches.llama()
    batch = batches.unpacked(batches.documents())
    mask = torch.from_numpy(batch.documents > 0).long()
    logits = model(input_ids=torch.from_numpy(batch.ids), attention_mask=mask).logits[:, :-1]
    labels = torch.from_numpy(batch.labels)[:, 1:]
    expected = functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), reduction="sum", label_smoothing=0.2
    )
    found = objective(model, chunk=9, label_smoothing=0.2).loss(model, batch).total
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("name", batches.DECODERS)
def test_a_batch_that_does_not_count_has_zero_loss_and_gradients(name: str) -> None:
    model = batches.DECODERS[name]()
    found = objective(model).loss(model, batches.packed(batches.documents()).uncounted())
    assert found.count == 0
    assert float(found.total) == 0.0
    found.total.backward()
    assert all(not grad.any() for grad in batches.gradients(model).values())


def bent() -> Any:
    """Its attention bends scores too, which is not done within documents: rows are padded."""
    config = transformers.Gemma2Config(
        **batches.SIZES, num_key_value_heads=2, head_dim=8, final_logit_softcapping=3.0, attn_logit_softcapping=2.0,
        sliding_window=6,
    )  # fmt: skip
    return transformers.Gemma2ForCausalLM(config), LogitTransform(1.0, 3.0)


def multiplied() -> Any:
    config = transformers.CohereConfig(**batches.SIZES, num_key_value_heads=2, logit_scale=0.3)
    return transformers.CohereForCausalLM(config), LogitTransform(0.3)


def divided() -> Any:
    config = transformers.GraniteConfig(
        **batches.SIZES, num_key_value_heads=2, logits_scaling=4.0, residual_multiplier=0.7
    )
    return transformers.GraniteForCausalLM(config), LogitTransform(0.25)


@pytest.mark.parametrize("build", [bent, multiplied, divided], ids=lambda build: build.__name__)
def test_heads_that_scale_and_bend(build: Any) -> None:
    model, transform = build()
    model = batches.loud(model)
    model.set_attn_implementation("eager")
    batch = batches.unpacked(batches.documents((20, 20, 20)))  # eager attention in float64 gives NaN at padding
    theirs = float(reference(model, batch))
    traits = find_traits(model, causal_head=True)
    assert traits.transform == transform
    assert traits.packable == (model.config._attn_implementation == NAME) == (build is not bent)
    own = CausalObjective(traits, chunk=8)
    assert float(own.loss(model, batch).total) == pytest.approx(theirs, rel=1e-6)


class Doubled(torch.nn.Linear):
    """A head that is more than its matrix."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(hidden)


def test_a_head_of_another_kind_is_called_in_chunks() -> None:
    model = batches.llama()
    model.lm_head = Doubled(32, batches.VOCABULARY, bias=False).double()
    batch = batches.unpacked(batches.documents())
    theirs = reference(model, batch)
    theirs.backward()
    expected = batches.gradients(model)
    head = head_of(model, find_traits(model, causal_head=True))
    assert head is not None
    assert head.weight is None
    objective(model, chunk=5).loss(model, batch).total.backward()
    batches.assert_alike(batches.gradients(model), expected, tolerance=1e-4)


@pytest.mark.parametrize("traits", [Traits(False, LogitTransform()), Traits(False, None)])
def test_padded_rows_and_the_modules_own_logits_give_the_same(traits: Traits) -> None:
    model = batches.llama()
    batch = batches.unpacked(batches.documents())
    expected = float(reference(model, batch))
    own = CausalObjective(traits)
    assert float(own.loss(model, batch).total) == pytest.approx(expected, rel=1e-6)
    assert evaluate(own, model, [batch])["loss"] == pytest.approx(expected / own.count(batch), rel=1e-6)


def test_measures_are_sums_over_tokens() -> None:
    model = batches.llama()
    samples = batches.documents()
    own = objective(model, chunk=11)
    parts = [batches.packed(samples[:3]), batches.packed(samples[3:])]
    found = evaluate(own, model, parts)
    assert model.training
    expected = sum(float(own.loss(model, part).total) for part in parts) / sum(map(own.count, parts))
    assert found["loss"] == pytest.approx(expected, rel=1e-9)
    assert found["perplexity"] == pytest.approx(np.exp(expected), rel=1e-9)
    batch = batches.unpacked(samples)
    with torch.no_grad():
        said = model(input_ids=torch.from_numpy(batch.ids)).logits.argmax(-1).numpy()[:, :-1]
    labels = batch.labels[:, 1:]
    assert found["accuracy"] == pytest.approx(np.mean((said == labels)[labels != IGNORED]))
    assert own.higher_is_better == {"loss": False, "perplexity": False, "accuracy": True}


class Forgetful(transformers.LlamaModel):
    """A body that does not hand the lengths of documents on to its layers."""

    def forward(self, *args: Any, document_lengths: object = None, **kwargs: Any) -> Any:
        return super().forward(*args, **kwargs)


def test_a_body_that_would_mix_documents_is_not_packed() -> None:
    model = batches.llama()
    body = Forgetful(model.config).double()
    body.load_state_dict(model.model.state_dict())
    model.model = body
    before = model.config._attn_implementation
    assert not find_traits(model, causal_head=True).packable
    assert model.config._attn_implementation == before
