"""From Anthropic's fields to a job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmasos.engine.request import Grammar
from llmasos.i18n import t
from llmasos.server.anthropic.fields import (
    CountRequest,
    CustomTool,
    MessageField,
    MessagesRequest,
    TextBlock,
    ThinkingBlock,
    ToolChoice,
    ToolResultBlock,
    ToolUseBlock,
)
from llmasos.server.serving.job import Job, Message
from llmasos.server.web.body import InvalidField

_MERGED = ("user", "assistant")


def job_of(fields: CountRequest) -> Job:
    """The job that a request describes.

    Raises:
        InvalidField: fields contradict each other, or blocks or tools are of kinds that the models here do not read.
    """
    messages, continue_last = conversation_of(fields)
    options: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    if isinstance(fields, MessagesRequest):
        options = {
            "max_tokens": fields.max_tokens, "stop": fields.stop_sequences or None, "temperature": fields.temperature,
            "top_p": fields.top_p, "top_k": fields.top_k, "seed": fields.seed,
        }  # fmt: skip
        extra = {
            "truncate": fields.truncate, "deadline_seconds": fields.timeout, "priority": fields.priority or 0,
        }  # fmt: skip
        _check_budget(fields)
    tools = _tools(fields)
    choice = fields.tool_choice
    wanted = fields.output_config.format if fields.output_config is not None else None
    return Job(
        fields.model,
        messages=messages,
        options=options,
        tools=tools,
        tool_choice=_choice(choice),
        parallel_tool_calls=choice is None or not choice.disable_parallel_tool_use,
        output_format=None if wanted is None else Grammar("json_schema", wanted.schema_),
        template_variables=fields.chat_template_kwargs or {},
        thinking=None if fields.thinking is None else {"enabled": True, "disabled": False}.get(fields.thinking.type),
        continue_last=continue_last,
        **extra,
    )


def _check_budget(fields: MessagesRequest) -> None:
    thinking = fields.thinking
    if thinking is None:
        return
    place = "thinking.budget_tokens"
    if (thinking.budget_tokens is not None) != (thinking.type == "enabled"):
        raise InvalidField(t("{place} belongs to the type enabled, and to no other", place=place), param=place)
    if thinking.budget_tokens is not None and thinking.budget_tokens >= fields.max_tokens:
        raise InvalidField(
            t("{place} = {value}: allowed is less than max_tokens = {limit}", place=place,
              value=thinking.budget_tokens, limit=fields.max_tokens),
            param=place,
        )  # fmt: skip


def _tools(fields: CountRequest) -> list[dict[str, Any]]:
    """In OpenAI's form."""
    tools: list[dict[str, Any]] = []
    for index, tool in enumerate(fields.tools or ()):
        if not isinstance(tool, CustomTool):
            raise InvalidField(
                t("tools[{index}] is of type {kind}: the server runs no tools itself", index=index,
                  kind=repr(tool.get("type"))),
                param=f"tools[{index}].type",
                hint=t("Declare tools with name and input_schema, and run them yourself."),
            )  # fmt: skip
        function: dict[str, Any] = {"name": tool.name}
        if tool.description is not None:
            function["description"] = tool.description
        tools.append({"type": "function", "function": {**function, "parameters": tool.input_schema}})
    return tools


def _choice(choice: ToolChoice | None) -> str | dict[str, Any]:
    """In OpenAI's form."""
    if choice is None:
        return "auto"
    if (choice.name is not None) != (choice.type == "tool"):
        raise InvalidField(
            t("{place} belongs to the type tool, and to no other", place="tool_choice.name"), param="tool_choice.name"
        )
    if choice.type == "tool":
        return {"type": "function", "function": {"name": choice.name}}
    return {"any": "required"}.get(choice.type, choice.type)


