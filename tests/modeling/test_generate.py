from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import tiny_models
from llmasos.errors import ContextLengthExceeded, InvalidRequest, Unsupported
from llmasos.modeling.model import Model
from llmasos.modeling.results import Generation

Get = Callable[[str], Model]
Open = Callable[..., Model]

pytestmark = pytest.mark.parametrize("backend", ["transformers", "engine"])
PROMPTS = ["This is a great", "你好，世界", "The quick brown fox jumps over the lazy dog", "once upon a time 🎉"]


def reference(folder: Path, prompts: list[str], model: Model, **options: Any) -> list[list[int]]:
    """What transformers' own generate gives, one prompt at a time, without padding."""
    name = model.architecture
    theirs = getattr(transformers, name).from_pretrained(folder, dtype=torch.float32)
    outputs = []
    for prompt in prompts:
        ids = torch.tensor([model.tokenizer.encode(prompt).ids])
        output = theirs.generate(ids, attention_mask=torch.ones_like(ids), **options)[0].tolist()
        outputs.append(output[1:] if theirs.config.is_encoder_decoder else output[ids.shape[1] :])
    return outputs


@pytest.mark.parametrize("name", ["llama", "qwen2", "gemma3", "t5"])
def test_greedy_output_is_that_of_transformers(name: str, tiny: Callable[[str], Path], model: Get) -> None:
    expected = reference(
        tiny(name), PROMPTS, model(name), max_new_tokens=24, do_sample=False, num_beams=1, repetition_penalty=1.0
    )
    results = model(name).generate(PROMPTS, max_tokens=24, temperature=0, repetition_penalty=1.0)
    assert [result.token_ids for result in results] == expected
    assert len({tuple(ids) for ids in expected}) > 1, "the tiny model must tell prompts apart"


@pytest.mark.parametrize("name", ["bart", "marian"])
def test_beam_search_is_that_of_transformers(name: str, tiny: Callable[[str], Path], model: Get) -> None:
    """With everything from the generation configuration: beams, lengths, forced and forbidden tokens."""
    expected = reference(tiny(name), PROMPTS, model(name))
    results = model(name).generate(PROMPTS)
    end = model(name).tokenizer.special.id("eos")
    assert [result.token_ids for result in results] == [ids[: ids.index(end) + 1] for ids in expected]
    texts = [model(name).detokenize(ids) for ids in expected]
    assert [result.text for result in results] == texts


@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 2, "max_tokens": 10},
        {"num_beams": 3, "length_penalty": -1.0, "early_stopping": "never", "max_tokens": 12},
        {"num_beams": 2, "no_repeat_ngram_size": 2, "min_tokens": 5, "max_tokens": 12, "repetition_penalty": 1.3},
    ],
)
def test_options_of_beam_search_reach_it(options: dict[str, Any], tiny: Callable[[str], Path], model: Get) -> None:
    theirs = {**options, "max_new_tokens": options["max_tokens"], "min_new_tokens": options.get("min_tokens", 0)}
    theirs = {key: value for key, value in theirs.items() if key not in ("max_tokens", "min_tokens")}
    folder = tiny("t5")
    expected = reference(folder, PROMPTS, model("t5"), **theirs)
    results = model("t5").generate(PROMPTS, **options)
    stripped = [ids[: ids.index(1) + 1] if 1 in ids else ids for ids in expected]
    assert [result.token_ids for result in results] == stripped


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("llama", {}),
        ("llama", {"temperature": 0.9, "seed": 5, "top_p": 0.9}),
        ("qwen2", {"seed": 1}),
        ("gemma3", {"temperature": 1.0, "seed": 3, "top_k": 10}),
        ("t5", {}),
        ("bart", {}),
        ("bart", {"temperature": 0.8, "seed": 2}),
        ("marian", {}),
    ],
)
def test_a_batch_gives_what_single_calls_give(name: str, options: dict[str, Any], model: Get) -> None:
    together = model(name).generate(PROMPTS, max_tokens=12, **options)
    alone = [model(name).generate(prompt, max_tokens=12, **options) for prompt in PROMPTS]
    assert [result.token_ids for result in together] == [result.token_ids for result in alone]
    assert [result.text for result in together] == [result.text for result in alone]


