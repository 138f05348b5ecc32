"""Run an example, measure what comes of it, and put it into the table of README.md.

    python examples/run.py sst2-full --data /path/to/data
    python examples/run.py sst2-full --data /path/to/data --set trainer.steps=20 --results /tmp/results.json
    python examples/run.py --table                             # only write the tables again

Training runs as `llmasos train` in a process of its own, so that its memory can be told; the result goes into the
library under the name that the recipe says. Changes by --set are noted with the result.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from measures import EXAMPLES, Example
from table import write_tables

HERE = Path(__file__).parent


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("example", nargs="?", choices=list(EXAMPLES), help="which one")
    parser.add_argument("--data", type=Path, default=Path(), help="folder of the data sets (default: here)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a value of the recipe")
    parser.add_argument("--results", type=Path, default=HERE / "results.json", help="file that gets the result")
    parser.add_argument("--table", action="store_true", help="only write the tables of the README files")
    options = parser.parse_args()
    if options.example is None and not options.table:
        parser.error("name an example, or give --table")
    return options


def train(recipe: Path, changes: list[str]) -> tuple[dict[str, Any], int]:
    """The finished run as `llmasos train --json` tells it, and the most bytes of memory that its process took."""
    sets = [part for change in changes for part in ("--set", change)]
    command = [sys.executable, "-m", "llmasos.cli.app", "train", str(recipe), "--json", *sets]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"training ended with exit code {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return json.loads(output), usage.ru_maxrss * unit


def measured(example: Example, reference: str, data: Path) -> float:
    """The example's number for a model."""
    import llmasos

    assert example.function is not None
    with llmasos.load(reference) as model:
        return example.function(model, data)


def run(example: Example, data: Path, changes: list[str]) -> dict[str, Any]:
    """Train, measure, and give the row of the table."""
    path = HERE / f"{example.name}.yaml"
    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    data = data.resolve()
    base = recipe["model"] if isinstance(recipe["model"], str) else recipe["model"]["preset"]
    # Trained first: Linux counts the memory of the process that starts another as that of the other too.
    facts, memory = train(path, [f"variables.data={data}", *changes])
    before = measured(example, base, data) if example.base else None
    result = facts["result"]
    started = time.perf_counter()
    if example.function is None:
        before, after = result["before"].get(example.measure), result["after"][example.measure]
    else:
        after = measured(example, result["name"] or f"@{result['digest']}", data)
    return {
        "model": base,
        "method": recipe.get("method", {"kind": "default"})["kind"],
        "measure": example.measure,
        "data": example.data,
        "before": before,
        "after": after,
        "loss_before": result["before"].get("loss"),
        "loss_after": result["after"].get("loss"),
        "steps": result["steps"],
        "seconds": result["seconds"],
        "total_seconds": facts["seconds"],
        "measuring_seconds": time.perf_counter() - started,
        "tokens": result["tokens"],
        "tokens_per_second": result["tokens"] / result["seconds"],
        "memory_bytes": memory,
        "changes": changes,
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
    }


def machine() -> str:
    """The processor, the cores that were used, and the versions that matter."""
    import torch

    import llmasos
    from llmasos.hardware import processor

    cpu = processor()
    return f"{cpu.model}, {cpu.usable} cores; Python {platform.python_version()}, torch {torch.__version__}, LLMasOS " \
           f"{llmasos.__version__}"  # fmt: skip


def main() -> None:
    options = arguments()
    results: dict[str, Any] = {}
    if options.results.exists():
        results = json.loads(options.results.read_text(encoding="utf-8"))
    if options.example is not None:
        row = run(EXAMPLES[options.example], options.data, options.set)
        results[options.example] = row
        ordered = {name: results[name] for name in EXAMPLES if name in results}
        options.results.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(json.dumps(row, indent=1, ensure_ascii=False))
    if options.results == HERE / "results.json":
        write_tables(HERE, results)


if __name__ == "__main__":
    main()
