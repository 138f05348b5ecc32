"""What the comparison tells an engine's program, and what comes back."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from peak_memory import peak_memory


@dataclass
class Job:
    """One scenario for one engine with one setting. Prompts are token ids of the model's own vocabulary."""

    model: str
    """Folder or file, in the form that this engine reads."""
    runs: list[list[list[int]]]
    """Prompts, one list for each run; every run has prompts of its own, so that no cache knows them from before."""
    new_tokens: int
    threads: int
    spawned_at: float
    """``time.time()`` at the moment the process was started."""
    warm_up: list[int]
    values_per_token: int
    """Numbers in the key-value cache for one token."""
    read_share: float = 1.0
    """Part of the weights that a pass reads; the rest is an embedding of which it reads a few rows."""
    setting: dict[str, Any] = field(default_factory=dict)
    """Options of the engine; which there are is said in each program."""
    prefix_tokens: int = 0
    """Tokens at the start of all prompts of a run that are the same."""
    adapters: list[str] = field(default_factory=list)
    """One adapter for each prompt, in the form that this engine reads."""
    schema: dict[str, Any] | None = None
    """JSON schema that the output must follow; then an output ends by itself, else never before ``new_tokens``."""

    @property
    def streams(self) -> int:
        return len(self.runs[0])

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt and its output."""
        return max(len(prompt) for run in self.runs for prompt in run) + self.new_tokens


def percentile(values: list[float], share: float) -> float | None:
    """The smallest value that at least ``share`` of all do not exceed; ``None`` without values."""
    ranked = sorted(values)
    return ranked[max(0, -int(-len(ranked) * share // 1) - 1)] if ranked else None


class Recorder:
    """When the tokens of one run came, by stream."""

    def __init__(self, streams: int) -> None:
        self.tokens: list[list[int]] = [[] for _ in range(streams)]
        self._first: list[float | None] = [None] * streams
        self._last = [0.0] * streams
        self._pauses: list[float] = []
        self._news: list[tuple[float, int]] = []
        self.started = time.perf_counter()
        self.ended = self.started

    def take(self, stream: int, tokens: list[int], at: float | None = None) -> None:
        """Note that ``tokens`` of a stream are there now (or at ``at``, of ``time.perf_counter()``)."""
        now = time.perf_counter() if at is None else at
        if self._first[stream] is None:
            self._first[stream] = now
        else:
            self._pauses.append(now - self._last[stream])
        self._last[stream] = now
        self._news.append((now, len(tokens)))
        self.ended = max(self.ended, now)
        self.tokens[stream].extend(tokens)

    def result(self, prompts: list[list[int]], **more: Any) -> dict[str, Any]:
        """The figures of the run, seconds and counts. A pause is the time between two arrivals of one stream."""
        firsts = [moment - self.started for moment in self._first if moment is not None]
        assert len(firsts) == len(prompts), "a stream got no token"
        reading = max(firsts)
        # Once all streams have their first token, a pass has one token of each and nothing else.
        later = sum(count for moment, count in self._news if moment - self.started > reading)
        return {
            "seconds": self.ended - self.started,
            "prompt_tokens": sum(map(len, prompts)),
            "output_tokens": sum(map(len, self.tokens)),
            "first_token": {"p50": percentile(firsts, 0.5), "p95": percentile(firsts, 0.95), "max": reading},
            "decode_rate": later / (self.ended - self.started - reading) if later else None,
            "pause": {
                name: percentile(self._pauses, share) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
            },
            "outputs": self.tokens,
            **more,
        }


@dataclass
class Report:
    """What a program writes at its end."""

    engine: str
    version: str
    settings: dict[str, Any]
    """Everything that was chosen, whether by the setting or by the program."""
    start_seconds: float
    """From the start of the process to the first token of a first short request."""
    weight_bytes: int
    """Bytes of weights that one pass reads."""
    cache_bytes_per_token: float
    runs: list[dict[str, Any]]
    peak_memory: int = 0
    """Largest resident set of the process, in bytes."""


def main(serve: Callable[[Job], Report]) -> None:
    """Read the job, serve it, write the report. Whatever the engine prints goes to standard error."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # also what native code prints
    report = serve(Job(**json.load(sys.stdin)))
    report.peak_memory = peak_memory()
    out.write(json.dumps(asdict(report)))
    out.flush()
    # Some engines crash or hang while the interpreter takes them down; all that matters is written.
    sys.stderr.flush()
    os._exit(0)
