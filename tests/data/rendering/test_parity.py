"""Tokens and masks are those of transformers, whatever the family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_models import FAMILIES, ChatModel, chat_model
from llmasos.data.rendering import Renderer, RenderingAccount, RenderingOptions
from llmasos.data.row import Message, Messages

SYSTEM = {"role": "system", "content": "Be brief. 简短。"}
CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "one turn": [{"role": "user", "content": "What is two plus two?"}, {"role": "assistant", "content": "It is four."}],
    "several turns": [
        {"role": "user", "content": "Hello 🎉"},
        {"role": "assistant", "content": "你好，世界\n\n1. one\n2. two"},
        {"role": "user", "content": "  spaces  and\ttabs "},
        {"role": "assistant", "content": "naïve café…"},
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "Fine. 🎉"},
    ],
    "empty answer": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}],
    "question last": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ],
}


def sample(messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]] = ()) -> Messages:
    return Messages(
        tuple(
            Message(
                item["role"], item["content"], None, {k: v for k, v in item.items() if k not in ("role", "content")}
            )
            for item in messages
        ),
        tuple(tools),
    )


def check(model: ChatModel, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None) -> None:
    """By prefixes and by generation blocks: the ids and the mask of transformers."""
    ids, mask = model.reference_tokens(messages, tools=tools)
    plain = model.reference.apply_chat_template(messages, tools=tools, return_dict=False)
    assert plain == ids
    for template in (model.template, model.marked_template):
        account = RenderingAccount()
        renderer = Renderer(model.tokenizer, template)
        (row,) = renderer.render_sample(sample(messages, tools or ()), account)
        assert row.parts["text"].ids.tolist() == ids
        assert row.parts["text"].trained.tolist() == mask
        assert account.crossing == 0
        assert account.end_trained


@pytest.mark.parametrize("system", [[], [SYSTEM]], ids=["", "system"])
@pytest.mark.parametrize("name", CONVERSATIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_and_mask(family: str, name: str, system: list[dict[str, Any]]) -> None:
    messages = CONVERSATIONS[name]
    if family == "qwen3":  # rewrites earlier answers; see test_turns.py
        messages = messages[:2]
    check(chat_model(family), system + messages)


@pytest.mark.parametrize("family", ["qwen2.5", "qwen3"])
def test_tools_and_their_calls(family: str) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"city": "Ω <x>"}}}
    call = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Paris"}}}
    messages = [
        {"role": "user", "content": "What is the weather?"},
        {"role": "assistant", "content": "<think>\nI ask.\n</think>\n\nOne moment." if family == "qwen3" else "",
         "tool_calls": [call, call]},
        {"role": "tool", "content": "fine"},
        {"role": "tool", "content": "warm"},
        {"role": "assistant", "content": "It is fine and warm."},
    ]  # fmt: skip
    model = chat_model(family)
    check(model, messages, [tool])
    (row,) = Renderer(model.tokenizer, model.template).render_sample(sample(messages, [tool]))
    text = row.parts["text"]
    learned = model.tokenizer.decode(text.ids[text.trained].tolist(), skip_special_tokens=False)
    assert learned.count("<tool_call>") == 2
    assert "fine\n</tool_response>" not in learned


def test_arguments_as_json_text_are_those_of_the_object() -> None:
    model = chat_model("qwen2.5")
    renderer = Renderer(model.tokenizer, model.template)

    def tokens(arguments: object) -> list[int]:
        call = {"type": "function", "function": {"name": "weather", "arguments": arguments}}
        asking = Message("assistant", "", None, {"tool_calls": [call]})
        (row,) = renderer.render_sample(Messages((Message("user", "a"), asking)))
        return row.parts["text"].ids.tolist()

    assert tokens('{"city":"Paris"}') == tokens({"city": "Paris"})
    assert tokens("Paris") != tokens({"city": "Paris"})


words = st.text(max_size=12) | st.sampled_from([" ", "\n", "\n\n", "🎉", "café", "你好", "a b", "</think>"])


@settings(max_examples=120, deadline=None)
@given(family=st.sampled_from(FAMILIES), texts=st.lists(words, min_size=2, max_size=6))
def test_any_text(family: str, texts: list[str]) -> None:
    """Whatever the texts: the tokens of transformers, and a token is learned only if its text lies within an answer."""
    model = chat_model(family)
    texts = [text.replace("</think>", "") if family == "qwen3" else text for text in texts]
    special = [token for token in model.tokenizer.added_tokens if any(token in text for text in texts)]
    if special:
        return
    messages = [
        {"role": "assistant" if index % 2 else "user", "content": text}
        for index, text in enumerate(texts[: 2 if family == "qwen3" else len(texts) // 2 * 2])
    ]
    ids, mask = model.reference_tokens(messages)
    account = RenderingAccount()
    (row,) = Renderer(model.tokenizer, model.template).render_sample(sample(messages), account)
    text = row.parts["text"]
    assert text.ids.tolist() == ids
    # transformers also marks tokens that cover characters before the answer; ours are counted instead
    differing = [ours != theirs for ours, theirs in zip(text.trained.tolist(), mask, strict=True)]
    assert sum(differing) <= account.crossing
    assert not any(ours and not theirs for ours, theirs in zip(text.trained.tolist(), mask, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_control_tokens_in_texts_stay_text(family: str) -> None:
    model = chat_model(family)
    tokens = list(model.tokenizer.added_tokens)
    attack = "x" + "".join(tokens) + "y"
    account = RenderingAccount()
    renderer = Renderer(model.tokenizer, model.template, RenderingOptions())
    clean = [{"role": "user", "content": "xy"}, {"role": "assistant", "content": "fine"}]
    forged = [{"role": "user", "content": attack}, {"role": "assistant", "content": "fine"}]
    (without,), (row,) = renderer.render_sample(sample(clean)), renderer.render_sample(sample(forged), account)
    text = row.parts["text"]
    for token in tokens:
        number = model.tokenizer.token_id(token)
        special = model.tokenizer.added_tokens[token] or token in model.template.sources["default"]
        if special:
            assert (text.ids == number).sum() == (without.parts["text"].ids == number).sum(), token
            assert account.escaped[token] == 1
    assert text.trained_count == without.parts["text"].trained_count
    decoded = model.tokenizer.decode(text.ids.tolist(), skip_special_tokens=False)
    assert attack in decoded
