"""Small tasks, rows and models for the tests of evaluation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from llmasos.evaluation.backends.protocol import Ability, Answer, Call, Continue, Label, Predict, PromptInput, Write
from llmasos.evaluation.backends.protocol import Written as Written
from llmasos.evaluation.tasks.find import FoundTask, find

SUMS = [
    {"q": f"What is {number} plus {number}?", "choices": [str(2 * number), str(2 * number + 1), "99"], "answer": 0,
     "text": f"the model reads line {number} of the text", "label": ("negative", "neutral", "positive")[number % 3]}
    for number in range(12)
]  # fmt: skip
EXAMPLES = [
    {"q": f"What is {number} plus 1?", "choices": [str(number + 1), "7"], "answer": 0} for number in range(100, 110)
]


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def make_task(
    folder: Path, kind: str, *, rows: Sequence[Mapping[str, Any]] = SUMS, name: str | None = None, **keys: Any
) -> FoundTask:
    """Write a task with its rows into a folder and read it."""
    name = name or kind
    write_rows(folder / f"{name}-rows.jsonl", rows)
    write_rows(folder / "examples.jsonl", EXAMPLES)
    data = {"splits": {"test": f"{name}-rows.jsonl", "few_shot": "examples.jsonl"}, **keys.pop("data", {})}
    path = folder / f"{name}.yaml"
    values = {"name": name, "kind": kind, "data": data, **keys}
    path.write_text(yaml.safe_dump(values, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return find(path)


def choice_task(folder: Path, **keys: Any) -> FoundTask:
    values = {"prompt": "Q: {{q}}\nA:", "choices": "{{choices}}", "answer": "{{answer}}", **keys}
    return make_task(folder, "choice", **values)


def generation_task(folder: Path, **keys: Any) -> FoundTask:
    values = {
        "prompt": "Q: {{q}}\nA:", "references": "{{choices[0]}}", "extraction": {"kind": "last_number"},
        "match": "numeric", "generation": {"max_tokens": 8}, **keys,
    }  # fmt: skip
    return make_task(folder, "generation", **values)


def perplexity_task(folder: Path, **keys: Any) -> FoundTask:
    return make_task(folder, "perplexity", **{"text": "{{text}}", **keys})


def classification_task(folder: Path, **keys: Any) -> FoundTask:
    values = {
        "prompt": "{{text}}\nSentiment:", "text": "{{text}}", "labels": ["negative", "neutral", "positive"],
        "answer": "{{label}}", **keys,
    }  # fmt: skip
    return make_task(folder, "classification", **values)


class ScriptedBackend:
    """A backend that says what the test tells it to: texts that are written, and log-probabilities by continuation."""

    digest: str | None = None
    notes: tuple[str, ...] = ()
    labels: Sequence[str] | None = None

    def __init__(
        self,
        outputs: Sequence[str] = ("",),
        *,
        finish_reason: str = "stop",
        logprobs: Mapping[str, float] | None = None,
        abilities: Sequence[Ability] = ("loglikelihood", "perplexity", "generate"),
        chat: bool | None = False,
        reference: str = "scripted",
        error: str | None = None,
    ) -> None:
        self.outputs, self.finish_reason, self.logprobs = list(outputs), finish_reason, dict(logprobs or {})
        self.abilities = frozenset(abilities)
        self.has_chat_template = chat
        self.reference = reference
        self.error = error
        self.facts: Mapping[str, Any] = {"dtype": "none"}
        self.calls: list[Call] = []

    def show(self, prompt: PromptInput) -> str:
        if prompt.messages is None:
            return prompt.text
        return "".join(f"<{message['role']}>{message['content']}" for message in prompt.messages)

    def run(self, calls: Sequence[Call]) -> Iterator[tuple[int, Answer]]:
        for index, call in enumerate(calls):
            self.calls.append(call)
            yield index, self._answer(index, call)

    def close(self) -> None:
        pass

    def _answer(self, index: int, call: Call) -> Answer:
        if isinstance(call, Predict | Label):
            return Answer(call.text, 1, logprob=-2.0, tokens=4, error=self.error)
        shown = self.show(call.prompt)
        if self.error is not None:
            return Answer(shown, error=self.error)
        if isinstance(call, Continue):
            value = self.logprobs.get(call.continuation.strip(), -5.0)
            return Answer(shown, 3, logprob=value, tokens=1, greedy=value > -1)
        assert isinstance(call, Write)
        text = self.outputs[index % len(self.outputs)]
        return Answer(shown, 3, outputs=(Written(text, self.finish_reason),) * call.samples, seconds=0.25)
