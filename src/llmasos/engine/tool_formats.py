"""How a model writes calls of tools: found in its chat template, and turned into a grammar.

========== ==========================================================================================
hermes     ``<tool_call>\\n{"name": ..., "arguments": {...}}\\n</tool_call>``: Hermes, Qwen 2.5 and 3, SmolLM3
llama3     ``{"name": ..., "parameters": {...}}`` as the whole answer: Llama 3.1 to 3.3
mistral    ``[TOOL_CALLS] [{"name": ..., "arguments": {...}}, ...]``: Mistral 7B v0.3, Nemo, Small 2409
mistral11  ``[TOOL_CALLS]name[ARGS]{...}``: Mistral models since 2025
========== ==========================================================================================
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from llmasos.engine.grammar import JSON_STYLE
from llmasos.engine.request import Grammar
from llmasos.errors import InvalidRequest, did_you_mean
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.engine.grammar import GrammarCompiler

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
CHOICES = ("none", "auto", "required")
_DEFINITION = '{"type": "function", "function": {"name": ..., "parameters": {...}}}'


class ToolFormat(StrEnum):
    """A way of writing calls."""

    HERMES = "hermes"
    LLAMA3 = "llama3"
    MISTRAL = "mistral"
    MISTRAL11 = "mistral11"

    @property
    def arguments_key(self) -> str:
        """Under which key the arguments stand."""
        return "parameters" if self is ToolFormat.LLAMA3 else "arguments"

    @property
    def marker(self) -> str | None:
        """What begins a call; ``None`` where the call is the whole answer."""
        return {ToolFormat.HERMES: "<tool_call>", ToolFormat.LLAMA3: None}.get(self, "[TOOL_CALLS]")


def detect_tool_format(template: str | None) -> ToolFormat | None:
    """The format that a chat template describes or renders; ``None`` if it knows none of ours."""
    if not template:
        return None
    if "[TOOL_CALLS]" in template:
        return ToolFormat.MISTRAL11 if "[ARGS]" in template else ToolFormat.MISTRAL
    if "<tool_call>" in template:
        # Qwen3-Coder and others put XML between the same markers.
        return None if "<function=" in template or "<arg_key>" in template else ToolFormat.HERMES
    if '"parameters"' in template and ("python_tag" in template or '{"name": function name' in template):
        return ToolFormat.LLAMA3
    return None


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call."""

    name: str
    parameters: Mapping[str, Any]
    """JSON schema of the arguments."""


def read_tools(definitions: Sequence[Any]) -> list[Tool]:
    """Tools from OpenAI's definitions: ``{"type": "function", "function": {"name", "description", "parameters"}}``.

    Raises:
        InvalidRequest: with everything that is wrong with them.
    """
    tools: list[Tool] = []
    lines: list[str] = []
    for index, definition in enumerate(definitions):
        place = f"tools[{index}]"
        function = definition.get("function") if isinstance(definition, Mapping) else None
        if not isinstance(function, Mapping) or definition.get("type", "function") != "function":
            lines.append(t("{place}: allowed is {allowed}", place=place, allowed=_DEFINITION))
            continue
        name, parameters = function.get("name"), function.get("parameters")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            lines.append(
                t("{place}: name {name}: allowed are 1 to 64 letters, digits, _ and -", place=place, name=repr(name))
            )
            continue
        if any(tool.name == name for tool in tools):
            lines.append(t("{place}: there is another tool named {name}", place=place, name=name))
        if parameters is None or parameters == {}:
            parameters = {"type": "object", "properties": {}, "additionalProperties": False}
        if not isinstance(parameters, Mapping) or parameters.get("type", "object") != "object":
            lines.append(t("{place} ({name}): parameters must be the JSON schema of an object", place=place, name=name))
            continue
        tools.append(Tool(name, {"type": "object", **parameters}))
    if lines:
        raise InvalidRequest("\n".join(lines))
    return tools


def tool_grammar(
    format: ToolFormat,
    tools: Sequence[Tool],
    *,
    choice: str | Mapping[str, Any] = "auto",
    parallel: bool = True,
    special: Mapping[str, int] | None = None,
    compiler: GrammarCompiler | None = None,
) -> Grammar | None:
    """The constraint that makes every call well-formed, of a known tool, with arguments that fit its schema.

    Args:
        format: how the model writes calls.
        tools: what it may call.
        choice: ``auto`` (text or calls), ``required`` (at least one call), ``none``, or OpenAI's
            ``{"type": "function", "function": {"name": ...}}`` for a call of that tool.
        parallel: whether there may be several calls.
        special: special tokens of the model by their text: a marker that is one can only be written as that token.
        compiler: if given, every schema is compiled alone first, so that an error can name its tool.

    Returns:
        A grammar; ``None`` for ``none``, which needs no constraint.

    Raises:
        InvalidRequest: no tools, an unknown choice or tool, or a schema that is not supported.
    """
    allowed, required = _chosen(tools, choice)
    if not allowed:
        return None
    if compiler is not None:
        for tool in allowed:
            try:
                compiler.start(Grammar("json_schema", tool.parameters))
            except InvalidRequest as error:
                raise InvalidRequest(
                    t("tool {name}: {reason}", name=tool.name, reason=error.message), hint=error.hint
                ) from error
    return Grammar("lark", _Writer(format, allowed, special or {}).source(required=required, parallel=parallel))


