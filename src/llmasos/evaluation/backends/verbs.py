"""Classifiers and encoder-decoder models, through the verbs of :class:`~llmasos.modeling.model.Model`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmasos.errors import ContextLengthExceeded, InvalidRequest
from llmasos.evaluation.backends.protocol import Ability, Answer, Call, Label, PromptInput, Write, Written
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.modeling.model import Model

_TOGETHER = 256
"""Texts handed to the model at once; it makes batches of them itself."""


class ClassifierBackend:
    """See :class:`~llmasos.evaluation.backends.protocol.Backend`."""

    abilities: frozenset[Ability] = frozenset({"classify"})
    has_chat_template: bool | None = False
    notes: tuple[str, ...] = ()

    def __init__(self, model: Model, *, digest: str | None = None, facts: Mapping[str, Any] | None = None) -> None:
        self._model = model
        self.reference, self.digest = model.reference, digest
        self.labels: Sequence[str] | None = model.labels
        self.facts: Mapping[str, Any] = {**(facts or {}), "context": model.context_length}

    def show(self, prompt: PromptInput) -> str:
        return prompt.text

    def run(self, calls: Sequence[Call]) -> Iterator[tuple[int, Answer]]:
        for start in range(0, len(calls), _TOGETHER):
            part = calls[start : start + _TOGETHER]
            inputs = [(call.text, call.pair) for call in part if isinstance(call, Label)]
            if len(inputs) != len(part):
                raise InvalidRequest(t("this model labels texts and cannot write"))
            classify: Any = self._model.classify  # its overloads know nothing of lists that mix texts and pairs
            texts = [text if pair is None else (text, pair) for text, pair in inputs]
            for offset, found in enumerate(classify(texts, truncate="end")):
                text, pair = inputs[offset]
                shown = text if pair is None else f"{text}\n{pair}"
                yield (
                    start + offset,
                    Answer(shown, found.tokens, scores=dict(found.scores), truncated_tokens=found.truncated_tokens),
                )

    def close(self) -> None:
        """Nothing: the model belongs to whoever opened it."""


class Seq2SeqBackend:
    """See :class:`~llmasos.evaluation.backends.protocol.Backend`. Rules of the model's own configuration, such as beam
    search, hold where the task does not sample."""

    abilities: frozenset[Ability] = frozenset({"generate"})
    labels: Sequence[str] | None = None
    has_chat_template: bool | None = False
    notes: tuple[str, ...] = ()

    def __init__(self, model: Model, *, digest: str | None = None, facts: Mapping[str, Any] | None = None) -> None:
        self._model = model
        self.reference, self.digest = model.reference, digest
        self.facts: Mapping[str, Any] = {**(facts or {}), "context": model.context_length}

    def show(self, prompt: PromptInput) -> str:
        return prompt.text

    def run(self, calls: Sequence[Call]) -> Iterator[tuple[int, Answer]]:
        start = 0
        while start < len(calls):
            first = calls[start]
            if not isinstance(first, Write):
                raise InvalidRequest(t("encoder-decoder models answer prompts; they do not rate texts"))
            end = start + 1
            while end < len(calls) and end - start < _TOGETHER and _alike(first, calls[end]):
                end += 1
            texts = [call.source or call.prompt.text for call in calls[start:end] if isinstance(call, Write)]
            for offset, answer in enumerate(self._write(texts, first)):
                yield start + offset, answer
            start = end

    def close(self) -> None:
        """Nothing: the model belongs to whoever opened it."""

    def _write(self, texts: list[str], how: Write) -> list[Answer]:
        options: dict[str, Any] = {"max_tokens": how.max_tokens, "truncate": "end"}
        options |= {"stop": list(how.stop)} if how.stop else {}
        if how.temperature > 0:
            options |= {"temperature": how.temperature, "top_p": how.top_p}
        for name in ("source_language", "target_language"):
            if getattr(how, name) is not None and self._model.languages:
                options[name] = getattr(how, name)
        generate: Any = self._model.generate  # its overloads want every option by its name
        rounds = []
        for number in range(how.samples):
            seed = {"seed": how.seed + number} if how.temperature > 0 else {}
            try:
                rounds.append(generate(texts, **options, **seed))
            except ContextLengthExceeded as error:
                return [Answer(text, error=error.message) for text in texts]
        return [
            Answer(
                text,
                found[0].usage.prompt_tokens,
                outputs=tuple(Written(each.text, each.finish_reason) for each in found),
                truncated_tokens=found[0].usage.truncated_tokens,
                seconds=found[0].timings.total_seconds,
            )
            for text, found in zip(texts, zip(*rounds, strict=True), strict=True)
        ]


def _alike(first: Write, other: Call) -> bool:
    """Whether two prompts are answered by the same rules."""
    if not isinstance(other, Write):
        return False
    names = ("max_tokens", "stop", "temperature", "top_p", "samples", "source_language", "target_language")
    # What is drawn depends on the seed, so prompts that sample go one by one.
    return all(getattr(first, name) == getattr(other, name) for name in names) and first.temperature == 0
