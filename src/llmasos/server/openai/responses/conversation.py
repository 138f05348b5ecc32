"""From items to the messages that templates read, and to the items that are kept."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Any

from llmasos.i18n import t
from llmasos.server.openai.responses.fields import (
    FunctionCallItem,
    FunctionCallOutputItem,
    InputText,
    MessageItem,
    OutputText,
    ReasoningItem,
    Refusal,
)
from llmasos.server.serving.job import Message
from llmasos.server.web.body import InvalidField


def new_id(kind: str) -> str:
    """An id for an item or a response: ``resp``, ``msg``, ``rs``, ``fc``, ``fco``."""
    return f"{kind}_{secrets.token_hex(16)}"


class Conversation:
    """Messages, from those of an earlier response on."""

    def __init__(self, earlier: Sequence[Message] = ()) -> None:
        self._messages: list[dict[str, Any]] = [dict(message) for message in earlier]
        self._calls = {
            call["id"]: call["function"]["name"] for message in earlier for call in message.get("tool_calls") or ()
        }
        self._open = False
        """Whether the last message is of the assistant and more of its items may join it."""

    @property
    def messages(self) -> list[Message]:
        """All of them."""
        return list(self._messages)

    def with_instructions(self, instructions: str | None) -> list[Message]:
        """The messages behind the instructions, which are no part of what is kept."""
        if not instructions:
            return self.messages
        first = self._messages[0] if self._messages else {}
        if first.get("role") == "system":  # templates know one system message
            joined = {"role": "system", "content": f"{instructions}\n\n{first['content']}"}
            return [joined, *self._messages[1:]]
        return [{"role": "system", "content": instructions}, *self._messages]

    def add(self, items: str | Sequence[Any]) -> None:
        """Take in the input of a request.

        Raises:
            InvalidField: an item or part is of a kind that the models here do not read, or makes no sense where it is.
        """
        if isinstance(items, str):
            self._say("user", items)
            return
        for index, item in enumerate(items):
            place = f"input[{index}]"
            match item:
                case MessageItem():
                    self._say(item.role, text_of(item.content, f"{place}.content"))
                case ReasoningItem():
                    self._think("\n".join(part.text for part in item.content or item.summary))
                case FunctionCallItem():
                    self._call(item, place)
                case FunctionCallOutputItem():
                    self._answer(item, place)
                case _:
                    raise InvalidField(
                        t("{place} is of type {kind}, which this server does not do", place=place,
                          kind=repr(item.get("type"))),
                        param=place,
                        hint=t("Allowed are message, function_call, function_call_output and reasoning."),
                    )  # fmt: skip

    def add_output(self, items: Sequence[dict[str, Any]]) -> None:
        """Take in the output of a response of this server."""
        for item in items:
            match item["type"]:
                case "reasoning":
                    self._think("".join(part["text"] for part in item["content"]))
                case "message":
                    self._say("assistant", "".join(part["text"] for part in item["content"]))
                case _:
                    arguments = _object(item["arguments"])
                    self._add_call(item["call_id"], item["name"], arguments if arguments is not None else {})

    def _assistant(self, *, fresh: bool) -> dict[str, Any]:
        if fresh or not self._open:
            self._messages.append({"role": "assistant", "content": ""})
            self._open = True
        return self._messages[-1]

    def _say(self, role: str, text: str) -> None:
        if role != "assistant":
            self._open = False
            self._messages.append({"role": "system" if role == "developer" else role, "content": text})
            return
        last = self._messages[-1] if self._open else {}
        self._assistant(fresh=bool(last.get("content") or last.get("tool_calls")))["content"] = text

    def _think(self, text: str) -> None:
        last = self._messages[-1] if self._open else {}
        message = self._assistant(fresh=bool(last.get("content") or last.get("tool_calls")))
        before = message.get("reasoning_content")
        message["reasoning_content"] = f"{before}\n{text}" if before else text

    def _call(self, item: FunctionCallItem, place: str) -> None:
        arguments = _object(item.arguments)
        if arguments is None:
            raise InvalidField(t("{place}.arguments is no JSON object", place=place), param=f"{place}.arguments")
        self._add_call(item.call_id, item.name, arguments)

    def _add_call(self, call_id: str, name: str, arguments: dict[str, Any]) -> None:
        self._calls[call_id] = name
        message = self._assistant(fresh=False)
        call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        message["tool_calls"] = [*message.get("tool_calls", ()), call]

    def _answer(self, item: FunctionCallOutputItem, place: str) -> None:
        name = self._calls.get(item.call_id)
        if name is None:
            raise InvalidField(
                t("{place}: no function_call before it has the call_id {id}", place=place, id=repr(item.call_id)),
                param=f"{place}.call_id",
                hint=t("Send the function_call as well, or the previous_response_id."),
            )
        self._open = False
        text = text_of(item.output, f"{place}.output")
        self._messages.append({"role": "tool", "tool_call_id": item.call_id, "name": name, "content": text})


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text or "{}")
    except (json.JSONDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def text_of(content: str | Sequence[Any], place: str) -> str:
    """The text of a message or of an output.

    Raises:
        InvalidField: a part is no text.
    """
    if isinstance(content, str):
        return content
    texts = []
    for index, part in enumerate(content):
        match part:
            case InputText() | OutputText():
                texts.append(part.text)
            case Refusal():
                texts.append(part.refusal)
            case _:
                raise InvalidField(
                    t("{place}[{index}] is of type {kind}; the models here read text", place=place, index=index,
                      kind=repr(part.get("type"))),
                    param=f"{place}[{index}]",
                    hint=t("Leave out images, sound and files."),
                )  # fmt: skip
    return "\n".join(texts)


def kept_items(items: str | Sequence[Any]) -> list[dict[str, Any]]:
    """The input as GET /v1/responses/{id}/input_items lists it: whole, with ids."""
    if isinstance(items, str):
        items = [MessageItem(role="user", content=items)]
    return [_kept(item) for item in items]


_ID_KINDS = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}


def _kept(item: Any) -> dict[str, Any]:
    kept: dict[str, Any] = item.model_dump(mode="json", exclude_unset=True)
    if item.type == "message" and isinstance(item.content, str):
        if item.role == "assistant":
            kept["content"] = [{"type": "output_text", "text": item.content, "annotations": []}]
        else:
            kept["content"] = [{"type": "input_text", "text": item.content}]
    head = {"id": item.id or new_id(_ID_KINDS[item.type]), "type": item.type, "status": item.status or "completed"}
    return {**kept, **head}