def _chosen(tools: Sequence[Tool], choice: str | Mapping[str, Any]) -> tuple[Sequence[Tool], bool]:
    """The tools that may be called and whether one must be."""
    if choice == "none":
        return (), False
    if not tools:
        raise InvalidRequest(t("tool_choice needs tools, and the request has none"))
    if choice in ("auto", "required"):
        return tools, choice == "required"
    function = choice.get("function") if isinstance(choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if name is None:
        raise InvalidRequest(
            t("tool_choice = {value}: allowed is {allowed}", value=repr(choice),
              allowed=", ".join(CHOICES) + ', {"type": "function", "function": {"name": ...}}')
        )  # fmt: skip
    for tool in tools:
        if tool.name == name:
            return [tool], True
    raise InvalidRequest(
        t("tool_choice names {name}, which is not among the tools", name=repr(name)),
        hint=did_you_mean(str(name), [tool.name for tool in tools]),
    )


class _Writer:
    """Writes a Lark grammar in llguidance's dialect."""

    def __init__(self, format: ToolFormat, tools: Sequence[Tool], special: Mapping[str, int]) -> None:
        self._format = format
        self._tools = tools
        self._special = special

    def source(self, *, required: bool, parallel: bool) -> str:
        """The whole grammar."""
        calls, rules = getattr(self, f"_{self._format.value}")(parallel)
        if not required:
            rules = [*rules, *self._free_text()]
        start = calls if required else f"| TEXT | {self._opening()}"
        return "\n".join([f"start: {start}", *rules, *self._arguments()])

    # Each of the next four gives the calls with their marker, and the rules that these need.

    def _hermes(self, parallel: bool) -> tuple[str, list[str]]:
        more = f'("\\n" {self._text("<tool_call>")} call)*' if parallel else ""
        call = f'"\\n" function "\\n" {self._text("</tool_call>")}'
        rest = f"call {more}"
        return f"{self._text('<tool_call>')} rest", [f"rest: {rest}", f"call: {call}", self._objects()]

    def _llama3(self, parallel: bool) -> tuple[str, list[str]]:
        more = '("; " function)*' if parallel else ""
        return "rest", [f"rest: function {more}", self._objects()]

    def _mistral(self, parallel: bool) -> tuple[str, list[str]]:
        more = '(", " function)*' if parallel else ""
        return f"{self._text('[TOOL_CALLS]')} rest", [f'rest: " [" function {more} "]"', self._objects()]

    def _mistral11(self, parallel: bool) -> tuple[str, list[str]]:
        more = f"({self._text('[TOOL_CALLS]')} call)*" if parallel else ""
        calls = " | ".join(
            f"{_quote(tool.name)} {self._text('[ARGS]')} arguments_{index}" for index, tool in enumerate(self._tools)
        )
        return f"{self._text('[TOOL_CALLS]')} rest", [f"rest: call {more}", f"call: {calls}"]

    def _opening(self) -> str:
        """Text, perhaps empty, that ends with the marker of the first call, and the calls."""
        marker = self._format.marker
        if marker is None:
            return "rest"
        return (
            f"{self._text(marker)} rest | TEXT {self._text(marker)} rest" if marker in self._special else "opening rest"
        )

    def _free_text(self) -> list[str]:
        """``TEXT``: an answer without a call. A marker in it always begins a call."""
        marker = self._format.marker
        if marker is None:
            return ["TEXT: /[^{](.|\\n)*/"]
        if marker in self._special:  # special tokens are never part of a text
            return ["TEXT: /(.|\\n)+/"]
        return ["TEXT: /(.|\\n)+/", f"opening[lazy]: /(.|\\n)*/ {_quote(marker)}"]

    def _objects(self) -> str:
        key = self._format.arguments_key
        return "function: " + " | ".join(
            f'{_quote(f"""{{"name": "{tool.name}", "{key}": """)} arguments_{index} "}}"'
            for index, tool in enumerate(self._tools)
        )

    def _arguments(self) -> list[str]:
        return [
            f"arguments_{index}: %json {json.dumps({'x-guidance': JSON_STYLE, **tool.parameters})}"
            for index, tool in enumerate(self._tools)
        ]

    def _text(self, text: str) -> str:
        """A marker as Lark writes it: a special token by its id, anything else as text."""
        number = self._special.get(text)
        return _quote(text) if number is None else f"<[{number}]>"


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
