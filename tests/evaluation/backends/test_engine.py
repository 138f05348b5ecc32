"""The engine's answers equal a plain loop over transformers, and so do those of a module in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import llmasos
import tiny_models
from llmasos.errors import ContextLengthExceeded
from llmasos.evaluation.backends.encoding import PromptEncoder, begin_token
from llmasos.evaluation.backends.open import backend_of
from llmasos.evaluation.backends.protocol import Answer, Backend, Call, Continue, Predict, PromptInput, Write
from llmasos.evaluation.backends.torch_module import ModuleBackend
from llmasos.modeling.model import Model

LIMIT = 64
TEXTS = ["the model reads", "une phrase en français", "Beijing is the capital", "words, words and more words", "a"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_models.build("llama", tmp_path_factory.mktemp("engine") / "llama")
    tiny_models.change_json(folder / "config.json", max_position_embeddings=LIMIT)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[Model]:
    with llmasos.load(folder, dtype="float32") as model:
        yield model


@pytest.fixture(scope="module")
def reference(folder: Path) -> Any:
    return transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module", params=["engine", "module"])
def backend(request: pytest.FixtureRequest, model: Model, reference: Any) -> Backend:
    if request.param == "engine":
        return backend_of(model)
    encoder = PromptEncoder(model.tokenizer, model.chat_template, "module", begin_token(model.tokenizer))
    return ModuleBackend(reference, encoder, end_ids=[2], context_length=LIMIT, batch_tokens=100)


def run(backend: Backend, calls: Sequence[Call]) -> list[Answer]:
    found = dict(backend.run(calls))
    return [found[index] for index in range(len(calls))]


def plain(reference: Any, ids: list[int], count: int) -> tuple[float, bool]:
    """Sum of the log-probabilities of the last tokens, and whether each is the likeliest."""
    with torch.inference_mode():
        logits = reference(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
    total, greedy = 0.0, True
    for place in range(len(ids) - count, len(ids)):
        total += float(logits[place - 1, ids[place]])
        greedy = greedy and int(logits[place - 1].argmax()) == ids[place]
    return total, greedy


def test_continuations_equal_a_plain_loop(backend: Backend, model: Model, reference: Any) -> None:
    calls = [Continue(PromptInput(text), " " + other) for text in TEXTS for other in TEXTS]
    for call, answer in zip(calls, run(backend, calls), strict=True):
        context = model.tokenizer.encode(call.prompt.text).ids
        whole = model.tokenizer.encode(call.prompt.text + call.continuation).ids
        total, greedy = plain(reference, whole, len(whole) - len(context))
        assert answer.error is None
        assert answer.logprob == pytest.approx(total, abs=1e-3)
        assert answer.greedy == greedy
        assert (answer.prompt, answer.prompt_tokens) == (call.prompt.text, len(context))
        assert answer.tokens == len(whole) - len(context)


def test_what_the_model_would_say_is_greedy(backend: Backend, reference: Any, model: Model) -> None:
    said = []
    for text in TEXTS:
        ids = model.tokenizer.encode(text).ids
        with torch.inference_mode():
            likeliest = int(reference(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
        word = model.tokenizer.decode([likeliest])
        if model.tokenizer.encode(text + word).ids == [*ids, likeliest]:  # not half a character, say
            said.append(Continue(PromptInput(text), word))
    assert said
    assert all(answer.greedy for answer in run(backend, said))


def test_perplexity_of_a_long_text_equals_a_closed_computation(backend: Backend, model: Model, reference: Any) -> None:
    """Every window by itself, with the window of lm-evaluation-harness for a model of LIMIT - 1 tokens."""
    text = " ".join(TEXTS * 6)
    tokens = model.tokenizer.encode(text, add_special_tokens=False).ids
    assert len(tokens) > 2 * LIMIT
    begin = model.tokenizer.special.id("bos")
    assert begin is not None
    for window in (None, 16):
        size = window or LIMIT - 1
        whole, total, done = [begin, *tokens], 0.0, 1
        while done < len(whole):
            end = min(done + size, len(whole))
            total += plain(reference, whole[max(end - size - 1, 0) : end], end - done)[0]
            done = end
        (answer,) = run(backend, [Predict(text, window)])
        assert answer.logprob == pytest.approx(total, rel=1e-5)
        assert answer.tokens == len(tokens)
        assert math.exp(-total / len(tokens)) == pytest.approx(
            math.exp(-float(answer.logprob or 0) / answer.tokens), rel=1e-4
        )


def test_a_context_that_does_not_fit_loses_its_beginning_and_says_so(
    backend: Backend, model: Model, reference: Any
) -> None:
    text = " ".join(TEXTS * 6)
    context = model.tokenizer.encode(text).ids
    rated = model.tokenizer.encode(text + " yes").ids[len(context) :]
    (answer,) = run(backend, [Continue(PromptInput(text), " yes")])
    kept = context[-(LIMIT - len(rated)) :]
    assert answer.truncated_tokens == len(context) - len(kept)
    assert answer.prompt_tokens == len(kept)
    assert answer.logprob == pytest.approx(plain(reference, kept + rated, len(rated))[0], abs=1e-3)


def test_a_continuation_that_is_longer_than_the_context_is_an_error_of_the_sample(backend: Backend) -> None:
    calls = [Continue(PromptInput("a"), " yes" * 100), Continue(PromptInput("a"), " yes")]
    first, second = run(backend, calls)
    assert first.error is not None and "the model's context holds 64" in first.error
    assert second.error is None


def test_nothing_to_rate(backend: Backend) -> None:
    answers = run(backend, [Continue(PromptInput("a"), ""), Predict("")])
    # An empty continuation is rated by the last token of the prompt where that has two, and by none where it has one.
    assert answers[1].error is not None


def test_greedy_answers(backend: Backend, model: Model) -> None:
    calls = [Write(PromptInput(text), 8) for text in TEXTS]
    expected = model.generate(TEXTS, max_tokens=8, temperature=0)
    for answer, right in zip(run(backend, calls), expected, strict=True):
        assert answer.outputs[0].text == right.text
        assert answer.outputs[0].finish_reason == right.finish_reason
        assert answer.prompt_tokens == right.usage.prompt_tokens


def test_stop_texts_end_an_answer(backend: Backend) -> None:
    (whole,) = run(backend, [Write(PromptInput(TEXTS[0]), 12)])
    text = whole.outputs[0].text
    stop = text[4:6]
    (cut,) = run(backend, [Write(PromptInput(TEXTS[0]), 12, stop=(stop,))])
    assert cut.outputs[0].text == text[: text.find(stop)]
    assert cut.outputs[0].finish_reason == "stop"


def test_a_prompt_to_answer_that_does_not_fit_loses_its_beginning(backend: Backend, model: Model) -> None:
    text = " ".join(TEXTS * 6)
    (answer,) = run(backend, [Write(PromptInput(text), 8)])
    assert answer.truncated_tokens == len(model.tokenizer.encode(text).ids) - (LIMIT - 8)
    assert answer.prompt_tokens == LIMIT - 8
    assert answer.outputs[0].text


def test_sampled_answers_differ_and_come_again(backend: Backend) -> None:
    call = Write(PromptInput(TEXTS[0]), 8, temperature=1.0, top_p=0.9, samples=3, seed=5)
    (first,) = run(backend, [call])
    (again,) = run(backend, [call])
    assert len({output.text for output in first.outputs}) > 1
    assert first.outputs == again.outputs
    (other,) = run(backend, [Write(PromptInput(TEXTS[0]), 8, temperature=1.0, top_p=0.9, samples=3, seed=6)])
    assert other.outputs != first.outputs


def test_a_conversation_is_sent_as_the_template_says(backend: Backend) -> None:
    prompt = PromptInput(messages=({"role": "user", "content": "Hello"},))
    (answer,) = run(backend, [Write(prompt, 4)])
    assert answer.prompt == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n" == backend.show(prompt)


def test_kinds_of_calls_may_be_mixed(backend: Backend) -> None:
    calls: list[Call] = [Write(PromptInput("a"), 2), Predict("the model"), Continue(PromptInput("a"), " b")] * 3
    answers = run(backend, calls)
    assert answers[:3] * 3 == [replaced(answer, answers[index % 3]) for index, answer in enumerate(answers)]


def replaced(answer: Answer, like: Answer) -> Answer:
    """The same but for the time that it took."""
    from dataclasses import replace

    logprob = like.logprob if answer.logprob == pytest.approx(like.logprob, abs=1e-4) else answer.logprob
    return replace(answer, seconds=like.seconds, logprob=logprob)


def test_facts_say_what_decides_scores(model: Model) -> None:
    found = backend_of(model, digest="sha256:x")
    assert found.facts == {"dtype": "float32", "device": "cpu", "context": LIMIT}
    assert found.digest == "sha256:x"


def test_a_window_that_the_model_cannot_read(model: Model) -> None:
    (answer,) = run(backend_of(model), [Predict("the model", 1000)])
    assert answer.error == "window = 1000 tokens; the model takes 63"
    assert ContextLengthExceeded.code == "context_length_exceeded"


def test_weights_that_are_no_numbers_are_an_error_of_the_sample(folder: Path, model: Model) -> None:
    broken = transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        broken.model.norm.weight.fill_(float("nan"))
    encoder = PromptEncoder(model.tokenizer, None, "broken", begin_token(model.tokenizer))
    backend = ModuleBackend(broken, encoder, end_ids=[2], context_length=LIMIT)
    for answer in run(backend, [Continue(PromptInput("a"), " b"), Predict("the model")]):
        assert answer.error is not None and "log-probability nan" in answer.error


def test_weights_that_are_no_numbers_in_the_engine(tmp_path: Path) -> None:
    folder = tiny_models.build("llama", tmp_path / "llama")
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"].fill_(float("nan"))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with llmasos.load(folder, dtype="float32") as broken:
        for answer in run(backend_of(broken), [Continue(PromptInput("a"), " b"), Predict("the model")]):
            assert answer.error is not None
            assert answer.logprob is None
        (written,) = run(backend_of(broken), [Write(PromptInput("a"), 4)])
        assert written.error is not None or written.outputs
