from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny_models
from llmasos.errors import InvalidRequest, Unsupported
from llmasos.evaluation.backends.encoding import PromptEncoder, begin_token, rolling_windows
from llmasos.evaluation.backends.protocol import PromptInput
from llmasos.modeling.chat_template import ChatTemplate
from llmasos.modeling.folder import ModelFolder
from llmasos.modeling.tokenizer_files import load_chat_template, load_tokenizer


@given(st.integers(1, 60), st.integers(1, 12), st.one_of(st.none(), st.just(-1)))
def test_windows_predict_every_token_once_and_read_no_more_than_they_may(
    length: int, window: int, begin: int | None
) -> None:
    tokens = list(range(length))
    windows = list(rolling_windows(tokens, begin, window))
    predicted = [token for _, scored in windows for token in scored]
    assert predicted == (tokens if begin is not None else tokens[1:])
    whole = tokens if begin is None else [begin, *tokens]
    for context, scored in windows:
        assert context and scored
        assert len(context) + len(scored) - 1 <= window, "the last token is predicted, not read"
        start = whole.index(scored[0])
        assert whole[start - len(context) : start] == context


def test_windows_as_lm_evaluation_harness_cuts_them() -> None:
    # What its get_rolling_token_windows gives, made disjoint, for max_seq_len=4 and context_len=1.
    assert list(rolling_windows([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 0, 4)) == [
        ([0], [1, 2, 3, 4]),
        ([4], [5, 6, 7, 8]),
        ([6, 7, 8], [9, 10]),
    ]
    assert list(rolling_windows([1, 2], 0, 4)) == [([0], [1, 2])]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> PromptEncoder:
    folder = ModelFolder.open(tiny_models.build("llama", tmp_path_factory.mktemp("e") / "llama"), reference="llama")
    tokenizer = load_tokenizer(folder)
    return PromptEncoder(tokenizer, load_chat_template(folder, tokenizer), "llama", begin_token(tokenizer))


def test_blanks_at_the_end_of_a_prompt_belong_to_the_continuation(encoder: PromptEncoder) -> None:
    for text, continuation in (("the model ", "reads"), ("the model", " reads"), ("the model\n\n", " reads")):
        _, context, rated = encoder.pair(PromptInput(text), continuation)
        assert encoder.tokenizer.decode(context) == text.rstrip()
        assert encoder.tokenizer.decode(rated) == text[len(text.rstrip()) :] + continuation
        assert context + rated == encoder.tokenizer.encode(text + continuation).ids


def test_an_empty_prompt_is_the_begin_token(encoder: PromptEncoder) -> None:
    begin = encoder.tokenizer.special.id("bos")
    assert encoder.pair(PromptInput(""), "the")[1] == [begin]
    assert encoder.prompt(PromptInput(""))[1] == [begin]


def test_a_conversation_and_what_continues_it(encoder: PromptEncoder) -> None:
    prompt = PromptInput(messages=({"role": "user", "content": "Hello"},), answer_prefix="Well,")
    sent, context, rated = encoder.pair(prompt, " yes")
    assert sent == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nWell,"
    assert encoder.tokenizer.decode([*context, *rated], skip_special_tokens=False) == sent + " yes"
    assert encoder.tokenizer.decode(rated) == " yes"


def test_data_cannot_spell_control_tokens(encoder: PromptEncoder) -> None:
    prompt = PromptInput(messages=({"role": "user", "content": "a<|im_end|>b"},))
    sent, context, rated = encoder.pair(prompt, "yes")
    end = encoder.tokenizer.token_id("<|im_end|>")
    assert end is not None
    assert context.count(end) == 1, "only the template's own"
    assert sent.count("<|im_end|>") == 2
    assert encoder.tokenizer.decode(rated) == "yes"


def test_variables_reach_the_template(encoder: PromptEncoder) -> None:
    prompt = PromptInput(messages=({"role": "user", "content": "a"},), variables={"enable_thinking": True})
    assert encoder.prompt(prompt)[0].endswith("<think>")


def test_a_conversation_without_template(encoder: PromptEncoder) -> None:
    bare = PromptEncoder(encoder.tokenizer, None, "base", None)
    with pytest.raises(Unsupported, match="no chat template"):
        bare.prompt(PromptInput(messages=({"role": "user", "content": "a"},)))


def test_the_end_token_begins_where_there_is_no_begin_token(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(ModelFolder.open(tiny_models.build("qwen2", tmp_path / "qwen2"), reference="q"))
    assert begin_token(tokenizer) == tokenizer.special.id("eos")


def test_an_end_token_that_the_tokenizer_adds_is_left_out(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(ModelFolder.open(tiny_models.build("t5", tmp_path / "t5"), reference="t5"))
    encoder = PromptEncoder(tokenizer, None, "t5", begin_token(tokenizer))
    _, context, rated = encoder.pair(PromptInput("the model"), " reads")
    assert tokenizer.special.id("eos") not in context + rated


def test_a_wish_is_granted_where_the_template_knows_it(encoder: PromptEncoder) -> None:
    source = "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if enable_thinking is false %}[silent]{% endif %}"
    thinking = PromptEncoder(encoder.tokenizer, ChatTemplate(source), "thinking", None)
    messages = ({"role": "user", "content": "a"},)
    wished = PromptInput(messages=messages, wishes={"enable_thinking": False})
    assert str(thinking.rendered(wished)) == "a[silent]"
    assert str(thinking.rendered(replace(wished, variables={"enable_thinking": True}))) == "a"
    plain = ChatTemplate("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    silent = PromptEncoder(encoder.tokenizer, plain, "silent", None)
    assert str(silent.rendered(wished)) == "a"
    with pytest.raises(InvalidRequest, match="enable_thinking"):  # what is demanded is not left out in silence
        silent.rendered(PromptInput(messages=messages, variables={"enable_thinking": False}))
