"""Training: real tokens a second and peak memory, against TRL and against transformers' Trainer.

    python benchmarks/setup_peers.py --only trainers
    python benchmarks/training.py --data alpaca.jsonl [more files] --classes sst2-train.tsv

Every contender gets the same samples in the same steps as tokens, and trains in a process of its own, one after the
other: SmolLM2-135M with low-rank updates and with all its weights against TRL, MiniLM as a classifier against
transformers' Trainer. TRL trains with its defaults (bfloat16 and activation checkpointing), with float32 as it must on
older processors, and at its best: the fastest of bfloat16 without checkpointing in padded batches, without padding
(padding_free), and one sample at a time. Tokens are counted without padding. Peak memory is that of the process.

Results are kept after each contender; `--only` measures some of them again. The first steps are not timed. The models
are names in the library; the files hold Alpaca's columns, and two columns `sentence` and `label`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trainers.curves import draw
from trainers.protocol import Job, Report

from llmasos import hardware
from llmasos.data.batches import Batch
from llmasos.data.token_cache import TokenCache
from llmasos.library.store import Library
from llmasos.training.batches import ClassBatch
from llmasos.training.feeding import feed
from llmasos.training.opening import open_model
from llmasos.training.recipe.kinds import KINDS, TrainingRecipe
from llmasos.training.rows import read_rows

HERE = Path(__file__).parent
NO_CHECKPOINTING = {"gradient_checkpointing": False}


@dataclass(frozen=True)
class Contender:
    """A program with a setting, for one of the tasks."""

    name: str
    task: str
    program: str
    label: str
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def ours(self) -> bool:
        return self.program == "ours"


def trl(task: str) -> list[Contender]:
    return [
        Contender(f"{task}-trl-default", task, "trl_sft", "TRL, defaults"),
        Contender(f"{task}-trl-float32", task, "trl_sft", "TRL, float32", {"bf16": False}),
        Contender(f"{task}-trl-padded", task, "trl_sft", "TRL, bfloat16, no checkpointing", NO_CHECKPOINTING),
        Contender(
            f"{task}-trl-padding-free", task, "trl_sft", "TRL, bfloat16, padding_free",
            {**NO_CHECKPOINTING, "padding_free": True, "max_length": None},
        ),
        Contender(
            f"{task}-trl-single", task, "trl_sft", "TRL, bfloat16, one sample at a time",
            {**NO_CHECKPOINTING, "per_device_train_batch_size": 1},
        ),
    ]  # fmt: skip


CONTENDERS = [
    Contender("lora-ours", "lora", "ours", "LLMasOS"),
    *trl("lora"),
    Contender("full-ours", "full", "ours", "LLMasOS"),
    *trl("full"),
    Contender("classify-ours", "classify", "ours", "LLMasOS"),
    Contender("classify-trainer", "classify", "transformers_trainer", "Trainer, defaults"),
    Contender("classify-trainer-bfloat16", "classify", "transformers_trainer", "Trainer, bfloat16", {"bf16": True}),
]  # fmt: skip
TITLES = {
    "lora": "SmolLM2-135M, LoRA of rank 8 on all linear layers",
    "full": "SmolLM2-135M, all weights",
    "classify": "MiniLM-L6 as a classifier, all weights",
}
RATES = {"lora": 2e-4, "full": 2e-5, "classify": 5e-5}


def recipe_of(task: str, options: argparse.Namespace) -> dict[str, Any]:
    """What our program trains; the others get the samples of its first steps."""
    same = {"seed": 1, "optimizer": {"kind": "adamw"}, "schedule": {"kind": "constant", "warmup": 0}}
    if task == "classify":
        layout = {"kind": "label", "text": "sentence", "label": "label"}
        return {
            **same, "kind": "classify", "model": options.encoder, "method": {"kind": "full"},
            "data": {"train": [{"path": str(options.classes.absolute()), "layout": layout}],
                     "train_limit": 32 * options.class_steps},
            "trainer": {"batch_size": 32, "steps": options.class_steps, "threads": options.threads},
            "output": {"name": None},
        }  # fmt: skip
    method = {"kind": "lora", "rank": 8} if task == "lora" else {"kind": "full"}
    return {
        **same, "kind": "sft", "model": options.model, "method": method,
        "data": {"train": [{"path": [str(path.absolute()) for path in options.data]}], "sequence_length": 512,
                 "train_limit": options.batch * options.steps, "packing": {"kind": "none"}},
        "trainer": {"batch_size": options.batch, "steps": options.steps, "threads": options.threads},
        "output": {"name": None},
    }  # fmt: skip


def prepare(task: str, options: argparse.Namespace, folder: Path) -> Job:
    """The job of a task, and in ``folder`` the model with its head as our program begins with it."""
    raw = recipe_of(task, options)
    recipe: TrainingRecipe = KINDS[raw["kind"]].model_validate(raw)  # type: ignore[assignment]
    library = Library()
    rows = read_rows(recipe.data, seed=recipe.seed)
    opened = open_model(recipe, rows=rows.train.rows, device="cpu", library=library)
    feeds = feed(recipe, opened, rows, cache=TokenCache(library.home / "cache" / "tokens"))
    model: Any = opened.module
    model.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json"):
        if (opened.folder.path / file).is_file():
            (folder / file).write_bytes((opened.folder.path / file).read_bytes())
    steps = [
        [sample for batch in feeds.train.of_step(step, epoch=0) for sample in samples_of(batch)]
        for step in range(feeds.train.steps)
    ]
    return Job(
        model=str(folder), samples=steps, full=task != "lora", rank=8, learning_rate=RATES[task],
        warm_up=options.warm_up, threads=options.threads, limit=options.limit, recipe=raw,
    )  # fmt: skip


def samples_of(batch: Any) -> list[dict[str, Any]]:
    """The samples of a micro-batch as plain data."""
    text: Batch = batch.text if isinstance(batch, ClassBatch) else batch
    found: list[dict[str, Any]] = []
    for row in range(len(text.ids)):
        real = text.documents[row] > 0
        sample: dict[str, Any] = {"ids": text.ids[row][real].tolist()}
        if isinstance(batch, ClassBatch):
            sample["label"] = int(batch.classes[row])
        else:
            sample["trained"] = (text.labels[row][real] >= 0).tolist()
        found.append(sample)
    return found


def measure(contender: Contender, job: Job, options: argparse.Namespace) -> dict[str, Any]:
    """Train in a process of its own and read its report."""
    job.setting = {"config": contender.config}
    python = sys.executable if contender.ours else str(options.trainers.absolute() / "bin" / "python")
    with tempfile.TemporaryDirectory() as folder:
        given, answer = Path(folder, "job.json"), Path(folder, "report.json")
        given.write_text(json.dumps(asdict(job)))
        variables = {**os.environ, "OMP_NUM_THREADS": str(job.threads), "PYTHONWARNINGS": "ignore"}
        variables["PYTHONPATH"] = os.pathsep.join([str(HERE), *([str(HERE.parent / "src")] if contender.ours else [])])
        done = subprocess.run(
            [python, "-m", f"trainers.{contender.program}", given, answer],
            cwd=HERE, env=variables, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{contender.name} failed:\n{done.stderr[-3000:]}")
        report = Report(**json.loads(answer.read_text()))
    return {**asdict(report), "rate": report.rate, "label": contender.label, "task": contender.task}


def table(results: dict[str, Any]) -> str:
    """Rates, memory and losses, and what ours is to the others."""
    lines = []
    for task, title in TITLES.items():
        rows = {name: row for name, row in results.items() if row["task"] == task}
        ours = rows.get(f"{task}-ours")
        if not rows:
            continue
        lines += ["", title, f"  {'':38}{'tokens/s':>10}{'ours is':>9}{'memory':>11}{'ours is':>9}{'loss at end':>13}"]
        for row in sorted(rows.values(), key=lambda row: -row["rate"]):
            times = f"{ours['rate'] / row['rate']:.2f}x" if ours else ""
            memory = f"{ours['peak'] / row['peak']:.2f}x" if ours else ""
            lines.append(
                f"  {row['label']:38}{row['rate']:>10,.0f}{times:>9}{row['peak'] / 2**20:>8,.0f} MB{memory:>9}"
                f"{end_loss(row, ours or row):>13.4f}"
            )
    return "\n".join(lines)


def end_loss(row: dict[str, Any], other: dict[str, Any], share: int = 4) -> float:
    """Mean loss of the last quarter of the steps that both did."""
    common = min(len(row["losses"]), len(other["losses"]))
    last = row["losses"][common - max(common // share, 1) : common]
    return float(sum(last) / len(last))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2:135m-instruct")
    parser.add_argument("--encoder", default="minilm:l6-v2")
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--classes", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--class-steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=8, help="conversations a step")
    parser.add_argument("--warm-up", type=int, default=2, help="steps that are not timed")
    parser.add_argument("--limit", type=float, default=240, help="seconds after which a contender stops")
    parser.add_argument("--threads", type=int, default=hardware.choose_threads())
    parser.add_argument("--trainers", type=Path, default=HERE.parent / "build" / "trainers")
    parser.add_argument("--only", nargs="+", help="names or beginnings of names, such as lora or full-ours")
    parser.add_argument("--again", action="store_true", help="measure also what has a result already")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "training.json")
    options = parser.parse_args()
    wanted = [item for item in CONTENDERS if not options.only or any(map(item.name.startswith, options.only))]
    if not wanted:
        parser.error(f"--only: there are {', '.join(item.name for item in CONTENDERS)}")
    results = kept(options)
    for task in TITLES:
        due = [item for item in wanted if item.task == task and (options.again or item.name not in results)]
        if not due:
            continue
        with tempfile.TemporaryDirectory() as folder:
            job = prepare(task, options, Path(folder))
            for contender in due:
                results[contender.name] = measure(contender, job, options)
                print(f"{contender.name}: {results[contender.name]['rate']:,.0f} tokens/s", flush=True)
                keep(options.results, results, options)
    print(table(results))


def work_of(options: argparse.Namespace) -> dict[str, Any]:
    """What decides whether two results are of the same work on the same machine."""
    return {
        "processor": hardware.processor().model, "threads": options.threads, "batch": options.batch,
        "steps": options.steps, "class_steps": options.class_steps, "warm_up": options.warm_up,
        "data": [path.name for path in (*options.data, options.classes)],
    }  # fmt: skip


def kept(options: argparse.Namespace) -> dict[str, Any]:
    """Earlier results of the same work."""
    if not options.results.exists():
        return {}
    document = json.loads(options.results.read_text())
    if document["work"] == work_of(options):
        found: dict[str, Any] = document["results"]
        return found
    print("earlier results are of other work or another machine, and are measured anew", flush=True)
    return {}


def keep(path: Path, results: dict[str, Any], options: argparse.Namespace) -> None:
    """Write figures and curves."""
    ordered = {item.name: results[item.name] for item in CONTENDERS if item.name in results}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps({"work": work_of(options), "python": platform.python_version(), "results": ordered}, indent=1) + "\n"
    )
    curves = {task: [row for row in ordered.values() if row["task"] == task] for task in TITLES}
    path.with_suffix(".svg").write_text(draw({TITLES[task]: rows for task, rows in curves.items() if rows}))


if __name__ == "__main__":
    main()
