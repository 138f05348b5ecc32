"""What is decided before a request is queued: is it allowed, does it fit, what is cut off."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from llmasos.engine.request import Request
from llmasos.errors import ContextLengthExceeded, NotFound, OutOfMemory, Unsupported, did_you_mean
from llmasos.i18n import t
from llmasos.units import format_bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """What model and cache set."""

    vocabulary_size: int
    context_length: int
    """Tokens of prompt and output that the model can take."""
    cache_tokens: int
    """Tokens that fit into the whole cache."""
    bytes_per_token: int
    capabilities: frozenset[str]
    adapters: Callable[[], Collection[str]] | None = None
    """Names of the adapters that are loaded; ``None``: the runner knows, and fails for others."""

    @property
    def sequence_tokens(self) -> int:
        """Longest sequence that can be served."""
        return min(self.context_length, self.cache_tokens)


def check_capabilities(request: Request, limits: Limits) -> None:
    """Refuse what this runner cannot do.

    Raises:
        Unsupported: the request needs a capability that the runner lacks.
        NotFound: no adapter of that name is loaded.
    """
    for field, capability in (("adapter", "adapters"), ("steering", "steering")):
        if getattr(request, field) is not None and capability not in limits.capabilities:
            raise Unsupported(
                t(
                    "the request asks for {field} and this model's runner cannot do that; it can do: {capabilities}",
                    field=field,
                    capabilities=", ".join(sorted(limits.capabilities)),
                ),
                hint=t("Leave {field} out, or load the model with another runner.", field=field),
            )
    if request.adapter is not None and limits.adapters is not None:
        loaded = limits.adapters()
        if request.adapter not in loaded:
            raise NotFound(
                t(
                    "no adapter named {name} is loaded; loaded are: {loaded}",
                    name=request.adapter,
                    loaded=", ".join(sorted(loaded)) or t("none"),
                ),
                hint=did_you_mean(request.adapter, loaded),
            )


def fit_prompt(request: Request, limits: Limits) -> tuple[list[int], int]:
    """The tokens of the prompt that are used, and the number that was cut off.

    With ``truncate``, a prompt that is too long is cut so that ``max_tokens`` fit, or half of the context if that is
    less; without ``max_tokens`` a quarter of the context is left for the output.

    Raises:
        ContextLengthExceeded: the prompt and one token of output exceed the model's context.
        OutOfMemory: they fit the model and not the cache.
    """
    prompt = list(request.prompt_ids)
    wanted = request.sampling.max_tokens
    least = 0 if wanted == 0 else 1
    longest = limits.sequence_tokens
    if request.truncate is not None:
        room = longest // 4 if wanted is None else min(wanted, longest // 2)
        if len(prompt) + (least if wanted is None else room) > longest:
            keep = max(longest - max(room, least), 1)
            cut = len(prompt) - keep
            return (prompt[cut:] if request.truncate == "left" else prompt[:keep]), cut
        return prompt, 0
    if len(prompt) + least > limits.context_length:
        raise ContextLengthExceeded(
            t(
                "the prompt has {count} tokens and at least {least} of output; the context length is {limit}",
                count=len(prompt),
                least=least,
                limit=limits.context_length,
            ),
            hint=t("Shorten the prompt, or set truncate to left or right to have it cut."),
        )
    if len(prompt) + least > limits.cache_tokens:
        needed = (len(prompt) + least) * limits.bytes_per_token
        available = limits.cache_tokens * limits.bytes_per_token
        raise OutOfMemory(
            t(
                "the prompt of {count} tokens needs {needed} of key-value cache and the cache has {available}",
                count=len(prompt),
                needed=format_bytes(needed),
                available=format_bytes(available),
            ),
            needed=needed,
            available=available,
            hint=t("Give the engine a larger cache, or shorten the prompt."),
        )
    return prompt, 0
