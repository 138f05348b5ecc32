"""LoRA adapters in PEFT's format: read, checked against the base model, kept within a memory budget."""

from __future__ import annotations

import json
import math
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from llmasos.engine.kernels.decoder import AdapterLayers, LoraFactor
from llmasos.errors import (
    AlreadyExists,
    IntegrityError,
    InvalidRequest,
    NotFound,
    OutOfMemory,
    Unsupported,
    did_you_mean,
)
from llmasos.i18n import t
from llmasos.units import format_bytes

if TYPE_CHECKING:
    import torch

    from llmasos.engine.architecture import DecoderSpec

_MODULE_OF_PROJECTION = {
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "o_proj": "output",
    "gate_proj": "gate",
    "up_proj": "up",
    "down_proj": "down",
}
_TENSOR = re.compile(r"(?:.*\.)?layers\.(\d+)\.(?:self_attn|mlp)\.(\w+)\.lora_(A|B)(?:\.\w+)?\.weight")
# Options of PEFT's LoRA that change the arithmetic in a way that the kernels do not have.
_REFUSED_OPTIONS = ("use_dora", "modules_to_save", "layer_replication", "trainable_token_indices", "target_parameters")


def read_adapter(folder: Path, spec: DecoderSpec, *, dtype: torch.dtype | None = None) -> AdapterLayers:
    """Read ``adapter_config.json`` and ``adapter_model.safetensors``.

    Scaling is ``alpha / rank`` (Hu et al. 2021) or ``alpha / sqrt(rank)`` with rank stabilisation (Kalajdzievski 2023).

    Args:
        dtype: of the factors; default bfloat16, which the native kernels take.

    Raises:
        IntegrityError: a file is missing or damaged.
        Unsupported: not LoRA, or an option or module that the engine cannot apply; it is named.
        InvalidRequest: made for another base model.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "adapter_model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise IntegrityError(
            t("the adapter in {path} cannot be read: {error}", path=folder.name, error=error),
            hint=t("An adapter has adapter_config.json and adapter_model.safetensors, as PEFT saves them."),
        ) from error
    refuse_adapter(config, tensors)
    factors: dict[tuple[int, str], dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        match = _TENSOR.fullmatch(name)
        assert match is not None
        factors.setdefault((int(match[1]), match[2]), {})[match[3]] = tensor
    layers: list[dict[str, LoraFactor]] = [{} for _ in spec.layers]
    shapes = projection_shapes(spec)
    for (index, projection), pair in factors.items():
        if set(pair) != {"A", "B"}:
            raise IntegrityError(
                t("the adapter has only one of the two factors of layer {layer} {projection}", layer=index,
                  projection=projection)
            )  # fmt: skip
        a, b = pair["A"], pair["B"]
        module = _MODULE_OF_PROJECTION[projection]
        if index >= len(layers) or (b.shape[0], a.shape[1]) != shapes[module] or a.shape[0] != b.shape[1]:
            raise InvalidRequest(
                t("the adapter was made for another base model: layer {layer} {projection} is {found}, here it is "
                  "{here}", layer=index, projection=projection, found=(b.shape[0], a.shape[1]),
                  here=shapes[module] if index < len(layers) else t("not there")),
                hint=t("Its configuration names as base: {base}", base=config.get("base_model_name_or_path") or "-"),
            )  # fmt: skip
        scaling = _scaling(config, f"layers.{index}.{projection}", projection, a.shape[0])
        kind = dtype or torch.bfloat16
        layers[index][module] = LoraFactor(a.to(kind).contiguous(), (b.float() * scaling).t().to(kind).contiguous())
    return layers


def projection_shapes(spec: DecoderSpec) -> dict[str, tuple[int, int]]:
    """(columns, depth) of each module that can be adapted."""
    width, kv_width = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
    return {
        "query": (width, spec.hidden),
        "key": (kv_width, spec.hidden),
        "value": (kv_width, spec.hidden),
        "output": (spec.hidden, width),
        "gate": (spec.intermediate, spec.hidden),
        "up": (spec.intermediate, spec.hidden),
        "down": (spec.hidden, spec.intermediate),
    }


def refuse_adapter(config: Mapping[str, Any], tensors: Iterable[str]) -> None:
    """Raise Unsupported if the engine cannot apply an adapter.

    Args:
        config: content of ``adapter_config.json``.
        tensors: names of the tensors of the file.
    """
    _refuse_options(config)
    for name in tensors:
        match = _TENSOR.fullmatch(name)
        if match is None or match[2] not in _MODULE_OF_PROJECTION:
            raise Unsupported(
                t("the adapter changes {tensor}, which the engine cannot adapt", tensor=name),
                hint=t("It can adapt {modules}. Merge the adapter into its base instead.",
                       modules=", ".join(_MODULE_OF_PROJECTION)),
            )  # fmt: skip


def _refuse_options(config: Mapping[str, Any]) -> None:
    kind = config.get("peft_type")
    problems = [] if kind == "LORA" else [f"peft_type = {kind!r}"]
    problems += [f"{name} = {config[name]!r}" for name in _REFUSED_OPTIONS if config.get(name)]
    if config.get("bias", "none") != "none":
        problems.append(f"bias = {config['bias']!r}")
    if config.get("lora_bias"):
        problems.append("lora_bias = True")
    if config.get("fan_in_fan_out"):
        problems.append("fan_in_fan_out = True")
    if problems:
        raise Unsupported(
            t("the engine cannot apply this adapter: {problems}", problems=", ".join(problems)),
            hint=t("It applies plain LoRA. Merge the adapter into its base to serve it."),
        )


def _scaling(config: Mapping[str, Any], place: str, projection: str, rank: int) -> float:
    alpha = config.get("lora_alpha", rank)
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.fullmatch(rf"(?:.*\.)?{pattern}", place) or pattern == projection:
            alpha = value
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


class AdapterHost(Protocol):
    """The part of an engine that the pool needs; both calls take effect between two passes."""

    def add_adapter(self, name: str, layers: AdapterLayers) -> None: ...

    def remove_adapter(self, name: str) -> None:
        """Raises InUse while requests use it."""


@dataclass(frozen=True)
class LoadedAdapter:
    """An adapter that requests may use."""

    name: str
    folder: Path
    bytes: int


class AdapterPool:
    """Adapters of one engine by name, loaded and unloaded while it serves. May be used from several threads."""

    def __init__(self, spec: DecoderSpec, *, budget: int | None = None, dtype: torch.dtype | None = None) -> None:
        """Args:
        budget: bytes that all adapters together may take; ``None``: no limit.
        dtype: of the factors in memory.
        """
        self._spec, self._budget, self._dtype = spec, budget, dtype
        self._loaded: OrderedDict[str, LoadedAdapter] = OrderedDict()
        self._lock = threading.RLock()
        self._host: AdapterHost | None = None

    def attach(self, host: AdapterHost) -> None:
        """Say which engine the adapters are for."""
        self._host = host

    def names(self) -> list[str]:
        """Adapters that requests may name."""
        return list(self._loaded)

    def loaded(self) -> list[LoadedAdapter]:
        """What is loaded, the longest unused first."""
        with self._lock:
            return list(self._loaded.values())

    def load(self, name: str, folder: Path) -> LoadedAdapter:
        """Read an adapter and make it usable.

        Raises:
            AlreadyExists: the name is taken by another folder.
            OutOfMemory: the budget does not hold it; the message has the estimate.
            IntegrityError, Unsupported, InvalidRequest: see :func:`read_adapter`.
        """
        assert self._host is not None
        with self._lock:
            present = self._loaded.get(name)
            if present is not None:
                if present.folder == folder:
                    return present
                raise AlreadyExists(
                    t("an adapter named {name} is loaded already", name=name),
                    hint=t("Unload it first or choose another name."),
                )
            layers = read_adapter(folder, self._spec, dtype=self._dtype)
            size = sum(factor.a.nbytes + factor.b.nbytes for modules in layers for factor in modules.values())
            used = sum(item.bytes for item in self._loaded.values())
            if self._budget is not None and used + size > self._budget:
                raise OutOfMemory(
                    t("the adapter {name} takes {size}; of the budget of {budget} for adapters {free} are free",
                      name=name, size=format_bytes(size), budget=format_bytes(self._budget),
                      free=format_bytes(max(self._budget - used, 0))),
                    needed=size, available=max(self._budget - used, 0),
                    hint=t("Unload adapters that are not needed: {names}", names=", ".join(self._loaded) or "-"),
                )  # fmt: skip
            self._host.add_adapter(name, layers)
            entry = self._loaded[name] = LoadedAdapter(name, folder, size)
            return entry

    def unload(self, name: str) -> None:
        """Free an adapter.

        Raises:
            NotFound: it is not loaded.
            InUse: requests use it now.
        """
        assert self._host is not None
        with self._lock:
            if name not in self._loaded:
                raise NotFound(t("no adapter named {name} is loaded", name=name), hint=did_you_mean(name, self._loaded))
            self._host.remove_adapter(name)
            del self._loaded[name]
