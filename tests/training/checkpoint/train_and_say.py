"""A process that trains a tiny model and says each step, for tests that kill it.

Arguments: folder of recipe and model, folder of the run, ``first`` or ``resume``, changes of the recipe as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import tiny_runs
from llmasos import progress
from llmasos.progress import Event
from llmasos.training.distributed.processes import join_processes


def say(event: Event) -> None:
    if event.kind == "metric" and "loss" in event.values:
        print(json.dumps({"step": event.values["step"], "loss": event.values["loss"]}), flush=True)
        time.sleep(0.02)  # so that the test can kill in the middle
    if event.kind == "log" and event.values.get("level") == "warning":
        print(json.dumps({"warning": event.label}), flush=True)


def main() -> None:
    made, folder, how, changes = sys.argv[1:]
    run = tiny_runs.context(Path(folder), main=join_processes("cpu").main)
    with progress.reporting(say):
        loop, _ = tiny_runs.open_loop(tiny_runs.recipe(Path(made), **json.loads(changes)), run)
        if how == "resume":
            snapshot = loop.store.newest(lambda error: run.warn(error.message))
            if snapshot is not None:
                loop.restore(snapshot)
        loop.run()


if __name__ == "__main__":
    main()
