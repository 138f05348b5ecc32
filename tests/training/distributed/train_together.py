"""One of several processes that train a tiny model together, for tests that start them with torchrun.

Arguments: folder of recipe and model, folder of the run, changes of the recipe as JSON. The first process writes the
losses it reported to ``losses.json`` in the run's folder.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import tiny_runs
from llmasos import progress
from llmasos.training.distributed.processes import join_processes


def main() -> None:
    made, folder, changes = sys.argv[1:]
    processes = join_processes("cpu")
    run = tiny_runs.context(Path(folder), main=processes.main)
    recorder = tiny_runs.Recorder()
    with progress.reporting(recorder):
        loop, _ = tiny_runs.open_loop(tiny_runs.recipe(Path(made), **json.loads(changes)), run, processes)
        loop.run()
    if processes.main:
        found = {"losses": recorder.metrics("loss"), "scores": loop.scores, "tokens": loop.meter.tokens}
        (Path(folder) / "losses.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
