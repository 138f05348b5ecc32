"""Our own engine, opened as ``llmasos.load`` opens it, with requests that arrive all at once.

Settings: ``precision`` (``int8``, ``int4``, ``bf16``; default: what the machine suggests) and ``lookup`` (speculation
from what a text repeats; default false here, so that plain decoding is compared with plain decoding). Unlike the other
programs this one also turns tokens into text, as the engine always does.
"""

from __future__ import annotations

import importlib.metadata
import time
from pathlib import Path
from typing import Any

from llmasos import __version__
from llmasos.engine.backend import EngineBackend
from llmasos.engine.opening import open_engine
from llmasos.engine.options import EngineOptions
from llmasos.engine.request import Grammar, Request, SamplingParameters
from llmasos.modeling.folder import ModelFolder
from llmasos.modeling.loading import Placement
from llmasos.modeling.tokenizer import FastTokenizer
from llmasos.modeling.tokenizer_files import load_tokenizer
from peers.protocol import Job, Recorder, Report, main


def open_backend(job: Job) -> EngineBackend:
    folder = ModelFolder.open(Path(job.model))
    tokenizer = load_tokenizer(folder)
    assert isinstance(tokenizer, FastTokenizer)
    # Room for every token of a run one and a half times, as the others get.
    room = 3 * job.values_per_token * (job.streams * (job.longest + 32) + 64)
    return open_engine(
        folder,
        tokenizer,
        Placement(dtype=job.setting.get("precision"), device="cpu", threads=job.threads),
        EngineOptions(prompt_lookup=bool(job.setting.get("lookup", False)), cache_bytes=room),
    )


def serve(job: Job) -> Report:
    backend = open_backend(job)
    engine = backend.engine
    names: list[str | None] = [None] * job.streams
    for index, folder in enumerate(job.adapters):
        assert backend.adapters is not None
        names[index] = f"adapter-{index}"
        backend.adapters.load(f"adapter-{index}", Path(folder))
    grammar = None if job.schema is None else Grammar("json_schema", job.schema)

    def requests(prompts: list[list[int]], new_tokens: int) -> list[Request]:
        sampling = SamplingParameters(temperature=0, max_tokens=new_tokens, ignore_eos=grammar is None)
        return [
            Request(prompt, sampling, adapter=name, grammar=grammar)
            for prompt, name in zip(prompts, names, strict=False)
        ]

    for _, delta in engine.stream_together(requests([job.warm_up], min(8, job.new_tokens))):
        if delta.usage is not None:
            assert delta.usage.first_token_seconds is not None
            after_first = delta.usage.total_seconds - delta.usage.first_token_seconds
    first_token = time.time() - after_first
    runs = [run(engine, prompts, requests(prompts, job.new_tokens)) for prompts in job.runs]
    return Report(
        "LLMasOS",
        f"{__version__}, torch {importlib.metadata.version('torch')}",
        {**job.setting, "runs_as": backend.description, "threads": job.threads, "batch_tokens": 512},
        first_token - job.spawned_at,
        engine.weight_bytes or 0,
        engine.limits.bytes_per_token,
        runs,
    )


def run(engine: Any, prompts: list[list[int]], requests: list[Request]) -> dict[str, Any]:
    engine.clear_cache()
    before = engine.stats()
    recorder = Recorder(len(prompts))
    forced = 0
    for stream, delta in engine.stream_together(requests):
        if delta.error is not None:
            raise SystemExit(delta.error)
        if delta.token_ids:
            recorder.take(stream, delta.token_ids)
        if delta.usage is not None:
            forced += delta.usage.forced_tokens
    after = engine.stats()
    return recorder.result(
        prompts,
        passes=after.passes - before.passes,
        cached_tokens=after.cached_tokens - before.cached_tokens,
        forced_tokens=forced,
        proposed=after.speculative_proposed - before.speculative_proposed,
        accepted=after.speculative_accepted - before.speculative_accepted,
    )


if __name__ == "__main__":
    main(serve)
