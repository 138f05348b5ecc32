"""A worker whose work is to count, slowly, with a checkpoint after every step: for tests that kill it.

python counting_worker.py RUN
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from llmasos import progress
from llmasos.errors import InvalidRecipe
from llmasos.recipe import loading
from llmasos.recipe.loading import Recipe
from llmasos.runs.context import RunContext, Stopped
from llmasos.runs.execution import Done, Work
from llmasos.runs.run import Run
from llmasos.runs.store import RECIPE, RunStore
from llmasos.worker.kinds import Kind
from llmasos.worker.main import main

COMMAND = (sys.executable, str(Path(__file__).absolute()))


class Counting(Recipe):
    kind: str
    steps: int = 20
    pause: float = 0.05
    fail_at: int | None = None
    deaf: bool = False


def recipe(**values: object) -> str:
    return json.dumps({"kind": "count", **values})  # JSON is YAML


def counting(run: Run, store: RunStore) -> Work:
    def work(context: RunContext) -> Done:
        wanted = loading.load(store.folder(run) / RECIPE, Counting)
        saved = context.folder / "count.json"
        first = json.loads(saved.read_text()) if context.resume and saved.exists() else 0
        with progress.current().task("count", total=wanted.steps, unit="steps") as task:
            for step in range(first + 1, wanted.steps + 1):
                time.sleep(wanted.pause)
                if step == wanted.fail_at and run.attempt == 1:
                    raise InvalidRecipe("cannot count further", hint="count less")
                context.report(step=step, loss=1 / step, tokens_per_second=10.0)  # a kill before it is saved repeats it
                temporary = saved.with_suffix(".new")
                temporary.write_text(json.dumps(step))
                temporary.replace(saved)
                context.checkpoint(saved, step=step)
                task.update(step)
                if context.should_stop() and not wanted.deaf:
                    raise Stopped
        return Done(wanted.steps, {"counted": wanted.steps, "from": first})

    return work


KINDS = {
    "count": Kind(counting),
    "plod": Kind(counting, polls=False),  # does not look at should_stop before the step is done
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], kinds=KINDS, command=COMMAND))
