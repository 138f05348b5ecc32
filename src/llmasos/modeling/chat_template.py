"""The one engine for chat templates: the tokenizer's own Jinja template, in a sandbox.

Chat, training and serving all render through here, so that a model meets the same text everywhere. A template comes
with the model and is not trusted: it runs in Jinja's immutable sandbox and sees plain data only.

Text of users must not be able to forge the control tokens (``<|im_start|>system`` ...) that the template writes.
Every control token inside a message is replaced by one character that occurs nowhere else before rendering, and the
rendered text is cut at these characters afterwards: :class:`Prompt` keeps such pieces apart as literal text, which the
tokenizer then encodes as ordinary characters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from llmasos.errors import InvalidRequest, MissingDependency, UnsafeContent, Unsupported, did_you_mean
from llmasos.i18n import t
from llmasos.modeling.messages import EXAMPLE, Message, checked_message, plain_data

if TYPE_CHECKING:
    from jinja2 import nodes, parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

_STANDARD_VARIABLES = ("messages", "tools", "documents", "add_generation_prompt")
# Rare Chinese characters: printable, so that a template that prints a list does not escape them, and without case.
_PLACEHOLDERS = range(0x30000, 0x3134B)


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a rendered prompt. ``literal`` text is encoded as characters, even where it spells a control token."""

    text: str
    literal: bool = False


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered conversation."""

    segments: tuple[Segment, ...]

    def __str__(self) -> str:
        return "".join(segment.text for segment in self.segments)


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
        self._patterns: dict[str, _ControlTokens] = {}
        environment = _environment()
        self._compiled = {name: _Compiled(environment, name, text) for name, text in self.sources.items()}

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        variables: Mapping[str, Any] | None = None,
    ) -> Prompt:
        """Render a conversation.

        Args:
            messages: the conversation, oldest first.
            tools: JSON schemas of functions that the model may call.
            add_generation_prompt: end with the opening of an assistant message, for the model to continue.
            variables: further variables of the template, such as ``enable_thinking``.

        Raises:
            InvalidRequest: a message is malformed, a variable is unknown to the template, or the template refuses
                the conversation (its own words are in the message).
            Unsupported: the template cannot show tools, or message parts other than text.
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
        self._check_variables(template, extra)
        guard = _Guard(self._control_tokens(template), [checked, tools, extra, self.sources])
        values = {
            **self._special_tokens,
            **guard.hide(plain_data(extra, "variables")),
            "messages": [guard.hide(message) for message in checked],
            "tools": guard.hide(plain_data(list(tools), "tools")) if tools else None,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        return guard.reveal(template.render(values))

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

    def _control_tokens(self, template: _Compiled) -> _ControlTokens:
        """Special tokens, and ordinary added tokens that the template itself writes, such as ``<think>``."""
        known = self._patterns.get(template.name)
        if known is None:
            special = [token for token, is_special in self._added_tokens.items() if is_special]
            written = [
                token
                for token, is_special in self._added_tokens.items()
                if not is_special and not token.isspace() and template.writes(token)
            ]
            known = _ControlTokens(_any_of(special), _any_of([*special, *written]))
            self._patterns[template.name] = known
        return known


@dataclass(frozen=True, slots=True)
class _ControlTokens:
    """What text from outside must not say: ``special`` tokens never, ``all`` only by an assistant."""

    special: re.Pattern[str]
    all: re.Pattern[str]


def _any_of(tokens: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(filter(None, tokens), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


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

        return frozenset(meta.find_undeclared_variables(self._tree))

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


class _Guard:
    """Replaces control tokens in text from outside by placeholders, and cuts the rendered text at them."""

    def __init__(self, control: _ControlTokens, seen: object) -> None:
        used = {character for text in _strings(seen) for character in text if ord(character) in _PLACEHOLDERS}
        self._free = (chr(code) for code in _PLACEHOLDERS if chr(code) not in used)
        self._control = control
        self._placeholders: dict[str, str] = {}
        self._originals: dict[str, str] = {}

    def hide(self, value: Any) -> Any:
        """The same plain data with placeholders for control tokens in all its texts.

        What an assistant said may contain tokens that the template handles itself (``<think>``, tool calls); there
        only special tokens are hidden.
        """
        own_words = isinstance(value, dict) and value.get("role") == "assistant"
        return self._hide(value, self._control.special if own_words else self._control.all)

    def _hide(self, value: Any, pattern: re.Pattern[str]) -> Any:
        if isinstance(value, str):
            return pattern.sub(lambda match: self._placeholder(match.group()), value)
        if isinstance(value, dict):
            return {self._hide(key, pattern): self._hide(item, pattern) for key, item in value.items()}
        if isinstance(value, list):
            return [self._hide(item, pattern) for item in value]
        return value

    def _placeholder(self, token: str) -> str:
        if token not in self._placeholders:
            self._placeholders[token] = next(self._free)
            self._originals[self._placeholders[token]] = token
        return self._placeholders[token]

    def reveal(self, rendered: str) -> Prompt:
        """Cut the rendered text into ordinary and literal pieces."""
        segments: list[Segment] = []
        start = 0
        for position, character in enumerate(rendered):
            if character not in self._originals:
                continue
            if position > start:
                segments.append(Segment(rendered[start:position]))
            segments.append(Segment(self._originals[character], literal=True))
            start = position + 1
        if start < len(rendered):
            segments.append(Segment(rendered[start:]))
        return Prompt(tuple(segments))


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _strings(key)
            yield from _strings(item)
    elif isinstance(value, Iterable):
        for item in value:
            yield from _strings(item)


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
        from jinja2.ext import Extension, loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise MissingDependency(
            t("chat templates need the package {name}", name="jinja2"), hint='pip install "llmasos[local]"'
        ) from error

    class GenerationBlock(Extension):
        """``{% generation %} ... {% endgeneration %}`` marks what the assistant says; the text stays as it is."""

        tags = {"generation"}  # noqa: RUF012 - Jinja's own interface

        def parse(self, parser: parser.Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

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
