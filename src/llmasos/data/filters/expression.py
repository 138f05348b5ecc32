"""A filter of the user's own: an expression that must be true."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from llmasos.data.filters.measures import word_count
from llmasos.data.filters.safe_expression import Evaluate, ExpressionError, compile_expression
from llmasos.data.row import Row
from llmasos.data.step import FilterConfig, Rejection
from llmasos.errors import InvalidRecipe

_NAMES = frozenset({"text", "characters", "word_count", "kind", "source", "file", "line", "id"})
_LOOKUPS = frozenset({"texts", "metadata"})


def _compile(source: str) -> Evaluate:
    return compile_expression(source, _NAMES, _LOOKUPS)


class FilterExpression(FilterConfig):
    """Keep rows for which an expression is true."""

    step: Literal["filter_expression"] = "filter_expression"
    keep: str = Field(
        description="Expression. Names: text (all texts), characters, word_count, kind, source, file, line, id; "
        'texts["completion"] by place and metadata["column"], None where missing.'
    )

    @field_validator("keep")
    @classmethod
    def _valid(cls, value: str) -> str:
        try:
            _compile(value)
        except InvalidRecipe as error:
            raise ValueError(f"{error.message} ({error.hint})") from error
        return value

    def build(self) -> ExpressionFilter:
        return ExpressionFilter(self.keep)


class ExpressionFilter:
    """Rejects where the expression is false, and where it has no value, with the problem."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._evaluate = _compile(source)

    def __call__(self, row: Row) -> Rejection | None:
        try:
            if self._evaluate(_values(row)):
                return None
        except ExpressionError as error:
            return Rejection("expression_failed", f"{error} in: {self._source}")
        return Rejection("expression_false", self._source)


def _values(row: Row) -> dict[str, Any]:
    text = row.text()
    texts: dict[str, str] = {}
    for place, part in row.texts():
        texts[place] = f"{texts[place]}\n{part}" if place in texts else part
    return {
        "text": text,
        "characters": len(text),
        "word_count": word_count(text),
        "kind": row.sample.kind,
        "source": row.origin.source,
        "file": row.origin.file,
        "line": row.origin.line,
        "id": row.id,
        "texts": texts,
        "metadata": row.metadata,
    }
