"""Encoder-decoder models: equal to the loss of transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers

import training_batches as batches
from llmasos.data.rendering.sample import RenderedSample
from llmasos.training.batches import TransferBatch
from llmasos.training.objectives.network import Traits, find_traits
from llmasos.training.objectives.objective import evaluate
from llmasos.training.objectives.seq2seq import Seq2SeqObjective

BART: dict[str, Any] = {
    "vocab_size": batches.VOCABULARY, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48,
    "max_position_embeddings": 64, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 2, "dropout": 0.0,
}  # fmt: skip


def t5(**changes: Any) -> Any:
    config = transformers.T5Config(
        vocab_size=batches.VOCABULARY, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, dropout_rate=0.0,
        pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, **changes,
    )  # fmt: skip
    return batches.loud(transformers.T5ForConditionalGeneration(config))


def t5_untied() -> Any:
    return t5(tie_word_embeddings=False)


def bart() -> Any:
    return batches.loud(transformers.BartForConditionalGeneration(transformers.BartConfig(**BART)))


def marian() -> Any:
    """With a bias on the logits that is no weight."""
    config = transformers.MarianConfig(**BART, decoder_vocab_size=batches.VOCABULARY)
    model = batches.loud(transformers.MarianMTModel(config))
    torch.manual_seed(5)
    model.final_logits_bias = torch.randn(model.final_logits_bias.shape, dtype=torch.float64)
    return model


MODELS = {build.__name__: build for build in (t5, t5_untied, bart, marian)}


def batch_of() -> TransferBatch:
    sources = [
        RenderedSample(sample.ids, np.zeros(len(sample), np.bool_)) for sample in batches.documents((7, 20, 3, 12))
    ]
    targets = [
        RenderedSample(sample.ids, np.ones(len(sample), np.bool_)) for sample in batches.documents((5, 2, 9, 14))
    ]
    return TransferBatch(batches.unpacked(sources), batches.unpacked(targets))


def theirs(model: Any, batch: TransferBatch) -> torch.Tensor:
    """The sum of transformers' mean."""
    labels = torch.from_numpy(batch.target.labels)
    loss = model(
        input_ids=torch.from_numpy(batch.source.ids),
        attention_mask=torch.from_numpy(batch.source.documents > 0).long(),
        labels=labels,
    ).loss
    total: torch.Tensor = loss * (labels >= 0).sum()
    return total


@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_are_those_of_transformers(name: str) -> None:
    model = MODELS[name]()
    batch = batch_of()
    expected = theirs(model, batch)
    expected.backward()
    grads = batches.gradients(model)
    traits = find_traits(model, causal_head=True)
    assert traits.transform is not None
    assert traits.bias == (name == "marian")
    own = Seq2SeqObjective(traits, chunk=8)
    found = own.loss(model, batch)
    assert found.count == own.count(batch) == 5 + 2 + 9 + 14
    assert float(found.total) == pytest.approx(float(expected), rel=1e-5)
    found.total.backward()
    batches.assert_alike(batches.gradients(model), grads, tolerance=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_logits_of_the_module_itself_give_the_same(name: str) -> None:
    model = MODELS[name]()
    batch = batch_of()
    own = Seq2SeqObjective(Traits(False, None))
    assert float(own.loss(model, batch).total) == pytest.approx(float(theirs(model, batch)), rel=1e-5)


def test_measures_and_batches_that_do_not_count() -> None:
    model = bart()
    own = Seq2SeqObjective(find_traits(model, causal_head=True), chunk=8)
    batch = batch_of()
    found = evaluate(own, model, [batch, batch.uncounted()])
    assert found["loss"] == pytest.approx(float(theirs(model.eval(), batch)) / own.count(batch), rel=1e-6)
    assert own.count(batch.uncounted()) == 0
