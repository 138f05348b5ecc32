"""Recognising the layout of a data set from its first records, and saying which it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from llmasos.data.row import JsonValue
from llmasos.data.sources.layout import (
    LabelLayout,
    Layout,
    MessagesLayout,
    ParallelLayout,
    PreferenceLayout,
    PromptCompletionLayout,
    TextLayout,
    UnpairedPreferenceLayout,
)
from llmasos.data.step import Rejection

Fields: TypeAlias = Mapping[str, JsonValue]


@dataclass(frozen=True)
class Recognised:
    """A layout and the name under which people know it."""

    name: str
    layout: Layout


_CONVERSATION = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns", "chat")
_PAIRS = (
    ("prompt", "completion"), ("prompt", "response"), ("prompt", "output"), ("prompt", "answer"),
    ("instruction", "response"), ("instruction", "completion"), ("instruction", "answer"),
    ("question", "answer"), ("question", "response"), ("query", "response"), ("query", "answer"),
    ("input", "output"), ("inputs", "targets"),
)  # fmt: skip
_PARALLEL = (
    ("source", "target"), ("src", "tgt"), ("src", "trg"), ("document", "summary"), ("article", "summary"),
    ("article", "highlights"), ("text", "summary"), ("dialogue", "summary"), ("abst", "title"),
)  # fmt: skip
_CLASS = ("label", "labels", "class", "category", "sentiment", "intent", "label_text")
_CLASSIFIED = ("text", "sentence", "content", "review", "comment", "title", "query", "question", "tweet")
_CLASSIFIED_PAIRS = (
    ("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("question", "sentence"),
    ("text1", "text2"), ("text_a", "text_b"), ("text", "pair"),
)  # fmt: skip
_TEXTS = ("text", "content", "document", "body", "raw_content", "paragraph", "sentence")
_LANGUAGES = frozenset(
    [
        "af",
        "am",
        "ar",
        "az",
        "be",
        "bg",
        "bn",
        "bs",
        "ca",
        "cs",
        "cy",
        "da",
        "de",
        "el",
        "en",
        "eo",
        "es",
        "et",
        "eu",
        "fa",
        "fi",
        "fr",
        "ga",
        "gl",
        "gu",
        "he",
        "hi",
        "hr",
        "hu",
        "hy",
        "id",
        "is",
        "it",
        "ja",
        "ka",
        "kk",
        "km",
        "kn",
        "ko",
        "ky",
        "la",
        "lo",
        "lt",
        "lv",
        "mg",
        "mk",
        "ml",
        "mn",
        "mr",
        "ms",
        "mt",
        "my",
        "nb",
        "ne",
        "nl",
        "no",
        "or",
        "pa",
        "pl",
        "ps",
        "pt",
        "ro",
        "ru",
        "si",
        "sk",
        "sl",
        "sq",
        "sr",
        "sv",
        "sw",
        "ta",
        "te",
        "th",
        "tl",
        "tr",
        "uk",
        "ur",
        "uz",
        "vi",
        "xh",
        "zh",
        "zu",
    ]
)


def recognise(
    records: Sequence[Fields], *, class_names: Mapping[str, tuple[str, ...]] | None = None
) -> Recognised | None:
    """The layout of a data set, from its first records; ``None`` if it looks like none that is known.

    A layout counts only if at least half of the records fit it.

    Args:
        class_names: names of numbered classes by column, where the format tells them.
    """
    if not records:
        return None
    columns = _Columns(records)
    for rule in _RULES:
        found = rule(columns, class_names or {})
        if found is not None and columns.fits(found.layout):
            return found
    return None


class _Columns:
    """The columns of the first records."""

    def __init__(self, records: Sequence[Fields]) -> None:
        self._records = records
        self.names = {name for record in records for name in record}

    def values(self, name: str) -> list[JsonValue]:
        return [value for record in self._records if (value := record.get(name)) is not None]

    def all(self, name: str, kind: type | tuple[type, ...]) -> bool:
        values = self.values(name)
        return bool(values) and all(isinstance(value, kind) for value in values)

    def constant(self, name: str) -> str | None:
        """The text that stands in the column of every record, if it is always the same."""
        values = self.values(name)
        same = bool(values) and all(value == values[0] for value in values)
        return values[0] if same and isinstance(values[0], str) else None

    def in_order(self) -> list[str]:
        return list(dict.fromkeys(name for record in self._records for name in record))

    def fits(self, layout: Layout) -> bool:
        good = sum(not isinstance(layout.apply(record), Rejection) for record in self._records)
        return good * 2 >= len(self._records)

    def first(self, names: Sequence[str], kind: type | tuple[type, ...]) -> str | None:
        return next((name for name in names if name in self.names and self.all(name, kind)), None)

    def pair(self, pairs: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
        text = (str, list)
        return next((pair for pair in pairs if all(name in self.names and self.all(name, text) for name in pair)), None)


_ClassNames: TypeAlias = Mapping[str, tuple[str, ...]]


def _preference(columns: _Columns, _: _ClassNames) -> Recognised | None:
    if not {"chosen", "rejected"} <= columns.names:
        return None
    prompt = next(
        (name for name in ("prompt", *_CONVERSATION, "question", "instruction", "input") if name in columns.names), None
    )
    system = "system" if columns.all("system", str) else None
    return Recognised("preference pairs", PreferenceLayout(prompt=prompt, system=system))


def _unpaired(columns: _Columns, _: _ClassNames) -> Recognised | None:
    verdict = columns.first(("label", "kto_tag", "desirable"), bool)
    if verdict is None:
        return None
    if {"prompt", "completion"} <= columns.names:
        return Recognised("KTO", UnpairedPreferenceLayout(desirable=verdict))
    conversation = columns.first(_CONVERSATION, list)
    if conversation is not None:
        layout = UnpairedPreferenceLayout(prompt=None, completion=conversation, desirable=verdict)
        return Recognised("KTO", layout)
    return None


def _messages(columns: _Columns, _: _ClassNames) -> Recognised | None:
    name = columns.first(_CONVERSATION, list)
    if name is None or "summary" in columns.names:
        return None
    first = next((value[0] for value in columns.values(name) if value), None)
    tools = "tools" if "tools" in columns.names else None
    layout = MessagesLayout(messages=name, tools=tools, system="system" if columns.all("system", str) else None)
    if isinstance(first, Mapping):
        return Recognised("ShareGPT" if "from" in first else "OpenAI messages", layout)
    return Recognised("dialogue turns", layout)


def _alpaca(columns: _Columns, _: _ClassNames) -> Recognised | None:
    if not {"instruction", "output"} <= columns.names:
        return None
    layout = PromptCompletionLayout(
        prompt="instruction",
        completion="output",
        context="input" if "input" in columns.names else None,
        system="system" if columns.all("system", str) else None,
    )
    return Recognised("alpaca", layout)


def _translation(columns: _Columns, _: _ClassNames) -> Recognised | None:
    if columns.all("translation", dict):
        first = columns.values("translation")[0]
        if len(first) == 2:
            source, target = first
            layout = ParallelLayout(source=f"translation.{source}", target=f"translation.{target}",
                                    source_language=source, target_language=target)  # fmt: skip
            return Recognised("parallel text", layout)
    languages = [name for name in columns.in_order() if name in _LANGUAGES and columns.all(name, str)]
    if len(languages) == 2:
        source, target = languages
        layout = ParallelLayout(source=source, target=target, source_language=source, target_language=target)
        return Recognised("parallel text", layout)
    return None


def _parallel(columns: _Columns, _: _ClassNames) -> Recognised | None:
    pair = columns.pair(_PARALLEL)
    if pair is None:
        return None
    first, second = (columns.constant(f"{side}_language") for side in ("source", "target"))
    layout = ParallelLayout(source=pair[0], target=pair[1], source_language=first, target_language=second)
    return Recognised("parallel text", layout)


def _prompt_completion(columns: _Columns, _: _ClassNames) -> Recognised | None:
    pair = columns.pair(_PAIRS)
    if pair is None:
        return None
    layout = PromptCompletionLayout(
        prompt=pair[0], completion=pair[1], system="system" if columns.all("system", str) else None
    )
    return Recognised("prompt and completion", layout)


def _classification(columns: _Columns, class_names: _ClassNames) -> Recognised | None:
    label = columns.first(_CLASS, (str, int))
    if label is None:
        return None
    names = class_names.get(label)
    pair = columns.pair(_CLASSIFIED_PAIRS)
    if pair is not None:
        layout = LabelLayout(text=pair[0], pair=pair[1], label=label, names=names)
        return Recognised("classification of pairs", layout)
    text = columns.first(_CLASSIFIED, str)
    if text is None:
        return None
    return Recognised("classification", LabelLayout(text=text, label=label, names=names))


def _text(columns: _Columns, _: _ClassNames) -> Recognised | None:
    name = columns.first(_TEXTS, str)
    if name is None and len(columns.names) == 1 and columns.all(next(iter(columns.names)), str):
        name = next(iter(columns.names))
    return Recognised("plain text", TextLayout(text=name)) if name is not None else None


_RULES: tuple[Callable[[_Columns, _ClassNames], Recognised | None], ...] = (
    _preference,
    _unpaired,
    _messages,
    _alpaca,
    _translation,
    _classification,
    _parallel,
    _prompt_completion,
    _text,
)
