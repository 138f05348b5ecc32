"""Some of the model's own weights are trained, perhaps more and more of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from torch import nn

from llmasos.errors import InvalidRecipe
from llmasos.i18n import t
from llmasos.training.methods import layers
from llmasos.training.methods.applied import Applied, ParameterGroup
from llmasos.training.recipe.methods import Freeze

DEFAULT_LAYERS = 2


def apply_freeze(module: nn.Module, method: Freeze, new_head: Sequence[str]) -> Applied:
    """Choose the weights of the last layers, of patterns, embeddings and head.

    Raises:
        InvalidRecipe: nothing is left to train, a pattern matches no weight, or there are not so many layers.
    """
    depth = layers.count_layers(module)
    first = DEFAULT_LAYERS if method.last_layers is None else method.last_layers
    if method.last_layers is None and (method.patterns or method.embeddings):
        first = 0
    first = min(first, depth) if method.last_layers is None else first
    if first > depth:
        raise InvalidRecipe(
            t("method.last_layers = {given}: the model has {depth} layers", given=first, depth=depth),
            hint=t("Give at most {depth}, or use method: {{kind: full}}.", depth=depth),
        )
    layers.freeze_tables(module)
    fixed = {id(weight) for weight in module.parameters() if not weight.requires_grad}
    module.requires_grad_(False)
    chosen = {id(weight) for weight in _always(module, method, new_head)}
    by_depth = [[id(weight) for weight in _layer(module, number)] for number in range(depth)]
    later = by_depth if method.unfreeze_every is not None else by_depth[:first]
    reachable = chosen | {weight for number in (*by_depth[:first], *later) for weight in number}
    weights = {name: weight for name, weight in module.named_parameters() if id(weight) in reachable - fixed}
    if not weights:
        raise InvalidRecipe(
            t("method freeze: nothing is trained"),
            hint=t("Name layers (last_layers, patterns), or set head or embeddings to true."),
        )

    def unfreeze(step: int) -> bool:
        count = first + (step // method.unfreeze_every if method.unfreeze_every is not None else 0)
        trained = chosen | {weight for number in by_depth[:count] for weight in number}
        changed = False
        for weight in weights.values():
            wanted = id(weight) in trained
            changed |= weight.requires_grad != wanted
            weight.requires_grad_(wanted)
        return changed

    unfreeze(0)
    applied = Applied(module, method, [ParameterGroup(weights)], 0, 0, 0.0, "model")
    applied.on_step = unfreeze if method.unfreeze_every is not None else None
    if method.head and not method.embeddings and layers.is_tied(module):
        applied.warnings.append(
            t("The head shares its weights with the token embeddings; they stay as they are unless embeddings is true.")
        )
    return applied


def _always(module: nn.Module, method: Freeze, new_head: Sequence[str]) -> Iterable[nn.Parameter]:
    """The weights that are trained from the first step on, whatever the layers."""
    by_name = dict(module.named_parameters())
    tables = {id(weight) for weight in layers.embeddings(module)}
    if method.embeddings:
        yield from layers.embeddings(module)
    if method.head:
        for weight in layers.weights_of(module, [*layers.head_parts(module), *layers.last_norms(module)]):
            if id(weight) not in tables:
                yield weight
    yield from (by_name[name] for name in new_head if name in by_name)
    for pattern in method.patterns:
        hits = [weight for name, weight in by_name.items() if fnmatchcase(name, pattern)]
        if not hits:
            raise InvalidRecipe(
                t("method.patterns: no weight matches {pattern!r}", pattern=pattern),
                hint=t("Names look like {names}.", names=", ".join(_examples(by_name))),
            )
        yield from hits


def _examples(names: Iterable[str]) -> list[str]:
    """One name of each form: those that differ by numbers alone count once."""
    forms: dict[str, str] = {}
    for name in names:
        forms.setdefault(".".join("*" if part.isdigit() else part for part in name.split(".")), name)
    return list(forms.values())[:12]


def _layer(module: nn.Module, number: int) -> Iterable[nn.Parameter]:
    """The weights of a layer, counted from the last, in every stack that has so many."""
    for stack in layers.stacks(module).values():
        if number < len(stack):
            yield from stack[len(stack) - 1 - number].parameters()
