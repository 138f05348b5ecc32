"""Our own tasks, answered by our engine and by the ``hf`` model of lm-evaluation-harness: agreement sample by sample.

    python benchmarks/evaluation_own_tasks.py --model smollm2:135m-instruct --data FOLDER [--dtype float32] [--limit 50]

``evaluation.py`` compares the two on tasks of the harness; this one takes ours. Both get the same calls (prompts after
the chat template, continuations, stop texts) and the same judge reads their answers, so what differs is the model's
work alone. Log-probabilities, verdicts and written texts are laid side by side; where verdicts of a choice part, the
margin between the two likeliest choices is listed.

Results go to ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from llmasos.evaluation.backends.protocol import Answer, Call, Continue, Predict, Write, Written
from llmasos.evaluation.records import Record

RESULTS = Path(__file__).parent / "results"
TASKS = ("arc-challenge", "logiqa", "sst2", "tnews", "gsm8k", "lambada")
SAMPLES_ONLY = ("lambada",)
"""Tasks whose data a folder seldom has: they take the rows that come with them."""
LONGEST = 2048


class Harness:
    """Answers the calls of our tasks with ``hf``.

    Attributes:
        prompts: as sent, of the calls that come next.
    """

    def __init__(self, folder: Path, dtype: str, threads: int) -> None:
        import torch
        from lm_eval.models.huggingface import HFLM

        torch.set_num_threads(threads)
        self._model: Any = HFLM(pretrained=str(folder), dtype=dtype, device="cpu", batch_size=8)
        self._model._max_length = min(self._model.max_length, LONGEST)
        self.prompts: list[str] = []

    def run(self, calls: Sequence[Call]) -> Iterator[tuple[int, Answer]]:
        """As :meth:`llmasos.evaluation.backends.protocol.Backend.run`."""
        by_kind: dict[type, list[int]] = {}
        for index, call in enumerate(calls):
            by_kind.setdefault(type(call), []).append(index)
        ways: dict[type, Any] = {Continue: self._continue, Write: self._write, Predict: self._predict}
        for kind, places in by_kind.items():
            answers = ways[kind]([calls[place] for place in places], [self.prompts[place] for place in places])
            yield from zip(places, answers, strict=True)

    def _continue(self, calls: list[Continue], prompts: list[str]) -> list[Answer]:
        found = self._model.loglikelihood([
            self._instance("loglikelihood", prompt, call.continuation)
            for prompt, call in zip(prompts, calls, strict=True)
        ])  # fmt: skip
        return [
            Answer(prompt, logprob=total, greedy=greedy, tokens=len(self._model.tok_encode(call.continuation)))
            for prompt, call, (total, greedy) in zip(prompts, calls, found, strict=True)
        ]

    def _predict(self, calls: list[Predict], prompts: list[str]) -> list[Answer]:
        found = self._model.loglikelihood_rolling(
            [self._instance("loglikelihood_rolling", call.text) for call in calls]
        )
        return [
            Answer(prompt, logprob=total, tokens=len(self._model.tok_encode(call.text)))
            for prompt, call, total in zip(prompts, calls, found, strict=True)
        ]

    def _write(self, calls: list[Write], prompts: list[str]) -> list[Answer]:
        assert all(call.temperature == 0 and call.samples == 1 for call in calls), "only greedy answers can be compared"
        found = self._model.generate_until([
            self._instance(
                "generate_until", prompt,
                {"until": list(call.stop), "max_gen_toks": call.max_tokens, "do_sample": False, "temperature": 0.0},
            )
            for prompt, call in zip(prompts, calls, strict=True)
        ])  # fmt: skip
        return [
            Answer(prompt, outputs=(Written(text, self._ending(text, call)),))
            for prompt, call, text in zip(prompts, calls, found, strict=True)
        ]

    def _ending(self, text: str, call: Write) -> str:
        return "length" if len(self._model.tok_encode(text)) >= call.max_tokens else "stop"

    @staticmethod
    def _instance(kind: Any, *arguments: Any) -> Any:
        from lm_eval.api.instance import Instance

        return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)


def records(judge: Any, samples: Sequence[Any], answerer: Any) -> tuple[list[Record], list[Answer]]:
    """What comes of the samples, and all answers."""
    own = [judge.calls(sample) for sample in samples]
    calls = [call for entries in own for call in entries]
    answers: dict[int, Answer] = dict(answerer.run(calls))
    found, start = [], 0
    for sample, entries in zip(samples, own, strict=True):
        found.append(judge.record(sample, [answers[start + offset] for offset in range(len(entries))]))
        start += len(entries)
    return found, [answers[index] for index in range(len(calls))]


def compare(ours: tuple[list[Record], list[Answer]], theirs: tuple[list[Record], list[Answer]]) -> dict[str, Any]:
    """Verdicts, log-probabilities and texts side by side."""
    different = []
    for mine, other in zip(ours[0], theirs[0], strict=True):
        assert mine.prompt == other.prompt and mine.error is None and other.error is None, (mine, other)
        if (mine.status, mine.parsed) != (other.status, other.parsed):
            different.append({
                "index": mine.index, "ours": [mine.status, mine.parsed], "theirs": [other.status, other.parsed],
                "margin": _margin(other.choice_logprobs),
            })  # fmt: skip
    pairs = list(zip(ours[1], theirs[1], strict=True))
    gaps = [abs(a.logprob - b.logprob) for a, b in pairs if a.logprob is not None and b.logprob is not None]
    texts = [(a.outputs[0].text, b.outputs[0].text) for a, b in pairs if a.outputs]
    return {
        "samples": len(ours[0]), "different": different,
        "logprobs": len(gaps), "largest_logprob_difference": max(gaps, default=None),
        "texts": len(texts), "same_texts": sum(a.strip() == b.strip() for a, b in texts),
        "accuracy": [sum(record.status == "correct" for record in side[0]) / len(side[0]) for side in (ours, theirs)],
    }  # fmt: skip


def _margin(logprobs: tuple[float, ...] | None) -> float:
    if logprobs is None or len(logprobs) < 2:
        return math.nan
    best, second = sorted(logprobs, reverse=True)[:2]
    return best - second


def main() -> None:
    """Run both and print what they agree on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="name in the library")
    parser.add_argument("--data", type=Path, required=True, help="folder with the data of the tasks")
    parser.add_argument("--dtype", default="float32", help="number format of both")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--limit", type=int, default=50, help="samples of each task")
    parser.add_argument("--task", nargs="+", default=list(TASKS))
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()

    import llmasos
    from llmasos.evaluation.backends.open import backend_of
    from llmasos.evaluation.options import RunOptions
    from llmasos.evaluation.prepare import prepare
    from llmasos.evaluation.tasks.find import find
    from llmasos.library.store import Library

    library = Library()
    folder = library.view(library.resolve(options.model))
    asked: dict[str, Any] = {}
    ours: dict[str, tuple[list[Record], list[Answer]]] = {}
    with llmasos.load(options.model, dtype=options.dtype, threads=options.threads, device="cpu") as model:
        backend = backend_of(model)
        for task in options.task:
            chosen = {"sample": True} if task in SAMPLES_ONLY else {"data": options.data, "limit": options.limit}
            asked[task] = prepare(find(task), backend, RunOptions(**chosen))
            ours[task] = records(asked[task].judge, asked[task].samples, backend)
    harness = Harness(folder, options.dtype, options.threads)  # now that there is room for a second model
    found: dict[str, Any] = {}
    for task in options.task:
        harness.prompts = [answer.prompt for answer in ours[task][1]]
        same = compare(ours[task], records(asked[task].judge, asked[task].samples, harness))
        found[task] = same
        told = f"{len(same['different'])} of {same['samples']} verdicts differ"
        if same["logprobs"]:
            told += f", largest difference of {same['logprobs']} log-probabilities"
            told += f" {same['largest_logprob_difference']:.4f}"
        if same["texts"]:
            told += f", {same['same_texts']} of {same['texts']} texts are the same letter by letter"
        print(f"{task:<16}{told}; accuracy {same['accuracy']}", flush=True)
        for entry in same["different"]:
            print(f"    {entry}", flush=True)
    report = {"model": options.model, "dtype": options.dtype, "limit": options.limit, "tasks": found}
    name = f"evaluation-own-{options.model.replace(':', '-').replace('/', '-')}-{options.dtype}.json"
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / name).write_text(json.dumps(report, indent=2) + "\n")
    print(f"{options.results / name} is written")


if __name__ == "__main__":
    main()
