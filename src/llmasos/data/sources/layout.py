"""Layouts: how a record of a file becomes a sample of one kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from llmasos.data.row import (
    JsonValue,
    Label,
    Messages,
    Parallel,
    Preference,
    PromptCompletion,
    Sample,
    Text,
    UnpairedPreference,
)
from llmasos.data.sources.columns import MissingColumn, NotText, columns_of, evaluate, text_of, value_at
from llmasos.data.sources.conversation import NotMessages, conversation, tools_of
from llmasos.data.step import Rejection

_COLUMN = "a column, a path such as translation.en or turns.0, or a template such as 'Translate: {en}'"


class _Layout(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    join: str = Field(" ", description="What stands between the texts of a column that holds a list of texts.")

    def sample(self, fields: Mapping[str, JsonValue]) -> Sample:
        """The sample that a record holds; raises :class:`MissingColumn`, :class:`NotText`, :class:`NotMessages`."""
        raise NotImplementedError

    def columns(self) -> set[str]:
        """The columns that the layout uses."""
        raise NotImplementedError

    def apply(self, fields: Mapping[str, JsonValue]) -> Sample | Rejection:
        """The sample, or why the record is none."""
        try:
            return self.sample(fields)
        except MissingColumn as error:
            return Rejection("missing_field", f"nothing at {error.path!r}")
        except NotText as error:
            return Rejection("not_text", f"{error.path!r} holds a {type(error.value).__name__}, not a text")
        except NotMessages as error:
            return Rejection("malformed_messages", str(error))


class TextLayout(_Layout):
    """Documents, for pretraining."""

    kind: Literal["text"] = "text"
    text: str = Field("text", description=f"The document: {_COLUMN}.")

    def sample(self, fields: Mapping[str, JsonValue]) -> Sample:
        return Text(evaluate(fields, self.text, self.join))

    def columns(self) -> set[str]:
        return columns_of([self.text])


class PromptCompletionLayout(_Layout):
    """Prompts with their completions, such as the alpaca format."""

    kind: Literal["prompt_completion"] = "prompt_completion"
    prompt: str = Field("prompt", description=f"The prompt: {_COLUMN}.")
    completion: str = Field("completion", description=f"What to learn: {_COLUMN}.")
    system: str | None = Field(None, description=f"The system message: {_COLUMN}.")
    context: str | None = Field(
        None,
        description="A column that, where it is not empty, follows the prompt after an empty line (alpaca: input).",
    )

    def sample(self, fields: Mapping[str, JsonValue]) -> Sample:
        prompt = evaluate(fields, self.prompt, self.join)
        context = _optional(fields, self.context, self.join)
        if context:
            prompt = f"{prompt}\n\n{context}" if prompt else context
        return PromptCompletion(
            prompt, evaluate(fields, self.completion, self.join), _optional(fields, self.system, self.join)
        )

    def columns(self) -> set[str]:
        return columns_of([item for item in (self.prompt, self.completion, self.system, self.context) if item])


class MessagesLayout(_Layout):
    """Conversations: lists of messages (OpenAI, ShareGPT), or lists of texts whose speakers alternate."""

    kind: Literal["messages"] = "messages"
    messages: str = Field("messages", description="The column with the list of messages or texts.")
    tools: str | None = Field(None, description="The column with the functions that the assistant may call.")
    system: str | None = Field(None, description=f"The system message, put in front: {_COLUMN}.")

    def sample(self, fields: Mapping[str, JsonValue]) -> Sample:
        found = conversation(value_at(fields, self.messages), system=_optional(fields, self.system, self.join))
        return Messages(found, tools_of(fields.get(self.tools) if self.tools else None))

    def columns(self) -> set[str]:
        return columns_of([item for item in (self.messages, self.tools, self.system) if item])


class PreferenceLayout(_Layout):
    """Pairs of answers of which one is preferred, for DPO and reward models."""

    kind: Literal["preference"] = "preference"
    prompt: str | None = Field(
        "prompt", description="The prompt: a text or list of messages; null where both answers repeat it."
    )
    chosen: str = Field("chosen", description="The better answer: a text, a message or a list of messages.")
    rejected: str = Field("rejected", description="The worse answer.")
    system: str | None = Field(None, description="The system message.")

    def sample(self, fields: Mapping[str, JsonValue]) -> Sample:
        chosen = conversation(value_at(fields, self.chosen), text_role="assistant")
        rejected = conversation(value_at(fields, self.rejected), text_role="assistant")
        system = _optional(fields, self.system, self.join)
        if self.prompt is not None:
            prompt = conversation(value_at(fields, self.prompt), text_role="user", system=system)
            return Preference(prompt, chosen, rejected)
        shared = 0
        while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
            shared += 1
        if not shared:
            raise NotMessages("the two answers begin with different messages, so there is no common prompt")
        return Preference(chosen[:shared], chosen[shared:], rejected[shared:])

    def columns(self) -> set[str]:
        return columns_of([item for item in (self.prompt, self.chosen, self.rejected, self.system) if item])


class UnpairedPreferenceLayout(_Layout):
    """Answers judged good or bad one by one, for KTO."""

    kind: Literal["unpaired_preference"] = "unpaired_preference"
    prompt: str | None = Field(
        "prompt",
        description="The prompt: a text or list of messages; null where the answer's last message is to learn.",
    )
    completion: str = Field("completion", description="The answer: a text, or a list of messages.")
    desirable: str = Field(
        "label", description="The column that says whether the answer is good: true or false, 1 or 0."
    )

    def sample(self, fields: Mapping[str, JsonValue]) -> Sample:
        verdict = value_at(fields, self.desirable)
        if not isinstance(verdict, bool) and verdict not in (0, 1):
            raise NotText(self.desirable, verdict)
        completion = conversation(value_at(fields, self.completion), text_role="assistant")
        if self.prompt is not None:
            prompt = conversation(value_at(fields, self.prompt), text_role="user")
            return UnpairedPreference(prompt, completion, bool(verdict))
        if len(completion) < 2:
            raise NotMessages("one message only: there is no prompt")
        return UnpairedPreference(completion[:-1], completion[-1:], bool(verdict))

    def columns(self) -> set[str]:
        return columns_of([item for item in (self.prompt, self.completion, self.desirable) if item])


class LabelLayout(_Layout):
    """Texts with their classes."""

    kind: Literal["label"] = "label"
    text: str = Field("text", description=f"The text: {_COLUMN}.")
    pair: str | None = Field(None, description=f"The second text, where classes are of pairs: {_COLUMN}.")
    label: str = Field("label", description="The column with the class.")
    names: tuple[str, ...] | None = Field(
        None, description="Names of the classes where the column holds numbers from 0."
    )

    def sample(self, fields: Mapping[str, JsonValue]) -> Sample:
        value = value_at(fields, self.label)
        label = text_of(value, self.label, self.join)
        if self.names is not None and label.isdecimal():
            if int(label) >= len(self.names):
                raise NotText(self.label, value)
            label = self.names[int(label)]
        return Label(evaluate(fields, self.text, self.join), label, _optional(fields, self.pair, self.join))

    def columns(self) -> set[str]:
        return columns_of([item for item in (self.text, self.pair, self.label) if item])


class ParallelLayout(_Layout):
    """Texts and what they are to become: translations, summaries."""

    kind: Literal["parallel"] = "parallel"
    source: str = Field("source", description=f"The text: {_COLUMN}.")
    target: str = Field("target", description=f"What it becomes: {_COLUMN}.")
    source_language: str | None = Field(None, description="Language of the source side, such as en.")
    target_language: str | None = Field(None, description="Language of the target side, such as zh.")

    def sample(self, fields: Mapping[str, JsonValue]) -> Sample:
        return Parallel(
            evaluate(fields, self.source, self.join),
            evaluate(fields, self.target, self.join),
            self.source_language,
            self.target_language,
        )

    def columns(self) -> set[str]:
        return columns_of([self.source, self.target])


Layout = Annotated[
    TextLayout
    | PromptCompletionLayout
    | MessagesLayout
    | PreferenceLayout
    | UnpairedPreferenceLayout
    | LabelLayout
    | ParallelLayout,
    Field(discriminator="kind"),
]


def _optional(fields: Mapping[str, JsonValue], expression: str | None, join: str) -> str | None:
    """The text of an optional column; ``None`` where the record has none or it is empty."""
    if expression is None:
        return None
    try:
        return evaluate(fields, expression, join) or None
    except MissingColumn:
        return None