@pytest.mark.parametrize("name", ["llama", "qwen2", "gemma3", "t5", "bart", "marian"])
def test_streamed_text_makes_up_the_whole(name: str, model: Get) -> None:
    for prompt in PROMPTS:
        whole = model(name).generate(prompt, max_tokens=16, seed=4)
        deltas = list(model(name).stream(prompt, max_tokens=16, seed=4))
        assert "".join(delta.text for delta in deltas) == whole.text
        assert [token for delta in deltas for token in delta.token_ids] == whole.token_ids
        assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
        last = deltas[-1]
        assert last.finish_reason == whole.finish_reason
        assert last.usage == whole.usage
        assert last.timings is not None


def test_streamed_pieces_come_while_the_model_works(model: Get) -> None:
    stream = model("llama").stream("This is", max_tokens=40, temperature=0)
    first = next(iter(stream))
    assert first.finish_reason is None
    assert len(list(stream)) >= 10


def test_usage_and_timings(model: Get) -> None:
    result = model("llama").generate("This is a great movie", max_tokens=9, temperature=0)
    assert result.usage.prompt_tokens == len(model("llama").tokenize("This is a great movie"))
    assert result.usage.completion_tokens == len(result.token_ids) == 9
    assert result.usage.total_tokens == result.usage.prompt_tokens + 9
    assert 0 < result.timings.first_token_seconds <= result.timings.total_seconds
    assert result.timings.tokens_per_second is not None
    assert result.finish_reason == "length"
    assert str(result) == result.text
    assert result.message == {"role": "assistant", "content": result.text}


def test_stop_texts_end_the_output_and_are_cut_off(model: Get) -> None:
    whole = model("llama").generate(PROMPTS[0], max_tokens=40, temperature=0)
    stop = whole.text[7:11]  # four characters from the middle of tokens
    result = model("llama").generate(PROMPTS[0], max_tokens=40, temperature=0, stop=["never there", stop])
    assert result.text == whole.text[: whole.text.index(stop)]
    assert result.finish_reason == "stop"
    assert result.stop == stop
    assert len(result.token_ids) < 40
    streamed = list(model("llama").stream(PROMPTS[0], max_tokens=40, temperature=0, stop=stop))
    assert "".join(delta.text for delta in streamed) == result.text
    assert streamed[-1].stop == stop


def test_stop_texts_end_beam_output(model: Get) -> None:
    whole = model("bart").generate(PROMPTS[0])
    stop = whole.text[3:6]
    result = model("bart").generate(PROMPTS[0], stop=stop)
    assert (result.text, result.stop) == (whole.text[: whole.text.index(stop)], stop)


def test_end_tokens(own: Callable[[str], Path], opened: Open, model: Get) -> None:
    whole = model("llama").generate(PROMPTS[0], max_tokens=20, temperature=0).token_ids
    end = whole[6]
    before = whole[: whole.index(end)]
    by_id = model("llama").generate(PROMPTS[0], max_tokens=20, temperature=0, stop_token_ids=end)
    assert (by_id.token_ids, by_id.finish_reason, by_id.stop) == ([*before, end], "stop", end)
    assert by_id.text == model("llama").detokenize(before)

    path = own("llama")
    tiny_models.change_json(path / "generation_config.json", eos_token_id=[2, end])
    changed = opened(path)
    result = changed.generate(PROMPTS[0], max_tokens=20, temperature=0)
    assert (result.token_ids, result.finish_reason, result.stop) == ([*before, end], "stop", None)
    ignored = changed.generate(PROMPTS[0], max_tokens=20, temperature=0, ignore_eos=True)
    assert (ignored.token_ids, ignored.finish_reason) == (whole, "length")
    later = changed.generate(PROMPTS[0], max_tokens=20, temperature=0, min_tokens=15)
    assert end not in later.token_ids[:15]
    assert len(later.token_ids) >= 15


def test_seeds_and_the_global_generator(model: Get) -> None:
    options = {"max_tokens": 16, "temperature": 1.5}
    state = torch.random.get_rng_state()
    first, second, other = (model("llama").generate("hi", seed=seed, **options) for seed in (1, 1, 2))
    assert first.token_ids == second.token_ids != other.token_ids
    assert model("llama").generate("hi", **options).token_ids != model("llama").generate("hi", **options).token_ids
    assert torch.equal(state, torch.random.get_rng_state())


