"""Rows as columns: the names that Hugging Face tools expect of each kind of sample, beside our own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from llmasos.data.row import JsonValue, Message, Messages, Preference, Row, UnpairedPreference


def as_columns(row: Row) -> dict[str, JsonValue]:
    """One record of the prepared data set.

    Messages are objects with ``role``, ``content``, ``train`` (null: unsaid) and ``extra`` (JSON text or null).
    ``id``, ``origin`` and ``metadata`` (JSON text or null) say where the row came from.
    """
    sample = row.sample
    columns: dict[str, JsonValue] = {}
    if isinstance(sample, Messages):
        columns["messages"] = [_message(message) for message in sample.messages]
        columns["tools"] = _text(list(sample.tools) or None)
    elif isinstance(sample, Preference):
        columns |= {
            "prompt": [_message(message) for message in sample.prompt],
            "chosen": [_message(message) for message in sample.chosen],
            "rejected": [_message(message) for message in sample.rejected],
        }
    elif isinstance(sample, UnpairedPreference):
        columns |= {
            "prompt": [_message(message) for message in sample.prompt],
            "completion": [_message(message) for message in sample.completion],
            "label": sample.desirable,
        }
    else:
        columns |= {**_OPTIONAL.get(sample.kind, {}), **sample.as_json()}
    metadata = {name: value for name, value in row.metadata.items() if name != "split"}
    return {**columns, "id": row.id, "origin": str(row.origin), "metadata": _text(metadata or None)}


_OPTIONAL: dict[str, dict[str, JsonValue]] = {
    "prompt_completion": {"system": None},
    "label": {"pair": None},
    "parallel": {"source_language": None, "target_language": None},
}
"""Columns that a record of a kind always has, though a sample may lack them."""


def _message(message: Message) -> dict[str, JsonValue]:
    extra = _text(dict(message.extra) or None)
    return {"role": message.role, "content": message.content, "train": message.train, "extra": extra}


def _text(value: Mapping[str, JsonValue] | list[JsonValue] | None) -> str | None:
    return None if value is None else orjson.dumps(value).decode("utf-8")


def schema(kind: str) -> Any:
    """The Arrow schema of the records of a kind."""
    import pyarrow as pa

    text = pa.string()
    messages = pa.list_(pa.struct([("role", text), ("content", text), ("train", pa.bool_()), ("extra", text)]))
    columns: dict[str, list[tuple[str, Any]]] = {
        "text": [("text", text)],
        "messages": [("messages", messages), ("tools", text)],
        "prompt_completion": [("system", text), ("prompt", text), ("completion", text)],
        "preference": [("prompt", messages), ("chosen", messages), ("rejected", messages)],
        "unpaired_preference": [("prompt", messages), ("completion", messages), ("label", pa.bool_())],
        "label": [("pair", text), ("text", text), ("label", text)],
        "parallel": [("source_language", text), ("target_language", text), ("source", text), ("target", text)],
    }
    return pa.schema([*columns[kind], ("id", text), ("origin", text), ("metadata", text)])
