"""Filters that ask a model: perplexity by a language model, labels of a classifier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from llmasos.data.filters.measures import too_large, too_small
from llmasos.data.row import Row
from llmasos.data.step import FilterConfig, Place, Rejection
from llmasos.errors import InvalidRecipe, Unsupported, did_you_mean
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos import Model
    from llmasos.engine.engine import Engine


@cache
def _load(reference: str) -> Model:
    """The model, once for each process; imported here because it brings torch."""
    import llmasos

    return llmasos.load(reference)


def _text(row: Row, places: tuple[str, ...] | None) -> str:
    return row.text() if places is None else "\n".join(text for place, text in row.texts() if place in places)


class FilterPerplexity(FilterConfig):
    """Keep rows whose perplexity, measured by a language model, lies between two limits."""

    step: Literal["filter_perplexity"] = "filter_perplexity"
    model: str = Field(description="Decoder-only model by its name or folder; fetched if it is not in the library.")
    least: float | None = Field(
        None, ge=1, description="Smallest perplexity that is kept; what is below is often repetition."
    )
    most: float | None = Field(None, ge=1, description="Largest perplexity that is kept; what is above is often noise.")
    window: int = Field(
        512, ge=16, description="Tokens that are scored together; longer texts are scored window by window."
    )
    places: tuple[Place, ...] | None = Field(None, description="Texts of a row to score. Default: all together.")
    batch_size: int = Field(32, ge=1, description="Rows that are scored together; no effect on the result's meaning.")

    @model_validator(mode="after")
    def _limits(self) -> FilterPerplexity:
        if self.least is None and self.most is None:
            raise ValueError("give least, most or both")
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError(f"least ({self.least}) is larger than most ({self.most})")
        return self

    def build(self) -> PerplexityFilter:
        return PerplexityFilter(self)


class PerplexityFilter:
    """A batch filter; the model is loaded when the first rows come."""

    def __init__(self, config: FilterPerplexity) -> None:
        self._config = config
        self.batch_size = config.batch_size

    def judge(self, rows: Sequence[Row]) -> list[Rejection | None]:
        texts = [_text(row, self._config.places) for row in rows]
        return [self._verdict(value) for value in perplexities(self._config.model, texts, self._config.window)]

    def _verdict(self, value: float | None) -> Rejection | None:
        config = self._config
        if value is None:
            return Rejection("perplexity_undefined", "no tokens to score")
        if config.least is not None and value < config.least:
            return too_small("perplexity_too_low", "perplexity", value, config.least)
        if config.most is not None and value > config.most:
            return too_large("perplexity_too_high", "perplexity", value, config.most)
        return None


def perplexities(reference: str, texts: Sequence[str], window: int) -> list[float | None]:
    """exp of the mean negative log-likelihood of the tokens of each text; ``None`` for a text without tokens.

    Every window begins after the model's begin (or end) token, so long texts score a little worse than with full
    context, equally for all.

    Raises:
        Unsupported: the engine does not run this model.
    """
    from llmasos.engine.scoring import score

    model = _load(reference)
    engine: Engine | None = getattr(model.backend, "engine", None)
    special = model.tokenizer.special
    begin = special.id("bos") if special.id("bos") is not None else special.id("eos")
    if engine is None or begin is None:
        raise Unsupported(
            t("{model} cannot measure perplexity", model=reference),
            hint=t("Choose a decoder-only model that the engine runs, such as smollm2:135m."),
        )
    size = min(window, (model.context_length or window + 1) - 1)
    pairs: list[tuple[list[int], list[int]]] = []
    owners: list[int] = []
    for number, text in enumerate(texts):
        tokens = model.tokenizer.encode(text, add_special_tokens=False).ids
        for start in range(0, len(tokens), size):
            pairs.append(([begin], list(tokens[start : start + size])))
            owners.append(number)
    sums, counts = [0.0] * len(texts), [0] * len(texts)
    for owner, result in zip(owners, score(engine, pairs) if pairs else [], strict=True):
        sums[owner] += result.total
        counts[owner] += len(result.logprobs)
    return [math.exp(min(700.0, -total / count)) if count else None for total, count in zip(sums, counts, strict=True)]


class FilterClassifier(FilterConfig):
    """Keep rows that a classifier gives one of these labels."""

    step: Literal["filter_classifier"] = "filter_classifier"
    model: str = Field(description="Classifier by its name or folder; fetched if it is not in the library.")
    labels: tuple[str, ...] = Field(min_length=1, description="Labels to keep.")
    confidence: float = Field(0.0, ge=0, le=1, description="Least score of the label.")
    too_long: Literal["truncate", "reject"] = Field(
        "truncate", description="What happens to texts longer than the model reads: judge by the beginning, or reject."
    )
    places: tuple[Place, ...] | None = Field(None, description="Texts of a row to classify. Default: all together.")
    batch_size: int = Field(32, ge=1, description="Rows that are classified together.")

    def build(self) -> ClassifierFilter:
        return ClassifierFilter(self)


class ClassifierFilter:
    """A batch filter; the model is loaded when the first rows come."""

    def __init__(self, config: FilterClassifier) -> None:
        self._config = config
        self.batch_size = config.batch_size

    def judge(self, rows: Sequence[Row]) -> list[Rejection | None]:
        config = self._config
        model = _load(config.model)
        for label in config.labels:
            if label not in model.labels:
                raise InvalidRecipe(
                    t("{model} has no label {label!r}", model=config.model, label=label),
                    hint=did_you_mean(label, model.labels) or t("It has {names}.", names=", ".join(model.labels)),
                )
        texts = [_text(row, config.places) for row in rows]
        verdicts: list[Rejection | None] = []
        for result in model.classify(texts, truncate="end"):
            shown = f"{result.label} with score {result.score:.3f}"
            if result.truncated_tokens and config.too_long == "reject":
                total = result.tokens + result.truncated_tokens
                verdicts.append(Rejection("classifier_too_long", f"{total} tokens, at most {result.tokens}"))
            elif result.label not in config.labels:
                verdicts.append(Rejection("classifier_label", f"{shown}, wanted {', '.join(config.labels)}"))
            elif result.score < config.confidence:
                verdicts.append(Rejection("classifier_not_certain", f"{shown}, at least {config.confidence:g}"))
            else:
                verdicts.append(None)
        return verdicts
