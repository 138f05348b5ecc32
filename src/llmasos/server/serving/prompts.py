"""From a job to the tokens and constraints that a model of this machine gets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmasos.engine.request import Grammar
from llmasos.engine.tool_formats import ToolFormat, detect_tool_format, read_tools, tool_grammar
from llmasos.errors import InvalidRequest, Unsupported
from llmasos.i18n import t
from llmasos.modeling.chat_template import ChatTemplate, Prompt, Segment, missing_template
from llmasos.server.serving.job import Job, Message
from llmasos.server.serving.reading import OPENING, marks_reasoning

if TYPE_CHECKING:
    from llmasos.modeling.tokenizer import Tokenizer

_TOOLS_IN_WORDS = """You may call functions to answer the user. The functions, one JSON signature in each line:
<tools>
{tools}
</tools>
To call a function, write its name and arguments as JSON between the tags:
<tool_call>
{{"name": "function name", "arguments": {{...}}}}
</tool_call>"""

_THINKING_SWITCHES = ("enable_thinking", "thinking")  # Qwen 3 and SmolLM3; Granite and DeepSeek 3.1


@dataclass(frozen=True, slots=True)
class PreparedPrompt:
    """Tokens of a prompt, and how the answer to it is to be read."""

    ids: list[int]
    tool_format: ToolFormat | None = None
    grammar: Grammar | None = None
    reasoning: bool = False
    """Whether the answer may begin with reasoning."""
    reasoning_begun: bool = False
    """Whether the prompt has opened it."""


def prepare_prompt(job: Job, tokenizer: Tokenizer, template: ChatTemplate | None, reference: str) -> PreparedPrompt:
    """Render, encode, and settle on constraints.

    Raises:
        InvalidRequest: messages, tools or formats are not allowed.
        Unsupported: this model cannot do what is asked.
    """
    if job.messages is None or (template is None and job.prompt is not None):
        assert job.prompt is not None
        ids = tokenizer.encode(job.prompt).ids if isinstance(job.prompt, str) else list(job.prompt)
        return PreparedPrompt([*job.context_ids, *ids], grammar=job.output_format)
    if template is None:
        raise missing_template(reference)
    tools = read_tools(job.tools) if job.tools and job.tool_choice != "none" else []
    if not tools and job.tool_choice not in ("auto", "none"):
        raise InvalidRequest(t("tool_choice needs tools, and the request has none"))
    if tools and job.output_format is not None:
        raise InvalidRequest(
            t("a request has either tools or an output format, and this one has both"),
            hint=t('Leave one out, or set tool_choice to "none".'),
        )
    messages, template_tools, format = _with_tools(job, template)
    prompt = _render(job, messages, template_tools, template)
    grammar = job.output_format
    if format is not None:
        grammar = tool_grammar(
            format, tools, choice=job.tool_choice, parallel=job.parallel_tool_calls, special=_special(tokenizer)
        )
    text = str(prompt)
    source = "\n".join(template.sources.values())
    # Under a grammar there is no place for reasoning, but in the text that may go before calls of tools.
    free = grammar is None or (format is not None and job.tool_choice == "auto")
    reasoning = job.split_reasoning and free and marks_reasoning(source)
    return PreparedPrompt(
        [*job.context_ids, *tokenizer.encode_prompt(prompt)],
        tool_format=format,
        grammar=grammar,
        reasoning=reasoning,
        reasoning_begun=reasoning and text.rstrip().endswith(OPENING),
    )


def _render(
    job: Job, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None, template: ChatTemplate
) -> Prompt:
    variables = {**_thinking_variables(job.thinking, template), **job.template_variables} or None
    if not job.continue_last:
        return template.render(messages, tools=tools, variables=variables)
    last = messages[-1] if messages else {}
    begun = last.get("content")
    if last.get("role") != "assistant" or not isinstance(begun, str):
        raise InvalidRequest(
            t("the last message is not a text of the assistant, and the request asks to continue it"),
            hint=t("End the conversation with a message of the role assistant."),
        )
    rendered = template.render(messages[:-1], tools=tools, variables=variables)
    return Prompt((*rendered.segments, Segment(begun, literal=True)))


def _thinking_variables(wanted: bool | str | None, template: ChatTemplate) -> dict[str, Any]:
    """Variables that make a template ask for thinking, or for none.

    Raises:
        Unsupported: this model cannot be told so.
    """
    if wanted is None:
        return {}
    known = template.variables()
    if isinstance(wanted, str):
        if "reasoning_effort" in known:
            return {"reasoning_effort": wanted}
        raise Unsupported(
            t("this model knows no levels of thinking, and the request asks for {level}", level=wanted),
            hint=t("Switch thinking on or off, or leave it to the model."),
        )
    for name in _THINKING_SWITCHES:
        if name in known:
            return {name: wanted}
    thinks = marks_reasoning("\n".join(template.sources.values()))
    if thinks == wanted:
        return {}
    if wanted:
        raise Unsupported(t("this model does not think before it answers"), hint=t("Leave thinking out."))
    raise Unsupported(
        t("the thinking of this model cannot be switched off"), hint=t("Leave it to the model; it is given apart.")
    )


def _with_tools(
    job: Job, template: ChatTemplate
) -> tuple[Sequence[Message], Sequence[Mapping[str, Any]] | None, ToolFormat | None]:
    """Messages and tools for the template, and the format in which the model will write its calls.

    A template that knows no tools gets them described in the system message, in the commonest of the formats.
    """
    messages = job.messages or ()
    wanted = list(job.tools) if job.tool_choice != "none" else []
    if template.accepts_tools():
        if not wanted:
            return messages, None, None
        format = detect_tool_format("\n".join(template.sources.values()))
        if format is None:
            raise Unsupported(
                t("this model writes tool calls in a way that is not known here"),
                hint=t("Known are: {formats}.", formats=", ".join(ToolFormat)),
            )
        return messages, wanted, format
    messages = [_call_in_words(message) for message in messages]
    if not wanted:
        return messages, None, None
    lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in wanted)
    return _with_system(messages, _TOOLS_IN_WORDS.format(tools=lines)), None, ToolFormat.HERMES


def _with_system(messages: Sequence[Message], text: str) -> list[Message]:
    if messages and messages[0].get("role") in ("system", "developer"):
        own = messages[0].get("content")
        return [{**messages[0], "content": f"{own}\n\n{text}"}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def _call_in_words(message: Message) -> Message:
    """A call or a result of a tool for a template that has no place for them."""
    if message.get("role") == "tool":
        return {"role": "user", "content": f"<tool_response>\n{message.get('content')}\n</tool_response>"}
    calls = message.get("tool_calls")
    if not calls:
        return message
    words = [str(message.get("content") or "")] if message.get("content") else []
    for call in calls:
        function = call["function"]
        body = json.dumps({"name": function["name"], "arguments": function["arguments"]}, ensure_ascii=False)
        words.append(f"<tool_call>\n{body}\n</tool_call>")
    return {"role": "assistant", "content": "\n".join(words)}


def _special(tokenizer: Tokenizer) -> dict[str, int]:
    """Special tokens of the tokenizer by their text."""
    found = {text: tokenizer.token_id(text) for text, special in tokenizer.added_tokens.items() if special}
    return {text: number for text, number in found.items() if number is not None}
