"""``llmasos bench``: how fast a model runs on this machine."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmasos.cli.completion import complete_model
from llmasos.cli.model_options import AcceptLicense, CacheDType, Device, Threads
from llmasos.cli.output import Column, Output
from llmasos.errors import InvalidRequest, Unsupported, did_you_mean
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.engine.backend import EngineBackend
    from llmasos.engine.benchmark import Measurement, Workload
    from llmasos.engine.engine import Engine
    from llmasos.engine.options import EngineOptions
    from llmasos.modeling.folder import ModelFolder
    from llmasos.modeling.loading import Placement

app = typer.Typer()

PARTS = ("engine",)


@app.command("bench")
def bench(
    what: Annotated[str, typer.Argument(metavar="engine", help=t("What is measured: engine."))],
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help=t("A model by name, source or folder."), autocompletion=complete_model),
    ],
    streams: Annotated[str, typer.Option(help=t("Requests at once; several numbers with commas."))] = "1,4,16",
    prompt_tokens: Annotated[int, typer.Option(help=t("Tokens of each prompt."))] = 110,
    new_tokens: Annotated[int, typer.Option(help=t("Tokens of each output."))] = 128,
    repeat: Annotated[int, typer.Option(help=t("Runs of each; the one with the middle speed is shown."))] = 3,
    speculation: Annotated[
        bool, typer.Option("--speculation/--no-speculation", help=t("Guess tokens ahead from what a text repeats."))
    ] = True,
    dtype: Annotated[
        str | None,
        typer.Option(help=t("Number format: int8, int4, bfloat16 or float32; default: what suits the machine.")),
    ] = None,
    device: Device = None,
    threads: Threads = None,
    cache_dtype: CacheDType = None,
    decode: Annotated[
        str, typer.Option(help=t("How decoding passes are run: auto, eager, static or graphs (CUDA)."))
    ] = "auto",
    accept_license: AcceptLicense = False,
    json: Annotated[bool, typer.Option("--json", help=t("Write JSON."))] = False,
) -> None:
    """Measure a model: tokens per second, waiting times and memory, beside what the memory's speed allows.

    Prompts are random tokens and outputs have their full length. The ceiling is what would be reached if a pass only
    read the weights and the cached keys and values from memory.
    """
    from llmasos.cli.loading import with_license
    from llmasos.engine.benchmark import Workload
    from llmasos.modeling.loading import Placement
    from llmasos.sdk import open_model_folder

    if what not in PARTS:
        raise InvalidRequest(
            t("{what!r} cannot be measured; allowed: {allowed}", what=what, allowed=", ".join(PARTS)),
            hint=did_you_mean(what, PARTS),
        )
    workloads = [Workload(count, prompt_tokens, new_tokens) for count in _numbers(streams)]
    for workload in workloads:
        workload.check()
    if repeat < 1:
        raise InvalidRequest(
            t("{name} = {value}: allowed is {allowed}", name="repeat", value=repeat,
              allowed=t("a whole number from {low}", low=1))
        )  # fmt: skip
    out = Output(json=json)
    folder = with_license(lambda accept: open_model_folder(model, accept_license=accept), out, accept_license)
    options = _options(max(item.streams for item in workloads), speculation, decode)
    backend = _open(folder, options, Placement(dtype, device, threads, cache_dtype))
    try:
        facts = _facts(folder, backend)
        with out.progress():
            rows = [_row(_median(backend, workload, repeat), facts) for workload in workloads]
        facts |= _memory(backend) | _decoding(backend)
    finally:
        backend.close()
    out.result({**facts, "results": rows}, lambda: _show(out, facts, rows))


def _numbers(text: str) -> list[int]:
    words = text.replace(",", " ").split()
    if not words or not all(word.isdecimal() for word in words):
        raise InvalidRequest(
            t("--streams {text}: allowed are whole numbers with commas", text=repr(text)), hint="--streams 1,4,16"
        )
    return [int(word) for word in words]


def _options(streams: int, speculation: bool, decode: str) -> EngineOptions:
    from llmasos.engine.graphs.options import DECODE_MODES, DecodeOptions
    from llmasos.engine.options import EngineOptions

    mode = next((known for known in DECODE_MODES if known == decode), None)
    if mode is None:
        raise InvalidRequest(
            t("--decode {value}: allowed are {allowed}", value=repr(decode), allowed=", ".join(DECODE_MODES)),
            hint=did_you_mean(decode, DECODE_MODES),
        )
    return EngineOptions(
        max_sequences=max(streams, EngineOptions().max_sequences),
        prompt_lookup=speculation,
        decode=DecodeOptions(mode),
    )


def _open(folder: ModelFolder, options: EngineOptions, placement: Placement) -> EngineBackend[Engine]:
    from llmasos.engine.opening import open_engine
    from llmasos.modeling.folder import Family
    from llmasos.modeling.tokenizer import FastTokenizer
    from llmasos.modeling.tokenizer_files import load_tokenizer

    if folder.family is not Family.CAUSAL:
        raise Unsupported(
            t("{model} is of the family {family}; the engine runs decoder-only models", model=folder.reference,
              family=folder.family.value),
            hint=t("`llmasos list` shows the models."),
        )  # fmt: skip
    tokenizer = load_tokenizer(folder)
    if not isinstance(tokenizer, FastTokenizer):
        raise Unsupported(t("{model} has a tokenizer that the engine cannot use", model=folder.reference))
    return open_engine(folder, tokenizer, placement, options)


def _facts(folder: ModelFolder, backend: EngineBackend[Engine]) -> dict[str, Any]:
    """What does not depend on the workload; serves a first short request."""
    import psutil

    from llmasos import hardware
    from llmasos.engine.benchmark import warm_up

    first_token = warm_up(backend.engine)
    return {
        "model": folder.reference,
        "runs_as": backend.description,
        "device": backend.device,
        "dtype": backend.dtype,
        "cache_dtype": backend.cache_dtype,
        "processor": hardware.processor().model,
        "start_seconds": first_token - psutil.Process().create_time(),
        "weight_bytes": backend.engine.weight_bytes,
        "cache_bytes_per_token": backend.engine.limits.bytes_per_token,
        # The processor's memory says nothing about a GPU's.
        "memory_bandwidth": hardware.memory_bandwidth() if backend.device == "cpu" else None,
    }


def _memory(backend: EngineBackend[Engine]) -> dict[str, Any]:
    from llmasos.engine.benchmark import peak_memory

    limits = backend.engine.limits
    return {"peak_memory_bytes": peak_memory(), "cache_bytes": limits.cache_tokens * limits.bytes_per_token}


def _decoding(backend: EngineBackend[Engine]) -> dict[str, Any]:
    """Which path decoding passes took, all runs together."""
    counts = backend.decode_counts
    return {"decode_path": backend.decode_path, "decode_counts": None if counts is None else asdict(counts)}


def _median(backend: EngineBackend[Engine], workload: Workload, repeat: int) -> Measurement:
    """The run with the middle throughput."""
    from llmasos import progress
    from llmasos.engine.benchmark import measure

    with progress.current().task(t("measure {count} stream(s)", count=workload.streams)):
        runs = [measure(backend.engine, workload, seed=seed) for seed in range(repeat)]
    return sorted(runs, key=lambda run: run.tokens_per_second)[repeat // 2]


def _row(run: Measurement, facts: dict[str, Any]) -> dict[str, Any]:
    from llmasos.engine.benchmark import ceiling

    limit = None
    if facts["memory_bandwidth"] and facts["weight_bytes"]:
        limit = ceiling(
            run.workload,
            weight_bytes=facts["weight_bytes"],
            bytes_per_token=facts["cache_bytes_per_token"],
            bandwidth=facts["memory_bandwidth"],
        )
    values = asdict(run)
    return {
        **values.pop("workload"),
        "tokens_per_second": run.tokens_per_second,
        "prompt_tokens_per_second": run.prompt_tokens_per_second,
        **values,
        "ceiling_tokens_per_second": limit,
    }


def _show(out: Output, facts: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    from llmasos.units import format_bytes, format_duration

    weights, bandwidth = facts["weight_bytes"], facts["memory_bandwidth"]
    out.facts(
        [
            (t("model"), facts["model"]),
            (t("runs as"), f"{facts['runs_as']} ({facts['device']})"),
            (t("start to first token"), format_duration(facts["start_seconds"])),
            (t("weights read by a pass"), "-" if weights is None else format_bytes(weights)),
            (t("cache of a token"), format_bytes(facts["cache_bytes_per_token"])),
            (t("memory bandwidth"), "-" if bandwidth is None else f"{format_bytes(bandwidth)}/s"),
            (t("peak memory"), f"{format_bytes(facts['peak_memory_bytes'])} "
             + t("(cache: {size})", size=format_bytes(facts["cache_bytes"]))),
            (t("decoding"), _decoding_text(facts)),
        ]
    )  # fmt: skip
    out.print()
    columns = [
        t("Streams"), t("Tokens/s"), t("Prompt tokens/s"), t("Decoding"), t("Ceiling"), t("First token p50/p95"),
        t("Pause p50/p95/p99"), t("Guessed right"),
    ]  # fmt: skip
    out.table([Column(title, right=True) for title in columns], [_cells(row) for row in rows])
    if any(row["preemptions"] for row in rows):
        out.warn(t("The cache was too small for all streams at once: some were computed again."))


def _decoding_text(facts: dict[str, Any]) -> str:
    from llmasos.engine.graphs.options import path_name

    text, counts = path_name(facts["decode_path"]), facts["decode_counts"]
    if counts is None:
        return text
    return f"{text}: " + t(
        "{static} passes in {shapes} shapes, {eager} passes eager",
        static=counts["static_passes"], shapes=counts["captured"], eager=counts["eager_passes"],
    )  # fmt: skip


def _cells(row: dict[str, Any]) -> list[str]:
    def rate(value: float | None) -> str:
        return "-" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.1f}"

    def milliseconds(values: dict[str, float] | None, *shares: str) -> str:
        return "-" if values is None else "/".join(f"{values[share] * 1e3:.1f}" for share in shares) + " ms"

    guessed = row["guessed_tokens"]
    return [
        str(row["streams"]),
        rate(row["tokens_per_second"]),
        rate(row["prompt_tokens_per_second"]),
        rate(row["decode_tokens_per_second"]),
        rate(row["ceiling_tokens_per_second"]),
        milliseconds(row["first_token"], "p50", "p95"),
        milliseconds(row["pause"], "p50", "p95", "p99"),
        f"{row['accepted_tokens']}/{guessed}" if guessed else "-",
    ]
