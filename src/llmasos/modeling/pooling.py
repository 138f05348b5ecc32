"""Token vectors to one vector per text, as sentence-transformers models describe it in their files.

``modules.json`` lists the steps: the transformer, pooling (``1_Pooling/config.json``), perhaps dense layers, and
normalisation. The meaning of each is that of the sentence-transformers package (Reimers and Gurevych 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from llmasos.errors import IntegrityError, Unsupported
from llmasos.i18n import t
from llmasos.modeling.folder import ModelFolder, damaged, read_json

POOLINGS = ("mean", "cls", "max", "lasttoken", "mean_sqrt_len_tokens", "weightedmean")
_SWITCHES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}  # in the order in which sentence-transformers joins them
_ACTIVATIONS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "Identity": lambda vector: vector,
    "Tanh": torch.tanh,
    "ReLU": torch.relu,
    "GELU": torch.nn.functional.gelu,
    "Sigmoid": torch.sigmoid,
    "SiLU": torch.nn.functional.silu,
}


@dataclass(frozen=True)
class Dense:
    """A linear layer after pooling: weight (out, in), bias (out,)."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    activation: str

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        return _ACTIVATIONS[self.activation](torch.nn.functional.linear(vectors, self.weight, self.bias))


@dataclass(frozen=True)
class EmbeddingRecipe:
    """How a model's token vectors become a text's vector.

    Attributes:
        poolings: their results are joined to one long vector.
        prompt_in_pooling: whether the tokens of a prompt before the text count.
        limit: longest input in tokens (``max_seq_length``), if the files name one.
        prompts: texts to put before a text, by name (``query``, ``document``).
    """

    poolings: tuple[str, ...] = ("mean",)
    prompt_in_pooling: bool = True
    dense: tuple[Dense, ...] = ()
    normalize: bool = False
    limit: int | None = None
    lower_case: bool = False
    prompts: Mapping[str, str] | None = None
    default_prompt: str | None = None


def read_recipe(folder: ModelFolder, device: str) -> EmbeddingRecipe:
    """The recipe in the folder's sentence-transformers files; mean pooling without normalisation if it has none.

    Raises:
        Unsupported: a step is not known.
        IntegrityError: a file is missing or damaged.
    """
    listing = folder.path / "modules.json"
    if not listing.is_file():
        return EmbeddingRecipe()
    poolings: tuple[str, ...] = ()
    prompt_in_pooling = True
    dense: list[Dense] = []
    normalize = False
    transformer = Path()
    for module in _modules(listing):
        kind = str(module.get("type", "")).rsplit(".", 1)[-1]
        where = folder.path / _inside(str(module.get("path", "")), listing)
        if kind == "Transformer":
            transformer = where
        elif kind == "Pooling":
            config = read_json(where / "config.json") or {}
            poolings = _pooling_modes(folder, config)
            prompt_in_pooling = bool(config.get("include_prompt", True))
        elif kind == "Dense":
            dense.append(_read_dense(where, device))
        elif kind == "Normalize":
            normalize = True
        elif kind != "Dropout":
            raise Unsupported(
                t("{model} has an embedding step {kind}, which LLMasOS does not know",
                  model=folder.reference, kind=kind or repr(module)),
                hint=t("Known steps: {names}.", names="Transformer, Pooling, Dense, Normalize"),
            )  # fmt: skip
    settings = _transformer_settings(transformer)
    prompts = read_json(folder.path / "config_sentence_transformers.json") or {}
    limit = settings.get("max_seq_length")
    return EmbeddingRecipe(
        poolings or ("mean",),
        prompt_in_pooling,
        tuple(dense),
        normalize,
        limit if isinstance(limit, int) else None,
        bool(settings.get("do_lower_case", False)),
        {str(name): str(text) for name, text in (prompts.get("prompts") or {}).items()},
        prompts.get("default_prompt_name"),
    )


