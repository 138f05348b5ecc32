"""How fast the program starts: the medians of several runs, each in a process of its own.

    python benchmarks/startup.py [--runs 5] [--model NAME] [--json]

``run`` is timed from the start of the process to the first byte of the answer on its standard output, and to its
end. The model is fetched before, so the figures are those of a second start; the operating system's file cache is
warm. What `make bench` prints is information, not a test.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

PROGRAM = [sys.executable, "-m", "llmasos.cli.app"]


def until_end(*arguments: str) -> dict[str, float]:
    """Seconds that the command takes."""
    began = time.perf_counter()
    subprocess.run([*PROGRAM, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return {"end": time.perf_counter() - began}


def until_first_token(model: str) -> dict[str, float]:
    """Seconds to the first byte of an answer and to the end of the program."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [*PROGRAM, "run", model, "Hi", "--max-tokens", "16"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    os.read(process.stdout.fileno(), 1)
    first = time.perf_counter() - began
    process.stdout.read()
    if process.wait() != 0:
        raise SystemExit(f"llmasos run {model} failed; run it by hand to see why")
    return {"first token": first, "end": time.perf_counter() - began}


def medians(measure: Callable[[], dict[str, float]], runs: int) -> dict[str, float]:
    """The median of each figure over ``runs`` runs, after one that warms the caches."""
    measure()
    found = [measure() for _ in range(runs)]
    return {name: statistics.median(item[name] for item in found) for name in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast the program starts.")
    parser.add_argument("--runs", type=int, default=5, help="runs of each command (default: 5)")
    parser.add_argument("--model", default="smollm2:135m-instruct", help="model of `llmasos run`")
    parser.add_argument("--json", action="store_true", help="write one JSON document")
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error("--runs: at least 1")
    subprocess.run([*PROGRAM, "pull", arguments.model], stdout=subprocess.DEVNULL, check=True)
    results = {
        "llmasos --help": medians(lambda: until_end("--help"), arguments.runs),
        "llmasos list": medians(lambda: until_end("list"), arguments.runs),
        f'llmasos run {arguments.model} "Hi"': medians(lambda: until_first_token(arguments.model), arguments.runs),
    }
    if arguments.json:
        print(json.dumps({"runs": arguments.runs, "median_seconds": results}, indent=2))
        return
    width = max(map(len, results))
    for command, figures in results.items():
        text = ", ".join(f"{seconds:.2f} s to the {name}" for name, seconds in figures.items())
        print(f"{command:<{width}}   {text}")


if __name__ == "__main__":
    main()
