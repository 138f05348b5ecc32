"""A row: one training sample, where it came from, and what is known about it.

All steps see rows, whatever the file format was. A sample is one of seven kinds; each can list its texts with the
place where they stand (``prompt``, ``assistant``, ...) and be made again with other texts, so that a cleaning step
need not know the kinds. Rows are plain frozen dataclasses because a million of them pass through a pipeline.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeAlias

import orjson

JsonValue: TypeAlias = Any
"""What JSON can hold: None, bool, int, float, str, lists and objects of these."""

PlacedText: TypeAlias = tuple[str, str]
"""(place, text): ``("prompt", "What is ...?")``."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row was read: the source's name, the file, and the line (or record, page) in it, counted from 1."""

    source: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: ``system``, ``user``, ``assistant`` or ``tool``.
        content: the text; empty where an assistant only calls tools.
        train: whether the data itself says to learn this turn or not (``weight`` of OpenAI's format); ``None``: unsaid.
        extra: other keys as the chat template expects them: ``tool_calls``, ``tool_call_id``, ``name``, ...
    """

    role: str
    content: str
    train: bool | None = None
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    def as_template_input(self) -> dict[str, JsonValue]:
        """The message as chat templates take it."""
        return {"role": self.role, "content": self.content, **self.extra}

    def as_json(self) -> dict[str, JsonValue]:
        result: dict[str, JsonValue] = {"role": self.role, "content": self.content}
        if self.train is not None:
            result["train"] = self.train
        if self.extra:
            result["extra"] = dict(self.extra)
        return result

    @classmethod
    def from_json(cls, value: Mapping[str, JsonValue]) -> Message:
        return cls(value["role"], value["content"], value.get("train"), value.get("extra") or {})


def _replace_contents(messages: Sequence[Message], texts: Iterator[str]) -> tuple[Message, ...]:
    return tuple(replace(message, content=next(texts)) for message in messages)


@dataclass(frozen=True, slots=True)
class Text:
    """A document, for pretraining. Place: ``text``."""

    kind: ClassVar[str] = "text"
    text: str

    def texts(self) -> list[PlacedText]:
        return [("text", self.text)]

    def with_texts(self, texts: Sequence[str]) -> Text:
        (text,) = texts
        return Text(text)

    def as_json(self) -> dict[str, JsonValue]:
        return {"text": self.text}

    @classmethod
    def from_json(cls, value: Mapping[str, JsonValue]) -> Text:
        return cls(value["text"])


@dataclass(frozen=True, slots=True)
class Messages:
    """A conversation. Places are the roles. ``tools`` are JSON schemas of functions that the assistant may call."""

    kind: ClassVar[str] = "messages"
    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, JsonValue], ...] = ()

    def texts(self) -> list[PlacedText]:
        return [(message.role, message.content) for message in self.messages]

    def with_texts(self, texts: Sequence[str]) -> Messages:
        assert len(texts) == len(self.messages)
        return Messages(_replace_contents(self.messages, iter(texts)), self.tools)

    def as_json(self) -> dict[str, JsonValue]:
        result: dict[str, JsonValue] = {"messages": [message.as_json() for message in self.messages]}
        if self.tools:
            result["tools"] = list(self.tools)
        return result

    @classmethod
    def from_json(cls, value: Mapping[str, JsonValue]) -> Messages:
        return cls(tuple(map(Message.from_json, value["messages"])), tuple(value.get("tools") or ()))


@dataclass(frozen=True, slots=True)
class PromptCompletion:
    """A prompt and the completion to learn. Places: ``system`` (only if there is one), ``prompt``, ``completion``."""

    kind: ClassVar[str] = "prompt_completion"
    prompt: str
    completion: str
    system: str | None = None

    def texts(self) -> list[PlacedText]:
        head = [] if self.system is None else [("system", self.system)]
        return [*head, ("prompt", self.prompt), ("completion", self.completion)]

    def with_texts(self, texts: Sequence[str]) -> PromptCompletion:
        *head, prompt, completion = texts
        assert len(head) == (self.system is not None)
        return PromptCompletion(prompt, completion, head[0] if head else None)

    def as_json(self) -> dict[str, JsonValue]:
        head = {} if self.system is None else {"system": self.system}
        return {**head, "prompt": self.prompt, "completion": self.completion}

    @classmethod
    def from_json(cls, value: Mapping[str, JsonValue]) -> PromptCompletion:
        return cls(value["prompt"], value["completion"], value.get("system"))


@dataclass(frozen=True, slots=True)
class Preference:
    """Two answers to one prompt, one preferred. Places: ``prompt``, ``chosen``, ``rejected``, one for each message."""

    kind: ClassVar[str] = "preference"
    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]

    def texts(self) -> list[PlacedText]:
        return [
            *(("prompt", message.content) for message in self.prompt),
            *(("chosen", message.content) for message in self.chosen),
            *(("rejected", message.content) for message in self.rejected),
        ]

    def with_texts(self, texts: Sequence[str]) -> Preference:
        assert len(texts) == len(self.prompt) + len(self.chosen) + len(self.rejected)
        left = iter(texts)
        return Preference(*(_replace_contents(part, left) for part in (self.prompt, self.chosen, self.rejected)))

    def as_json(self) -> dict[str, JsonValue]:
        return {
            "prompt": [message.as_json() for message in self.prompt],
            "chosen": [message.as_json() for message in self.chosen],
            "rejected": [message.as_json() for message in self.rejected],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, JsonValue]) -> Preference:
        return cls(*(tuple(map(Message.from_json, value[name])) for name in ("prompt", "chosen", "rejected")))


@dataclass(frozen=True, slots=True)
class UnpairedPreference:
    """An answer judged good or bad (KTO). Places: ``prompt``, ``completion``, one for each message."""

    kind: ClassVar[str] = "unpaired_preference"
    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    desirable: bool

    def texts(self) -> list[PlacedText]:
        return [
            *(("prompt", message.content) for message in self.prompt),
            *(("completion", message.content) for message in self.completion),
        ]

    def with_texts(self, texts: Sequence[str]) -> UnpairedPreference:
        assert len(texts) == len(self.prompt) + len(self.completion)
        left = iter(texts)
        prompt, completion = (_replace_contents(part, left) for part in (self.prompt, self.completion))
        return UnpairedPreference(prompt, completion, self.desirable)

    def as_json(self) -> dict[str, JsonValue]:
        return {
            "prompt": [message.as_json() for message in self.prompt],
            "completion": [message.as_json() for message in self.completion],
            "desirable": self.desirable,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, JsonValue]) -> UnpairedPreference:
        prompt, completion = (tuple(map(Message.from_json, value[name])) for name in ("prompt", "completion"))
        return cls(prompt, completion, value["desirable"])


@dataclass(frozen=True, slots=True)
class Label:
    """A text, or a pair of texts, and its class. Places: ``text``, ``pair`` (only if there is one)."""

    kind: ClassVar[str] = "label"
    text: str
    label: str
    pair: str | None = None

    def texts(self) -> list[PlacedText]:
        return [("text", self.text), *([] if self.pair is None else [("pair", self.pair)])]

    def with_texts(self, texts: Sequence[str]) -> Label:
        text, *rest = texts
        assert len(rest) == (self.pair is not None)
        return Label(text, self.label, rest[0] if rest else None)

    def as_json(self) -> dict[str, JsonValue]:
        tail = {} if self.pair is None else {"pair": self.pair}
        return {"text": self.text, "label": self.label, **tail}

    @classmethod
    def from_json(cls, value: Mapping[str, JsonValue]) -> Label:
        return cls(value["text"], value["label"], value.get("pair"))


@dataclass(frozen=True, slots=True)
class Parallel:
    """A text and what it is to become: a translation, a summary. Places: ``source``, ``target``.

    The languages are ISO 639-1 codes such as ``en``, or ``None`` where the data do not say.
    """

    kind: ClassVar[str] = "parallel"
    source: str
    target: str
    source_language: str | None = None
    target_language: str | None = None

    def texts(self) -> list[PlacedText]:
        return [("source", self.source), ("target", self.target)]

    def with_texts(self, texts: Sequence[str]) -> Parallel:
        source, target = texts
        return Parallel(source, target, self.source_language, self.target_language)

    def as_json(self) -> dict[str, JsonValue]:
        result = {"source": self.source, "target": self.target}
        if self.source_language is not None:
            result["source_language"] = self.source_language
        if self.target_language is not None:
            result["target_language"] = self.target_language
        return result

    @classmethod
    def from_json(cls, value: Mapping[str, JsonValue]) -> Parallel:
        return cls(value["source"], value["target"], value.get("source_language"), value.get("target_language"))


Sample: TypeAlias = Text | Messages | PromptCompletion | Preference | UnpairedPreference | Label | Parallel

SAMPLE_KINDS: dict[str, type[Sample]] = {
    variant.kind: variant
    for variant in (Text, Messages, PromptCompletion, Preference, UnpairedPreference, Label, Parallel)
}

LEARNED_PLACES = frozenset({"text", "assistant", "completion", "chosen", "rejected", "target"})
"""Places whose text a model learns to produce (or to label); an empty one makes the row useless."""


@dataclass(frozen=True, slots=True)
class Row:
    """One sample on its way through the pipeline.

    Attributes:
        id: unique in the corpus and the same in every run over the same files.
        metadata: columns that are no part of the sample, and what steps found out (``language``, ``perplexity``).
    """

    id: str
    origin: Origin
    sample: Sample
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)

    def texts(self) -> list[PlacedText]:
        """The texts of the sample with their places, in reading order."""
        return self.sample.texts()

    def text(self) -> str:
        """All texts of the sample, joined by newlines: what filters and deduplication look at."""
        return "\n".join(text for _, text in self.sample.texts())

    def with_texts(self, texts: Sequence[str]) -> Row:
        """The same row with other texts, in the order of :meth:`texts`."""
        return replace(self, sample=self.sample.with_texts(texts))

    def with_metadata(self, **values: JsonValue) -> Row:
        return replace(self, metadata={**self.metadata, **values})

    def as_json(self) -> dict[str, JsonValue]:
        origin = self.origin
        result: dict[str, JsonValue] = {
            "id": self.id,
            "origin": {"source": origin.source, "file": origin.file, "line": origin.line},
            "kind": self.sample.kind,
            "sample": self.sample.as_json(),
        }
        if self.metadata:
            result["metadata"] = dict(self.metadata)
        return result

    @classmethod
    def from_json(cls, value: Mapping[str, JsonValue]) -> Row:
        return cls(
            value["id"],
            Origin(**value["origin"]),
            SAMPLE_KINDS[value["kind"]].from_json(value["sample"]),
            value.get("metadata") or {},
        )

    def to_bytes(self) -> bytes:
        """One line of a shard, with its newline."""
        return orjson.dumps(self.as_json(), option=orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def from_bytes(cls, line: bytes) -> Row:
        return cls.from_json(orjson.loads(line))
