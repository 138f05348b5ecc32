"""OpenVINO GenAI's pipeline with continuous batching, on the GGUF file itself.

Settings: ``batch_tokens`` (rows of one pass, default 512), ``prefix_caching`` (default false), ``share`` (with prefix
caching: compute a shared prefix in a request of its own before the others arrive; requests that arrive together do
not find each other's prefix), ``lookup`` (prompt lookup decoding).

Precision of arithmetic and cache are the library's own choice for the machine. All requests are added at once, then
passes are made and new tokens read until all have ended. Adapters are served one request after the other: all
requests of a batch must have the same.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino_genai as genai

from peers.protocol import Job, Recorder, Report, main

DRAFT, NGRAM = 5, 3
BLOCK = 32
DEVICE = "CPU"


def pipeline(job: Job, properties: dict[str, Any]) -> genai.ContinuousBatchingPipeline:
    scheduler = genai.SchedulerConfig()
    # Room for every token of a run one and a half times: nothing waits or is computed twice.
    scheduler.num_kv_blocks = (job.streams * (-(-job.longest // BLOCK) + 1) + 2) * 3 // 2
    scheduler.max_num_batched_tokens = int(job.setting.get("batch_tokens", 512))
    scheduler.enable_prefix_caching = bool(job.setting.get("prefix_caching", False))
    return genai.ContinuousBatchingPipeline(job.model, scheduler, DEVICE, properties)


def configuration(job: Job, new_tokens: int, adapter: genai.Adapter | None = None) -> genai.GenerationConfig:
    config = genai.GenerationConfig()
    config.max_new_tokens = new_tokens
    config.do_sample = False
    if job.schema is None:
        config.ignore_eos = True
    else:
        config.structured_output_config = genai.StructuredOutputConfig(json_schema=json.dumps(job.schema))
    if job.setting.get("lookup"):
        config.num_assistant_tokens, config.max_ngram_size = DRAFT, NGRAM
    if adapter is not None:
        config.adapters = genai.AdapterConfig(adapter)
    return config


class Client:
    """Adds requests, makes passes and reads what they give."""

    def __init__(self, pipe: genai.ContinuousBatchingPipeline) -> None:
        self._pipe = pipe
        self._number = 0

    def serve(
        self, prompts: dict[int, list[int]], configs: list[genai.GenerationConfig], recorder: Recorder | None
    ) -> None:
        handles = {}
        for (stream, prompt), config in zip(prompts.items(), configs, strict=True):
            self._number += 1
            tensor = ov.Tensor(np.asarray([prompt], dtype=np.int64))
            handles[stream] = self._pipe.add_request(self._number, tensor, config)
        while self._pipe.has_non_finished_requests():
            self._pipe.step()
            now = time.perf_counter()
            for stream, handle in handles.items():
                while handle.can_read():
                    for output in handle.read().values():
                        if recorder is not None and output.generated_ids:
                            recorder.take(stream, list(output.generated_ids), now)


def serve(job: Job) -> Report:
    properties: dict[str, Any] = {"INFERENCE_NUM_THREADS": job.threads}
    adapters = [genai.Adapter(path) for path in job.adapters]
    if adapters:
        properties["adapters"] = genai.AdapterConfig(adapters)
    if job.setting.get("lookup"):
        properties["prompt_lookup"] = True
    pipe = pipeline(job, properties)
    client = Client(pipe)
    warm = Recorder(1)
    client.serve({0: job.warm_up}, [configuration(job, 1, adapters[0] if adapters else None)], warm)
    first_token = time.time()
    client.serve({0: job.warm_up}, [configuration(job, min(8, job.new_tokens))], None)
    runs = []
    for prompts in job.runs:
        recorder = Recorder(len(prompts))
        if adapters:
            for stream, prompt in enumerate(prompts):
                client.serve({stream: prompt}, [configuration(job, job.new_tokens, adapters[stream])], recorder)
        else:
            if job.prefix_tokens and job.setting.get("share"):
                client.serve({0: prompts[0][: job.prefix_tokens]}, [configuration(job, 1)], None)
            configs = [configuration(job, job.new_tokens)] * len(prompts)
            client.serve(dict(enumerate(prompts)), configs, recorder)
        runs.append(recorder.result(prompts))
    return Report(
        "OpenVINO GenAI",
        f"{genai.__version__}, OpenVINO {ov.__version__}",
        {
            "batch_tokens": 512,
            "prefix_caching": False,
            **job.setting,
            "file": Path(job.model).name,
            "threads": job.threads,
            "precision": "default",
            "cache": "default (u8 on x86)",
        },
        first_token - job.spawned_at,
        int(Path(job.model).stat().st_size * job.read_share),
        1.0 * job.values_per_token,
        runs,
    )


if __name__ == "__main__":
    main(serve)
