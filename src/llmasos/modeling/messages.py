"""Messages of a conversation as plain data, checked before a template sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmasos.errors import InvalidRequest, Unsupported
from llmasos.i18n import t

Message = Mapping[str, Any]
"""One message: ``role`` and ``content`` (text, or a list of ``{"type": "text", "text": ...}`` parts), and what the
template knows besides (``tool_calls``, ``tool_call_id``, ``name``, ``reasoning_content`` ...)."""

EXAMPLE = '[{"role": "user", "content": "Hello"}]'


def checked_message(index: int, message: object) -> dict[str, Any]:
    """A message as plain data with its text parts joined, checked for what every template needs."""
    if not isinstance(message, Mapping):
        raise InvalidRequest(
            t("messages[{index}] = {value}: allowed is a mapping with role and content",
              index=index, value=repr(message)[:80]),
            hint=t("Pass messages such as {example}.", example=EXAMPLE),
        )  # fmt: skip
    plain: dict[str, Any] = plain_data(message, f"messages[{index}]")
    role = plain.get("role")
    if not isinstance(role, str) or not role:
        raise InvalidRequest(
            t("messages[{index}].role = {value}: allowed is a name such as system, user, assistant, tool",
              index=index, value=repr(role)),
            hint=t("Give every message a role."),
        )  # fmt: skip
    content = plain.get("content")
    if isinstance(content, list):
        plain["content"] = _joined_parts(index, content)
    elif content is None:
        if not plain.get("tool_calls"):
            raise InvalidRequest(
                t("messages[{index}] has no content", index=index), hint=t("Give every message a text.")
            )
        plain["content"] = ""
    elif not isinstance(content, str):
        raise InvalidRequest(
            t("messages[{index}].content = {value}: allowed is a text or a list of text parts",
              index=index, value=repr(content)[:80]),
            hint=t("Give every message a text."),
        )  # fmt: skip
    return plain


def _joined_parts(index: int, parts: list[Any]) -> str:
    texts = []
    for part in parts:
        if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
            continue
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        raise Unsupported(
            t("messages[{index}].content has a part of type {kind}; this model reads text only",
              index=index, kind=repr(kind)),
            hint=t("Leave out images, sound and files."),
        )  # fmt: skip
    return "\n".join(texts)


def plain_data(value: Any, where: str) -> Any:
    """Plain JSON data only: objects with methods must not reach a template."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)  # an enum or another subclass
    if type(value) is dict and all(type(key) is str and type(item) is str for key, item in value.items()):
        return dict(value)  # nearly all messages
    if isinstance(value, Mapping):
        return {plain_data(key, where): plain_data(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain_data(item, f"{where}[{index}]") for index, item in enumerate(value)]
    raise InvalidRequest(
        t("{where} is of type {kind}: allowed is plain data (text, numbers, lists, mappings)",
          where=where, kind=type(value).__name__),
        hint=t("Turn the value into text or a mapping first."),
    )  # fmt: skip


def without_oldest_turn(messages: Sequence[Message]) -> list[Message] | None:
    """The conversation without its oldest turn: the first message that is not the system's and all up to the next
    of the user. ``None`` when only the last turn is left."""
    start = next((index for index, message in enumerate(messages) if _role(message) != "system"), len(messages))
    end = next((index for index in range(start + 1, len(messages)) if _role(messages[index]) == "user"), None)
    return None if end is None else [*messages[:start], *messages[end:]]


def _role(message: Message) -> object:
    return message.get("role") if isinstance(message, Mapping) else None
