"""A server under load: guidellm's clients at once for a while, with short and long prompts; errors, waits and memory.

    python3 -m venv build/guidellm && build/guidellm/bin/pip install guidellm     # once
    python benchmarks/load.py [--model smollm2:135m-instruct] [--clients 64] [--seconds 120]

Starts ``llmasos serve`` on a free port of loopback, watches its ``/metrics`` meanwhile, and stops it with SIGTERM at
the end. guidellm (https://github.com/vllm-project/guidellm) sends the requests and measures what its clients see.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

from llmasos.sdk import open_tokenizer_folder

CACHE_BYTES = 2**30
BUILD = Path(__file__).parent.parent / "build"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2:135m-instruct")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--prompt-tokens", type=int, default=400, help="mean; half to double that are drawn")
    parser.add_argument("--output-tokens", type=int, default=64)
    parser.add_argument("--guidellm", type=Path, default=BUILD / "guidellm" / "bin" / "guidellm")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    return parser.parse_args()


def start_server(model: str) -> tuple[subprocess.Popen[str], str]:
    # A cache that fills early: only then does flat memory show anything.
    configuration = Path(tempfile.mkdtemp()) / "serve.yaml"
    configuration.write_text(f"kind: serve\ncache_bytes: {CACHE_BYTES}\nmax_queue: 256\naccess_log: 'off'\n")
    command = [sys.executable, "-m", "llmasos.cli.app", "serve", model, "--port", "0", "--json"]
    process = subprocess.Popen([*command, "--config", str(configuration)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if line.rstrip() == "}":
            break
    return process, json.loads(text)["address"]


class Watcher(threading.Thread):
    """Reads the server's metrics every second."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self._address = address
        self.rows: list[dict[str, float]] = []
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.wait(1.0):
            with urllib.request.urlopen(f"{self._address}/metrics", timeout=30) as answer:
                text = answer.read().decode()
            row = {"at": time.time()}
            for name in ("memory_bytes", "requests_running", "requests_waiting", "output_tokens_total"):
                found = re.search(rf"^llmasos_{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
                row[name] = float(found[1]) if found else 0.0
            self.rows.append(row)


def run_guidellm(options: argparse.Namespace, address: str, folder: Path) -> dict[str, Any]:
    tokenizer = open_tokenizer_folder(options.model).path
    mean = options.prompt_tokens
    data = (
        f"kind=synthetic_text,prompt_tokens={mean},prompt_tokens_min={mean // 2},prompt_tokens_max={2 * mean},"
        f"prompt_tokens_stdev={mean // 2},output_tokens={options.output_tokens}"
    )
    report = folder / "report.json"
    command = [
        str(options.guidellm), "run", "--backend", f"kind=openai_http,target={address},model={options.model}",
        "--profile", f"kind=concurrent,streams={options.clients}", "--constraint",
        f"kind=max_duration,seconds={options.seconds}", "--data", data, "--tokenizer",
        f"kind=huggingface_auto,model={tokenizer}", "--output", f"kind=json,path={report}",
        "--disable-console-interactive",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=options.seconds + 400)
    if done.returncode != 0 or not report.exists():
        raise SystemExit(f"guidellm failed:\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}")
    document: dict[str, Any] = json.loads(report.read_text())
    return document


def main() -> None:
    options = arguments()
    process, address = start_server(options.model)
    watcher = Watcher(address)
    watcher.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            report = run_guidellm(options, address, Path(folder))
    finally:
        watcher.stop.set()
        watcher.join()
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    summary = summarise(report, watcher.rows, options)
    summary["exit_code_after_sigterm"] = code
    print(json.dumps(summary, indent=1))
    file = options.results / f"load-{options.model.replace(':', '-').replace('/', '-')}.json"
    file.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


def summarise(report: dict[str, Any], rows: list[dict[str, float]], options: argparse.Namespace) -> dict[str, Any]:
    metrics = report["benchmarks"][0]["metrics"]
    totals = metrics["request_totals"]

    def distribution(name: str) -> dict[str, float]:
        found = metrics[name]["successful"]
        return {"mean": found["mean"], **{key: found["percentiles"][key] for key in ("p50", "p95", "p99")}}

    busy = [row for row in rows if row["requests_running"] > 0]
    # After the first quarter buffers and cache have their size.
    steady = [row["memory_bytes"] for row in busy[len(busy) // 4 :]]
    pauses = [
        after["at"] - before["at"]
        for before, after in itertools.pairwise(busy)
        if after["output_tokens_total"] == before["output_tokens_total"]
    ]
    return {
        "settings": {key: getattr(options, key) for key in ("model", "clients", "seconds", "prompt_tokens",
                                                            "output_tokens")},
        "requests": totals,
        "output_tokens_per_second": distribution("output_tokens_per_second"),
        "first_token_ms": distribution("time_to_first_token_ms"),
        "between_tokens_ms": distribution("inter_token_latency_ms"),
        "memory_mib": {"first_quarter_end": steady[0] / 2**20, "highest": max(steady) / 2**20,
                       "last": steady[-1] / 2**20},
        "most_running": max(row["requests_running"] for row in busy),
        "most_waiting": max(row["requests_waiting"] for row in busy),
        "longest_stall_seconds": max(pauses, default=0.0),
    }  # fmt: skip


if __name__ == "__main__":
    main()
