"""The parts of a model that methods speak of: layers, attention, linear layers, heads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, cast

from torch import nn

from llmasos.errors import InvalidRecipe, did_you_mean
from llmasos.i18n import t


def backbone(module: nn.Module) -> nn.Module:
    """The model without its head; the module itself if it has none."""
    return cast(nn.Module, module.base_model)


def stacks(module: nn.Module) -> dict[str, nn.ModuleList]:
    """The lists of numbered layers by name: one, or those of encoder and decoder, in the order of computation."""
    lists = {name: part for name, part in module.named_modules() if isinstance(part, nn.ModuleList) and len(part)}
    # Lists within layers (experts, relative positions, ...) are no layers.
    outer = {name: part for name, part in lists.items() if not any(_inside(name, other) for other in lists)}
    sizes = {name: sum(weight.numel() for weight in part.parameters()) for name, part in outer.items()}
    most = max(sizes.values(), default=0)
    return {name: outer[name] for name, size in sizes.items() if size * 4 >= most}


def _inside(name: str, other: str) -> bool:
    return name != other and name.startswith(f"{other}.")


def head_parts(module: nn.Module, new_head: Iterable[str] = ()) -> list[str]:
    """Names of the modules that make an answer of what the layers give: heads, poolers.

    Args:
        new_head: names of weights with random values, whose modules count as well.
    """
    trunk = backbone(module)
    inside = {id(part) for part in trunk.modules()}
    prefix = _name_of(module, trunk)
    names = [
        name for name, part in module.named_children()
        if id(part) not in inside and any(True for _ in part.parameters()) and not _holds(part, trunk)
    ] if trunk is not module else []  # fmt: skip
    names += [
        f"{prefix}{name}" for name, part in trunk.named_children()
        if "pooler" in name and any(True for _ in part.parameters())
    ]  # fmt: skip
    output = _output(module)
    if output is not None and not any(module.get_submodule(name) is output for name in names):
        names.append(_name_of(module, output).rstrip("."))
    for weight in new_head:
        owner = weight.rpartition(".")[0]
        if owner and not any(owner == name or owner.startswith(f"{name}.") for name in names):
            names.append(owner)
    return names


def _holds(part: nn.Module, trunk: nn.Module) -> bool:
    return any(inner is trunk for inner in part.modules())


def _name_of(module: nn.Module, part: nn.Module) -> str:
    if part is module:
        return ""
    return next(f"{name}." for name, inner in module.named_modules() if inner is part)


def last_norms(module: nn.Module) -> list[str]:
    """Names of the normalisations after the last layer of each stack."""
    found = []
    for name, layers in stacks(module).items():
        parent_name = name.rpartition(".")[0]
        parent = module.get_submodule(parent_name)
        children = list(parent.named_children())
        place = next(index for index, (_, child) in enumerate(children) if child is layers)
        found += [
            f"{parent_name}.{child_name}".lstrip(".") for child_name, child in children[place + 1 :]
            if "norm" in type(child).__name__.lower() and "emb" not in child_name
        ]  # fmt: skip
    return found


def freeze_tables(module: nn.Module) -> None:
    """Let what is computed rather than learned stay: Marian and Pegasus hold sines of positions as a weight, through
    which no gradient comes."""
    for part in module.modules():
        if "sinusoid" in type(part).__name__.lower():
            part.requires_grad_(False)


def embeddings(module: nn.Module) -> list[nn.Parameter]:
    """The weights of the token embeddings; those of the source and of the target where they are two."""
    tables = [part for part in module.modules() if isinstance(part, nn.Embedding)]
    size = cast(Any, module).get_input_embeddings().weight.shape
    found = {id(part.weight): cast(nn.Parameter, part.weight) for part in tables if part.weight.shape == size}
    return list(found.values())


def output_weight(module: nn.Module) -> nn.Parameter | None:
    """The weight of a language-modelling head; ``None`` if there is none."""
    weight = getattr(_output(module), "weight", None)
    return weight if isinstance(weight, nn.Parameter) else None


def _output(module: nn.Module) -> nn.Module | None:
    found = cast(Any, module).get_output_embeddings() if hasattr(module, "get_output_embeddings") else None
    return found if isinstance(found, nn.Module) else None


def is_tied(module: nn.Module) -> bool:
    """Whether the head shares its weight with the token embeddings."""
    weight = output_weight(module)
    return weight is not None and any(weight is table for table in embeddings(module))


def linear_layers(module: nn.Module) -> dict[str, nn.Module]:
    """Every layer that multiplies with a matrix, outside the heads, by name."""
    from transformers.pytorch_utils import Conv1D

    head = head_parts(module)
    return {
        name: part
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear | Conv1D) and not any(name == top or name.startswith(f"{top}.") for top in head)
    }


def attention_layers(module: nn.Module) -> dict[str, nn.Module]:
    """The linear layers of attention: those in a module whose class says so."""
    blocks = [name for name, part in module.named_modules() if "attention" in type(part).__name__.lower()]
    return {
        name: part
        for name, part in linear_layers(module).items()
        if any(name.startswith(f"{block}.") for block in blocks)
    }


def named_layers(module: nn.Module, names: Sequence[str], key: str) -> dict[str, nn.Module]:
    """The layers whose names end with one of ``names``, or match one with ``*`` or ``?``.

    Raises:
        InvalidRecipe: a name is that of no layer that can be adapted; near names are offered.
    """
    from transformers.pytorch_utils import Conv1D

    known = {
        name: part for name, part in module.named_modules() if isinstance(part, nn.Linear | Conv1D | nn.Embedding)
    }  # fmt: skip
    found: dict[str, nn.Module] = {}
    for wanted in names:
        hits = {name: part for name, part in known.items() if matches(name, wanted)}
        if not hits:
            raise unknown_name(key, wanted, known)
        found |= hits
    return found


def matches(name: str, wanted: str) -> bool:
    """Whether a module is meant: its name ends with ``wanted``, or matches it as a pattern."""
    if any(sign in wanted for sign in "*?"):
        return fnmatchcase(name, wanted)
    return name == wanted or name.endswith(f".{wanted}")


def unknown_name(key: str, wanted: str, known: Iterable[str]) -> InvalidRecipe:
    """The error for a name that the model does not have."""
    names = list(known)
    last = list(dict.fromkeys(name.rpartition(".")[2] for name in names))
    own = [name for name in last if not name.isdigit()]
    near = did_you_mean(wanted, [*own, *names])
    return InvalidRecipe(
        t("{key}: the model has no layer {name!r}", key=key, name=wanted),
        hint=" ".join(filter(None, [near, t("It has: {names}.", names=", ".join(own[:30]))])),
    )


def shortest_names(chosen: Iterable[str], module: nn.Module) -> list[str]:
    """Endings that mean exactly these modules and no other, as PEFT matches them, the shortest possible."""
    wanted = set(chosen)
    everything = [name for name, _ in module.named_modules()]
    endings: dict[str, None] = {}
    for name in sorted(wanted):
        if any(matches(name, ending) for ending in endings):
            continue
        parts = name.split(".")
        for count in range(1, len(parts) + 1):
            ending = ".".join(parts[-count:])
            if count == len(parts) or all(other in wanted for other in everything if matches(other, ending)):
                endings[ending] = None
                break
    return list(endings)


def count_layers(module: nn.Module) -> int:
    """Layers of the longest stack."""
    return max((len(layers) for layers in stacks(module).values()), default=0)


def weights_of(module: nn.Module, names: Iterable[str]) -> Iterator[nn.Parameter]:
    """The parameters of modules by name."""
    for name in names:
        yield from module.get_submodule(name).parameters()
