"""Make one kind of folder of everything that can be imported: transformers' layout with safetensors, data only.

Copied are configuration, tokenizer, documents and one set of weights. Pickled weights and GGUF files are converted;
a GGUF file is kept beside its conversion (``original/<file>``). Everything else is left out and named, above all
program code and other pickles: what is in the library can be read, never run.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from llmasos import progress
from llmasos.errors import AlreadyExists, IntegrityError, UnsafeContent, Unsupported
from llmasos.i18n import t
from llmasos.library.artifact_path import check_paths
from llmasos.library.disk import full_disk_as_error, require_space
from llmasos.library.formats.describe import ORIGINAL, describe
from llmasos.library.formats.detect import ADAPTER_CONFIG, Detected, detect
from llmasos.library.formats.gguf import convert_gguf
from llmasos.library.formats.json_file import read_object, write_json
from llmasos.library.formats.torch_checkpoint import convert_checkpoint
from llmasos.library.formats.torch_checkpoint.convert import check_part_name
from llmasos.library.metadata import Metadata
from llmasos.library.safetensors_header import read_header

_TEXT_FILES = (".json", ".txt", ".md", ".model", ".spm", ".jinja", ".vocab", ".bpe", ".tiktoken", ".yaml", ".yml",
               ".codes", ".merges")  # fmt: skip
_DOCUMENT = re.compile(r"(licen[cs]e|notice|copying|readme|use_policy|terms|authors|citation)([._-].*)?", re.IGNORECASE)
_CODE = (".py", ".pyc", ".so", ".dll", ".sh", ".bat", ".exe", ".js", ".ipynb", ".jar")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz")
_OTHER_WEIGHTS = (".h5", ".msgpack", ".onnx", ".ot", ".tflite", ".mlmodel", ".onnx_data", ".gguf")
# Folders that hold the same model once more, or nothing of it.
_OTHER_FOLDERS = re.compile(r"onnx|openvino|coreml|flax|tf|original|runs|logs|global_step.*|checkpoint-.*|__pycache__")
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f\\<>:"|?*]')
_CHUNK = 8 * 2**20
MAX_DEPTH = 4
MAX_FILES = 10_000


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was left out, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Prepared:
    """A clean folder. ``files`` are relative to ``directory``; ``converted`` says from which format, if any."""

    directory: Path
    detected: Detected
    metadata: Metadata
    files: tuple[str, ...]
    converted: str | None
    skipped: tuple[Skipped, ...]


@dataclass
class _Plan:
    """What happens to the files of a folder: ``copies`` maps the new path to the old file."""

    copies: dict[str, Path] = field(default_factory=dict)
    checkpoints: list[tuple[Path, str, str]] = field(default_factory=list)  # file or index, folder, stem
    skipped: list[Skipped] = field(default_factory=list)


def prepare(source: Path, destination: Path, *, consume: bool = False) -> Prepared:
    """Copy or convert a model or adapter into ``destination``, a folder that is empty or does not exist.

    Args:
        source: a folder, or a GGUF file (of a split model any part).
        consume: the source is ours and no longer needed: files may be moved instead of copied.

    Raises:
        NotFound, InvalidRequest, Unsupported: nothing that can be imported; says what is there.
        IntegrityError: a file is damaged or missing.
        UnsafeContent: a pickle asks for more than tensors, or a name or link leads out of the folder.
        AlreadyExists: there is something at the destination.
        OutOfDisk: it does not fit.
    """
    detected = detect(source)
    destination.mkdir(parents=True, exist_ok=True)
    if any(destination.iterdir()):
        raise AlreadyExists(t("{path} is not empty", path=destination), hint=t("Name an empty folder."))
    if detected.format == "gguf":
        skipped = _prepare_gguf(detected.path, source, destination, consume=consume)
        converted: str | None = "gguf"
    else:
        plan = _plan(source)
        _copy(plan, source, destination, consume=consume)
        _convert(plan, source, destination)
        skipped = plan.skipped
        converted = "torch" if plan.checkpoints else None
    metadata = describe(destination)
    files = tuple(sorted(path.relative_to(destination).as_posix() for path in destination.rglob("*") if path.is_file()))
    return Prepared(destination, detected, metadata, files, converted, tuple(skipped))


def _prepare_gguf(model: Path, source: Path, destination: Path, *, consume: bool) -> list[Skipped]:
    """``source`` is the file itself, or a folder whose documents belong to it."""
    info = convert_gguf(model, destination)
    plan = _Plan(copies={f"{ORIGINAL}/{_original_name(path)}": path for path in info.files})
    if source.is_dir():
        for path in _walk(source, plan, 0):
            name = path.relative_to(source).as_posix()
            if _DOCUMENT.fullmatch(name):
                plan.copies[name] = path
            elif path not in info.files:
                plan.skipped.append(Skipped(name, t("not needed")))
    check_paths(plan.copies)
    _copy(plan, source, destination, consume=consume)
    return plan.skipped


def _original_name(path: Path) -> str:
    """A name that every artefact may have; some tools keep GGUF files under names without an ending."""
    name = _FORBIDDEN.sub("_", path.name)
    return name if name.lower().endswith(".gguf") else f"{name}.gguf"


def _plan(folder: Path) -> _Plan:
    """Decide for every file.

    Raises:
        UnsafeContent: a link leads out of the folder.
    """
    plan = _Plan()
    by_folder: dict[Path, list[Path]] = {}
    for path in _walk(folder, plan, 0):
        by_folder.setdefault(path.parent, []).append(path)
    for parent, files in by_folder.items():
        relative = "" if parent == folder else parent.relative_to(folder).as_posix() + "/"
        _plan_folder(plan, {path.name: path for path in files}, relative)
    check_paths(plan.copies)
    return plan


def _walk(folder: Path, plan: _Plan, depth: int) -> Iterator[Path]:
    root = folder
    for _ in range(depth):
        root = root.parent
    for path in sorted(folder.iterdir()):
        name = path.relative_to(root).as_posix()
        if path.name.startswith("."):
            plan.skipped.append(Skipped(name, t("hidden")))
        elif path.is_symlink():
            yield _follow(path, root)
        elif path.is_file():
            yield path
        elif not path.is_dir():
            plan.skipped.append(Skipped(name, t("not a regular file")))
        elif _OTHER_FOLDERS.fullmatch(path.name.lower()):
            plan.skipped.append(Skipped(name + "/", t("another copy of the model, or nothing of it")))
        elif depth == MAX_DEPTH:
            plan.skipped.append(Skipped(name + "/", t("too deep")))
        else:
            yield from _walk(path, plan, depth + 1)


def _follow(link: Path, root: Path) -> Path:
    """A link, if it leads to a file of the same folder or, in the Hugging Face cache, of the same repository.

    Raises:
        UnsafeContent: it leads elsewhere; a folder from outside could name any file of this machine.
    """
    target = link.resolve()
    allowed = [root.resolve()]
    if root.parent.name == "snapshots":
        allowed.append(root.parent.parent.resolve() / "blobs")
    if not target.is_file() or not any(target.is_relative_to(folder) for folder in allowed):
        raise UnsafeContent(
            t("{path} is a link to {target}, outside of the folder", path=link, target=target),
            hint=t("Replace the link by a copy of the file if you trust it."),
        )
    return link


def _plan_folder(plan: _Plan, files: dict[str, Path], prefix: str) -> None:
    """One folder: choose one set of weights, and take configuration and documents."""
    weights = _choose_weights(plan, files, prefix)
    for name, path in files.items():
        if name in weights:
            continue
        lower = name.lower()
        if lower.endswith(_CODE):
            reason = t("program code is never imported")
        elif lower.endswith((".safetensors", ".safetensors.index.json", ".bin.index.json", *_OTHER_WEIGHTS)):
            reason = t("other weights")
        elif lower.endswith(_PICKLES):
            reason = t("may contain program code")
        elif lower.endswith(_TEXT_FILES) or _DOCUMENT.fullmatch(name):
            plan.copies[prefix + name] = path
            continue
        else:
            reason = t("not needed")
        plan.skipped.append(Skipped(prefix + name, reason))
    if len(plan.copies) > MAX_FILES:
        raise Unsupported(
            t("the folder has more than {limit} files", limit=MAX_FILES), hint=t("Name the folder of one model.")
        )


def _choose_weights(plan: _Plan, files: dict[str, Path], prefix: str) -> set[str]:
    """Add one set of weights to the plan and return the names of its files. Safetensors go before pickles."""
    kinds = [("model", "pytorch_model"), ("adapter_model", "adapter_model")]
    for stem, pickled in reversed(kinds) if ADAPTER_CONFIG in files else kinds:
        single, index = f"{stem}.safetensors", f"{stem}.safetensors.index.json"
        if index in files:
            parts = _indexed(files[index], files)
            names = {index, *parts}
            plan.copies |= {prefix + name: files[name] for name in names}
            return names
        if single in files:
            plan.copies[prefix + single] = files[single]
            return {single}
        for name in (f"{pickled}.bin.index.json", f"{pickled}.bin"):
            if name in files:
                plan.checkpoints.append((files[name], prefix, stem))
                return {name, *(_indexed(files[name], files) if name.endswith(".json") else ())}
    others = [name for name in files if name.endswith(".safetensors")]
    if len(others) == 1:  # some repositories name their only file otherwise, and transformers does not find it then
        plan.copies[prefix + "model.safetensors"] = files[others[0]]
        return set(others)
    if others and not prefix:
        raise Unsupported(
            t(
                "there are {count} safetensors files and no index says which are the model: {names}",
                count=len(others),
                names=", ".join(sorted(others)[:20]),
            ),
            hint=t("Fetch model.safetensors.index.json too, or leave only the files of the model."),
        )
    return set()


def _indexed(index: Path, files: dict[str, Path]) -> set[str]:
    """The files that an index names.

    Raises:
        UnsafeContent: a name leads out of the folder. IntegrityError: a file is missing.
    """
    weight_map = read_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise IntegrityError(t("{path} has no weight_map", path=index), hint=t("Fetch the file again."))
    parts = {check_part_name(index, name) for name in weight_map.values()}
    for name in sorted(parts):
        if name not in files:
            raise IntegrityError(
                t("{path} names the file {name!r}, which is missing", path=index, name=name),
                hint=t("Fetch all parts into one folder."),
            )
    return parts


def _copy(plan: _Plan, source: Path, destination: Path, *, consume: bool) -> None:
    sizes = {path: path.stat().st_size for path in plan.copies.values()}
    total = sum(sizes.values())
    if not consume:
        require_space(destination, total)
    with (
        progress.current().task(t("copy {name}", name=source.name), total=total, unit="B") as task,
        full_disk_as_error(destination, total),
    ):
        for name, path in plan.copies.items():
            target = destination / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if consume and not path.is_symlink():
                shutil.move(path, target)
                task.advance(sizes[path])
            else:
                with path.open("rb") as old, target.open("wb") as new:
                    while data := old.read(_CHUNK):
                        new.write(data)
                        task.advance(len(data))
            if name.endswith(".safetensors"):
                read_header(target)


def _convert(plan: _Plan, source: Path, destination: Path) -> None:
    """Convert the pickled weights of every folder."""
    for path, prefix, stem in plan.checkpoints:
        folder = destination / prefix
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "config.json"
        # A model that says it does not tie its weights needs each under its own name, shared or not.
        untied = config.is_file() and read_object(config).get("tie_word_embeddings") is False
        conversion = convert_checkpoint(path, folder, stem=stem, keep_shared=untied or bool(prefix))
        for name in conversion.left_out:
            plan.skipped.append(Skipped(f"{prefix}{path.name}:{name}", t("not a tensor")))
    if plan.checkpoints:
        _forget_pickles(destination)


def _forget_pickles(destination: Path) -> None:
    """Pipelines of sentence-transformers may name the pickled file in their modules' configuration."""
    config = destination / "sentence_bert_config.json"
    if config.is_file() and read_object(config).get("model_file") == "pytorch_model.bin":
        write_json(config, {**read_object(config), "model_file": "model.safetensors"}, indent=2)
