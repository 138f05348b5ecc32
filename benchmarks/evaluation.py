"""Our engine and the ``hf`` model of lm-evaluation-harness on the same tasks: agreement, and the time of each.

    python benchmarks/evaluation.py --model smollm2:135m --data FOLDER [--dtype float32] [--limit 200] [--batch-size 16]

The tasks (``benchmarks/evaluation_tasks``) and everything around the model are the harness's own; only what answers
differs, so every sample can be laid beside its other. Each contestant runs in a process of its own, one after the
other. Loading a model and building the data are timed for neither. Greedy answers of two implementations part where two
tokens are almost equally likely; for choices, the margin is listed.

``hf`` finds its batch size itself (``batch_size=auto``), anew for each task, by passes over as many tokens as the model
can read. On a CPU that may take longer than the task, and a user can spare it by naming a size; so it is timed apart,
and the ratio is given without it and with it; ``--batch-size`` names the size instead. The longest text that ``hf`` is
to reckon with is set to what the tasks need, which makes the search shorter; that no prompt is longer is checked.

Results go to ``benchmarks/results``: seconds, ratios, agreement, settings.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TASKS = Path(__file__).parent / "evaluation_tasks"
RESULTS = Path(__file__).parent / "results"
LONGEST = 2048
"""Tokens of a prompt and its answer; no task here has more."""
#: task, solved examples
WORK = {"local_arc_challenge": 5, "local_logiqa": 0, "local_gsm8k": 5, "local_last_word": 0}


def contestant(options: argparse.Namespace) -> None:
    """One contestant in this process: runs all tasks and writes what came of them."""
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(options.tasks))
    found: dict[str, Any] = {}
    model, close = _ours(options) if options.contestant == "llmasos" else _theirs(options)
    search = Search(model)

    def evaluate(asked: Any, task: str) -> dict[str, Any]:
        results = simple_evaluate(
            asked, tasks=[task], num_fewshot=WORK[task], limit=options.limit, task_manager=manager, log_samples=True,
            bootstrap_iters=0,
        )  # fmt: skip
        assert results is not None
        return dict(results)

    for task in options.task:
        prompts = evaluate("dummy", task)["samples"][task]  # builds the data, which is timed for nobody
        if options.contestant == "hf":
            check_lengths(model, task, prompts)
        begin, before = time.perf_counter(), search.seconds
        results = evaluate(model, task)
        searched = search.seconds - before
        seconds = time.perf_counter() - begin - searched
        found[task] = {
            "seconds": seconds, "search_seconds": searched, "kind": results["configs"][task]["output_type"],
            "metrics": results["results"][task], "samples": results["samples"][task],
        }  # fmt: skip
        print(f"    {options.contestant}  {task}: {seconds:.1f} s, and {searched:.1f} s of search", flush=True)
    close()
    options.out.write_text(json.dumps(found, default=str))


class Search:
    """The time that ``hf`` takes to find its batch size; our engine has no such search."""

    def __init__(self, model: Any) -> None:
        self.seconds = 0.0
        find = getattr(model, "_detect_batch_size", None)
        if find is None:
            return

        def timed(*arguments: Any, **options: Any) -> Any:
            begin = time.perf_counter()
            try:
                return find(*arguments, **options)
            finally:
                self.seconds += time.perf_counter() - begin

        model._detect_batch_size = timed


def check_lengths(model: Any, task: str, samples: list[dict[str, Any]]) -> None:
    """Fail if ``hf`` would cut a prompt at the length that it was given."""
    for sample in samples:
        for prompt, rest in sample["arguments"]:
            answer = len(model.tok_encode(rest)) if isinstance(rest, str) else int(rest["max_gen_toks"])
            length = len(model.tok_encode(prompt)) + answer
            assert length <= model.max_length, f"{task}, sample {sample['doc_id']}: {length} tokens"


def _ours(options: argparse.Namespace) -> tuple[Any, Any]:
    import llmasos
    from llmasos.evaluation.backends.open import backend_of
    from llmasos.evaluation.harness.model import EngineLM

    model = llmasos.load(options.model, dtype=options.dtype, threads=options.threads, device="cpu")
    return EngineLM(backend_of(model)), model.close


def _theirs(options: argparse.Namespace) -> tuple[Any, Any]:
    import torch
    from lm_eval.models.huggingface import HFLM

    torch.set_num_threads(options.threads)
    model = HFLM(
        pretrained=str(options.folder), dtype=options.dtype, device="cpu", batch_size=options.batch_size,
        max_batch_size=64,
    )  # fmt: skip
    model._max_length = min(model.max_length, LONGEST)
    return model, lambda: None


def run(options: argparse.Namespace, name: str, tasks: Path, folder: Path) -> dict[str, Any]:
    """A contestant in a process of its own."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "found.json"
        command = [
            sys.executable, __file__, "--contestant", name, "--model", options.model, "--tasks", str(tasks),
            "--folder", str(folder), "--out", str(out), "--dtype", options.dtype, "--threads", str(options.threads),
            "--limit", str(options.limit), "--batch-size", options.batch_size, "--task", *options.task,
        ]  # fmt: skip
        subprocess.run(command, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"})
        found: dict[str, Any] = json.loads(out.read_text())
    return found


def agreement(ours: list[dict[str, Any]], theirs: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """What two lists of samples have in common, sample by sample.

    Args:
        kind: the task's ``output_type``. Answers do not tell it: one that was written may be a number.
    """
    texts = kind == "generate_until"
    mine = {sample["doc_id"]: sample for sample in ours}
    other = {sample["doc_id"]: sample for sample in theirs}
    assert mine.keys() == other.keys()
    largest, different = 0.0, []
    for number, sample in mine.items():
        reference = other[number]
        assert sample["prompt_hash"] == reference["prompt_hash"], number
        if not texts:
            pairs = zip(_numbers(sample["resps"]), _numbers(reference["resps"]), strict=True)
            largest = max(largest, *(abs(a - b) for a, b in pairs))
        for metric in reference["metrics"]:
            value = reference[metric]
            if metric == "perplexity" or not isinstance(value, int | float) or sample[metric] == value:
                continue
            entry: dict[str, Any] = {"doc_id": number, "metric": metric, "ours": sample[metric], "theirs": value}
            if not texts:
                entry["margin"] = _margin(_numbers(reference["resps"]))
            different.append(entry)
    return {
        "samples": len(mine), "different": different, "largest_logprob_difference": None if texts else largest,
        "same_texts": sum(mine[number]["resps"] == other[number]["resps"] for number in mine) if texts else None,
    }  # fmt: skip


def _numbers(answers: list[Any]) -> list[float]:
    found = []
    for answer in answers:
        value = answer
        while isinstance(value, list):
            value = value[0]
        found.append(float(value))
    return found


def _margin(values: list[float]) -> float:
    """Between the best and the second."""
    if len(values) < 2:
        return math.nan
    best, second = sorted(values, reverse=True)[:2]
    return best - second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="name in the library")
    parser.add_argument("--data", type=Path, help="folder with arc-challenge, agieval-logiqa and gsm8k")
    parser.add_argument("--dtype", default="float32", help="number format of both")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--limit", type=int, default=200, help="samples of each task")
    parser.add_argument("--batch-size", default="auto", help="of hf: a number, or auto to have it searched")
    parser.add_argument("--task", nargs="+", default=list(WORK), choices=list(WORK))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    for name in ("--tasks", "--folder", "--out"):
        parser.add_argument(name, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant is not None:
        contestant(options)
        return
    if options.data is None:
        parser.error("--data is needed")

    from llmasos import hardware
    from llmasos.library.store import Library

    cpu = hardware.processor()

    with tempfile.TemporaryDirectory() as place:
        tasks = Path(place) / "tasks"
        tasks.mkdir()
        for file in TASKS.glob("*.yaml"):
            (tasks / file.name).write_text(file.read_text().replace("${DATA}", str(options.data.absolute())))
        library = Library()
        folder = library.view(library.resolve(options.model))
        found = {name: run(options, name, tasks, folder) for name in ("llmasos", "hf")}
    report: dict[str, Any] = {
        "model": options.model, "dtype": options.dtype, "threads": options.threads, "limit": options.limit,
        "hf_batch_size": options.batch_size,
        "machine": {
            "processor": cpu.model, "cores": cpu.usable, "instruction_sets": cpu.instruction_sets,
            "memory": hardware.memory().total,
        },
        "tasks": {},
    }  # fmt: skip
    print(f"\n{'task':<22}{'ours':>9}{'hf':>9}{'ratio':>8}{'search':>9}{'with it':>9}  agreement")
    for task in options.task:
        ours, theirs = found["llmasos"][task], found["hf"][task]
        same = agreement(ours["samples"], theirs["samples"], theirs["kind"])
        scores = {
            name: [ours["metrics"][name], value]
            for name, value in theirs["metrics"].items()
            if "," in name and "stderr" not in name
        }
        search = theirs["search_seconds"]
        ratio, with_search = (seconds / ours["seconds"] for seconds in (theirs["seconds"], theirs["seconds"] + search))
        report["tasks"][task] = {
            "few_shot": WORK[task], "seconds": [ours["seconds"], theirs["seconds"]], "ratio": ratio,
            "search_seconds": search, "ratio_with_search": with_search, "scores": scores, **same,
        }  # fmt: skip
        told = f"{len(same['different'])} of {same['samples']} differ"
        if same["same_texts"] is None:
            told += f", largest difference of a log-probability {same['largest_logprob_difference']:.4f}"
        else:
            told += f", {same['same_texts']} answers are the same letter by letter"
        times = f"{ours['seconds']:>8.1f}s{theirs['seconds']:>8.1f}s{ratio:>7.2f}x{search:>8.1f}s{with_search:>8.2f}x"
        print(f"{task:<22}{times}  {told}; {scores}")
    name = f"evaluation-{options.model.replace(':', '-').replace('/', '-')}-{options.dtype}.json"
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / name).write_text(json.dumps(report, indent=2) + "\n")
    print(f"\n{options.results / name} is written")


if __name__ == "__main__":
    main()