def conversation_of(fields: CountRequest) -> tuple[list[Message], bool]:
    """Messages in the form that templates read, and whether the last one is to be continued.

    Neighbours of the same role become one message, as Anthropic has it.

    Raises:
        InvalidField: a block is of a kind that the models here do not read, or in a message where it makes no sense.
    """
    messages: list[dict[str, Any]] = []
    system = _joined(fields.system, "system")
    if system:
        messages.append({"role": "system", "content": system})
    names: dict[str, str] = {}
    for index, field in enumerate(fields.messages):
        for message in _messages(field, f"messages[{index}].content", names):
            last = messages[-1] if messages else None
            if last is not None and message["role"] == last["role"] and last["role"] in _MERGED:
                messages[-1] = _merged(last, message)
            else:
                messages.append(message)
    last = messages[-1]
    if last["role"] != "assistant":
        return list(messages), False
    place = f"messages[{len(fields.messages) - 1}]"
    if last.get("tool_calls"):
        raise InvalidField(
            t("{place}: the calls of tools have no results", place=place), param=place,
            hint=t("Add a user message with a tool_result for each tool_use."),
        )  # fmt: skip
    if last.get("reasoning_content"):
        raise InvalidField(
            t("{place}: an answer that begins with thinking cannot be continued", place=place), param=place,
            hint=t("Leave the thinking block out."),
        )  # fmt: skip
    return list(messages), True


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    between = "\n" if first["role"] == "user" else ""
    texts = [text for text in (first["content"], second["content"]) if text]
    merged = {**first, **second, "content": between.join(texts)}
    if first.get("reasoning_content") and second.get("reasoning_content"):
        merged["reasoning_content"] = f"{first['reasoning_content']}\n{second['reasoning_content']}"
    if first.get("tool_calls") and second.get("tool_calls"):
        merged["tool_calls"] = [*first["tool_calls"], *second["tool_calls"]]
    return merged


def _messages(field: MessageField, place: str, names: dict[str, str]) -> list[dict[str, Any]]:
    """One message as one or more; ``names`` of the tools by the ids of their calls are filled in."""
    if isinstance(field.content, str):
        return [{"role": field.role, "content": field.content}]
    if field.role == "assistant":
        return [_assistant(field.content, place, names)]
    if field.role == "system":
        return [{"role": "system", "content": _joined(field.content, place)}]
    return _user(field.content, place, names)


def _assistant(blocks: Sequence[Any], place: str, names: dict[str, str]) -> dict[str, Any]:
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for index, block in enumerate(blocks):
        match block:
            case TextBlock():
                texts.append(block.text)
            case ThinkingBlock():
                thoughts.append(block.thinking)
            case ToolUseBlock():
                names[block.id] = block.name
                calls.append(
                    {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": block.input}}
                )
            case _:
                raise _misplaced(block, f"{place}[{index}]", "assistant")
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts)}
    if thoughts:
        message["reasoning_content"] = "\n".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return message


def _user(blocks: Sequence[Any], place: str, names: dict[str, str]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    texts: list[str] = []
    for index, block in enumerate(blocks):
        match block:
            case TextBlock():
                texts.append(block.text)
            case ToolResultBlock():
                if texts:
                    messages.append({"role": "user", "content": "\n".join(texts)})
                    texts = []
                messages.append(_result(block, f"{place}[{index}]", names))
            case _:
                raise _misplaced(block, f"{place}[{index}]", "user")
    if texts or not messages:
        messages.append({"role": "user", "content": "\n".join(texts)})
    return messages


def _result(block: ToolResultBlock, place: str, names: dict[str, str]) -> dict[str, Any]:
    name = names.get(block.tool_use_id)
    if name is None:
        raise InvalidField(
            t("{place}: no tool_use before it has the id {id}", place=f"{place}.tool_use_id",
              id=repr(block.tool_use_id)),
            param=f"{place}.tool_use_id",
            hint=t("Send the assistant's message with the tool_use block as well."),
        )  # fmt: skip
    text = _joined(block.content, f"{place}.content")
    if block.is_error:  # templates have no other place for it
        text = f"Error: {text}"
    return {"role": "tool", "tool_call_id": block.tool_use_id, "name": name, "content": text}


def _joined(content: str | Sequence[Any], place: str) -> str:
    if isinstance(content, str):
        return content
    texts = []
    for index, block in enumerate(content):
        if not isinstance(block, TextBlock):
            raise _unread(block, f"{place}[{index}]")
        texts.append(block.text)
    return "\n".join(texts)


def _misplaced(block: Any, place: str, role: str) -> InvalidField:
    if isinstance(block, dict):
        return _unread(block, place)
    return InvalidField(
        t("{place} is of type {kind}, which a message of the role {role} does not have", place=place,
          kind=repr(block.type), role=role),
        param=place,
    )  # fmt: skip


def _unread(block: Any, place: str) -> InvalidField:
    kind = block.get("type") if isinstance(block, dict) else block.type
    return InvalidField(
        t("{place} is of type {kind}; the models here read text", place=place, kind=repr(kind)),
        param=place,
        hint=t("Leave out images, documents and what servers' tools made."),
    )