def test_sampling_defaults_come_from_the_generation_configuration(model: Get) -> None:
    defaults = model("qwen2").defaults
    assert (defaults.temperature, defaults.top_k, defaults.top_p) == (0.7, 20, 0.8)
    assert defaults.repetition_penalty == 1.1
    assert model("llama").defaults.greedy
    beams: Any = model("bart").defaults
    assert (beams.num_beams, beams.length_penalty, beams.min_tokens, beams.early_stopping) == (3, 2.0, 7, True)
    given = model("qwen2").generate("hi", max_tokens=8, temperature=0.7, top_k=20, top_p=0.8, repetition_penalty=1.1,
                                    seed=9)  # fmt: skip
    assert model("qwen2").generate("hi", max_tokens=8, seed=9).token_ids == given.token_ids


def test_logprobs(model: Get) -> None:
    result = model("llama").generate("This is", max_tokens=5, temperature=0, logprobs=2)
    assert result.logprobs is not None
    assert [item.token_id for item in result.logprobs] == result.token_ids
    for item in result.logprobs:
        assert item.top[0] == (item.token_id, item.logprob)
        assert item.top[1][1] <= item.logprob < 0


def test_prompts_that_do_not_fit(model: Get) -> None:
    limit = model("qwen2").context_length
    assert limit == 128
    long = "fox " * 300
    with pytest.raises(ContextLengthExceeded) as caught:
        model("qwen2").generate(long)
    assert "127" in caught.value.message
    assert "truncate" in str(caught.value.hint)
    length = len(model("qwen2").tokenize(long))
    with pytest.raises(ContextLengthExceeded, match="max_tokens is 100"):
        model("qwen2").generate("The quick brown fox " * 5, max_tokens=100)
    cut = model("qwen2").generate(long, truncate="start", max_tokens=4, temperature=0)
    assert cut.usage.truncated_tokens == length - 124
    assert cut.usage.prompt_tokens == 124
    ids = model("qwen2").tokenize(long).ids
    by_hand = model("qwen2").generate(model("qwen2").detokenize(ids[-124:]), max_tokens=4, temperature=0)
    assert cut.token_ids == by_hand.token_ids
    with pytest.raises(ContextLengthExceeded):
        model("qwen2").generate("hi", max_tokens=128)
    one = model("qwen2").detokenize(model("qwen2").tokenize("fox").ids[:1])
    assert len(model("qwen2").generate(one, max_tokens=127, seed=1, ignore_eos=True).token_ids) == 127


def test_output_stops_at_the_context_when_no_length_is_asked_for(model: Get) -> None:
    result = model("qwen2").generate("fox " * 20, seed=1, ignore_eos=True)
    assert result.usage.total_tokens == 128
    assert result.finish_reason == "length"


def test_encoder_decoder_lengths(model: Get) -> None:
    with pytest.raises(ContextLengthExceeded):
        model("bart").generate("fox " * 100)
    assert model("bart").generate("fox " * 100, truncate="end").usage.prompt_tokens == 64
    with pytest.raises(ContextLengthExceeded, match="max_tokens"):
        model("bart").generate("fox", max_tokens=64)
    with pytest.raises(ContextLengthExceeded, match="max_tokens"):
        model("bart").stream("fox", max_tokens=64)  # at the call, not at the first piece
    assert len(model("t5").generate("fox " * 600, max_tokens=2).token_ids) == 2, "T5 has no fixed limit"


def test_a_forced_end_counts_as_the_length_limit(model: Get) -> None:
    for options in ({}, {"num_beams": 1}):
        result = model("marian").generate(PROMPTS[0], max_tokens=5, **options)
        assert result.token_ids[-1] == 0
        assert result.finish_reason == "length"


def test_malformed_calls(model: Get) -> None:
    with pytest.raises(InvalidRequest, match="max_token"):
        model("llama").generate("hi", max_token=5)  # type: ignore[call-overload]
    with pytest.raises(InvalidRequest, match="empty"):
        model("llama").generate("")
    for wrong in (5, None, ["a", 5], {"a": 1}):
        with pytest.raises(InvalidRequest, match="text"):
            model("llama").generate(wrong)  # type: ignore[call-overload]
    with pytest.raises(InvalidRequest, match="truncate"):
        model("llama").generate("hi", truncate="middle")  # type: ignore[call-overload]
    with pytest.raises(InvalidRequest, match="num_beams"):
        model("llama").generate("hi", num_beams=2)
    assert model("llama").generate([]) == []


