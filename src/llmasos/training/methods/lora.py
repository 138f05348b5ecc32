"""Low-rank updates beside weight matrices (LoRA and its relatives), through PEFT."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from llmasos.errors import InvalidRecipe
from llmasos.i18n import t
from llmasos.modeling.folder import Family
from llmasos.training.methods import layers
from llmasos.training.methods.applied import Applied, ParameterGroup
from llmasos.training.recipe.methods import Lora, Qlora

if TYPE_CHECKING:
    from peft import PeftModel

ADAPTER = "default"
"""PEFT's name of the only adapter."""
_B = (".lora_B.", ".lora_embedding_B.")


def apply_lora(
    module: nn.Module, method: Lora | Qlora, *, family: Family, kind: str, new_head: Sequence[str]
) -> Applied:
    """Put low-rank updates beside the layers that the method names.

    Raises:
        InvalidRecipe: a layer is not there, or is also trained whole; the rank is too large for PiSSA.
    """
    from peft import LoraConfig, get_peft_model
    from transformers.pytorch_utils import Conv1D

    targets = _targets(module, method)
    whole = modules_to_save(module, method.train_also, kind=kind, new_head=new_head)
    refuse_overlap(targets, whole)
    _refuse_rank(targets, method)
    warnings = _remarks(module, targets, method)
    module.requires_grad_(False)
    config = LoraConfig(
        task_type=task_type(family, kind),
        r=method.rank,
        lora_alpha=cast(int, method.alpha if method.alpha is not None else 2 * method.rank),
        lora_dropout=method.dropout,
        target_modules=layers.shortest_names(targets, module),
        modules_to_save=whole or None,
        use_rslora=method.rank_stabilized,
        use_dora=method.dora,
        init_lora_weights=_initialization(module, method),
        fan_in_fan_out=all(isinstance(part, Conv1D) for part in targets.values()),
    )
    adapter = get_peft_model(cast(Any, module), config)
    settle(adapter, module)
    applied = Applied(module, method, _groups(module, method.b_ratio), 0, 0, 0.0, "adapter", warnings, adapter)
    if method.initialization == "pissa":
        applied.initial = {name: weight.detach().clone() for name, weight in applied.parameters() if ".lora_" in name}
    return applied


def _initialization(module: nn.Module, method: Lora | Qlora) -> Any:
    if next(module.parameters()).is_meta:
        return True  # only shapes are wanted
    return {"zero": True, "gaussian": "gaussian", "pissa": "pissa"}[method.initialization]


def _targets(module: nn.Module, method: Lora | Qlora) -> dict[str, nn.Module]:
    if method.targets == "all-linear":
        return layers.linear_layers(module)
    if method.targets == "attention":
        found = layers.attention_layers(module)
        if not found:
            raise layers.unknown_name("method.targets", "attention", layers.linear_layers(module))
        return found
    return layers.named_layers(module, cast(Sequence[str], method.targets), "method.targets")


def modules_to_save(module: nn.Module, also: Sequence[str], *, kind: str, new_head: Sequence[str]) -> list[str]:
    """Endings of the modules that are trained whole and saved with an adapter: the head of a classifier, whatever is
    new, and what the recipe names.

    Raises:
        InvalidRecipe: the model has no module of a name.
    """
    names = layers.head_parts(module, new_head) if kind in ("classify", "reward") else []
    if kind not in ("classify", "reward"):
        names += [owner for weight in new_head if (owner := weight.rpartition(".")[0])]
    known = [name for name, part in module.named_modules() if name and any(True for _ in part.parameters())]
    for wanted in also:
        hits = [name for name in known if layers.matches(name, wanted)]
        if not hits:
            raise layers.unknown_name("method.train_also", wanted, known)
        names += hits
    outermost = [name for name in names if not any(name.startswith(f"{other}.") for other in names)]
    return layers.shortest_names(outermost, module)


def refuse_overlap(targets: dict[str, nn.Module], whole: Sequence[str]) -> None:
    twice = [
        name for name in targets
        if any(layers.matches(".".join(name.split(".")[:end]), other) for other in whole
               for end in range(1, name.count(".") + 2))
    ]  # fmt: skip
    if twice:
        raise InvalidRecipe(
            t("method: these layers would be trained whole and get an update as well: {names}",
              names=", ".join(twice[:10])),
            hint=t("Leave them out of targets or of train_also."),
        )  # fmt: skip


