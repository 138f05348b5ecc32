"""One state of a run as files: written whole or not at all, and checked when it is read.

A checkpoint is a folder of safetensors and JSON files, without pickles:

========================= =========================================================================================
``weights.safetensors``   the trained weights in full precision, by name
``optimizer.safetensors`` the optimiser's tensors, as ``name of weight/name of state``
``average.safetensors``   the moving average of the weights, if the run has one
``state.json``            step, counts, scores so far, early stopping, the recipe, the digests of the data
``checksums.json``        the SHA-256 of every other file
========================= =========================================================================================

Neither generators of random numbers nor the position in the data are in it: both are functions of seed and step (see
:mod:`llmasos.training.trainer.randomness` and :class:`llmasos.training.batches.Batches`), and so is the schedule.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from llmasos.errors import IntegrityError
from llmasos.i18n import t
from llmasos.library.digest import digest_of_file
from llmasos.library.disk import bury, full_disk_as_error, remove_tree, require_space, sync_file, sync_folder
from llmasos.library.formats.safetensors_writer import Planned, SafetensorsWriter, TensorSlot
from llmasos.training.optimizers.optimizer import Number

FORMAT = 1
"""Version of the layout; another one is refused."""
_CHECKSUMS = "checksums.json"
_STATE = "state.json"
_DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16",
    torch.uint8: "U8", torch.int8: "I8", torch.int32: "I32", torch.int64: "I64",
}  # fmt: skip

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class RunState:
    """Everything of a state that is not a tensor.

    Attributes:
        step: optimiser steps done.
        total_steps: of the whole run.
        tokens: real tokens read in them.
        seconds: time spent training.
        scores: the measures of each evaluation, by step.
        losses: (step, training loss) as they were logged.
        measured: see :meth:`llmasos.training.trainer.meter.Meter.state`.
        best: see :meth:`llmasos.training.trainer.stopping.Best.state`.
        skipped: steps left out because the loss was not finite.
        stopped_early: whether early stopping has ended the run.
        optimizer: the optimiser's plain numbers.
        recipe: the recipe, resolved.
        data: digests of the data by name.
    """

    step: int
    total_steps: int
    tokens: int
    seconds: float
    scores: dict[int, dict[str, float]]
    losses: list[tuple[int, float]]
    measured: dict[str, Any]
    best: dict[str, float | int | None]
    skipped: int
    stopped_early: bool
    optimizer: dict[str, Number]
    recipe: dict[str, Any]
    data: dict[str, str]
    format: int = field(default=FORMAT)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> RunState:
        """The state that :func:`dataclasses.asdict` and JSON made ``values`` from."""
        return cls(**{
            **values,
            "scores": {int(step): scores for step, scores in values["scores"].items()},
            "losses": [(int(step), float(loss)) for step, loss in values["losses"]],
        })  # fmt: skip


@dataclass(frozen=True)
class Snapshot:
    """A whole state: tensors by name, and the rest."""

    state: RunState
    weights: Tensors
    optimizer: Tensors
    average: Tensors | None

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for part in self._parts().values() for tensor in part.values())

    def _parts(self) -> dict[str, Tensors]:
        parts = {"weights": self.weights, "optimizer": self.optimizer}
        return parts if self.average is None else {**parts, "average": self.average}

    def write(self, folder: Path) -> None:
        """Write the state into ``folder``, which appears when all of it is durable; one of that name is replaced.

        Raises:
            OutOfDisk: it does not fit; nothing has changed.
        """
        folder.parent.mkdir(parents=True, exist_ok=True)
        require_space(folder.parent, self.size)
        temporary = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
        temporary.mkdir()
        try:
            with full_disk_as_error(folder.parent, self.size):
                self._write_files(temporary)
                old = bury(folder) if folder.exists() else None
                temporary.rename(folder)
                sync_folder(folder.parent)
                if old is not None:
                    remove_tree(old)
        finally:
            if temporary.exists():
                remove_tree(temporary)

    def _write_files(self, folder: Path) -> None:
        for name, tensors in self._parts().items():
            _write_tensors(folder, name, tensors)
        (folder / _STATE).write_text(json.dumps(asdict(self.state), ensure_ascii=False), encoding="utf-8")
        files = sorted(folder.iterdir())
        checksums = {file.name: digest_of_file(file) for file in files}
        (folder / _CHECKSUMS).write_text(json.dumps(checksums, indent=1), encoding="utf-8")
        for file in (*files, folder / _CHECKSUMS):
            sync_file(file)
        sync_folder(folder)

    @classmethod
    def read(cls, folder: Path) -> Snapshot:
        """Read a state and check every byte of it.

        Raises:
            IntegrityError: a file is missing, damaged, or of another version of the layout.
        """
        state = read_state(folder)
        average = folder / "average.safetensors"
        return cls(
            state,
            _read_tensors(folder / "weights.safetensors"),
            _read_tensors(folder / "optimizer.safetensors"),
            _read_tensors(average) if average.exists() else None,
        )


def read_state(folder: Path) -> RunState:
    """The part of a checkpoint that is not tensors, after the check of all files.

    Raises:
        IntegrityError: see :meth:`Snapshot.read`.
    """
    try:
        checksums = json.loads((folder / _CHECKSUMS).read_text(encoding="utf-8"))
        damaged = [name for name, digest in checksums.items() if digest_of_file(folder / name) != digest]
    except (OSError, ValueError, AttributeError) as error:
        raise _damaged(folder, str(error)) from error
    if damaged or _STATE not in checksums or "weights.safetensors" not in checksums:
        raise _damaged(folder, ", ".join(damaged) or _CHECKSUMS)
    values = json.loads((folder / _STATE).read_text(encoding="utf-8"))
    if values.get("format") != FORMAT:
        raise IntegrityError(
            t("the checkpoint {folder} has format {found}; this version reads {known}",
              folder=folder, found=values.get("format"), known=FORMAT),
            hint=t("Resume with the version of LLMasOS that wrote it."),
        )  # fmt: skip
    return RunState.from_json(values)


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights that a checkpoint stands for: the moving averages if it has them, else those of the optimiser.

    Raises:
        IntegrityError: see :meth:`Snapshot.read`.
    """
    read_state(folder)
    average = folder / "average.safetensors"
    return _read_tensors(average if average.exists() else folder / "weights.safetensors")


def _damaged(folder: Path, what: str) -> IntegrityError:
    return IntegrityError(
        t("the checkpoint {folder} is damaged: {what}", folder=folder, what=what),
        hint=t("An older checkpoint of the run is used if there is one."),
    )


def _write_tensors(folder: Path, name: str, tensors: Tensors) -> None:
    plan = [Planned(key, _DTYPES[tensor.dtype], tuple(tensor.shape)) for key, tensor in tensors.items()]
    writer = SafetensorsWriter(folder, plan, stem=name, shard_bytes=1 << 62)

    def fill(slot: TensorSlot) -> None:
        tensor = tensors[slot.planned.name].detach().cpu().contiguous()
        if tensor.numel():
            slot.write(tensor.reshape(-1).view(torch.uint8).numpy().data)

    writer.write(fill)


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(path)