def _modules(listing: Path) -> list[Mapping[str, Any]]:
    import json

    try:
        modules = json.loads(listing.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise damaged(listing, error) from error
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise damaged(listing, t("not a list of steps"))
    return modules


def _inside(path: str, listing: Path) -> Path:
    """A path of ``modules.json``, which must stay within the folder."""
    inner = Path(path)
    if inner.is_absolute() or ".." in inner.parts:
        raise damaged(listing, t("the path {path} leaves the folder", path=repr(path)))
    return inner


def _transformer_settings(folder: Path) -> Mapping[str, Any]:
    for name in ("sentence_bert_config.json", "sentence_roberta_config.json", "sentence_distilbert_config.json",
                 "sentence_camembert_config.json", "sentence_albert_config.json", "sentence_xlm-roberta_config.json",
                 "sentence_xlnet_config.json"):  # fmt: skip
        found = read_json(folder / name)
        if found is not None:
            return found
    return {}


def _pooling_modes(folder: ModelFolder, config: Mapping[str, Any]) -> tuple[str, ...]:
    mode = config.get("pooling_mode")
    if isinstance(mode, str):
        modes: tuple[str, ...] = (mode,)
    elif isinstance(mode, list):
        modes = tuple(str(item) for item in mode)
    else:
        modes = tuple(name for switch, name in _SWITCHES.items() if config.get(switch))
    unknown = [name for name in modes if name not in POOLINGS]
    if unknown:
        raise Unsupported(
            t("{model} pools by {kind}, which LLMasOS does not know", model=folder.reference, kind=unknown[0]),
            hint=t("Known kinds: {names}.", names=", ".join(POOLINGS)),
        )
    return modes or ("mean",)


def _read_dense(folder: Path, device: str) -> Dense:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = read_json(folder / "config.json") or {}
    activation = str(config.get("activation_function", "torch.nn.modules.linear.Identity")).rsplit(".", 1)[-1]
    if activation not in _ACTIVATIONS:
        raise Unsupported(
            t("the embedding step Dense uses {kind}, which LLMasOS does not know", kind=activation),
            hint=t("Known kinds: {names}.", names=", ".join(_ACTIVATIONS)),
        )
    file = folder / "model.safetensors"
    try:
        tensors = load_file(file)
        weight = tensors["linear.weight"].float().to(device)
    except (OSError, KeyError, SafetensorError) as error:
        raise IntegrityError(
            t("{path} is damaged: {problem}", path=f"{folder.name}/{file.name}", problem=error),
            hint=t("Pull or import the model again."),
        ) from error
    bias = tensors.get("linear.bias")
    return Dense(weight, None if bias is None else bias.float().to(device), activation)


def pool(hidden: torch.Tensor, mask: torch.Tensor, poolings: Sequence[str]) -> torch.Tensor:
    """Sum up token vectors.

    Args:
        hidden: (rows, tokens, width) float32.
        mask: (rows, tokens), 1 for the tokens that count. Padding may be on either side.

    Returns:
        (rows, width * len(poolings)).
    """
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    rows = torch.arange(len(hidden), device=hidden.device)
    counts = weights.sum(1).clamp(min=1e-9)
    parts = []
    for kind in poolings:
        if kind == "cls":
            parts.append(hidden[rows, mask.argmax(1)])
        elif kind == "lasttoken":
            last = mask.shape[1] - 1 - mask.flip(1).argmax(1)
            parts.append(hidden[rows, last])
        elif kind == "max":
            parts.append(hidden.masked_fill(weights == 0, -torch.inf).amax(1))
        elif kind == "mean":
            parts.append((hidden * weights).sum(1) / counts)
        elif kind == "mean_sqrt_len_tokens":
            parts.append((hidden * weights).sum(1) / counts.sqrt())
        else:  # weightedmean: later tokens weigh more (SGPT, Muennighoff 2022)
            places = torch.cumsum(weights, 1) * weights
            parts.append((hidden * places).sum(1) / places.sum(1).clamp(min=1e-9))
    return torch.cat(parts, dim=1)
