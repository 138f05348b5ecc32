"""Messages from the forms in which conversations are written: OpenAI, ShareGPT, plain lists of turns."""

from __future__ import annotations

import json
from collections.abc import Mapping

from llmasos.data.row import JsonValue, Message

ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user", "client": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant",
    "bing": "assistant", "bard": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "function_response": "tool", "tool_response": "tool",
}  # fmt: skip
_CALLS = ("function_call", "tool_call")


class NotMessages(Exception):  # noqa: N818 - becomes the detail of a rejection
    """The value is no conversation; the text says why."""


def conversation(value: JsonValue, *, text_role: str = "user", system: str | None = None) -> tuple[Message, ...]:
    """The messages in a value: a text, one message, a list of messages, or a list of texts spoken in turn.

    Args:
        text_role: who says a text that stands alone.
        system: a system message to put in front.

    Raises:
        NotMessages: it is none of these, or a role is unknown.
    """
    if isinstance(value, str):
        found = [Message(text_role, value)]
    elif isinstance(value, Mapping):
        found = [_message(value)]
    elif isinstance(value, list) and value:
        turns = _turns(value)
        found = (
            [Message("assistant" if index % 2 else "user", turn) for index, turn in enumerate(turns)]
            if turns is not None
            else [_message(item) for item in value]
        )
    else:
        raise NotMessages("an empty conversation" if isinstance(value, list) else "not a list of messages")
    if system is not None:
        found.insert(0, Message("system", system))
    return tuple(found)


def _turns(value: list[JsonValue]) -> list[str] | None:
    """The texts of a list of turns, or of a list of (question, answer) pairs; ``None`` if it is neither."""
    if all(isinstance(item, list) for item in value):
        flat = [turn for item in value for turn in item]
        if flat and flat[-1] == "":  # a pair whose second speaker says nothing any more
            flat.pop()
    else:
        flat = value
    return flat if flat and all(isinstance(item, str) for item in flat) else None


def _message(value: JsonValue) -> Message:
    if not isinstance(value, Mapping):
        raise NotMessages(f"a message is an object, not a {type(value).__name__}")
    left = dict(value)
    role = left.pop("role", None) or left.pop("from", None)
    content = left.pop("content") if "content" in left else left.pop("value", None)
    train = _train(left)
    extra = {name: item for name, item in left.items() if item is not None}
    nested = extra.pop("extra", None)
    if isinstance(nested, str):
        extra |= json.loads(nested)
    elif isinstance(nested, Mapping):
        extra |= nested
    if role in _CALLS:
        return Message("assistant", "", train, {**extra, "tool_calls": [_call(content)]})
    known = ROLES.get(role.lower()) if isinstance(role, str) else None
    if known is None:
        raise NotMessages(f"unknown role {role!r}; known: {', '.join(sorted({*ROLES, *_CALLS}))}")
    if isinstance(content, list):
        content = _parts(content)
    if content is None and "tool_calls" in extra:
        content = ""
    if not isinstance(content, str):
        raise NotMessages(f"the content of a message is a {type(content).__name__}, not a text")
    return Message(known, content, train, extra)


def _train(left: dict[str, JsonValue]) -> bool | None:
    """What the data say about learning the message: ``weight`` of OpenAI's format, or our own ``train``."""
    for name in ("train", "weight"):
        value = left.pop(name, None)
        if value is not None:
            if value not in (0, 1):
                raise NotMessages(f"{name} is {value!r}, not 0 or 1")
            return bool(value)
    return None


def _parts(content: list[JsonValue]) -> str:
    """The text of content in parts, as newer OpenAI formats write it."""
    texts = []
    for part in content:
        if not isinstance(part, Mapping) or part.get("type", "text") != "text" or not isinstance(part.get("text"), str):
            raise NotMessages("the content has parts that are no text")
        texts.append(part["text"])
    return "".join(texts)


def _call(value: JsonValue) -> dict[str, JsonValue]:
    """A call of a function from ShareGPT's form, the call as JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise NotMessages(f"a function call is not JSON: {error}") from error
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise NotMessages("a function call has no name")
    return {"type": "function", "function": {"name": value["name"], "arguments": value.get("arguments", {})}}


def tools_of(value: JsonValue) -> tuple[Mapping[str, JsonValue], ...]:
    """Descriptions of functions from a list or its JSON text; nothing stands for none."""
    if value in (None, "", []):
        return ()
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise NotMessages(f"the description of the tools is not JSON: {error}") from error
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise NotMessages("the description of the tools is no list of objects")
    return tuple(value)
