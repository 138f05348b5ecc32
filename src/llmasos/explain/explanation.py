"""A text as a model reads it: one pass of the engine, with everything that its hooks show."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmasos.engine.engine import Engine
from llmasos.engine.hooks import Intervention, Recorder
from llmasos.engine.request import Request, SamplingParameters
from llmasos.errors import ContextLengthExceeded, InvalidRequest, LLMasOSError, Unsupported
from llmasos.explain import attention as attention_maps
from llmasos.explain.attention import Attention
from llmasos.explain.prompt import read_text
from llmasos.explain.tokens import Prediction, predictions, shown_text
from llmasos.i18n import t

if TYPE_CHECKING:
    import torch

    from llmasos.engine.architecture import DecoderSpec
    from llmasos.modeling.model import Model

MOST_TOKENS = 512
"""Longest text that is explained."""
MOST_CANDIDATES = 100
_MEMORY = 1 << 29
"""Bytes that attention and hidden states of one text may take."""
_ROWS = 64
"""Rows whose logits are computed at once, between two passes of the engine."""


@dataclass(frozen=True, slots=True)
class ExplainedToken:
    """One token of the text.

    Attributes:
        context: whether it belongs to the prompt rather than to the text.
        expected: what the model expected here, with the token's own probability and rank; ``None`` for the first token,
            which nothing stands before.
    """

    position: int
    token_id: int
    text: str
    context: bool
    expected: Prediction | None


@dataclass(frozen=True, slots=True)
class LensLayer:
    """What a model would say after a layer. ``layer`` -1 is the embedding."""

    layer: int
    prediction: Prediction


@dataclass(frozen=True, eq=False)
class Explanation:
    """A text as a model reads it.

    Attributes:
        following: what would come after the last token.
        attention: ``None`` if it was not asked for.
    """

    tokens: list[ExplainedToken]
    following: Prediction
    attention: Attention | None
    _states: torch.Tensor = field(repr=False)
    """(layers and the embedding, tokens, hidden)"""

    @property
    def logprob(self) -> float:
        """Log-probability of the text, the prompt left out."""
        return sum(item.expected.logprob or 0.0 for item in self._scored if item.expected is not None)

    @property
    def perplexity(self) -> float | None:
        """Of the text, the prompt left out; ``None`` if no token of it follows another."""
        count = len(self._scored)
        return math.exp(-self.logprob / count) if count else None

    @property
    def _scored(self) -> list[ExplainedToken]:
        return [item for item in self.tokens if item.expected is not None and not item.context]

    def lens(self, model: Model, position: int, *, top: int = 5) -> list[LensLayer]:
        """What the model would say after each layer at a position about the token that comes next (logit lens,
        nostalgebraist 2020): the layer's hidden state through the final norm and the output layer.

        Args:
            model: the one that made this explanation.

        Raises:
            InvalidRequest: there is no such position.
        """
        if not 0 <= position < len(self.tokens):
            raise _not_allowed("position", position, 0, len(self.tokens) - 1)
        _check_top(top)
        engine, _ = _engine_of(model)
        states = self._states[:, position]
        following = self.tokens[position + 1].token_id if position + 1 < len(self.tokens) else None
        found = predictions(engine.logits_of(states), [following] * len(states), top, _texts(model, engine))
        return [LensLayer(layer - 1, item) for layer, item in enumerate(found)]


def explain_text(
    model: Model,
    text: str,
    *,
    prompt: str | None = None,
    top: int = 5,
    attention: bool = True,
    adapter: str | None = None,
    most_tokens: int = MOST_TOKENS,
) -> Explanation:
    """How likely each token of a text was, what it attended to, and what each layer would have said.

    Args:
        model: a decoder-only model that the engine's own kernels run.
        text: what is explained.
        prompt: what the text answers; the model's chat template stands around it.
        top: likeliest tokens that are told for each place.
        attention: whether to keep the attention weights.
        adapter: name of an adapter that the engine has loaded.
        most_tokens: longest text that is taken; an explanation takes memory with the square of it.

    Raises:
        Unsupported: this model's attention and hidden states cannot be read.
        InvalidRequest: the text is empty, or an argument is not allowed.
        ContextLengthExceeded: the text is longer than ``most_tokens``, than the model takes, or than memory allows.
    """
    _check_top(top)
    if not 1 <= most_tokens <= MOST_TOKENS:
        raise _not_allowed("most_tokens", most_tokens, 1, MOST_TOKENS)
    engine, spec = _engine_of(model)
    read = read_text(model, text, prompt)
    ids, layers = read.ids, len(spec.layers)
    if not ids:
        raise InvalidRequest(t("the {name} is empty", name="text"))
    _check_length(len(ids), min(most_tokens, longest(spec, engine, attention)))
    recorder = Recorder(range(-1, layers), range(layers) if attention else ())
    request = Request(
        ids, SamplingParameters(temperature=0, max_tokens=1, ignore_eos=True), adapter=adapter,
        steering=Intervention(recorder=recorder), reuse_prefix=False,
    )  # fmt: skip
    result = engine.submit(request).result()
    error = result.outputs[0].error
    if error is not None:
        raise LLMasOSError(t("the engine could not finish the text: {error}", error=error))
    import torch

    states = torch.stack([recorder.hidden_states(layer) for layer in range(-1, layers)])
    text_of = _texts(model, engine)
    expected = _expected(engine, states[-1], ids, top, text_of)
    tokens = [
        ExplainedToken(position, token, text_of(token), position < read.context, before)
        for position, (token, before) in enumerate(zip(ids, [None, *expected[:-1]], strict=True))
    ]
    maps = attention_maps.joined(recorder, layers, len(ids)) if attention else None
    return Explanation(tokens, expected[-1], maps, states)


def longest(spec: DecoderSpec, engine: Engine, attention: bool = True) -> int:
    """Most tokens of a text that this model explains: what it takes, what memory allows, what people can read."""
    states = (len(spec.layers) + 1) * spec.hidden * 4
    maps = len(spec.layers) * spec.heads * 4 if attention else 0
    limits = [MOST_TOKENS, engine.limits.sequence_tokens - 1, _MEMORY // states]
    return min([*limits, math.isqrt(_MEMORY // maps)] if maps else limits)


def _expected(
    engine: Engine, hidden: torch.Tensor, ids: list[int], top: int, text_of: Callable[[int], str]
) -> list[Prediction]:
    """What the model said after each token."""
    found: list[Prediction] = []
    following = [*ids[1:], None]
    for begin in range(0, len(ids), _ROWS):
        logits = engine.logits_of(hidden[begin : begin + _ROWS])
        found += predictions(logits, following[begin : begin + _ROWS], top, text_of)
    return found


def _engine_of(model: Model) -> tuple[Engine, DecoderSpec]:
    engine = model.engine
    spec = engine.spec if isinstance(engine, Engine) else None
    if isinstance(engine, Engine) and spec is not None and {"hidden_states", "attention"} <= engine.limits.capabilities:
        return engine, spec
    raise Unsupported(
        t("{model} cannot be explained: its hidden states and attention cannot be read", model=model.reference),
        hint=t("Take a decoder-only model of the Llama family (Llama, Mistral, Qwen, SmolLM, Gemma), such as "
               "smollm2:135m-instruct."),
    )  # fmt: skip


def _texts(model: Model, engine: Engine) -> Callable[[int], str]:
    return shown_text(engine.text_decoder, lambda ids: model.tokenizer.decode(ids, skip_special_tokens=False))


def _check_top(top: int) -> None:
    if not isinstance(top, int) or isinstance(top, bool) or not 1 <= top <= MOST_CANDIDATES:
        raise _not_allowed("top", top, 1, MOST_CANDIDATES)


def _check_length(count: int, limit: int) -> None:
    if count > limit:
        raise ContextLengthExceeded(
            t("the text has {count} tokens; at most {limit} can be explained at once", count=count, limit=limit),
            hint=t("Shorten the text, or explain its parts one after another."),
        )


def _not_allowed(name: str, value: object, low: int, high: int) -> InvalidRequest:
    return InvalidRequest(
        t("{name} = {value}: allowed is {allowed}", name=name, value=repr(value),
          allowed=t("a whole number from {low} to {high}", low=low, high=high))
    )  # fmt: skip
