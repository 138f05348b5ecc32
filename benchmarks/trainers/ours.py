"""Our own trainer: the steps of its loop, without evaluations and checkpoints between them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from llmasos.library.store import Library
from llmasos.runs.context import RunContext
from llmasos.training.assembly import computing_threads, make_loop, open_parts
from llmasos.training.distributed.processes import join_processes
from llmasos.training.recipe.kinds import KINDS
from llmasos.training.trainer.step import StepBatches
from trainers.protocol import Job, Report, Stopwatch, main


def run(job: Job) -> Report:
    recipe = KINDS[job.recipe["kind"]].model_validate(job.recipe)
    processes = join_processes("cpu")
    with tempfile.TemporaryDirectory() as folder, computing_threads(job.threads, processes):
        context = RunContext("benchmark", Path(folder))
        loop = make_loop(recipe, context, processes, open_parts(recipe, context, processes, Library()))
        loop.module.train()
        watch = Stopwatch(job)
        for number in range(len(job.samples)):
            data = StepBatches(
                loop.batches.of_step(number, epoch=0), loop.batches.rows_of_step(number, epoch=0)
            )  # fmt: skip
            result = loop.stepper.step(number + 1, data, rate=job.learning_rate, stop=False)
            assert result.tokens == job.tokens(number), "another step than the others'"
            if watch.step(result.total / result.count):
                break
    return watch.report


if __name__ == "__main__":
    main(run)
