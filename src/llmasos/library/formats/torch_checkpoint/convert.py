"""A PyTorch checkpoint -> safetensors, without PyTorch and without running what a pickle may hide."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmasos import progress
from llmasos.errors import IntegrityError, UnsafeContent, Unsupported
from llmasos.i18n import t
from llmasos.library.formats.json_file import read_object
from llmasos.library.formats.safetensors_writer import SHARD_BYTES, Planned, SafetensorsWriter, TensorSlot
from llmasos.library.formats.torch_checkpoint.container import Container, open_container
from llmasos.library.formats.torch_checkpoint.tensor_calls import Tensor
from llmasos.library.safetensors_header import BITS

INDEX_SUFFIX = ".index.json"
# Where training frameworks put the weights when they save more than them.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
# The name under which a shared tensor is kept: the first of these that occurs in one of its names.
_KEPT = ("shared.", "embed_tokens.", "word_embeddings.", "tok_embeddings.", "wte.", "embeddings.", "embed_in.")
_SLACK = 2**20


@dataclass(frozen=True)
class Conversion:
    """What became of a checkpoint. ``shared``: name that was left out -> name under which the tensor is."""

    tensors: int
    shared: dict[str, str]
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Source:
    container: Container
    tensor: Tensor


def convert_checkpoint(
    source: Path, destination: Path, *, stem: str = "model", keep_shared: bool = False, shard_bytes: int = SHARD_BYTES
) -> Conversion:
    """Write the weights of ``source`` as ``<stem>.safetensors`` into ``destination``, which must exist.

    Args:
        source: a file of ``torch.save`` (``pytorch_model.bin``, ``*.pt``), or the index of a checkpoint in several
            files (``pytorch_model.bin.index.json``).
        keep_shared: write a tensor under each of its names. By default tensors that are the same bytes are written
            once, as transformers does; a model that ties its weights puts them back together.

    Raises:
        UnsafeContent: the pickle asks for anything else than tensors, or unpacks to far more than it holds.
        IntegrityError: the file is truncated or damaged.
        Unsupported: not a checkpoint, or nothing but tensors of types that safetensors does not have.
        OutOfDisk: the weights do not fit.
    """
    with ExitStack() as stack:
        sources: dict[str, _Source] = {}
        left_out: list[str] = []
        for path, expected in _files(source):
            container = stack.enter_context(open_container(path))
            tensors, rest = _state_dict(container)
            if expected is not None and not expected <= tensors.keys():
                missing = sorted(expected - tensors.keys())[0]
                raise container.damaged(t("the tensor {name!r}, which the index promises, is missing", name=missing))
            for name, tensor in tensors.items():
                if name in sources:
                    raise container.damaged(t("the tensor {name!r} is in two files", name=name[:200]))
                sources[name] = _Source(container, tensor)
            left_out += rest
        shared = {} if keep_shared else _find_shared(sources)
        kept = {name: item for name, item in sources.items() if name not in shared}
        _check_sizes(kept)
        _write(source, destination, stem, kept, shared, shard_bytes)
    return Conversion(len(kept), shared, tuple(left_out))


def _files(source: Path) -> list[tuple[Path, set[str] | None]]:
    """The files of a checkpoint, and the names that an index promises for each.

    Raises:
        UnsafeContent: the index names a file outside its folder.
        IntegrityError: it is not an index, or names a file that is not there.
    """
    if not source.name.endswith(INDEX_SUFFIX):
        return [(source, None)]
    weight_map = read_object(source).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise IntegrityError(t("{path} has no weight_map", path=source), hint=t("Fetch the file again."))
    names: dict[str, set[str]] = {}
    for tensor, name in weight_map.items():
        names.setdefault(check_part_name(source, name), set()).add(tensor)
    files: list[tuple[Path, set[str] | None]] = []
    for name, expected in sorted(names.items()):
        path = source.with_name(name)
        if not path.is_file():
            raise IntegrityError(
                t("{path} names the file {name!r}, which is missing", path=source, name=name),
                hint=t("Fetch all parts into one folder."),
            )
        files.append((path, expected))
    return files


def check_part_name(index: Path, name: Any) -> str:
    """A file name from an index, if it is one beside the index.

    Raises:
        UnsafeContent: it is not a plain name.
    """
    if not isinstance(name, str) or name != Path(name).name or name in ("", "..") or "\\" in name or "\0" in name:
        raise UnsafeContent(
            t("{path} names the file {name!r}, which is not beside it", path=index, name=str(name)[:200]),
            hint=t("An index may only name files of its own folder."),
        )
    return name


def _state_dict(container: Container) -> tuple[dict[str, Tensor], list[str]]:
    """The named tensors of a checkpoint, and the names of what else lies among them."""
    root = container.root
    for _ in range(3):  # {"state_dict": {"model": {...}}} is as deep as it gets
        if not isinstance(root, dict) or any(isinstance(value, Tensor) for value in root.values()):
            break
        inner = next((root[key] for key in _WRAPPERS if isinstance(root.get(key), dict)), None)
        if inner is None:
            break
        root = inner
    entries = root.items() if isinstance(root, dict) else ()
    tensors = {name: value for name, value in entries if isinstance(value, Tensor)}
    if not tensors:
        raise Unsupported(
            t("{path} has no dictionary of tensors", path=container.path),
            hint=t("Save the state_dict of the model, or ask the author for safetensors."),
        )
    for name in tensors:
        if not isinstance(name, str) or not name or name == "__metadata__":
            raise container.damaged(t("a tensor has the impossible name {name!r}", name=str(name)[:200]))
    return tensors, [str(name)[:200] for name, value in entries if not isinstance(value, Tensor)]


def _find_shared(sources: dict[str, _Source]) -> dict[str, str]:
    """Which names are left out, because another name has the same numbers in the same storage."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for name, item in sources.items():
        tensor = item.tensor
        if tensor.elements:
            # Strides of dimensions of length one mean nothing.
            strides = tuple(s for n, s in zip(tensor.shape, tensor.strides, strict=True) if n > 1)
            key = (id(item.container), tensor.storage.key, tensor.storage.offset, tensor.offset, tensor.dtype,
                   tensor.shape, strides)  # fmt: skip
            groups.setdefault(key, []).append(name)
    shared: dict[str, str] = {}
    for names in groups.values():
        kept = next((name for part in _KEPT for name in names if part in name), names[0])
        shared |= {name: kept for name in names if name != kept}
    return shared


