"""Probabilities, ranks, entropy, attention and the logit lens, against transformers' own logits and eager attention."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import llmasos
from llmasos.errors import ContextLengthExceeded, InvalidRequest, Unsupported
from llmasos.explain import explanation
from llmasos.explain.explanation import Explanation, explain_text
from llmasos.explain.tokens import predictions, shown_text
from llmasos.modeling.model import Model
from tiny_models import build

TEXT = "The quick brown fox jumps over the lazy dog. 你好 🎉"
#: Natural logarithms, entropies in bits and attention weights, in float32 on both sides.
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("llama", tmp_path_factory.mktemp("explain") / "llama")


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[Model]:
    with llmasos.load(folder, dtype="float32", threads=1) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def reference(folder: Path) -> transformers.PreTrainedModel:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").float().eval()


def compare(
    found: Explanation, model: Model, reference: transformers.PreTrainedModel, tolerance: float = TOLERANCE
) -> None:
    ids = [item.token_id for item in found.tokens]
    with torch.no_grad():
        expected = reference(torch.tensor([ids]), output_attentions=True, output_hidden_states=True)
    logprobs = expected.logits[0].float().log_softmax(-1)
    for item in found.tokens[1:]:
        row, own = logprobs[item.position - 1], item.expected
        assert own is not None and own.logprob is not None
        assert own.logprob == pytest.approx(float(row[item.token_id]), abs=tolerance)
        assert own.entropy == pytest.approx(float(-(row.exp() * row).sum()) / math.log(2), abs=2 * tolerance)
        # Tokens whose logits differ by less than rounding may change places.
        surely_better = int((row > row[item.token_id] + 2 * tolerance).sum())
        surely_not_worse = int((row >= row[item.token_id] - 2 * tolerance).sum())
        assert own.rank is not None and surely_better < own.rank <= surely_not_worse
        assert [candidate.logprob for candidate in own.candidates] == pytest.approx(
            row.topk(len(own.candidates)).values.tolist(), abs=tolerance
        )
    assert found.attention is not None
    weights = torch.stack(expected.attentions)[:, 0].numpy()
    assert found.attention.weights.shape == weights.shape
    assert np.abs(found.attention.weights - weights).max() < tolerance
    position = len(ids) // 2
    layers = found.lens(model, position, top=3)
    assert [item.layer for item in layers] == list(range(-1, reference.config.num_hidden_layers))
    norm, head = reference.model.norm, reference.lm_head
    # transformers gives the last hidden state after the final norm, so the last layer is compared with the logits.
    states = [*expected.hidden_states[:-1], None]
    for item, state in zip(layers, states, strict=True):
        with torch.no_grad():
            logits = expected.logits[0, position] if state is None else head(norm(state[0, position]))
        row = logits.float().log_softmax(-1)
        assert item.prediction.logprob == pytest.approx(float(row[ids[position + 1]]), abs=2 * tolerance)
        assert [candidate.logprob for candidate in item.prediction.candidates] == pytest.approx(
            row.topk(3).values.tolist(), abs=2 * tolerance
        )


def test_everything_equals_what_transformers_gives(model: Model, reference: transformers.PreTrainedModel) -> None:
    compare(explain_text(model, TEXT), model, reference)


def test_a_text_that_is_computed_in_pieces_is_explained_the_same(
    folder: Path, reference: transformers.PreTrainedModel
) -> None:
    from llmasos.engine.options import EngineOptions

    with llmasos.load(folder, dtype="float32", threads=1, engine_options=EngineOptions(max_batch_tokens=7)) as model:
        compare(explain_text(model, TEXT), model, reference)


@pytest.mark.integration
def test_a_real_model_equals_transformers() -> None:
    from llmasos.engine.options import EngineOptions
    from llmasos.sdk import open_model_folder

    path = open_model_folder("smollm2:135m-instruct", accept_license=True).path
    reference = transformers.AutoModelForCausalLM.from_pretrained(
        path, attn_implementation="eager", dtype=torch.float32
    )
    options = EngineOptions(cache_bytes=1 << 26)  # left open, the cache would take a share of the machine's memory
    with llmasos.load("smollm2:135m-instruct", dtype="float32", accept_license=True, engine_options=options) as model:
        # Thirty layers of float32 in two orders of summation.
        compare(explain_text(model, "The capital of France is Paris."), model, reference.eval(), tolerance=3e-3)


def test_the_prompt_is_no_part_of_what_is_scored(tmp_path: Path) -> None:
    with llmasos.load(build("qwen2", tmp_path / "model"), dtype="float32", threads=1) as model:
        assert model.chat_template is None
        whole = explain_text(model, " quick brown fox", prompt="Which animal?", attention=False)
    context = [item for item in whole.tokens if item.context]
    scored = [item.expected.logprob for item in whole.tokens if not item.context and item.expected is not None]
    assert "".join(item.text for item in context) == "Which animal?" and whole.attention is None
    assert whole.logprob == pytest.approx(sum(value for value in scored if value is not None))
    assert whole.perplexity == pytest.approx(math.exp(-whole.logprob / len(scored)))
    assert "".join(item.text for item in whole.tokens if not item.context) == " quick brown fox"


def test_the_prompt_stands_in_the_chat_template(model: Model) -> None:
    assert model.chat_template is not None
    found = explain_text(model, "<|im_end|>", prompt="Hello")
    ids = [item.token_id for item in found.tokens]
    asked = model.tokenizer.encode_prompt(model.chat_template.render([{"role": "user", "content": "Hello"}]))
    assert ids[: len(asked)] == asked and [item.context for item in found.tokens].count(True) == len(asked)
    # What people write is text, also where it spells a control token.
    assert "".join(item.text for item in found.tokens[len(asked) :]) == "<|im_end|>"
    assert not model.tokenizer.token_id("<|im_end|>") or model.tokenizer.token_id("<|im_end|>") not in ids[len(asked) :]


def test_the_first_token_has_nothing_before_it(model: Model) -> None:
    found = explain_text(model, "The")
    assert found.tokens[0].expected is None
    assert found.following.rank is None and found.following.probability is None and found.following.candidates
    assert explain_text(model, TEXT).perplexity is not None


def test_maps_are_of_a_head_or_means(model: Model) -> None:
    attention = explain_text(model, TEXT).attention
    assert attention is not None
    count = attention.weights.shape[-1]
    for layer, head in ((None, None), (1, None), (0, 1), (None, 0)):
        found = attention.map(layer, head)
        assert found.shape == (count, count)
        assert np.allclose(found.sum(-1), 1, atol=1e-5) and np.allclose(np.triu(found, 1), 0)
    assert np.allclose(attention.map(0), (attention.map(0, 0) + attention.map(0, 1)) / 2)
    with pytest.raises(InvalidRequest, match="layer = 9: allowed is a whole number from 0 to 1"):
        attention.map(9)
    with pytest.raises(InvalidRequest, match="head = -1"):
        attention.map(0, -1)


def test_what_cannot_be_explained_is_refused(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequest, match="the text is empty"):
        explain_text(model, " ")
    with pytest.raises(InvalidRequest, match="the prompt is empty"):
        explain_text(model, "a", prompt="")
    for top in (0, 101, True):
        with pytest.raises(InvalidRequest, match="top ="):
            explain_text(model, "a", top=top)
    with pytest.raises(InvalidRequest, match="most_tokens = 513"):
        explain_text(model, "a", most_tokens=513)
    with pytest.raises(ContextLengthExceeded, match="at most 2 can be explained"):
        explain_text(model, "The quick brown fox", most_tokens=2)
    found = explain_text(model, "The quick")
    with pytest.raises(InvalidRequest, match="position = 99: allowed is a whole number from 0 to"):
        found.lens(model, 99)
    with pytest.raises(ContextLengthExceeded, match=r"at most \d+ can be explained"):
        explain_text(model, "fox " * 600)
    monkeypatch.setattr(explanation, "_MEMORY", 1 << 16)
    with pytest.raises(ContextLengthExceeded):
        explain_text(model, "fox " * 100)


def gpt2(folder: Path) -> Path:
    """A decoder that transformers runs, with the tokenizer of the tiny Llama."""
    build("llama", folder)
    config = transformers.GPT2Config(vocab_size=400, n_embd=32, n_layer=2, n_head=2, n_positions=64)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", ["t5", "bert_classifier", "gpt2"])
def test_other_models_say_that_they_cannot(name: str, tmp_path: Path) -> None:
    path = gpt2(tmp_path / "model") if name == "gpt2" else build(name, tmp_path / "model")
    with (
        llmasos.load(path, threads=1) as other,
        pytest.raises(Unsupported, match="cannot be explained") as refused,
    ):
        explain_text(other, "The quick brown fox")
    assert "smollm2:135m-instruct" in (refused.value.hint or "")


def test_certainty_and_ignorance() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [50.0, -math.inf, 0.0, 0.0]])
    blind, sure = predictions(logits, [2, 0], 9, str)
    assert blind.entropy == pytest.approx(2.0) and blind.probability == pytest.approx(0.25) and blind.rank == 1
    assert sure.entropy == pytest.approx(0.0, abs=1e-6) and sure.rank == 1 and len(sure.candidates) == 4
    assert sure.candidates[0].token_id == 0 and sure.candidates[-1].probability == 0.0


def test_bytes_that_are_no_characters_are_shown_as_such(model: Model) -> None:
    found = explain_text(model, "🎉")
    assert all("�" not in item.text for item in found.tokens)
    assert shown_text(None, lambda ids: f"[{ids[0]}]")(7) == "[7]"
