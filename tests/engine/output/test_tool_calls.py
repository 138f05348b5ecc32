"""Calls of tools: the grammar that shapes them and the parser that finds them."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos.engine.grammar import GrammarCompiler
from llmasos.engine.request import Grammar
from llmasos.engine.tool_calls import TextDelta, ToolCallDelta, ToolCallParser, parse_tool_calls
from llmasos.engine.tool_formats import ToolFormat, detect_tool_format, read_tools, tool_grammar
from llmasos.errors import InvalidRequest

from .test_grammar import compilers, generate  # noqa: F401 - a fixture

DEFINITIONS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather of a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "maxLength": 6}, "unit": {"enum": ["C", "F"]}},
                "required": ["city", "unit"],
                "additionalProperties": False,
            },
        },
    },
    {"type": "function", "function": {"name": "now"}},
]
TOOLS = read_tools(DEFINITIONS)
SCHEMAS = {tool.name: tool.parameters for tool in TOOLS}
HERMES = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
LLAMA = '{"name": "now", "parameters": {}}'
TWO = '{"name": "f", "arguments": {"a": {"b": 2}}}, {"name": "g", "arguments": {}}'
TWO_NAMED = 'ok[TOOL_CALLS]f[ARGS]{"a": ","}[TOOL_CALLS]g[CALL_ID]x1[ARGS]{}'


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{%- if tools %}...return a json object within <tool_call></tool_call> XML tags", ToolFormat.HERMES),
        ("... '<tool_call>\n<function=' + name + '>' ...", None),
        ('{{- "[TOOL_CALLS] [" }}{%- for tool_call in message.tool_calls %}', ToolFormat.MISTRAL),
        ('{{ "[TOOL_CALLS]" + name + "[ARGS]" + arguments }}', ToolFormat.MISTRAL11),
        ('Respond in the format {"name": function name, "parameters": dictionary of argument', ToolFormat.LLAMA3),
        ("{{ bos_token }}{% for message in messages %}{{ message.content }}{% endfor %}", None),
        ("", None),
        (None, None),
    ],
)
def test_formats_are_found_in_templates(template: str | None, expected: ToolFormat | None) -> None:
    assert detect_tool_format(template) is expected


@pytest.mark.parametrize(
    ("format", "text", "content", "calls"),
    [
        (ToolFormat.HERMES, HERMES, "", [("now", "{}")]),
        (ToolFormat.HERMES, f"Let me look.\n{HERMES}\n{HERMES}", "Let me look.", [("now", "{}"), ("now", "{}")]),
        (ToolFormat.HERMES, 'a < b, <tool, <tool_call', 'a < b, <tool, <tool_call', []),
        (ToolFormat.HERMES, "x <tool_call> y", "x <tool_call> y", []),
        (ToolFormat.HERMES, '<tool_call>{"a": 1}</tool_call>', '<tool_call>{"a": 1}</tool_call>', []),
        (ToolFormat.HERMES, '<tool_call>\n{"name": "f", "argum', '<tool_call>\n{"name": "f", "argum', []),
        (ToolFormat.HERMES, '<tool_call>\n{"name": "f", "arguments": {"a": [1', "", [("f", '{"a": [1')]),
        (ToolFormat.HERMES, '<tool_call>{"arguments": {"a": "}{\\""}, "name": "f"}', "", [("f", '{"a": "}{\\""}')]),
        (ToolFormat.HERMES, '<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}', "", [("f", '{"a": 1}')]),
        (ToolFormat.HERMES, '<tool_call>{"id": [{"x": 1}], "name": "f", "parameters": {}}', "", [("f", "{}")]),
        (ToolFormat.HERMES, f"<tool_call>[{TWO}]</tool_call>!", "!", [("f", '{"a": {"b": 2}}'), ("g", "{}")]),
        (ToolFormat.HERMES, '<tool_call>{"name": "f", "arguments": {}} and more', " and more", [("f", "{}")]),
        (ToolFormat.LLAMA3, LLAMA, "", [("now", "{}")]),
        (ToolFormat.LLAMA3, f" <|python_tag|>{LLAMA}; {LLAMA}", "", [("now", "{}"), ("now", "{}")]),
        (ToolFormat.LLAMA3, "Hello {x}", "Hello {x}", []),
        (ToolFormat.LLAMA3, '{"name": "Ada", "age": 36}', '{"name": "Ada", "age": 36}', []),
        (ToolFormat.LLAMA3, "<|python", "<|python", []),
        (ToolFormat.LLAMA3, f"{LLAMA} ok", " ok", [("now", "{}")]),
        (ToolFormat.MISTRAL, f"[TOOL_CALLS] [{TWO}]", "", [("f", '{"a": {"b": 2}}'), ("g", "{}")]),
        (ToolFormat.MISTRAL, "[TOOL_CALLS] nothing", "[TOOL_CALLS] nothing", []),
        (ToolFormat.MISTRAL11, TWO_NAMED, "ok", [("f", '{"a": ","}'), ("g", "{}")]),
        (ToolFormat.MISTRAL11, "[TOOL_CALLS]" + "x" * 90, "[TOOL_CALLS]" + "x" * 90, []),
    ],
)  # fmt: skip
def test_outputs_are_split_into_text_and_calls(
    format: ToolFormat, text: str, content: str, calls: list[tuple[str, str]]
) -> None:
    found, parsed = parse_tool_calls(format, text)
    assert (found, [(call.name, call.arguments) for call in parsed]) == (content, calls)
    assert len({call.id for call in parsed}) == len(parsed)


def outcome(format: ToolFormat, pieces: list[str]) -> tuple[str, dict[int, tuple[str | None, str]]]:
    parser = ToolCallParser(format)
    text, calls = "", {}
    for event in [event for piece in pieces for event in parser.push(piece)] + parser.finish():
        if isinstance(event, TextDelta):
            text += event.text
        else:
            name, arguments = calls.get(event.index, (event.name, ""))
            calls[event.index] = (name, arguments + event.arguments)
    return text, calls


fragments = st.sampled_from(
    ["<tool_call>", "</tool_call>", "\n", " ", '{"name": "f", "arguments": {"a": "b}"}}', '{"name": "f"', "}", "{", "]",
     "[", '"', ", ", "; ", "text", "[TOOL_CALLS]", "[ARGS]", '{"x": 1}', ': "arguments": {}', "<tool_", "f", "\\"]
)  # fmt: skip


@pytest.mark.parametrize("format", ToolFormat)
@settings(max_examples=100, deadline=None)
@given(parts=st.lists(fragments, max_size=10), cuts=st.lists(st.integers(1, 9), min_size=1, max_size=60))
def test_how_the_text_is_cut_does_not_matter(format: ToolFormat, parts: list[str], cuts: list[int]) -> None:
    text = "".join(parts)
    pieces, rest = [], text
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    assert outcome(format, [*pieces, rest]) == outcome(format, [text])
    if not outcome(format, [text])[1] and "<tool_call>" not in text and "[TOOL_CALLS]" not in text:
        assert outcome(format, [text])[0] == text


def test_arguments_are_streamed_and_text_is_not_held_back() -> None:
    parser = ToolCallParser(ToolFormat.HERMES)
    assert parser.push("Sure, ") == [TextDelta("Sure,")]
    assert parser.push("I will <") == [TextDelta(" I will")]
    assert parser.push("3") == [TextDelta(" <3")]
    assert parser.push('<tool_call>\n{"name": "f", "arg') == []
    first, second = parser.push('uments": {"a"')
    assert isinstance(first, ToolCallDelta)
    assert (first.index, first.name, len(first.id or "")) == (0, "f", 9)
    assert second == ToolCallDelta(0, arguments='{"a"')
    assert parser.push(": 1}}") == [ToolCallDelta(0, arguments=": 1}")]
    assert parser.push("\n</tool_call>") + parser.finish() == []


@pytest.mark.parametrize("format", ToolFormat)
@pytest.mark.parametrize("choice", ["auto", "required", {"type": "function", "function": {"name": "now"}}])
@pytest.mark.parametrize("parallel", [True, False])
@pytest.mark.parametrize("kind", ["byte-level"])
def test_constrained_output_is_what_the_parser_reads(
    format: ToolFormat,
    choice: Any,
    parallel: bool,
    kind: str,
    compilers: Any,  # noqa: F811
) -> None:
    compiler: GrammarCompiler = compilers[kind][1]
    grammar = tool_grammar(format, TOOLS, choice=choice, parallel=parallel, compiler=compiler)
    assert grammar is not None
    ended = 0
    for seed in range(4):
        text = generate(compilers[kind], grammar, seed, limit=120)
        if text is None:
            continue
        ended += 1
        content, calls = parse_tool_calls(format, text)
        assert len(calls) <= 1 or parallel
        if choice != "auto":
            assert calls
            assert content == ""
        for call in calls:
            jsonschema.validate(json.loads(call.arguments), SCHEMAS[call.name])
            assert call.name == "now" or isinstance(choice, str)
    assert ended or choice == "auto"


@pytest.mark.parametrize("format", ToolFormat)
def test_auto_allows_text_and_every_marker_begins_a_call(format: ToolFormat, compilers: Any) -> None:  # noqa: F811
    tokenizer, compiler, _ = compilers["byte-level"]
    grammar = tool_grammar(format, TOOLS, compiler=compiler)
    assert grammar is not None

    def accepts(text: str) -> bool:
        state = compiler.start(grammar)
        ids = tokenizer.encode(text).ids
        for token in ids:
            state.advance(token)
        state.look()
        return state.error is None and state.accepting

    key = format.arguments_key
    now = f'{{"name": "now", "{key}": {{}}}}'
    whole, broken = {
        ToolFormat.HERMES: (f"<tool_call>\n{now}\n</tool_call>", "<tool_call>\nhello"),
        ToolFormat.LLAMA3: (now, "{hello"),
        ToolFormat.MISTRAL: (f"[TOOL_CALLS] [{now}, {now}]", "[TOOL_CALLS] hello"),
        ToolFormat.MISTRAL11: ("[TOOL_CALLS]now[ARGS]{}[TOOL_CALLS]now[ARGS]{}", "[TOOL_CALLS]never[ARGS]{}"),
    }[format]
    assert accepts(whole)
    assert accepts("")
    assert accepts("Hello there, 3 < 4 and [x].")
    assert not accepts(broken)
    if format is not ToolFormat.LLAMA3:
        assert accepts("I shall look. " + whole)
        assert not accepts("I shall look. " + broken)


def test_markers_that_are_special_tokens_are_written_as_these(compilers: Any) -> None:  # noqa: F811
    tokenizer, compiler, _ = compilers["byte-level"]
    marker = tokenizer.token_to_id("<|im_start|>")
    grammar = tool_grammar(ToolFormat.HERMES, TOOLS, choice="required", special={"<tool_call>": marker})
    assert grammar is not None
    state = compiler.start(grammar)
    assert state.take_forced(1) == [marker]
    plain = tool_grammar(ToolFormat.HERMES, TOOLS, special={"<tool_call>": marker})
    assert plain is not None
    state = compiler.start(plain)
    ids = [*tokenizer.encode("Hi").ids, marker, *tokenizer.encode('\n{"name": "now"').ids]
    assert state.accepted(ids) == len(ids)


@pytest.mark.parametrize(
    ("definitions", "reason"),
    [
        ([{"type": "function", "function": {"name": "bad name"}}], r"tools\[0\]: name 'bad name'"),
        ([{"type": "retrieval"}], r"tools\[0\]: allowed is"),
        ([DEFINITIONS[1], DEFINITIONS[1]], r"tools\[1\]: there is another tool named now"),
        ([{"function": {"name": "f", "parameters": {"type": "array"}}}], r"tools\[0\] \(f\): parameters must be"),
        ([3, {"function": {"name": 4}}], r"tools\[0\].*\n.*tools\[1\]"),
    ],
)
def test_bad_definitions_are_refused(definitions: list[Any], reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        read_tools(definitions)


def test_bad_choices_and_schemas_are_refused(compilers: Any) -> None:  # noqa: F811
    with pytest.raises(InvalidRequest, match="nwo") as caught:
        tool_grammar(ToolFormat.HERMES, TOOLS, choice={"type": "function", "function": {"name": "nwo"}})
    assert "now" in str(caught.value.hint)
    with pytest.raises(InvalidRequest, match="none, auto, required"):
        tool_grammar(ToolFormat.HERMES, TOOLS, choice="maybe")
    with pytest.raises(InvalidRequest, match="needs tools"):
        tool_grammar(ToolFormat.HERMES, [], choice="auto")
    assert tool_grammar(ToolFormat.HERMES, TOOLS, choice="none") is None
    broken = read_tools([{"function": {"name": "f", "parameters": {"properties": {"x": {"type": "strnig"}}}}}])
    with pytest.raises(InvalidRequest, match=r"tool f: .*Invalid type: strnig.*/properties/x"):
        tool_grammar(ToolFormat.HERMES, broken, compiler=compilers["byte-level"][1])


def test_the_grammar_is_a_plain_request_grammar() -> None:
    grammar = tool_grammar(ToolFormat.LLAMA3, TOOLS)
    assert isinstance(grammar, Grammar)
    assert grammar.kind == "lark"