def _refuse_rank(targets: dict[str, nn.Module], method: Lora | Qlora) -> None:
    if method.initialization != "pissa":
        return
    for name, part in targets.items():
        weight = cast(Tensor, part.weight)
        if isinstance(part, nn.Embedding) or min(weight.shape) < method.rank:
            raise InvalidRecipe(
                t("method.initialization = pissa: {name} is {shape} and has no {rank} singular values to begin with",
                  name=name, shape=" x ".join(map(str, weight.shape)), rank=method.rank),
                hint=t("Lower method.rank, leave the layer out of targets, or use initialization: zero."),
            )  # fmt: skip


def _remarks(module: nn.Module, targets: dict[str, nn.Module], method: Lora | Qlora) -> list[str]:
    found = []
    if any(weight.ndim == 3 for weight in module.parameters()):
        found.append(t("The experts of this model are single tensors of three dimensions, which get no update."))
    narrow = [name for name, part in targets.items() if min(cast(Tensor, part.weight).shape) < method.rank]
    if narrow:
        found.append(
            t("rank = {rank} is more than the width of {names}: there an update costs more than the weight itself.",
              rank=method.rank, names=", ".join(narrow[:5]))
        )  # fmt: skip
    return found


def task_type(family: Family, kind: str) -> str:
    """PEFT's name of the task."""
    if kind in ("classify", "reward"):
        return "SEQ_CLS"
    return {Family.SEQ2SEQ: "SEQ_2_SEQ_LM", Family.CAUSAL: "CAUSAL_LM"}.get(family, "FEATURE_EXTRACTION")


def settle(adapter: PeftModel, module: nn.Module) -> None:
    """What all methods of PEFT want: our file format's settings, one name for each module trained whole."""
    config: Any = adapter.peft_config[ADAPTER]
    config.base_model_name_or_path = None  # a path of this machine; the base is named when the adapter is saved
    if config.modules_to_save:
        # PEFT adds the names that heads of classifiers usually have, whether there is such a head or not.
        names = [name for name, part in module.named_modules() if hasattr(part, "modules_to_save")]
        config.modules_to_save = sorted({
            ending for ending in config.modules_to_save if any(layers.matches(name, ending) for name in names)
        })  # fmt: skip


def _groups(module: nn.Module, b_ratio: float) -> list[ParameterGroup]:
    """All weights that need gradients; the second factors apart where their rate is higher (LoRA+)."""
    trained = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
    second = {name: weight for name, weight in trained.items() if any(part in name for part in _B)}
    if b_ratio == 1.0:
        return [ParameterGroup(trained)]
    others = {name: weight for name, weight in trained.items() if name not in second}
    return [ParameterGroup(others), ParameterGroup(second, factor=b_ratio)]


def against_original(tensors: dict[str, Tensor], initial: dict[str, Tensor], rank: int) -> dict[str, Tensor]:
    """Turn a PiSSA update of a changed base into one of the original base, of twice the rank.

    PiSSA takes ``s B0 A0`` out of the weight, so ``W = (W0 - s B0 A0) + s B A = W0 + s (B A - B0 A0)``, and the last
    is a product of ``[B, -B0]`` and ``[A; A0]``.

    Args:
        tensors: factors after training, as they are saved.
        initial: those before, by the same names.
    """
    found = dict(tensors)
    for name, before in initial.items():
        after = tensors[name]
        if ".lora_A" in name:
            found[name] = torch.cat([after, before.to(after)], dim=0)
        elif ".lora_B" in name:
            found[name] = torch.cat([after, -before.to(after)], dim=1)
    assert all(tensor.shape[0] == 2 * rank for name, tensor in found.items() if name in initial and ".lora_A" in name)
    return found


def doubled(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of what :func:`against_original` makes: twice the rank, the same scale."""
    rank, alpha = config["r"], config["lora_alpha"]
    scale = alpha / (math.sqrt(rank) if config["use_rslora"] else rank)
    return {**config, "r": 2 * rank, "lora_alpha": scale * 2 * rank, "use_rslora": False, "init_lora_weights": True}
