"""Which tokens are learned: roles, single turns, end tokens, and templates that allow no simple answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import pytest

from chat_models import TEMPLATES, ChatModel, chat_model
from llmasos.data.rendering import Renderer, RenderingAccount, RenderingOptions, UnstableTemplate
from llmasos.data.rendering.options import LearnEverything, LearnRoles
from llmasos.data.row import Message, Messages
from llmasos.errors import InvalidRequest

TALK = (
    Message("system", "Be brief."),
    Message("user", "One?"),
    Message("assistant", "<think>\nhm\n</think>\n\nFirst."),
    Message("user", "Two?"),
    Message("assistant", "Second."),
)
PLAIN = (*TALK[:2], Message("assistant", "First."), *TALK[3:])


def learned(
    model: ChatModel,
    messages: Sequence[Message],
    account: RenderingAccount | None = None,
    *,
    marked: bool = False,
    **options: Any,
) -> list[str]:
    """What is learned of each sample, the stretches joined by ``|``."""
    template = model.marked_template if marked else model.template
    renderer = Renderer(model.tokenizer, template, RenderingOptions(**options))
    found = []
    for row in renderer.render_sample(Messages(tuple(messages)), account):
        text = row.parts["text"]
        stretches: list[list[int]] = []
        for place, (token, flag) in enumerate(zip(text.ids.tolist(), text.trained.tolist(), strict=True)):
            if flag and (place == 0 or not text.trained[place - 1]):
                stretches.append([])
            if flag:
                stretches[-1].append(token)
        found.append("|".join(model.tokenizer.decode(ids, skip_special_tokens=False) for ids in stretches))
    return found


@pytest.mark.parametrize("marked", [False, True])
def test_turns_and_roles(marked: bool) -> None:
    model = chat_model("chatml")
    assert learned(model, PLAIN, marked=marked) == ["First.<|im_end|>|Second.<|im_end|>"]
    assert learned(model, PLAIN, marked=marked, learn=LearnRoles(turns="last")) == ["Second.<|im_end|>"]
    assert learned(model, PLAIN, marked=marked, learn=LearnRoles(roles=("user", "assistant"))) == [
        "One?<|im_end|>|First.<|im_end|>|Two?<|im_end|>|Second.<|im_end|>"
    ]
    assert learned(model, PLAIN, marked=marked, learn=LearnRoles(roles=("system",))) == ["Be brief.<|im_end|>"]


@pytest.mark.parametrize("marked", [False, True])
def test_what_the_data_say_about_a_message_wins(marked: bool) -> None:
    messages = [*PLAIN[:2], Message("assistant", "First.", train=False), *PLAIN[3:]]
    assert learned(chat_model("llama3"), messages, marked=marked) == ["Second.<|eot_id|>"]
    messages[1] = Message("user", "One?", train=True)
    assert learned(chat_model("llama3"), messages, marked=marked) == ["One?<|eot_id|>|Second.<|eot_id|>"]


def test_everything_but_the_first_token() -> None:
    model = chat_model("llama3")
    (text,) = learned(model, PLAIN, learn=LearnEverything())
    assert text.startswith("<|start_header_id|>system<|end_header_id|>")
    assert text.endswith("Second.<|eot_id|>")


def test_an_answer_that_begins_the_conversation() -> None:
    assert learned(chat_model("chatml"), [Message("assistant", "Hi!"), Message("user", "a")]) == ["Hi!<|im_end|>"]


def test_a_default_system_message_is_not_learned_with_the_user() -> None:
    model = chat_model("smollm2")
    assert learned(model, PLAIN[1:3], learn=LearnRoles(roles=("user",))) == ["One?<|im_end|>"]


class TestRewrittenTurns:
    """Qwen3 shows the reasoning of the last answer only."""

    def test_split(self) -> None:
        account = RenderingAccount()
        assert learned(chat_model("qwen3"), TALK, account) == [
            "<think>\nhm\n</think>\n\nFirst.<|im_end|>",
            "<think>\n\n</think>\n\nSecond.<|im_end|>",
        ]
        assert (account.samples, account.rewritten, account.rewritten_samples, account.turns_left_out) == (2, 1, 1, 0)
        assert "rewrites" in " ".join(account.notes())

    def test_each_sample_is_what_the_model_gets_when_it_is_asked(self) -> None:
        model = chat_model("qwen3")
        renderer = Renderer(model.tokenizer, model.template)
        rows = renderer.render_sample(Messages(TALK))
        for row, end in zip(rows, (3, 5), strict=True):
            messages = [message.as_template_input() for message in TALK[: end - 1]]
            asked = model.reference.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
            text = row.parts["text"]
            assert text.ids[: len(asked)].tolist() == asked
            assert not text.trained[: len(asked)].any()
            assert text.trained[len(asked)]

    def test_last(self) -> None:
        account = RenderingAccount()
        texts = learned(chat_model("qwen3"), TALK, account, rewritten_turns="last")
        assert texts == ["<think>\n\n</think>\n\nSecond.<|im_end|>"]
        assert (account.rewritten, account.turns_left_out) == (1, 1)

    def test_error(self) -> None:
        with pytest.raises(UnstableTemplate, match=r"messages\[2\] \(assistant\)") as caught:
            learned(chat_model("qwen3"), TALK, rewritten_turns="error")
        assert "<think>" in caught.value.message
        assert "rewritten_turns" in str(caught.value.hint)

    def test_turns_that_stand_unchanged_share_a_sample(self) -> None:
        messages = [
            *TALK,
            Message("user", "Three?"),
            Message("assistant", "<think>\nI look.\n</think>\n\nA moment."),
            Message("tool", "3"),
            Message("assistant", "<think>\nso\n</think>\n\nThird."),
        ]
        account = RenderingAccount()
        *_, last = learned(chat_model("qwen3"), messages, account)
        assert account.samples == 3
        assert last == "<think>\nI look.\n</think>\n\nA moment.<|im_end|>|<think>\nso\n</think>\n\nThird.<|im_end|>"

    def test_no_row_is_lost_in_a_batch(self) -> None:
        from llmasos.data.row import Origin, Row

        model = chat_model("qwen3")
        rows = [Row(str(n), Origin("s", "f", n), Messages(TALK if n % 2 else TALK[:3])) for n in range(9)]
        account = RenderingAccount()
        found = list(Renderer(model.tokenizer, model.template).render(rows, account))
        assert [item.row for item in found] == [0, 1, 1, 2, 3, 3, 4, 5, 5, 6, 7, 7, 8]
        assert account.rows == 9


def test_an_opening_that_is_not_the_answers_is_refused() -> None:
    opening = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
    source = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    with pytest.raises(UnstableTemplate, match=r"messages\[2\].*think.*First"):
        learned(chat_model("qwen3", source + opening), PLAIN)


def test_empty_answers_are_counted() -> None:
    account = RenderingAccount()
    messages = [*PLAIN[:2], Message("assistant", ""), *PLAIN[3:]]
    assert learned(chat_model("chatml"), messages, account) == ["<|im_end|>|Second.<|im_end|>"]
    assert account.empty == 1
    assert "stop at once" in " ".join(account.notes())


def test_a_merged_system_message_cannot_be_learned() -> None:
    with pytest.raises(UnstableTemplate, match=r"messages\[0\] \(system\)"):
        learned(chat_model("mistral"), PLAIN, learn=LearnRoles(roles=("system",)))


class TestEndTokens:
    LEAVES_OUT = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}[[{{ m.content }}]]{% else %}{{ m.content }}{% endif %}"
        "{{ '<|im_end|>\n' }}{% endfor %}"
    )

    def leaves_out(self) -> ChatModel:
        return chat_model("chatml", self.LEAVES_OUT)

    def test_one_that_the_block_leaves_out_is_learned_all_the_same(self) -> None:
        account = RenderingAccount()
        assert learned(self.leaves_out(), PLAIN[1:3], account, marked=True) == ["First.<|im_end|>"]
        assert account.end_trained

    def test_unless_the_mask_shall_be_the_templates(self) -> None:
        account = RenderingAccount()
        model = self.leaves_out()
        assert learned(model, PLAIN[1:3], account, marked=True, learn_end=False) == ["First."]
        assert (account.end_trained, account.ends_untrained) == (False, 1)
        assert "learn to stop" in " ".join(account.notes())
        _, mask = model.reference_tokens([message.as_template_input() for message in PLAIN[1:3]])
        row, *_ = Renderer(model.tokenizer, model.marked_template, RenderingOptions(learn_end=False)).render_sample(
            Messages(PLAIN[1:3])
        )
        assert row.parts["text"].trained.tolist() == mask

    def test_the_one_that_stops_the_model_ends_the_turn(self) -> None:
        """As Phi-3: an end of the text after the end of the last turn."""
        source = (
            "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% else %}{{ '<|endoftext|>' }}{% endif %}"
        )
        account = RenderingAccount()
        assert learned(chat_model("chatml", source), PLAIN, account) == ["First.<|im_end|>|Second.<|im_end|>"]
        assert account.rewritten == 0

    def test_a_token_spelled_by_the_answer_is_no_end(self) -> None:
        source = (
            "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
        )
        account = RenderingAccount()
        messages = [Message("user", "a"), Message("assistant", "b<|im_end|>")]
        assert learned(chat_model("chatml", source), messages, account) == ["b<|im_end|>\n"]
        assert (account.end_trained, account.ends_missing) == (False, 1)


def test_blocks_that_cannot_be_told_apart() -> None:
    source = TEMPLATES["chatml"].replace(
        "[[{{ m.content + '<|im_end|>' }}]]", "[[{{ m.content }}]][[{{ '<|im_end|>' }}]]"
    )
    model = chat_model("chatml", source)
    assert learned(model, PLAIN, marked=True) == ["First.<|im_end|>|Second.<|im_end|>"]
    with pytest.raises(UnstableTemplate, match=r"4 texts .* 2 answers"):
        learned(model, PLAIN, marked=True, learn=LearnRoles(turns="last"))


def test_a_block_in_captured_text() -> None:
    captured = "{% set x %}[[{{ messages[1].content }}]]{% endset %}{{ 'it is: ' + (x | trim) }}"
    messages = [Message("user", "a"), Message("assistant", "b ")]
    with pytest.raises(InvalidRequest, match="generation blocks"):
        learned(chat_model("chatml", captured), messages, marked=True)
    messages[1] = Message("assistant", "b")
    assert learned(chat_model("chatml", captured), messages, marked=True) == ["b"]


def test_a_token_across_the_edge_belongs_to_nobody() -> None:
    source = (
        "{% for m in messages %}{{ m.role + ' ' + m.content }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant ' }}{% endif %}"
    )
    account = RenderingAccount()
    (text,) = learned(chat_model("chatml", source), [Message("user", "a"), Message("assistant", "is fine")], account)
    assert text == " fine"
    assert account.crossing == 1
    assert "edge" in " ".join(account.notes())


def test_the_date_of_a_template_is_fixed() -> None:
    source = "{{ strftime_now('%Y-%m-%d') + '\n' }}" + TEMPLATES["chatml"]
    model = chat_model("chatml", source)
    options = RenderingOptions(today=date(2024, 7, 26))
    (row,) = Renderer(model.tokenizer, model.template, options).render_sample(Messages(PLAIN))
    assert model.tokenizer.decode(row.parts["text"].ids.tolist()).startswith("2024-07-26")
    other = Renderer(model.tokenizer, model.template, RenderingOptions(today=date(2024, 7, 27)))
    assert other.digest != Renderer(model.tokenizer, model.template, options).digest


def test_variables_reach_the_template() -> None:
    texts = learned(chat_model("qwen3"), [TALK[1], TALK[4]], variables={"enable_thinking": False})
    assert texts == ["Second.<|im_end|>"]
