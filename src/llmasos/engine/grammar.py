"""Constrained output: grammars compiled by llguidance, and where each output stands in its grammar.

JSON is written as Python's ``json.dumps`` writes it (``", "`` and ``": "``, no other white space), so that as much as
possible is forced and a small model cannot fill its output with blanks. A schema that wants something else says so in
llguidance's ``x-guidance`` key, for instance ``{"x-guidance": {"whitespace_flexible": true}}``.

A regular expression has the syntax of Rust's ``regex`` crate and must match the whole output. ``\\d`` is ``[0-9]``.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from llmasos.engine.grammar_vocabulary import GrammarVocabulary
from llmasos.engine.request import GRAMMAR_KINDS, Grammar
from llmasos.errors import InvalidRequest, MissingDependency, did_you_mean
from llmasos.i18n import t

if TYPE_CHECKING:
    from llguidance import LLMatcher
    from llguidance._lib import JsonCompileOptions

logger = logging.getLogger(__name__)

JSON_STYLE: JsonCompileOptions = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_KEPT = 128  # compiled grammars that a compiler remembers
_LONGEST_CHECK = 256  # forced tokens followed to see whether a grammar leads anywhere


class GrammarCompiler:
    """Compiles the grammars of one model, remembers them, and may be used from any thread."""

    def __init__(self, vocabulary: GrammarVocabulary) -> None:
        self._vocabulary = vocabulary
        self._kept: OrderedDict[tuple[str, str], LLMatcher] = OrderedDict()
        self._lock = threading.Lock()

    def start(self, grammar: Grammar) -> GrammarState:
        """The state of a new output under ``grammar``.

        Raises:
            InvalidRequest: the grammar cannot be read, is not supported, or allows no output at all; the message has
                llguidance's reason and position.
            MissingDependency: llguidance is not installed.
            Unsupported: the model's tokenizer cannot be constrained.
        """
        key = (grammar.kind, canonical_source(grammar))
        with self._lock:
            matcher = self._kept.get(key)
            if matcher is not None:
                self._kept.move_to_end(key)
                return GrammarState(matcher.deep_copy())
        matcher = self._compile(*key)
        with self._lock:
            self._kept[key] = matcher
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return GrammarState(matcher.deep_copy())

    def _compile(self, kind: str, source: str) -> LLMatcher:
        try:
            from llguidance import LLMatcher, LLParserLimits
        except ImportError as error:
            raise MissingDependency(
                t("constrained output needs the package {package}", package="llguidance"),
                hint='pip install "llmasos[local]"',
            ) from error
        try:
            definition = definition_of(kind, source)
        except ValueError as error:
            raise _invalid(kind, str(error)) from error
        matcher = LLMatcher(
            self._vocabulary.tokenizer, definition, log_level=0, limits=LLParserLimits(verbose_errors=False)
        )
        if matcher.is_error():
            raise _invalid(kind, self._explain(kind, source, matcher.get_error()))
        for warning in matcher.get_grammar_warnings():
            logger.warning("grammar: %s", warning)
        trial = GrammarState(matcher.deep_copy())
        for _ in range(_LONGEST_CHECK):
            trial.look()
            if trial.error is not None:
                raise InvalidRequest(
                    t("the grammar ({kind}) allows no output that ever ends", kind=kind),
                    hint=t("Every rule needs an alternative that does not lead back to itself."),
                )
            if trial.finished or not trial.take_forced(1):
                break
        return matcher

    def _explain(self, kind: str, source: str, reason: str) -> str:
        """llguidance's reason, with the place in the source where that can be found."""
        if kind == "regex":
            return reason.partition("(in regex): ")[2].rpartition("\n   1 | start:")[0].strip() or reason
        if kind != "json_schema":
            return reason.rstrip()
        from llguidance import LLMatcher

        def fault(subschema: object) -> str | None:
            failed, messages = LLMatcher.validate_grammar_with_warnings(
                definition_of("json_schema", json.dumps(subschema))
            )
            return messages[0] if failed else None

        schema = json.loads(source)
        parts = schema if isinstance(schema, dict) else {}
        shared = {key: parts[key] for key in ("$defs", "definitions") if key in parts}
        return t("{reason} (at {path} of the schema)", reason=reason, path=locate(schema, shared, reason, fault) or "/")


def canonical_source(grammar: Grammar) -> str:
    """The source of a grammar as one text; equal grammars have equal texts.

    Raises:
        InvalidRequest: the kind is not known or the source is not of its type.
    """
    kind, source = grammar.kind, grammar.source
    if kind not in GRAMMAR_KINDS:
        raise InvalidRequest(
            t("unknown kind of grammar {kind}; allowed: {allowed}", kind=repr(kind), allowed=", ".join(GRAMMAR_KINDS)),
            hint=did_you_mean(str(kind), GRAMMAR_KINDS),
        )
    if kind == "json":
        if source is None:
            return ""
        expected = t("no source: any JSON object is allowed")
    elif kind == "choice":
        if isinstance(source, list | tuple) and source and all(isinstance(text, str) for text in source):
            return json.dumps(list(source))
        expected = t("a list of at least one text")
    elif kind == "json_schema":
        if isinstance(source, str):
            return source
        if isinstance(source, dict | bool):
            try:
                return json.dumps(source)
            except (TypeError, ValueError) as error:
                raise _invalid(kind, str(error)) from error
        expected = t("a JSON schema (mapping or JSON text)")
    else:
        if isinstance(source, str):
            return source
        expected = t("a text")
    raise InvalidRequest(
        t("grammar of kind {kind}: the source is {found}, allowed is {expected}", kind=kind,
          found=type(source).__name__, expected=expected)
    )  # fmt: skip


