"""A model that answers at once and predictably: what the conversation needs of a model, without weights."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmasos.errors import ContextLengthExceeded
from llmasos.modeling.options import SamplingOptions
from llmasos.modeling.results import Delta, Timings, Usage


class FakeModel:
    """Repeats the last message, says what it was sent, and counts words as tokens.

    ``slowly N`` streams N words, ten milliseconds each; ``temperature?`` tells the options.
    """

    def __init__(
        self,
        name: str = "fake:latest",
        *,
        context_length: int | None = 1000,
        verbs: Sequence[str] = ("generate", "chat"),
    ) -> None:
        self.name = name
        self.context_length = context_length
        self.capabilities = frozenset(verbs)
        self.defaults = SamplingOptions(temperature=0.7)
        self.prompts: list[str | list[Mapping[str, str]]] = []
        self.closed = False
        self.streams_closed = 0

    def stream(self, prompt: str | Sequence[Mapping[str, str]], **options: Any) -> Iterator[Delta]:
        chosen = self.defaults.updated(options)
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        self.prompts.append(prompt if isinstance(prompt, str) else list(prompt))
        length = self.prompt_tokens(messages)
        if self.context_length is not None and length > self.context_length:
            raise ContextLengthExceeded(f"{length} tokens do not fit {self.context_length}")
        last = messages[-1]["content"]
        if last.startswith("slowly"):
            words = [f"word{number}" for number in range(int(last.split()[1]))]
        elif last == "temperature?":
            words = [f"temperature={chosen.temperature}", f"stop={chosen.stop}"]
        elif last == "system?":
            words = ["system:", *(m["content"] for m in messages if m["role"] == "system")]
        elif last == "turns?":
            words = [f"turns={len(messages)}"]
        else:
            words = ["echo:", *last.split(" ")]
        words = words[: chosen.max_tokens]
        begun = time.perf_counter()
        try:
            for index, word in enumerate(words):
                if last.startswith("slowly"):
                    time.sleep(0.01)
                yield Delta(text=word if index == 0 else f" {word}", token_ids=[index])
            seconds = time.perf_counter() - begun
            yield Delta(
                finish_reason="length" if len(words) == chosen.max_tokens else "stop",
                usage=Usage(length, len(words)),
                timings=Timings(0.001, seconds, len(words) / max(seconds, 1e-6)),
            )
        finally:
            self.streams_closed += 1

    def prompt_tokens(self, messages: Sequence[Mapping[str, str]]) -> int:
        return sum(len(message["content"].split()) for message in messages)

    def close(self) -> None:
        self.closed = True
