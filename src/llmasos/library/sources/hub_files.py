"""Which files of a hub repository a model needs: one copy of the weights, its configuration and its documents.

Repositories hold the same weights in several formats. One is enough, and safetensors is the one that cannot carry
code; a pickled checkpoint is taken only where there is nothing else, and is converted without being run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from llmasos.errors import InvalidReference, NotFound, Unsupported, did_you_mean
from llmasos.i18n import t

_WEIGHTS = (
    ".safetensors",
    ".bin",
    ".gguf",
    ".h5",
    ".msgpack",
    ".onnx",
    ".pt",
    ".pth",
    ".ckpt",
    ".ot",
    ".tflite",
    ".mlmodel",
    ".onnx_data",
    ".npz",
    ".pkl",
    ".pickle",
    ".index",
    ".llamafile",
    ".mlpackage",
    ".keras",
)
_CONFIGURATION = (".json", ".txt", ".model", ".spm", ".jinja", ".bpe", ".tiktoken", ".vocab")
_DOCUMENTS = re.compile(r"(readme|licen[cs]e|notice|use_policy|copying)([._-].*)?", re.IGNORECASE)
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.(safetensors|bin)$")
_GGUF_SHARD = re.compile(r"-\d{5}-of-\d{5}\.gguf$")
# The modules of sentence-transformers: 1_Pooling/config.json, 2_Dense/model.safetensors.
_MODULE = re.compile(r"\d+_[A-Za-z]+")


@dataclass(frozen=True)
class Selection:
    """Paths to fetch, and the reason for each that is left out."""

    taken: tuple[str, ...]
    left_out: dict[str, str]


def select_files(repository: str, paths: Sequence[str], wanted: str | None = None) -> Selection:
    """Choose the files of a repository; ``wanted`` asks for one file (and the documents beside it).

    Raises:
        NotFound: ``wanted`` is not there.
        InvalidReference: there are several GGUF files and nothing says which one.
        Unsupported: there are no weights in a format that can be read.
    """
    if wanted is not None:
        if wanted not in paths:
            raise NotFound(
                t("hf:{repository} has no file {file}", repository=repository, file=wanted),
                hint=did_you_mean(wanted, paths),
            )
        weights = _gguf_shards(wanted, paths)
        return _selection(paths, [*weights, *(path for path in paths if _is_document(path))])
    weights = choose_weights(repository, paths)
    if weights[0].endswith(".gguf"):
        return _selection(paths, [*weights, *(path for path in paths if _is_document(path))])
    for module in sorted({path.split("/")[0] for path in paths if "/" in path and _MODULE.match(path)}):
        inside = [path for path in paths if path.startswith(f"{module}/")]
        weights += _first(inside, f"{module}/model.safetensors", f"{module}/pytorch_model.bin")
    return _selection(paths, [*weights, *(path for path in paths if _is_configuration(path) or _is_document(path))])


def choose_weights(repository: str, paths: Sequence[str]) -> list[str]:
    """One complete copy of the weights at the top of the repository, the best format first.

    Raises:
        InvalidReference, Unsupported: as :func:`select_files`.
    """
    top = [path for path in paths if "/" not in path]
    for stem, suffix in (
        ("model", "safetensors"),
        ("adapter_model", "safetensors"),
        ("pytorch_model", "bin"),
        ("adapter_model", "bin"),
    ):
        if f"{stem}.{suffix}.index.json" in top:
            shards = [path for path in top if path.startswith(stem) and _SHARD.search(path) and path.endswith(suffix)]
            if shards:
                return shards
        if f"{stem}.{suffix}" in top:
            return [f"{stem}.{suffix}"]
        if suffix == "safetensors" and stem == "model" and "config.json" in top:
            others = [path for path in top if path.endswith(".safetensors") and not path.startswith("adapter_model")]
            if len(others) == 1:  # some repositories name their only file otherwise
                return others
    models = [path for path in paths if path.lower().endswith(".gguf")]
    firsts = [path for path in models if not _GGUF_SHARD.search(path) or "-00001-of-" in path]
    if len(firsts) == 1:
        return _gguf_shards(firsts[0], paths)
    if firsts:
        raise InvalidReference(
            t(
                "hf:{repository} has {count} GGUF files and no other weights: {files}",
                repository=repository,
                count=len(firsts),
                files=", ".join(firsts),
            ),
            hint=t("Name one of them: hf:{repository}/{file}", repository=repository, file=_usual(firsts)),
        )
    found = sorted({PurePosixPath(path).suffix for path in paths if path.lower().endswith(_WEIGHTS)})
    raise Unsupported(
        t(
            "hf:{repository} has no weights as safetensors, PyTorch checkpoint or GGUF; it has {formats}",
            repository=repository,
            formats=", ".join(found) or t("no weights at all"),
        ),
        hint=t("Look for another conversion of the model, for example with `llmasos search --hub`."),
    )


def _gguf_shards(first: str, paths: Sequence[str]) -> list[str]:
    """A GGUF file, or all of the files into which it was split."""
    if not _GGUF_SHARD.search(first):
        return [first]
    stem = _GGUF_SHARD.sub("", first)
    return [path for path in paths if _GGUF_SHARD.search(path) and _GGUF_SHARD.sub("", path) == stem]


def _usual(files: Sequence[str]) -> str:
    """The file that most people want: 4 bits of the better kind."""
    for kind in ("q4_k_m", "q4_0", "q8_0"):
        for file in files:
            if kind in file.lower():
                return file
    return files[0]


def _first(paths: Sequence[str], *choices: str) -> list[str]:
    return next(([choice] for choice in choices if choice in paths), [])


def _is_document(path: str) -> bool:
    return "/" not in path and _DOCUMENTS.fullmatch(path) is not None


def _is_configuration(path: str) -> bool:
    folder, _, name = path.rpartition("/")
    if folder and _MODULE.fullmatch(folder) is None:
        return False
    # The index of shards that are not taken would point at files that are not there; those taken are read without it
    # only where there is one, so it comes along with its own shards and is sorted out in _selection.
    return name.lower().endswith(_CONFIGURATION)


def _selection(paths: Sequence[str], taken: Sequence[str]) -> Selection:
    chosen = list(dict.fromkeys(path for path in taken if not _is_foreign_index(path, taken)))
    left_out = {path: _reason(path) for path in paths if path not in chosen}
    return Selection(tuple(chosen), left_out)


def _is_foreign_index(path: str, taken: Sequence[str]) -> bool:
    """Whether this is the index of shards that are not taken, such as those of the PyTorch copy."""
    match = re.fullmatch(r"(.*)\.(\w+)\.index\.json", path)
    if match is None:
        return False
    stem, suffix = match.groups()
    return not any(other.startswith(f"{stem}-") and other.endswith(f".{suffix}") for other in taken)


def _reason(path: str) -> str:
    lowered = path.lower()
    if (
        lowered.endswith(_WEIGHTS)
        or ".index.json" in lowered
        or lowered.startswith(("onnx/", "openvino/", "original/"))
    ):
        return t("another copy of the weights")
    if lowered.endswith(".py"):
        return t("code, which is never run")
    return t("not needed")