def definition_of(kind: str, source: str) -> str:
    """llguidance's own form of a grammar.

    Raises:
        ValueError: the JSON of a schema cannot be read.
    """
    from llguidance import LLMatcher, regex_to_lark

    if kind == "json":
        return LLMatcher.grammar_from_json_schema({"type": "object"}, defaults=JSON_STYLE)
    if kind == "json_schema":
        schema = json.loads(source)  # llguidance would report a broken text at a column of its own wrapping
        if schema is False:
            return LLMatcher.grammar_from_json_schema(source)
        return LLMatcher.grammar_from_json_schema({} if schema is True else source, defaults=JSON_STYLE)
    if kind == "regex":
        return LLMatcher.grammar_from_lark(f"start: /{regex_to_lark(source, use_ascii='d')}/")
    if kind == "choice":
        return LLMatcher.grammar_from_lark("start: " + " | ".join(json.dumps(text) for text in json.loads(source)))
    return LLMatcher.grammar_from_lark(source)


def locate(schema: object, shared: dict[str, object], reason: str, fault: Callable[[object], str | None]) -> str:
    """JSON pointer to the innermost part of a schema that alone fails for the same reason.

    Args:
        schema: the part looked at.
        shared: definitions of the whole schema, for references.
        reason: why the whole schema fails.
        fault: gives the reason why a schema fails, or ``None``.
    """
    if not isinstance(schema, dict):
        return ""
    children: list[tuple[str, object]] = []
    for key, value in schema.items():
        if key in ("properties", "patternProperties", "$defs", "definitions") and isinstance(value, dict):
            children += [(f"/{key}/{_escape(name)}", child) for name, child in value.items()]
        elif key in ("anyOf", "allOf", "oneOf", "prefixItems") and isinstance(value, list):
            children += [(f"/{key}/{index}", child) for index, child in enumerate(value)]
        elif key in ("items", "additionalProperties", "not", "if", "then", "else"):
            children.append((f"/{key}", value))
    for pointer, child in children:
        if (
            isinstance(child, dict | bool)
            and fault({**shared, **child} if isinstance(child, dict) else child) == reason
        ):
            return pointer + locate(child, shared, reason, fault)
    return ""


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _invalid(kind: str, reason: str) -> InvalidRequest:
    return InvalidRequest(
        t("the grammar ({kind}) is not valid: {reason}", kind=kind, reason=reason),
        hint=t("Correct the grammar and send the request again."),
    )


class GrammarState:
    """Where one output stands in its grammar. Not to be touched while a mask for it is being computed."""

    __slots__ = ("matcher",)

    def __init__(self, matcher: LLMatcher) -> None:
        self.matcher = matcher

    def advance(self, token: int) -> None:
        """Take one token of the output, an end token included. A token that is not allowed sets :attr:`error`."""
        self.matcher.consume_token(token)

    def take_forced(self, limit: int) -> list[int]:
        """Tokens that the grammar leaves no choice about; they are taken, at most ``limit`` of them.

        They spell the only text that can follow as the tokenizer would, so the model need not be asked.
        """
        forced = self.matcher.compute_ff_tokens()[:limit]
        if forced and not self.matcher.consume_tokens(forced):
            return []
        return forced

    def accepted(self, draft: Sequence[int]) -> int:
        """How many tokens of a draft, from its beginning, the grammar allows. The state stays as it is."""
        return self.matcher.validate_tokens(list(draft)) if draft else 0

    def rollback(self, count: int) -> None:
        """Give back the latest ``count`` tokens."""
        if count and not self.matcher.rollback(count):
            raise ValueError(f"{count} tokens cannot be given back: {self.matcher.get_error()}")

    def look(self) -> None:
        """Find out what can follow, if only to learn that nothing can."""
        self.matcher.compute_bitmask()

    @property
    def accepting(self) -> bool:
        """Whether the output may end here; only then are end tokens allowed."""
        return self.matcher.is_accepting()

    @property
    def finished(self) -> bool:
        """Whether the output is complete and nothing but its end can follow."""
        return self.matcher.is_stopped() and not self.matcher.is_error()

    @property
    def error(self) -> str | None:
        """Why the output cannot go on, if it cannot."""
        if not self.matcher.is_error():
            return None
        reason = self.matcher.get_error().partition("\n")[0]
        return t("the grammar cannot be completed from here: {reason}", reason=reason)
