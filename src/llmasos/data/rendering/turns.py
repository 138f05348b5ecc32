"""Where in a rendered conversation the learned messages stand.

A template with ``{% generation %}`` blocks says it itself. For any other, the text of message *i* is what the template
writes beyond the same conversation up to message *i* with its opening of an answer, which is exactly what the model
gets when it is asked. That is proved for every message: the shorter text must be a prefix of the longer one, and the
learned text must stand unchanged in the whole. Templates that take the reasoning out of earlier answers (Qwen3) break
the second condition; such answers get a sample of their own, in which the conversation ends with them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from llmasos.data.row import Message
from llmasos.errors import Unsupported
from llmasos.i18n import t
from llmasos.modeling.chat_template import ChatTemplate
from llmasos.modeling.prompt import Prompt

# Stands for a message's text while its place is looked for; templates write it as it is.
_STAND_IN = "\U0003134a"


class UnstableTemplate(Unsupported):
    """The template shows a message differently when the conversation goes on, so no exact mask exists."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A learned text.

    Attributes:
        start, end: characters of the rendered conversation; ``end`` is after the end token if that is learned.
        end_token: the control token that ends it, ``None`` if the template writes none.
        end_learned: whether that token lies within.
    """

    start: int
    end: int
    end_token: str | None
    end_learned: bool


@dataclass(frozen=True, slots=True)
class MarkedConversation:
    """A rendered conversation and what is learned of it."""

    prompt: Prompt
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class MarkedConversations:
    """All samples of one conversation.

    Attributes:
        rewritten: whether the template rewrites earlier answers.
        left_out: answers that are not learned for that reason.
    """

    samples: tuple[MarkedConversation, ...]
    rewritten: bool = False
    left_out: int = 0


class TurnFinder:
    """Renders conversations and finds the learned messages.

    Args:
        stop_tokens: texts of the tokens that end an answer.
        learn_end: learn the end token also where a ``generation`` block leaves it out.
        on_rewritten: see :class:`~llmasos.data.rendering.options.RenderingOptions`.
        now: the time for templates with a clock, the same for all conversations.
    """

    def __init__(
        self,
        template: ChatTemplate,
        *,
        stop_tokens: Collection[str] = (),
        variables: Mapping[str, Any] | None = None,
        learn_end: bool = True,
        on_rewritten: Literal["split", "last", "error"] = "split",
        now: datetime | None = None,
    ) -> None:
        self._template = template
        self._stops = frozenset(stop_tokens)
        self._variables = dict(variables or {})
        self._learn_end = learn_end
        self._on_rewritten = on_rewritten
        self._now = now

    def whole(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> MarkedConversation:
        """The conversation as the template renders it, to be learned from beginning to end.

        Raises:
            InvalidRequest: see :meth:`ChatTemplate.render`.
        """
        prompt = self._render(messages, tools, opening=False)
        text = str(prompt)
        _, token = self._end_of_turn(prompt, text, 0, tools)
        return MarkedConversation(prompt, (Turn(0, len(text), token, token is not None),))

    def find(
        self, messages: Sequence[Message], learned: Sequence[int], tools: Sequence[Mapping[str, Any]] = ()
    ) -> MarkedConversations:
        """Find messages by number.

        Args:
            learned: numbers of the messages to learn, ascending.

        Raises:
            InvalidRequest: the template refuses the conversation.
            UnstableTemplate: there is no exact answer; the message says which message and what differs.
        """
        answers_only = all(messages[index].role == "assistant" for index in learned)
        if answers_only and self._template.marks_answers(tools):
            return self._by_blocks(messages, learned, tools)
        return self._by_prefixes(messages, list(learned), tools)

    def _render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], *, opening: bool) -> Prompt:
        return self._template.render(
            [template_input(message) for message in messages],
            tools=tools or None,
            add_generation_prompt=opening,
            variables=self._variables,
            now=self._now,
        )

    # --- the template's own blocks -----------------------------------------------------------------------------

    def _by_blocks(
        self, messages: Sequence[Message], learned: Sequence[int], tools: Sequence[Mapping[str, Any]]
    ) -> MarkedConversations:
        prompt = self._template.render(
            [template_input(message) for message in messages],
            tools=tools or None,
            add_generation_prompt=False,
            variables=self._variables,
            mark_answers=True,
            now=self._now,
        )
        answers = [index for index, message in enumerate(messages) if message.role == "assistant"]
        blocks = [block for block in prompt.answers if block[0] < block[1]]
        if list(learned) != answers:
            if len(blocks) != len(answers):
                raise UnstableTemplate(
                    t("the chat template marks {blocks} texts in a conversation with {answers} answers, so single "
                      "answers cannot be told apart", blocks=len(blocks), answers=len(answers)),
                    hint=t("Learn all answers, or use a template with one generation block for each."),
                )  # fmt: skip
            blocks = [block for block, index in zip(blocks, answers, strict=True) if index in learned]
        return MarkedConversations((MarkedConversation(prompt, self._block_turns(prompt, blocks, tools)),))

    def _block_turns(
        self, prompt: Prompt, blocks: Sequence[tuple[int, int]], tools: Sequence[Mapping[str, Any]]
    ) -> tuple[Turn, ...]:
        text = str(prompt)
        special = self._template.control_tokens(tools).special
        turns = []
        for start, end in blocks:
            _, token = self._end_of_turn(prompt, text[:end], start, tools)
            if token is not None:
                turns.append(Turn(start, end, token, True))
                continue
            following = special.match(text, end)
            if following is None:
                turns.append(Turn(start, end, None, False))
            else:
                last = following.end() if self._learn_end else end
                turns.append(Turn(start, last, following.group(), self._learn_end))
        return tuple(turns)

    # --- by prefixes -------------------------------------------------------------------------------------------

    def _by_prefixes(
        self, messages: Sequence[Message], learned: list[int], tools: Sequence[Mapping[str, Any]]
    ) -> MarkedConversations:
        whole = self._render(messages, tools, opening=False)
        if not learned:
            return MarkedConversations((MarkedConversation(whole, ()),))
        samples: list[MarkedConversation] = []
        rewritten, left_out = False, 0
        until = {len(messages): whole}
        while learned:
            turns: list[Turn] = []
            missing: list[int] = []
            for index in learned:
                ending = until.get(index + 1) or self._render(messages[: index + 1], tools, opening=False)
                turn = self._turn(messages, index, ending, tools)
                if _stands_in(whole, ending, turn):
                    turns.append(turn)
                    continue
                if self._on_rewritten == "error":
                    raise self._rewritten_error(index, messages[index].role, ending, whole)
                missing.append(index)
                until[index + 1] = ending
            if turns:
                samples.append(MarkedConversation(whole, tuple(turns)))
            if not missing:
                break
            rewritten = True
            if self._on_rewritten == "last":
                left_out = len(missing)
                break
            learned, whole = missing, until[missing[-1] + 1]
        if not samples:
            samples.append(MarkedConversation(whole, ()))
        return MarkedConversations(tuple(reversed(samples)), rewritten, left_out)

    def _turn(
        self, messages: Sequence[Message], index: int, ending: Prompt, tools: Sequence[Mapping[str, Any]]
    ) -> Turn:
        text = str(ending)
        if messages[index].role == "assistant" and index > 0:
            opening = str(self._render(messages[:index], tools, opening=True))
            if not text.startswith(opening):
                raise UnstableTemplate(
                    t("the chat template asks for the answer in messages[{index}] with {asked}, but writes that "
                      "answer as {written}", index=index, **_difference(opening, text, "asked", "written")),
                    hint=t("Set `variables` of the template (such as enable_thinking) to what the answers hold, use "
                           "a template with generation blocks, or learn everything."),
                )  # fmt: skip
            start, fixed = len(opening), 0
        else:
            start, fixed = self._content_place(messages, index, text, tools)
        end, token = self._end_of_turn(ending, text, start, tools)
        if token is None and fixed:
            end = len(text) - fixed
        return Turn(start, end, token, token is not None)

    def _content_place(
        self, messages: Sequence[Message], index: int, text: str, tools: Sequence[Mapping[str, Any]]
    ) -> tuple[int, int]:
        """Where the text of a message begins that the template has no opening for, and the length of what follows."""
        message = messages[index]
        stand_in = Message(message.role, _STAND_IN, None, message.extra)
        marked = str(self._render([*messages[:index], stand_in], tools, opening=False))
        before, found, after = marked.partition(_STAND_IN)
        exact = found and _STAND_IN not in after and text.startswith(before) and text.endswith(after)
        if not exact or len(before) + len(after) > len(text):
            raise UnstableTemplate(
                t("the chat template does not write messages[{index}] ({role}) in one place that can be found",
                  index=index, role=message.role),
                hint=t("Learn other roles, or everything."),
            )  # fmt: skip
        return len(before), len(after)

    def _end_of_turn(
        self, prompt: Prompt, text: str, start: int, tools: Sequence[Mapping[str, Any]]
    ) -> tuple[int, str | None]:
        """Where the learned text ends, and the token that ends it.

        At the end of a message templates write control tokens and white space. The first that ends an answer is the
        end; where none is known to, the last. Without any, the text itself is the end.
        """
        place = 0
        for segment in prompt.segments:  # what a text spells is no end
            place += len(segment.text)
            if segment.literal and place <= len(text):
                start = max(start, place)
        special = self._template.control_tokens(tools).special
        tokens: list[re.Match[str]] = []
        rest = len(text)
        for token in reversed(list(special.finditer(text, start))):
            if text[token.end() : rest].strip():
                break
            tokens.append(token)
            rest = token.start()
        if not tokens:
            return len(text), None
        end = next((token for token in reversed(tokens) if token.group() in self._stops), tokens[0])
        return end.end(), end.group()

    def _rewritten_error(self, index: int, role: str, ending: Prompt, whole: Prompt) -> UnstableTemplate:
        return UnstableTemplate(
            t("the chat template rewrites messages[{index}] ({role}) once the conversation goes on: {first} becomes "
              "{later}", index=index, role=role, **_difference(str(ending), str(whole), "first", "later")),
            hint=t("rewritten_turns: split renders a sample for each such answer; last learns only the last ones."),
        )  # fmt: skip


def template_input(message: Message) -> dict[str, Any]:
    """A message as templates expect it: arguments of calls as objects, which OpenAI's format has as JSON text.

    Templates write them as JSON, so a text would come out quoted twice. Serving reads requests the same way.
    """
    found = message.as_template_input()
    if isinstance(found.get("tool_calls"), Sequence):
        found["tool_calls"] = [_with_parsed_arguments(call) for call in found["tool_calls"]]
    return found


def _with_parsed_arguments(call: Any) -> Any:
    function = call.get("function") if isinstance(call, Mapping) else None
    arguments = function.get("arguments") if isinstance(function, Mapping) else None
    if not isinstance(arguments, str):
        return call
    try:
        parsed = json.loads(arguments)
    except ValueError:
        return call  # no JSON: the template shows the text
    return {**call, "function": {**call["function"], "arguments": parsed}}


def _stands_in(whole: Prompt, ending: Prompt, turn: Turn) -> bool:
    """Whether everything up to the end of a turn is the same in the whole conversation."""
    return whole is ending or str(whole).startswith(str(ending)[: turn.end])


def _difference(one: str, other: str, *names: str) -> dict[str, str]:
    """The texts from where they differ, short enough for a message."""
    common = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
    begin = max(common - 10, 0)
    return {name: repr(text[begin : common + 40]) for name, text in zip(names, (one, other), strict=True)}
