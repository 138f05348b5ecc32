"""From the fields of a response to a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmasos.engine.request import Grammar
from llmasos.i18n import t
from llmasos.server.openai.fields import JsonObjectFormat, TextFormat
from llmasos.server.openai.responses.fields import (
    AllowedTools,
    FunctionTool,
    InputTokensRequest,
    NamedFunction,
    ResponseRequest,
    SchemaFormat,
)
from llmasos.server.serving.job import Job, Message
from llmasos.server.web.body import InvalidField

LOGPROBS = "message.output_text.logprobs"


def job_of(fields: InputTokensRequest, messages: Sequence[Message]) -> Job:
    """The job that a request describes.

    Args:
        fields: of the request.
        messages: of its whole conversation.

    Raises:
        InvalidField: fields contradict each other, or name what is not done here.
    """
    options: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    if isinstance(fields, ResponseRequest):
        options = fields.sampling()
        options["logprobs"] = _logprobs(fields)
        extra = {"deadline_seconds": fields.timeout, "priority": fields.priority or 0}
    tools = _tools(fields)
    choice, tools = _choice(fields, tools)
    effort = fields.reasoning.effort if fields.reasoning is not None else None
    return Job(
        fields.model,
        messages=messages,
        options=options,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=fields.parallel_tool_calls is not False,
        output_format=_output_format(fields),
        template_variables=fields.chat_template_kwargs or {},
        thinking=None if effort is None else effort != "none",
        **extra,
    )


def _logprobs(fields: ResponseRequest) -> int | None:
    wanted = LOGPROBS in (fields.include or ())
    if fields.top_logprobs is not None and not wanted:
        raise InvalidField(t('top_logprobs needs include: ["{name}"]', name=LOGPROBS), param="top_logprobs")
    return (fields.top_logprobs or 0) if wanted else None


def _tools(fields: InputTokensRequest) -> list[dict[str, Any]]:
    """In the form of chat completions."""
    tools: list[dict[str, Any]] = []
    for index, tool in enumerate(fields.tools or ()):
        if not isinstance(tool, FunctionTool):
            raise InvalidField(
                t("tools[{index}] is of type {kind}: the server runs no tools itself", index=index,
                  kind=repr(tool.get("type"))),
                param=f"tools[{index}].type",
                hint=t("Declare tools of the type function, and run them yourself."),
            )  # fmt: skip
        function = tool.model_dump(include={"name", "description", "parameters"}, exclude_none=True)
        tools.append({"type": "function", "function": function})
    return tools


def _choice(
    fields: InputTokensRequest, tools: list[dict[str, Any]]
) -> tuple[str | Mapping[str, Any], list[dict[str, Any]]]:
    """The choice in the form of chat completions, and the tools that are left."""
    choice = fields.tool_choice
    match choice:
        case None:
            return "auto", tools
        case str():
            return choice, tools
        case NamedFunction():
            return {"type": "function", "function": {"name": choice.name}}, tools
        case AllowedTools():
            known = {tool["function"]["name"] for tool in tools}
            names = [tool.name for tool in choice.tools]
            for index, name in enumerate(names):
                if name not in known:
                    raise InvalidField(
                        t("tool_choice names {name}, which is not among the tools", name=repr(name)),
                        param=f"tool_choice.tools[{index}]",
                    )
            return choice.mode, [tool for tool in tools if tool["function"]["name"] in names]
        case _:
            raise InvalidField(
                t("tool_choice is of type {kind}: the server runs no tools itself", kind=repr(choice.get("type"))),
                param="tool_choice",
                hint=t("Allowed are none, auto, required, function and allowed_tools."),
            )


def _output_format(fields: InputTokensRequest) -> Grammar | None:
    wanted = fields.text.format
    match wanted:
        case TextFormat():
            return None
        case JsonObjectFormat():
            return Grammar("json_schema", {"type": "object"})
        case SchemaFormat():
            return Grammar("json_schema", wanted.schema_)
        case _:
            raise InvalidField(
                t("text.format is of type {kind}: allowed is {allowed}", kind=repr(wanted.get("type")),
                  allowed="text, json_object, json_schema"),
                param="text.format",
            )  # fmt: skip
