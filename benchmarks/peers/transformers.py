"""transformers' own ``generate`` in bfloat16: one padded batch, as its documentation shows it.

Settings: ``lookup`` (prompt lookup decoding, which takes one stream only).
"""

from __future__ import annotations

import time
from typing import Any

import torch
import transformers

from peers.protocol import Job, Recorder, Report, main

DRAFT = 10
PAD = 0


class Stopwatch(transformers.StoppingCriteria):
    """Called after every step with all tokens so far; notes what is new and stops nothing."""

    def __init__(self, recorder: Recorder, length: int) -> None:
        self._recorder, self._seen = recorder, length

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        now = time.perf_counter()
        for stream, row in enumerate(input_ids[:, self._seen :].tolist()):
            self._recorder.take(stream, row, now)
        self._seen = input_ids.shape[1]
        return torch.zeros(input_ids.shape[0], dtype=torch.bool)


def run(model: Any, job: Job, prompts: list[list[int]], new_tokens: int) -> dict[str, Any]:
    longest = max(map(len, prompts))
    ids = torch.tensor([[PAD] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    more: dict[str, Any] = {"prompt_lookup_num_tokens": DRAFT} if job.setting.get("lookup") else {}
    recorder = Recorder(len(prompts))
    with torch.inference_mode():
        model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=new_tokens,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=PAD,
            stopping_criteria=transformers.StoppingCriteriaList([Stopwatch(recorder, longest)]),
            **more,
        )
    return recorder.result(prompts)


def serve(job: Job) -> Report:
    if job.schema is not None or job.adapters:
        raise SystemExit("transformers' generate has no constrained output, and one adapter for the whole batch")
    torch.set_num_threads(job.threads)
    transformers.logging.set_verbosity_error()
    model = transformers.AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.bfloat16).eval()
    run(model, job, [job.warm_up], 1)
    first_token = time.time()
    run(model, job, [job.warm_up], min(8, job.new_tokens))
    runs = [run(model, job, prompts, job.new_tokens) for prompts in job.runs]
    return Report(
        "transformers",
        f"{transformers.__version__}, torch {torch.__version__}",
        {**job.setting, "dtype": "bfloat16", "attention": model.config._attn_implementation, "threads": job.threads},
        first_token - job.spawned_at,
        int(sum(parameter.nbytes for parameter in model.parameters()) * job.read_share),
        2.0 * job.values_per_token,
        runs,
    )


if __name__ == "__main__":
    main(serve)
