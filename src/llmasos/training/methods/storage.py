"""Trained weights as files: whole models as transformers reads them, adapters as PEFT does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from llmasos.errors import IntegrityError
from llmasos.i18n import t
from llmasos.library.disk import full_disk_as_error, require_space
from llmasos.modeling.adapter_folder import CONFIG_FILE, WEIGHTS_FILE
from llmasos.modeling.virtual_tokens import NAME, VirtualTokens, embedding_of
from llmasos.training.methods.applied import Applied

MODEL_CONFIG_FILE = "config.json"
_WHOLE = ".modules_to_save.default"


def save_trained(applied: Applied, folder: Path, *, base: str | None = None) -> None:
    """Write what was trained into a folder, which is made if need be.

    An adapter becomes ``adapter_config.json`` and ``adapter_model.safetensors`` as PEFT reads them, a model
    ``config.json`` and ``model.safetensors`` as transformers does; a classifier's adapter has ``config.json`` too, for
    the names of the classes. The values stay what they are, bit for bit, with
    two exceptions that PEFT's format asks for: an update that began at singular values (PiSSA) is turned into one of
    the original base, and of networks that make virtual tokens only the tokens are kept.

    Args:
        base: how the adapter's configuration names its base.

    Raises:
        OutOfDisk: it does not fit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if applied.artefact == "model":
        size = sum(weight.nbytes for weight in applied.module.parameters())
        require_space(folder, size)
        with full_disk_as_error(folder, size):
            cast(Any, applied.module).save_pretrained(folder)
        return
    config, tensors = adapter_content(applied)
    config["base_model_name_or_path"] = base
    size = sum(tensor.nbytes for tensor in tensors.values())
    require_space(folder, size)
    from safetensors.torch import save_file

    with full_disk_as_error(folder, size):
        save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})
        _write_json(folder / CONFIG_FILE, config)
        if config["task_type"] == "SEQ_CLS":  # classes and their names are in no other file of an adapter
            model_config = cast(Any, applied.module).config.to_diff_dict()
            model_config["architectures"] = [type(applied.module).__name__]
            _write_json(folder / MODEL_CONFIG_FILE, model_config)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def adapter_content(applied: Applied) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and tensors of an adapter in PEFT's format, on the CPU."""
    if isinstance(tokens := getattr(applied.module, NAME, None), VirtualTokens):
        config = _plain(asdict(applied.adapter))
        vectors = tokens().detach()
        heads = {name: weight for name, weight in applied.parameters() if not name.startswith(f"{NAME}.")}
        tensors = {"prompt_embeddings": vectors, **{f"base_model.{name}": weight for name, weight in heads.items()}}
    else:
        config = _plain(asdict(applied.adapter.peft_config["default"]))
        tensors = {_file_name(name): weight for name, weight in applied.parameters()}
        if applied.initial:
            from llmasos.training.methods.lora import against_original, doubled

            before = {_file_name(name): weight for name, weight in applied.initial.items()}
            tensors = against_original(tensors, before, config["r"])
            config = doubled(config)
    config["inference_mode"] = True
    return config, {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _file_name(name: str) -> str:
    """PEFT's name in files for a parameter's name in the module."""
    plain = name.replace(_WHOLE, "")
    last = plain.rpartition(".")[2]
    if last == "default":  # a vector of IA3 or a factor beside embeddings is a parameter itself
        plain = plain.removesuffix(".default")
    return "base_model.model." + plain.replace(".default.", ".")


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as JSON has it, without what PEFT does not read from files."""
    return {
        key: sorted(value) if isinstance(value, set | frozenset) else value
        for key, value in config.items()
        if key != "runtime_config"
    }


def load_trained(applied: Applied, folder: Path) -> None:
    """Take over what :func:`save_trained` wrote for the same method and model.

    A network that makes virtual tokens is replaced by the tokens that it made.

    Raises:
        IntegrityError: files are missing or damaged, or do not fit the model.
    """
    if applied.artefact == "model":
        _take(dict(applied.module.named_parameters()), _read_model(folder), folder)
        return
    tensors = _read(folder / WEIGHTS_FILE)
    if isinstance(tokens := getattr(applied.module, NAME, None), VirtualTokens):
        vectors = tensors.pop("prompt_embeddings", None)
        if vectors is None or vectors.shape != tokens().shape:
            raise _other(folder, ["prompt_embeddings"])
        device = tokens.numbers.device
        tokens.encoder = embedding_of(vectors.to(device))
        heads = {f"base_model.{name}": weight for name, weight in applied.parameters() if not name.startswith(NAME)}
        _take(heads, tensors, folder)
        return
    weights = {_file_name(name): weight for name, weight in applied.parameters()}
    if applied.initial:  # the first half of each doubled factor is the trained one
        rank = applied.method.rank  # type: ignore[union-attr]  # of the LoRA family, as its configuration
        for name in tensors:
            if ".lora_A" in name:
                tensors[name] = tensors[name][:rank]
            elif ".lora_B" in name:
                tensors[name] = tensors[name][:, :rank]
    _take(weights, tensors, folder)


def _read_model(folder: Path) -> dict[str, Tensor]:
    files = sorted(folder.glob("model*.safetensors"))
    return {name: tensor for file in files or [folder / "model.safetensors"] for name, tensor in _read(file).items()}


def _read(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise IntegrityError(
            t("{path} cannot be read: {error}", path=file, error=error),
            hint=t("Take the weights of another checkpoint."),
        ) from error


@torch.no_grad()
def _take(weights: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor], folder: Path) -> None:
    wrong = [name for name, weight in weights.items() if name not in tensors or tensors[name].shape != weight.shape]
    wrong += [name for name in tensors if name not in weights]
    if wrong:
        raise _other(folder, wrong)
    for name, weight in weights.items():
        weight.copy_(tensors[name])


def _other(folder: Path, names: list[str]) -> IntegrityError:
    return IntegrityError(
        t("{folder} was written for another model or method: {names}", folder=folder, names=", ".join(names[:5])),
        hint=t("Use the recipe that it was made with."),
    )