def test_conversations(model: Get) -> None:
    llama = model("llama")
    messages = [{"role": "user", "content": "Hello"}]
    answer = llama.chat(messages, max_tokens=8, temperature=0)
    assert llama.chat("Hello", max_tokens=8, temperature=0).token_ids == answer.token_ids
    template = llama.chat_template
    assert template is not None
    raw = llama.generate(str(template.render(messages)), max_tokens=8, temperature=0)
    assert raw.token_ids == answer.token_ids
    both = llama.chat([messages, [*messages, answer.message, {"role": "user", "content": "more"}]], max_tokens=4)
    assert len(both) == 2
    streamed = "".join(map(str, llama.stream(messages, max_tokens=8, temperature=0)))
    assert streamed == answer.text
    thinking = llama.chat(messages, template_variables={"enable_thinking": True}, max_tokens=1)
    assert thinking.usage.prompt_tokens == answer.usage.prompt_tokens + 1
    with pytest.raises(InvalidRequest, match="template_variables"):
        llama.stream("plain text", template_variables={"enable_thinking": True})


def test_a_conversation_that_does_not_fit_loses_its_oldest_turns(model: Get) -> None:
    llama = model("llama")
    turn = [{"role": "user", "content": "fox " * 20}, {"role": "assistant", "content": "dog"}]
    system = {"role": "system", "content": "be brief"}
    messages = [system, *turn * 6, {"role": "user", "content": "last"}]
    with pytest.raises(ContextLengthExceeded):
        llama.chat(messages, max_tokens=4)
    answer = llama.chat(messages, max_tokens=4, truncate="start", temperature=0)
    assert answer.usage.truncated_tokens > 0
    template = llama.chat_template
    assert template is not None
    lengths = [
        len(llama.tokenizer.encode_prompt(template.render([system, *turn * count, messages[-1]]))) for count in range(7)
    ]
    kept = max(count for count, length in enumerate(lengths) if length <= 256 - 4)
    assert 0 < kept < 6
    assert answer.usage.prompt_tokens == lengths[kept]
    assert answer.usage.truncated_tokens == lengths[6] - lengths[kept]
    by_hand = llama.chat([system, *turn * kept, messages[-1]], max_tokens=4, temperature=0)
    assert answer.token_ids == by_hand.token_ids
    with pytest.raises(ContextLengthExceeded):
        llama.chat([{"role": "user", "content": "fox " * 300}], truncate="start")
    with pytest.raises(InvalidRequest, match="truncate"):
        llama.chat(messages, truncate="end")


def test_verbs_that_a_model_cannot_do(model: Get) -> None:
    with pytest.raises(Unsupported, match="base model") as base:
        model("qwen2").chat("hi")
    assert "generate" in str(base.value.hint)
    with pytest.raises(Unsupported, match="generate, stream, tokenize"):
        model("t5").chat("hi")
    with pytest.raises(Unsupported, match="embed, tokenize"):
        model("sentence_transformer").generate("hi")
    with pytest.raises(Unsupported, match="classify, tokenize"):
        model("bert_classifier").stream("hi")
    with pytest.raises(Unsupported, match="cannot classify"):
        model("llama").classify("hi")
    with pytest.raises(Unsupported, match="cannot embed"):
        model("bert_classifier").embed("hi")


def test_closing_a_stream_stops_the_work(model: Get) -> None:
    before = threading.active_count()
    stream = model("llama").stream("hi", max_tokens=200, temperature=0, ignore_eos=True)
    next(iter(stream))
    stream.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_several_threads_may_use_a_model(model: Get) -> None:
    expected = {prompt: model("llama").generate(prompt, max_tokens=10, temperature=0).token_ids for prompt in PROMPTS}
    found: dict[str, list[int]] = {}

    def work(prompt: str) -> None:
        found[prompt] = model("llama").generate(prompt, max_tokens=10, temperature=0).token_ids

    threads = [threading.Thread(target=work, args=(prompt,)) for prompt in PROMPTS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


def test_a_closed_model_says_so(tiny: Callable[[str], Path], opened: Open) -> None:
    with opened(tiny("llama")) as closed:
        assert isinstance(closed.generate("hi", max_tokens=1), Generation)
    with pytest.raises(InvalidRequest, match="closed"):
        closed.generate("hi")
