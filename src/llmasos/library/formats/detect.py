"""What lies in a folder or file that somebody wants to import: format, architecture, what it is for.

Only small files and headers are read, and no optional package is needed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from llmasos.errors import InvalidRequest, NotFound, Unsupported
from llmasos.i18n import t
from llmasos.library.formats.families import task_family
from llmasos.library.formats.gguf import is_gguf, read_header, read_parts
from llmasos.library.formats.gguf.architectures import ARCHITECTURES
from llmasos.library.formats.json_file import read_object
from llmasos.library.kind import Kind
from llmasos.library.metadata import TaskFamily

FORMATS = ("transformers", "torch", "gguf", "adapter", "torch-adapter")
ADAPTER_CONFIG = "adapter_config.json"
_PART = re.compile(r"-(\d{5})-of-\d{5}$")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class Detected:
    """``format``: transformers (safetensors), torch (pickled weights), gguf, adapter, torch-adapter (pickled).

    ``path``: the folder, or the GGUF file. ``base``: the model that an adapter belongs to, as it names it.
    """

    kind: Kind
    format: str
    path: Path
    architecture: str | None = None
    family: TaskFamily | None = None
    base: str | None = None


def detect(path: Path) -> Detected:
    """Recognise a model or adapter.

    Raises:
        NotFound: there is nothing, or nothing that is a model; says what is there.
        InvalidRequest: several GGUF files, of which one has to be chosen.
        Unsupported: a format that cannot be imported; says which are.
        IntegrityError: config.json or a GGUF header is damaged.
    """
    if path.is_file():
        return _detect_file(path)
    if not path.is_dir():
        raise NotFound(t("{path} does not exist", path=path), hint=t("Check the path."))
    if (path / ADAPTER_CONFIG).is_file() and (_has_adapter_weights(path) or not (path / "config.json").is_file()):
        return _detect_adapter(path)
    models = gguf_models(path)
    # Repositories of GGUF files often carry the configuration of the model that they were made from.
    if (path / "config.json").is_file() and (has_weights(path) or not models):
        return _detect_model(path)
    if models:
        return _detect_file(_choose(path, models))
    raise NotFound(
        t("{path} holds no model: no config.json, no adapter_config.json, no GGUF file", path=path) + _listing(path),
        hint=t("Name the folder with config.json and the weights, or a GGUF file."),
    )


def gguf_models(folder: Path) -> list[Path]:
    """The GGUF files of a folder that begin a model: of one in several parts only the first."""
    files = sorted(item for item in folder.iterdir() if item.suffix.lower() == ".gguf" and item.is_file())
    return [item for item in files if (part := _PART.search(item.stem)) is None or part[1] == "00001"]


def _choose(folder: Path, models: list[Path]) -> Path:
    # Files for pictures, adapters and calibration often lie beside a model.
    whole = [
        item
        for item in models
        if read_header(item).metadata.get("general.type", "model") == "model"
        and read_header(item).metadata.get("general.architecture") not in ("clip", "imatrix")
    ]
    if len(whole) == 1:
        return whole[0]
    raise InvalidRequest(
        t(
            "{path} holds {count} GGUF models: {names}",
            path=folder,
            count=len(whole),
            names=", ".join(item.name for item in whole[:20]),
        ),
        hint=t("Name one of the files."),
    )


def _detect_file(path: Path) -> Detected:
    if is_gguf(path):
        name = read_parts(path)[0].architecture
        known = ARCHITECTURES.get(name)
        return Detected(Kind.MODEL, "gguf", path, known.model_type if known else name, "causal" if known else None)
    if path.suffix.lower() in (".safetensors", *_PICKLES):
        raise Unsupported(
            t("{path} holds weights without their configuration", path=path),
            hint=t("Name the folder that holds config.json and the weights."),
        )
    raise Unsupported(
        t("{path} is not a model file", path=path),
        hint=t("Folders in the layout of transformers, PEFT adapters and GGUF files can be imported."),
    )


def _has_adapter_weights(folder: Path) -> bool:
    return any((folder / f"adapter_model.{suffix}").is_file() for suffix in ("safetensors", "bin"))


def has_weights(folder: Path) -> bool:
    """Whether weights that can be read lie beside a configuration."""
    names = {item.name for item in folder.iterdir() if item.is_file()}
    pickled = {"pytorch_model.bin", "pytorch_model.bin.index.json"}
    return bool(names & pickled) or any(name.endswith(".safetensors") for name in names)


def _detect_adapter(folder: Path) -> Detected:
    config = read_object(folder / ADAPTER_CONFIG)
    base = config.get("base_model_name_or_path")
    kind = config.get("peft_type")
    if (folder / "adapter_model.safetensors").is_file():
        form = "adapter"
    elif (folder / "adapter_model.bin").is_file():
        form = "torch-adapter"
    else:
        raise NotFound(
            t("{path} holds no weights: no adapter_model.safetensors", path=folder) + _listing(folder),
            hint=t("Fetch the folder again; an incomplete download is the usual cause."),
        )
    return Detected(
        Kind.ADAPTER,
        form,
        folder,
        kind.lower() if isinstance(kind, str) else None,
        base=base if isinstance(base, str) and base else None,
    )


def _detect_model(folder: Path) -> Detected:
    config = read_object(folder / "config.json")
    kind = config.get("model_type")
    return Detected(
        Kind.MODEL,
        _weight_format(folder),
        folder,
        kind if isinstance(kind, str) else None,
        task_family(config, embedder=is_embedder(folder)),
    )


def is_embedder(folder: Path) -> bool:
    """Whether the folder describes a pipeline of sentence-transformers."""
    return (folder / "modules.json").is_file()


def _weight_format(folder: Path) -> str:
    names = {item.name for item in folder.iterdir() if item.is_file()}
    if "model.safetensors" in names or "model.safetensors.index.json" in names:
        return "transformers"
    if "pytorch_model.bin" in names or "pytorch_model.bin.index.json" in names:
        return "torch"
    if any(name.endswith(".safetensors") for name in names):
        return "transformers"  # a single file under another name; prepare decides whether it can be read
    others = {"tf_model.h5": "TensorFlow", "flax_model.msgpack": "Flax", "model.onnx": "ONNX"}
    found = [label for name, label in others.items() if name in names]
    if found:
        raise Unsupported(
            t("{path} has its weights only for {formats}", path=folder, formats=", ".join(found)),
            hint=t("Ask the author for safetensors, or convert them with transformers."),
        )
    raise NotFound(
        t("{path} holds config.json but no weights", path=folder) + _listing(folder),
        hint=t("Fetch the folder again; an incomplete download is the usual cause."),
    )


def _listing(folder: Path) -> str:
    names = sorted(item.name for item in folder.iterdir())
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return t(" (it holds: {names})", names=shown) if names else t(" (it is empty)")
