"""The processes that train together: who this one is, and sums over all of them.

``torchrun`` and ``accelerate launch`` start several processes with the same command; accelerate reads what they say
about them. One process alone needs no such thing, and every operation here is then free.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from llmasos.errors import MissingDependency, Unavailable, Unsupported
from llmasos.hardware import choose_device, choose_threads
from llmasos.i18n import t

_BUCKET = 25 * 2**20  # bytes of gradients that are summed over processes in one message
_PATIENCE = timedelta(hours=12)  # the first process may prepare data for long while the others wait
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Processes:
    """The group of processes.

    Attributes:
        rank: number of this process, from 0.
        world: how many there are.
        local_world: how many of them share this machine.
        device: torch device of this process.
    """

    rank: int
    world: int
    local_world: int
    device: str

    @property
    def main(self) -> bool:
        """Whether this process writes files and tells what happens."""
        return self.rank == 0

    def sum_numbers(self, numbers: Sequence[float]) -> list[float]:
        """The sums of each number over all processes, exact for integers below 2 ** 53."""
        if self.world == 1:
            return list(numbers)
        # Messages of NCCL must be on its GPU; Apple's GPUs have no float64, and no groups of processes either.
        values = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.all_reduce(values)
        return [float(value) for value in values.tolist()]

    def sum_tensors(self, tensors: Sequence[torch.Tensor]) -> None:
        """Add tensors of all processes in place, many in one message, in an order that is the same everywhere."""
        if self.world == 1:
            return
        bucket: list[torch.Tensor] = []
        size = 0
        for tensor in tensors:
            if bucket and (size + tensor.nbytes > _BUCKET or tensor.dtype != bucket[0].dtype):
                _sum_together(bucket)
                bucket, size = [], 0
            bucket.append(tensor)
            size += tensor.nbytes
        if bucket:
            _sum_together(bucket)

    def gather(self, value: Any) -> list[Any]:
        """A plain value of every process, by rank, in every process."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, value)
        return found

    def broadcast(self, value: _Result) -> _Result:
        """The first process's value, in every process."""
        if self.world == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]

    @contextmanager
    def first_goes_first(self) -> Iterator[None]:
        """The first process goes through the block before the others enter it, and find what it has cached."""
        if self.world > 1 and not self.main:
            dist.barrier()
        try:
            yield
        finally:
            if self.world > 1 and self.main:
                dist.barrier()

    def first_does(self, work: Callable[[], _Result]) -> _Result:
        """What ``work`` gives in the first process, in every process; the others wait.

        Raises:
            Exception: what the first process raised is raised there; the others raise :class:`Unavailable`.
        """
        if self.world == 1:
            return work()
        result: _Result | None = None
        failure: BaseException | None = None
        if self.main:
            try:
                result = work()
            except Exception as error:  # noqa: BLE001 - the others must not wait for ever; it is raised again below
                failure = error
        failed, shared = self.broadcast((failure is not None, result))
        if failure is not None:
            raise failure
        if failed:
            raise Unavailable(
                t("the first of the processes that train together failed"),
                hint=t("Its own message says why; see the log of the run."),
            )
        return shared  # type: ignore[return-value]  # set where nothing failed


def _sum_together(tensors: list[torch.Tensor]) -> None:
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    dist.all_reduce(flat)
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    torch._foreach_copy_(tensors, [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)])


def join_processes(device: str | None) -> Processes:
    """Join the processes that a launcher started; one alone without a launcher.

    Args:
        device: torch device that the recipe asks for.

    Raises:
        MissingDependency: accelerate is not installed.
        Unsupported: the device cannot be shared among processes.
    """
    # torchrun, accelerate and Slurm's launchers all hand their numbers over in these variables.
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Processes(0, 1, 1, choose_device(device))
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise MissingDependency(
            t("training in several processes needs accelerate, which is not installed"),
            hint='pip install "llmasos[training]"',
        ) from error
    kind = choose_device(device).partition(":")[0]
    if kind == "mps":
        raise Unsupported(
            t("Apple's GPUs cannot train in several processes"), hint=t("Start one process, or choose device: cpu.")
        )
    state = PartialState(cpu=kind == "cpu", timeout=_PATIENCE)
    local_world = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return Processes(state.process_index, state.num_processes, local_world, str(state.device))


def threads_for(requested: int | None, processes: Processes) -> int:
    """Threads of this process: those of the recipe, else its share of the usable cores."""
    if requested is not None:
        return choose_threads(requested)
    return max(choose_threads() // processes.local_world, 1)