def _check_sizes(sources: dict[str, _Source]) -> None:
    """No tensor may reach beyond its storage, and all together not unpack to much more than the files hold.

    Raises:
        IntegrityError, UnsafeContent: they do.
    """
    total = 0
    held = sum(path.stat().st_size for path in {item.container.path for item in sources.values()})
    for name, item in sources.items():
        tensor, container = item.tensor, item.container
        width = BITS[tensor.dtype] // 8
        storage = tensor.storage
        part = storage.elements * (BITS[storage.dtype] // 8 if storage.dtype else 1)
        container.storage_bytes(storage)
        if (tensor.offset + tensor.span) * width > part:
            raise container.damaged(t("the tensor {name!r} reaches beyond its storage", name=name[:200]))
        total += tensor.elements * width
        if tensor.elements * width > part or total > 2 * held + _SLACK:
            raise UnsafeContent(
                t("{where} unpacks to far more than it holds", where=container.path),
                hint=t("Ask the author for safetensors, or save only the state_dict of the model."),
            )


def _write(
    source: Path, destination: Path, stem: str, sources: dict[str, _Source], shared: dict[str, str], shard_bytes: int
) -> None:
    plan = [Planned(name, item.tensor.dtype, item.tensor.shape) for name, item in sources.items()]
    writer = SafetensorsWriter(destination, plan, metadata=shared, shard_bytes=shard_bytes, stem=stem)
    with progress.current().task(t("convert {name}", name=source.name), total=writer.size, unit="B") as task:

        def fill(slot: TensorSlot) -> None:
            for data in _bytes(sources[slot.planned.name]):
                slot.write(data)
                task.advance(len(data))

        writer.write(fill)


def _bytes(item: _Source) -> Iterator[bytes]:
    """The bytes of a tensor, row by row, in pieces."""
    tensor = item.tensor
    width = BITS[tensor.dtype] // 8
    base = tensor.storage.offset * (BITS[tensor.storage.dtype] // 8 if tensor.storage.dtype else 1)
    start = base + tensor.offset * width
    if tensor.is_contiguous:
        yield from item.container.read(tensor.storage, start, tensor.elements * width)
        return
    import numpy as np

    raw = b"".join(item.container.read(tensor.storage, start, tensor.span * width))
    flat = np.frombuffer(raw, f"<u{width}")
    strides = tuple(stride * width for stride in tensor.strides)
    # Safe: span, checked above, is the last element that shape and strides reach.
    view = np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False)
    yield np.ascontiguousarray(view).tobytes()
