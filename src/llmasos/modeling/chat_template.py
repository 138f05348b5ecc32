"""The one engine for chat templates: the tokenizer's own Jinja template, in a sandbox.

Chat, training and serving all render through here, so that a model meets the same text everywhere. A template comes
with the model and is not trusted: it runs in Jinja's immutable sandbox and sees plain data only.

Text of users must not be able to forge the control tokens (``<|im_start|>system`` ...) that the template writes:
:mod:`llmasos.modeling.control_tokens` keeps them apart as literal text. ``{% generation %}`` blocks, by which a
template marks what the assistant says, are reported as places in the rendered text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from llmasos.errors import InvalidRequest, MissingDependency, UnsafeContent, Unsupported, did_you_mean
from llmasos.i18n import t
from llmasos.modeling.control_tokens import ControlTokens, Guard, placeholders_in
from llmasos.modeling.messages import EXAMPLE, Message, checked_message, plain_data
from llmasos.modeling.prompt import Prompt as Prompt
from llmasos.modeling.prompt import Segment as Segment

if TYPE_CHECKING:
    from jinja2 import nodes, parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

_STANDARD_VARIABLES = ("messages", "tools", "documents", "add_generation_prompt")
_CLOCK = "strftime_now"
# No template can read these by accident: they are no Jinja names that a person would write.
_OPENING, _CLOSING = "__answer_begins__", "__answer_ends__"


class ChatTemplate:
    """One model's template.

    Args:
        source: the Jinja text, or several by name (``default``, ``tool_use``, ...).
        special_tokens: variables such as ``bos_token`` that the template may use.
        added_tokens: every added token of the tokenizer and whether it is special.

    Raises:
        Unsupported: the template has a syntax error.
        MissingDependency: jinja2 is not installed.
    """

    def __init__(
        self,
        source: str | Mapping[str, str],
        *,
        special_tokens: Mapping[str, str] | None = None,
        added_tokens: Mapping[str, bool] | None = None,
    ) -> None:
        self.sources = {"default": source} if isinstance(source, str) else dict(source)
        if not self.sources:
            raise Unsupported(t("the model's list of chat templates is empty"), hint=_no_template_hint())
        self._special_tokens = dict(special_tokens or {})
        self._added_tokens = dict(added_tokens or {})
        self._patterns: dict[str, ControlTokens] = {}
        self._taken = placeholders_in(self.sources)
        environment = _environment()
        self._compiled = {name: _Compiled(environment, name, text) for name, text in self.sources.items()}

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        variables: Mapping[str, Any] | None = None,
        mark_answers: bool = False,
        now: datetime | None = None,
    ) -> Prompt:
        """Render a conversation.

        Args:
            messages: the conversation, oldest first.
            tools: JSON schemas of functions that the model may call.
            add_generation_prompt: end with the opening of an assistant message, for the model to continue.
            variables: further variables of the template, such as ``enable_thinking``.
            mark_answers: fill :attr:`Prompt.answers` from the ``{% generation %}`` blocks.
            now: the time that templates with a clock shall read; default: the present.

        Raises:
            InvalidRequest: a message is malformed, a variable is unknown to the template, or the template refuses
                the conversation (its own words are in the message).
            Unsupported: the template cannot show tools, or message parts other than text; or it changes the text of
                its ``{% generation %}`` blocks afterwards, so that their places cannot be known.
            UnsafeContent: the template tried what the sandbox forbids.
        """
        template = self._choose(tools)
        checked = [checked_message(index, message) for index, message in enumerate(messages)]
        if not checked:
            raise InvalidRequest(
                t("the conversation is empty: at least one message is needed"),
                hint=t("Pass messages such as {example}.", example=EXAMPLE),
            )
        if tools and "tools" not in template.variables:
            raise Unsupported(
                t("this model's chat template knows no tools"), hint=t("Choose a model that was trained to call tools.")
            )
        extra = dict(variables or {})
        if extra:
            self._check_variables(template, extra)
        guard = Guard(self._control_tokens(template), [checked, tools, extra], self._taken)
        marks = (guard.fresh(), guard.fresh()) if mark_answers and template.marks_answers else ("", "")
        clock = {} if now is None else {_CLOCK: now.strftime}
        values = {
            **clock,
            _OPENING: marks[0],
            _CLOSING: marks[1],
            **self._special_tokens,
            **guard.hide(plain_data(extra, "variables")),
            "messages": [guard.hide(message) for message in checked],
            "tools": guard.hide(plain_data(list(tools), "tools")) if tools else None,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        prompt = guard.reveal(template.render(values), marks)
        if any(marks) and template.captures_answers:
            plain = guard.reveal(template.render({**values, _OPENING: "", _CLOSING: ""}))
            if plain.segments != prompt.segments:
                raise Unsupported(
                    t("the chat template changes the text of its generation blocks after marking it"),
                    hint=t("Take the generation blocks out of captured text, macros and filters."),
                )
        return prompt

    def marks_answers(self, tools: Sequence[object] | None = None) -> bool:
        """Whether the template says by ``{% generation %}`` blocks what the assistant says."""
        return self._choose(tools).marks_answers

    def reads_clock(self) -> bool:
        """Whether the template writes the date or the time, so that tomorrow's text differs from today's."""
        return any(template.reads_clock for template in self._compiled.values())

    def control_tokens(self, tools: Sequence[object] | None = None) -> ControlTokens:
        """The tokens that texts from outside must not spell."""
        return self._control_tokens(self._choose(tools))

    def accepts_tools(self) -> bool:
        """Whether tools reach the model through this template."""
        return "tools" in self._choose([{}]).variables

    def variables(self) -> frozenset[str]:
        """Further variables that a caller may set (``enable_thinking`` and the like)."""
        names = frozenset().union(*(template.variables for template in self._compiled.values()))
        return names - set(_STANDARD_VARIABLES) - set(self._special_tokens)

    def _choose(self, tools: Sequence[object] | None) -> _Compiled:
        if tools and "tool_use" in self._compiled:
            return self._compiled["tool_use"]
        return self._compiled.get("default") or next(iter(self._compiled.values()))

    def _check_variables(self, template: _Compiled, extra: Mapping[str, Any]) -> None:
        reserved = {*_STANDARD_VARIABLES, *self._special_tokens}
        for name in extra:
            if name in reserved or name not in template.variables:
                allowed = sorted(self.variables())
                raise InvalidRequest(
                    t("the chat template has no variable {name}", name=name),
                    hint=did_you_mean(name, allowed)
                    or t("Variables of this template: {names}.", names=", ".join(allowed) or "-"),
                )

    def _control_tokens(self, template: _Compiled) -> ControlTokens:
        """Special tokens, and ordinary added tokens that the template itself writes, such as ``<think>``."""
        known = self._patterns.get(template.name)
        if known is None:
            known = self._patterns[template.name] = ControlTokens.of(self._added_tokens, template.writes)
        return known


class _Compiled:
    """A compiled template with what its syntax tree says about it."""

    def __init__(self, environment: ImmutableSandboxedEnvironment, name: str, source: str) -> None:
        import jinja2

        self.name = name
        self._source = source
        self._environment = environment
        try:
            self._tree = environment.parse(source)
            self._template = environment.from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise Unsupported(
                t("the model's chat template {name} is not valid: line {line}: {problem}",
                  name=name, line=error.lineno, problem=error.message or ""),
                hint=t("The fault is in the model's own files; correct chat_template.jinja and import it again."),
            ) from error  # fmt: skip

    @cached_property
    def variables(self) -> frozenset[str]:
        """Variables that the template reads and does not set itself."""
        from jinja2 import meta

        return frozenset(meta.find_undeclared_variables(self._tree)) - {_OPENING, _CLOSING}

    @cached_property
    def _names(self) -> frozenset[str]:
        from jinja2 import nodes

        return frozenset(node.name for node in self._tree.find_all(nodes.Name))

    @property
    def marks_answers(self) -> bool:
        """Whether there is a ``generation`` block."""
        return _OPENING in self._names

    @property
    def reads_clock(self) -> bool:
        return _CLOCK in self._names

    @cached_property
    def captures_answers(self) -> bool:
        """Whether a ``generation`` block stands where the template can change its text before writing it."""
        from jinja2 import nodes

        capturing = self._tree.find_all((nodes.AssignBlock, nodes.CallBlock, nodes.FilterBlock, nodes.Macro))
        return any(name.name == _OPENING for node in capturing for name in node.find_all(nodes.Name))

    @cached_property
    def literal_text(self) -> str:
        """The texts that the template writes, joined so that no token can be found across two of them."""
        from jinja2 import nodes

        texts = [node.data for node in self._tree.find_all(nodes.TemplateData)]
        texts += [node.value for node in self._tree.find_all(nodes.Const) if isinstance(node.value, str)]
        return "\0".join(texts)

    def writes(self, token: str) -> bool:
        """Whether the template itself contains a token, or of a pair of tags (``<think>``, ``</think>``) the other."""
        other = f"<{token[2:]}" if token.startswith("</") else f"</{token[1:]}"
        return token in self.literal_text or (token.startswith("<") and other in self.literal_text)

    def render(self, values: Mapping[str, Any]) -> str:
        import jinja2
        from jinja2.exceptions import SecurityError

        try:
            return self._template.render(values)
        except SecurityError as error:
            raise UnsafeContent(
                t("the model's chat template tried something forbidden: {problem}", problem=error),
                hint=t("Do not use this model's template; it may be hostile."),
            ) from error
        except _Refused as error:
            raise InvalidRequest(
                t("the model's chat template refuses this conversation: {problem}", problem=error),
                hint=t("Many templates want user and assistant to alternate, and some know no system message."),
            ) from error
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError,
                RecursionError) as error:  # fmt: skip
            raise InvalidRequest(
                t("the model's chat template failed on this conversation: {problem}",
                  problem=f"{type(error).__name__}: {error}"),
                hint=t("Check that every message has a role and a text; the template is in the model's own files."),
            ) from error  # fmt: skip


class _Refused(Exception):  # noqa: N818 - named after what the template does
    """The template called ``raise_exception``."""


def _no_template_hint() -> str:
    return t("Use `generate` with plain text, or choose a model tuned for conversation (often named -Instruct or -it).")


def missing_template(reference: str) -> Unsupported:
    """The error for a conversation with a model that has no template."""
    return Unsupported(
        t("{model} has no chat template: it is a base model, not tuned for conversation", model=reference),
        hint=_no_template_hint(),
    )


def _environment() -> ImmutableSandboxedEnvironment:
    """Jinja as chat templates expect it (block trimming, ``tojson``, ``raise_exception``, ``generation`` blocks)."""
    try:
        from jinja2 import nodes
        from jinja2.ext import Extension, loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise MissingDependency(
            t("chat templates need the package {name}", name="jinja2"), hint='pip install "llmasos[local]"'
        ) from error

    class GenerationBlock(Extension):
        """``{% generation %} ... {% endgeneration %}`` marks what the assistant says; the text stays as it is.

        The block writes two variables around its text, empty except where places are asked for.
        """

        tags = {"generation"}  # noqa: RUF012 - Jinja's own interface

        def parse(self, parser: parser.Parser) -> list[nodes.Node]:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            opening, closing = (nodes.Output([nodes.Name(name, "load")], lineno=line) for name in (_OPENING, _CLOSING))
            return [opening, nodes.Scope(body, lineno=line), closing]

    def raise_exception(message: str) -> None:
        raise _Refused(message)

    def tojson(
        value: object,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        # Jinja's own filter escapes HTML characters, which models have never seen.
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def strftime_now(form: str) -> str:
        return datetime.now().astimezone().strftime(form)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationBlock, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = strftime_now
    return environment
