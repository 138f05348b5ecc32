"""What a request asks of a model: to write, to give a vector, or to label. One kind of request carries all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from llmasos.i18n import t


@dataclass(frozen=True, slots=True)
class BeamSearch:
    """Keep the likeliest hypotheses instead of one; the best of them is the output, which comes all at once."""

    width: int
    """Hypotheses that are kept, from 2."""
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False


@dataclass(frozen=True, slots=True)
class Generate:
    """Write text: go on from the prompt (decoder-only models) or answer it (encoder-decoder models)."""

    name: ClassVar[str] = "generate"

    # All of these are for encoder-decoder models.
    no_repeat_ngram_size: int = 0
    """Forbid a sequence of this many tokens to occur twice in the output; 0 allows all."""
    target_language: str | None = None
    """Code of the language to write, for multilingual translation models."""
    beams: BeamSearch | None = None
    """``None``: token by token, by the request's sampling parameters."""

    def problems(self) -> list[str]:
        """Everything that is not allowed, one line each."""
        checks = [("no_repeat_ngram_size", self.no_repeat_ngram_size, 0)]
        if self.beams is not None:
            checks.append(("beams.width", self.beams.width, 2))
        return [line for name, value, low in checks for line in _whole(name, value, low)]


@dataclass(frozen=True, slots=True)
class Embed:
    """Turn the text into a vector."""

    name: ClassVar[str] = "embed"

    normalize: bool | None = None
    """Scale the vector to length 1; ``None``: as the model's files say."""
    dimensions: int | None = None
    """Keep the first dimensions only."""
    unpooled_tokens: int = 0
    """Tokens at the beginning that the model reads and the vector leaves out."""
    type_ids: Sequence[int] = ()
    """Which text of a pair each token belongs to; empty: all to the first."""
    batch_rows: int | None = None
    """Most texts that may be computed together with this one."""

    def problems(self) -> list[str]:
        """Everything that is not allowed, one line each."""
        lines = _whole("unpooled_tokens", self.unpooled_tokens, 0)
        lines += [] if self.dimensions is None else _whole("dimensions", self.dimensions, 1)
        return lines + ([] if self.batch_rows is None else _whole("batch_rows", self.batch_rows, 1))


@dataclass(frozen=True, slots=True)
class Classify:
    """Give every label a score."""

    name: ClassVar[str] = "classify"

    type_ids: Sequence[int] = ()
    """Which text of a pair each token belongs to; empty: all to the first."""
    batch_rows: int | None = None
    """Most texts that may be computed together with this one."""

    def problems(self) -> list[str]:
        """Everything that is not allowed, one line each."""
        return [] if self.batch_rows is None else _whole("batch_rows", self.batch_rows, 1)


Task = Generate | Embed | Classify


def _whole(name: str, value: object, low: int) -> list[str]:
    if isinstance(value, int) and not isinstance(value, bool) and value >= low:
        return []
    return [
        t("{name} = {value}: allowed is {allowed}", name=name, value=repr(value),
          allowed=t("a whole number from {low}", low=low))
    ]  # fmt: skip
