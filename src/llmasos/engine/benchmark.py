"""How fast an engine serves: throughput, waiting times and how near it comes to what memory allows."""

from __future__ import annotations

import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmasos.engine.request import Request, SamplingParameters
from llmasos.errors import InvalidRequest, LLMasOSError
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.engine.engine import Engine

WARM_UP_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests that arrive at once, with prompts of random tokens that have nothing in common."""

    streams: int = 1
    prompt_tokens: int = 110
    new_tokens: int = 128

    def check(self) -> None:
        """Refuse what cannot be measured.

        Raises:
            InvalidRequest: a number is below 1.
        """
        for name in ("streams", "prompt_tokens", "new_tokens"):
            value = getattr(self, name)
            if value < 1:
                raise InvalidRequest(
                    t("{name} = {value}: allowed is {allowed}", name=name, value=value,
                      allowed=t("a whole number from {low}", low=1))
                )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Values that half, 95 % and 99 % of all do not exceed."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, values: list[float]) -> Percentiles | None:
        """``None`` without values."""
        if not values:
            return None
        ranked = sorted(values)
        # The smallest value that at least this share of all does not exceed.
        p50, p95, p99 = (ranked[-(-len(ranked) * share // 100) - 1] for share in (50, 95, 99))
        return cls(p50, p95, p99)


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one run of a workload showed. Times are in seconds."""

    workload: Workload
    seconds: float
    """From the moment before the first request is submitted to the last token."""
    output_tokens: int
    first_token: Percentiles
    """From the same moment to each stream's first token."""
    pause: Percentiles | None
    """Between two arrivals of one stream; tokens that come together arrive once. ``None`` with one arrival each."""
    decode_tokens_per_second: float | None
    """After every stream has its first token, when passes have nothing else to compute."""
    passes: int
    preemptions: int
    guessed_tokens: int
    accepted_tokens: int
    """Tokens guessed ahead of the model, and those of them that it confirmed."""

    @property
    def tokens_per_second(self) -> float:
        """Output tokens over the whole run, prompts included in its time."""
        return self.output_tokens / self.seconds

    @property
    def prompt_tokens_per_second(self) -> float:
        """Prompt tokens of all streams until the last one has its first token."""
        return self.workload.streams * self.workload.prompt_tokens / max(self.first_token.p99, 1e-9)


def measure(engine: Engine, workload: Workload, *, seed: int = 0) -> Measurement:
    """Serve a workload on an engine that serves nobody else, with an empty cache, greedily, to the full length.

    Raises:
        InvalidRequest: a number is below 1, or prompt and output exceed what the engine can hold.
        LLMasOSError: the model failed.
    """
    workload.check()
    limit = engine.limits.sequence_tokens
    if workload.prompt_tokens + workload.new_tokens > limit:
        raise InvalidRequest(
            t("prompt and output have {count} tokens together, and this engine holds {limit}",
              count=workload.prompt_tokens + workload.new_tokens, limit=limit)
        )  # fmt: skip
    draw = random.Random(seed)  # noqa: S311 - prompts, not secrets
    size = engine.limits.vocabulary_size
    prompts = [[draw.randrange(size) for _ in range(workload.prompt_tokens)] for _ in range(workload.streams)]
    engine.clear_cache()
    return _serve(engine, prompts, workload)


def warm_up(engine: Engine) -> float:
    """Serve one short request.

    Returns:
        ``time.time()`` of its first token.
    """
    sampling = SamplingParameters(temperature=0, max_tokens=min(WARM_UP_TOKENS, engine.limits.sequence_tokens - 1))
    stream = engine.submit(Request([0], sampling))
    next(stream)
    first = time.time()
    stream.result()
    return first


def _serve(engine: Engine, prompts: list[list[int]], workload: Workload) -> Measurement:
    sampling = SamplingParameters(temperature=0, max_tokens=workload.new_tokens, ignore_eos=True)
    requests = [Request(prompt, sampling) for prompt in prompts]
    before = engine.stats()
    latest: dict[int, float] = {}
    firsts: list[float] = []
    pauses: list[float] = []
    arrivals: list[tuple[float, int]] = []
    start = time.perf_counter()
    for stream, delta in engine.stream_together(requests):
        now = time.perf_counter()
        if delta.error is not None:
            raise LLMasOSError(t("the engine could not finish the answer: {error}", error=delta.error))
        if not delta.token_ids:
            continue
        arrivals.append((now, len(delta.token_ids)))
        if stream in latest:
            pauses.append(now - latest[stream])
        else:
            firsts.append(now - start)
        latest[stream] = now
    end, all_started = arrivals[-1][0], start + max(firsts)
    decoded = sum(count for moment, count in arrivals if moment > all_started)
    after = engine.stats()
    first_token = Percentiles.of(firsts)
    assert first_token is not None
    return Measurement(
        workload=workload,
        seconds=end - start,
        output_tokens=sum(count for _, count in arrivals),
        first_token=first_token,
        pause=Percentiles.of(pauses),
        decode_tokens_per_second=decoded / (end - all_started) if decoded else None,
        passes=after.passes - before.passes,
        preemptions=after.preemptions - before.preemptions,
        guessed_tokens=after.speculative_proposed - before.speculative_proposed,
        accepted_tokens=after.speculative_accepted - before.speculative_accepted,
    )


def ceiling(workload: Workload, *, weight_bytes: int, bytes_per_token: float, bandwidth: float) -> float:
    """Decoded tokens per second if a pass did nothing but read what it must from memory (the roofline).

    A pass reads all weights once and, for each stream, the keys and values of its sequence, here at its mean length.
    Guessed tokens and weights that stay in the processor's cache can exceed this.

    Args:
        weight_bytes: of the weights that a pass reads.
        bytes_per_token: of keys and values.
        bandwidth: bytes per second that memory gives.
    """
    context = workload.prompt_tokens + workload.new_tokens / 2
    return workload.streams * bandwidth / (weight_bytes + workload.streams * context * bytes_per_token)


def peak_memory() -> int:
    """Largest resident set of this process until now, in bytes."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    try:  # Linux: ru_maxrss would count what the process that started this one had, too
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024
