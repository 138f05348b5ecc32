"""The check that every preparation ends its cleaning with: rows with nothing to learn are rejected."""

from __future__ import annotations

from typing import Literal

from llmasos.data.row import Label, Message, Messages, Preference, PromptCompletion, Row, UnpairedPreference
from llmasos.data.step import FilterConfig, Rejection


class CompleteConfig(FilterConfig):
    """Reject rows whose prompt or answer is empty, and preference pairs whose answers are the same."""

    step: Literal["complete"] = "complete"

    def build(self) -> _Complete:
        return _Complete()


class _Complete:
    def __call__(self, row: Row) -> Rejection | None:
        sample = row.sample
        if isinstance(sample, Messages):
            return _conversation(sample.messages)
        if isinstance(sample, Preference):
            if sample.chosen == sample.rejected:
                return Rejection("same_answers", "the preferred and the other answer are the same")
            for place, messages in (
                ("prompt", sample.prompt),
                ("chosen", sample.chosen),
                ("rejected", sample.rejected),
            ):
                if all(_is_empty(message) for message in messages):
                    return _empty(place)
            return None
        if isinstance(sample, UnpairedPreference):
            for place, messages in (("prompt", sample.prompt), ("completion", sample.completion)):
                if all(_is_empty(message) for message in messages):
                    return _empty(place)
            return None
        if isinstance(sample, Label) and not sample.label.strip():
            return _empty("label")
        optional = ("system",) if isinstance(sample, PromptCompletion) else ()
        for place, text in row.texts():
            if place not in optional and not text.strip():
                return _empty(place)
        return None


def _conversation(messages: tuple[Message, ...]) -> Rejection | None:
    answers = [message for message in messages if message.role == "assistant"]
    if not answers:
        return Rejection("no_answer", "the conversation has no message of the assistant")
    for number, message in enumerate(messages, start=1):
        if message.role in ("user", "assistant") and _is_empty(message):
            return Rejection(f"empty_{message.role}", f"message {number} is empty")
    return None


def _is_empty(message: Message) -> bool:
    return not message.content.strip() and "tool_calls" not in message.extra


def _empty(place: str) -> Rejection:
    return Rejection(f"empty_{place}", f"the {place} is empty")
