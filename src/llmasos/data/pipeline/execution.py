"""Where the stages run: processes on this machine, a Slurm cluster or a Ray cluster, by datatrove's executors."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from llmasos import errors, hardware, progress
from llmasos.errors import LLMasOSError, MissingDependency, Unavailable
from llmasos.i18n import t
from llmasos.recipe.unions import default_tag


class _Execution(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    shard_megabytes: float = Field(
        16, gt=0, description="Size of input that makes a shard, the unit of parallel work and of resuming."
    )


class LocalExecution(_Execution):
    """Processes on this machine."""

    executor: Literal["local"] = "local"
    workers: int | None = Field(None, ge=1, description="Processes at the same time; default: the usable cores.")


class SlurmExecution(_Execution):
    """Jobs of a Slurm cluster whose machines share the home folder."""

    executor: Literal["slurm"] = "slurm"
    workers: int = Field(-1, ge=-1, description="Tasks at the same time; -1: no limit.")
    partition: str = Field(description="Partition of the cluster.")
    time: str = Field("04:00:00", description="Time limit of a job, HH:MM:SS.")
    cpus_per_task: int = Field(1, ge=1, description="Cores of a task.")
    memory_per_cpu_gigabytes: int = Field(2, ge=1, description="Memory for each core.")
    environment_command: str | None = Field(
        None, description="Command that activates the Python environment; default: the environment that runs now."
    )
    poll_seconds: float = Field(10, gt=0, description="Pause between looks at the state of the jobs.")


class RayExecution(_Execution):
    """A Ray cluster whose machines share the home folder."""

    executor: Literal["ray"] = "ray"
    workers: int = Field(-1, ge=-1, description="Tasks at the same time; -1: no limit.")
    address: str | None = Field(None, description="Address of the cluster; default: a new one on this machine.")
    cpus_per_task: int = Field(1, ge=1, description="Cores of a task.")
    memory_per_cpu_gigabytes: float = Field(1, gt=0, description="Memory for each core.")


Execution = Annotated[
    Annotated[LocalExecution | SlurmExecution | RayExecution, Field(discriminator="executor")],
    default_tag("executor", "local"),
]


def run_stage(stage: Any, tasks: int, label: str, folder: Path, execution: Execution) -> int:
    """Run the tasks of a stage that have not been done, and wait for them.

    Args:
        stage: has ``run_shard``; it is pickled to wherever its tasks run.
        folder: for the marks of finished tasks and for logs.

    Returns:
        The number of tasks that had been done before.

    Raises:
        LLMasOSError: what a task raised, or a cluster lost a task.
    """
    from llmasos.data.pipeline.stage import StageBlock, TaskFailed

    done = completed(folder)
    if done >= tasks:
        return done
    failures = folder / "errors"
    for path in failures.glob("*.json"):
        path.unlink()
    failures.mkdir(parents=True, exist_ok=True)
    with _watch(label, folder, tasks):
        try:
            if isinstance(execution, LocalExecution):
                _run_local(StageBlock(stage, failures), tasks, folder, execution)
            elif isinstance(execution, SlurmExecution):
                _run_slurm(StageBlock(stage, failures), tasks, label, folder, execution)
            else:
                _run_ray(StageBlock(stage, failures), tasks, folder, execution)
        except TaskFailed as error:
            raise _failure(failures) or Unavailable(
                str(error), hint=t("See the logs in {folder}.", folder=folder)
            ) from error
    if (failure := _failure(failures)) is not None:
        raise failure
    if completed(folder) < tasks:
        raise _lost(folder)
    return done


def completed(folder: Path) -> int:
    """How many tasks of a stage have been done."""
    marks = folder / "completions"
    return sum(1 for _ in marks.iterdir()) if marks.is_dir() else 0


def _run_local(block: Any, tasks: int, folder: Path, execution: LocalExecution) -> None:
    from datatrove.executor.local import LocalPipelineExecutor

    workers = min(execution.workers or hardware.processor().usable, tasks)
    # Forking is quick and needs no guard in the caller's script, but must not be done once torch has made its threads.
    method = "fork" if sys.platform == "linux" and "torch" not in sys.modules else "forkserver"
    executor = LocalPipelineExecutor(
        [block], tasks=tasks, workers=workers, logging_dir=str(folder), start_method=method
    )
    with _plain_workers():
        executor.run()


_forking = threading.Event()
"""Set while workers may be forked."""


def _forget_handlers() -> None:
    """In a forked worker: end on SIGTERM at once, and leave Ctrl-C to the process that ends the workers.

    A pool ends its workers by SIGTERM. A handler in Python that this process had set would run in them too, while they
    wait for each other's locks, and the pool would wait for them for ever.
    """
    if _forking.is_set():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget_handlers)


@contextmanager
def _plain_workers() -> Iterator[None]:
    _forking.set()
    try:
        yield
    finally:
        _forking.clear()


def _run_slurm(block: Any, tasks: int, label: str, folder: Path, execution: SlurmExecution) -> None:
    from datatrove.executor.slurm import SlurmPipelineExecutor

    activate = execution.environment_command or f'export PATH="{Path(sys.executable).parent}:$PATH"'
    executor = SlurmPipelineExecutor(
        [block],
        tasks=tasks,
        time=execution.time,
        partition=execution.partition,
        cpus_per_task=execution.cpus_per_task,
        mem_per_cpu_gb=execution.memory_per_cpu_gigabytes,
        workers=execution.workers,
        job_name="llmasos-data",
        env_command=activate,
        logging_dir=str(folder),
        mail_user=None,
    )
    try:
        executor.run()
    except FileNotFoundError as error:
        raise MissingDependency(
            t("there is no command {command!r} here", command=error.filename or "sbatch"),
            hint=t("Start the preparation on a machine that can submit jobs to Slurm."),
        ) from error
    except subprocess.CalledProcessError as error:
        raise Unavailable(
            t("Slurm refused the job: {problem}", problem=str(error.stderr or error).strip()),
            hint=t("Check partition and limits in the section execution of the recipe."),
        ) from error
    while completed(folder) < tasks and not any((folder / "errors").glob("*.json")):
        if not _in_queue(str(executor.job_id)):
            time.sleep(execution.poll_seconds)  # marks may arrive late on shared disks
            return
        time.sleep(execution.poll_seconds)


def _in_queue(job: str) -> bool:
    """Whether Slurm still knows the job as waiting or running."""
    found = subprocess.run(["squeue", "--noheader", "--jobs", job], capture_output=True, text=True, check=False)
    return found.returncode == 0 and bool(found.stdout.strip())


def _run_ray(block: Any, tasks: int, folder: Path, execution: RayExecution) -> None:
    try:
        import ray
        from datatrove.executor.ray import RayPipelineExecutor
    except ImportError as error:
        raise MissingDependency(
            t("running on Ray needs the package ray"), hint='pip install "llmasos[cluster]"'
        ) from error
    started = not ray.is_initialized()
    if started:
        ray.init(address=execution.address, logging_level=logging.ERROR, log_to_driver=False)
    try:
        RayPipelineExecutor(
            [block],
            tasks=tasks,
            workers=execution.workers,
            cpus_per_task=execution.cpus_per_task,
            mem_per_cpu_gb=execution.memory_per_cpu_gigabytes,
            logging_dir=str(folder),
        ).run()
    finally:
        if started:
            ray.shutdown()


@contextmanager
def _watch(label: str, folder: Path, tasks: int) -> Iterator[None]:
    """Report the tasks that are done while the block runs."""
    with progress.current().task(label, total=tasks) as task:
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(0.2):
                task.update(completed(folder))

        watcher = threading.Thread(target=look, name="watch-stage", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()
            task.update(completed(folder))


def _failure(folder: Path) -> LLMasOSError | None:
    """What the first task that failed raised."""
    from llmasos.data.pipeline.shard import read_json

    for path in sorted(folder.glob("*.json")):
        content = read_json(path)
        kind = getattr(errors, content["class"], LLMasOSError)
        if kind in (errors.OutOfDisk, errors.OutOfMemory):  # they carry numbers that the message has
            kind = LLMasOSError
        failure: LLMasOSError = kind(content["message"], hint=content["hint"])
        return failure
    return None


def _lost(folder: Path) -> Unavailable:
    return Unavailable(
        t("some tasks ended without a result"),
        hint=t("See the logs in {folder}; the same command goes on where it stopped.", folder=folder),
    )
