"""What is decided before a request is queued: is it allowed, does it fit, what is cut off."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields

from llmasos.engine.request import Request, SamplingParameters
from llmasos.engine.task import Generate, Task
from llmasos.errors import ContextLengthExceeded, InvalidRequest, NotFound, OutOfMemory, Unsupported, did_you_mean
from llmasos.i18n import t
from llmasos.units import format_bytes

_CAPABILITIES = {"adapter": "adapters", "steering": "steering"}


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


def check_task(request: Request, task: type[Task]) -> None:
    """Refuse what a model of this kind cannot do at all.

    Raises:
        Unsupported: the request asks for another task.
        InvalidRequest: it carries fields that have no meaning for its task.
    """
    if not isinstance(request.task, task):
        raise Unsupported(
            t("the request asks to {wanted} and this model can {possible}", wanted=request.task.name,
              possible=task.name),
            hint=t("Send the request to a model of the right kind."),
        )  # fmt: skip
    if isinstance(request.task, Generate):
        return
    given = [name for name in ("adapter", "grammar", "steering") if getattr(request, name) is not None]
    if request.sampling != SamplingParameters():
        given.append("sampling")
    if given:
        raise InvalidRequest(
            t("{fields} has no meaning in a request to {task}", fields=", ".join(given), task=request.task.name),
            hint=t("Leave it out."),
        )


@dataclass(frozen=True, slots=True)
class Edges:
    """Special tokens that a tokenizer puts around a text, such as ``[CLS]`` and ``[SEP]``: truncation keeps them."""

    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    @staticmethod
    def of(ids: Sequence[int], special: Sequence[bool]) -> Edges:
        """Those of an encoded sample text; ``special`` says which tokens the tokenizer added."""
        first = next((place for place, flag in enumerate(special) if not flag), len(special))
        last = next((place for place in range(len(special), first, -1) if not special[place - 1]), first)
        return Edges(tuple(ids[:first]), tuple(ids[last:]))


def fit_input(request: Request, limit: int | None, edges: Edges) -> tuple[list[int], list[int]]:
    """The tokens that an encoder reads and the places that they had in the prompt; with ``truncate``, a prompt that
    is too long loses tokens of its text, never the special tokens around it.

    Raises:
        ContextLengthExceeded: the prompt is longer than ``limit`` and ``truncate`` is not set.
    """
    prompt = list(request.prompt_ids)
    places = list(range(len(prompt)))
    if limit is None or len(prompt) <= limit:
        return prompt, places
    if request.truncate is None:
        raise ContextLengthExceeded(
            t("the prompt has {count} tokens; the model reads at most {limit}", count=len(prompt), limit=limit),
            hint=t("Shorten the prompt, or set truncate to left or right to have it cut."),
        )
    before = len(edges.before) if tuple(prompt[: len(edges.before)]) == edges.before else 0
    after = len(edges.after) if edges.after and tuple(prompt[-len(edges.after) :]) == edges.after else 0
    before, after = (0, 0) if before + after >= limit else (before, after)
    room = limit - before - after
    inner = places[before : len(prompt) - after]
    kept = inner[len(inner) - room :] if request.truncate == "left" else inner[:room]
    places = places[:before] + kept + places[len(prompt) - after :]
    return [prompt[place] for place in places], places


def check_capabilities(request: Request, limits: Limits) -> None:
    """Refuse what this runner cannot do.

    Raises:
        Unsupported: the request needs a capability that the runner lacks.
        NotFound: no adapter of that name is loaded.
    """
    asked = [(name, capability, getattr(request, name) is not None) for name, capability in _CAPABILITIES.items()]
    plain = Generate()
    asked += [
        (field.name, "encoder-decoder", getattr(request.task, field.name) != getattr(plain, field.name))
        for field in fields(plain)
    ]
    for name, capability, is_asked in asked:
        if is_asked and capability not in limits.capabilities:
            raise Unsupported(
                t(
                    "the request asks for {field} and this model's runner cannot do that; it can do: {capabilities}",
                    field=name,
                    capabilities=", ".join(sorted(limits.capabilities)),
                ),
                hint=t("Leave {field} out, or load the model with another runner.", field=name),
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
