"""From a model's answers to a record: the calls that a sample needs, and the verdict on what comes back."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence, Set
from typing import Any, Generic, TypeVar

from llmasos.errors import InvalidRequest, Unsupported, did_you_mean
from llmasos.evaluation.backends.protocol import (
    Ability,
    Answer,
    Call,
    Continue,
    Label,
    Predict,
    PromptInput,
)
from llmasos.evaluation.prompts import Prompter, Sample
from llmasos.evaluation.records import Record, Status
from llmasos.evaluation.task import BaseTask, ChoiceTask, ClassificationTask, PerplexityTask
from llmasos.i18n import t

TaskT = TypeVar("TaskT", bound=BaseTask)


class Judge(ABC, Generic[TaskT]):
    """One kind of task. :meth:`calls` and :meth:`record` belong together: answers come back in the calls' order."""

    concurrent = False
    """Whether :meth:`record` takes long and may run in several threads."""
    notes: Sequence[str] = ()
    """What a reader of the scores must know."""

    def __init__(self, task: TaskT, prompter: Prompter | None) -> None:
        self.task = task
        self._prompter = prompter

    @property
    def prompter(self) -> Prompter:
        assert self._prompter is not None, self.task.name
        return self._prompter

    @abstractmethod
    def calls(self, sample: Sample) -> list[Call]:
        """What to ask the model for a sample."""

    @abstractmethod
    def judged(self, sample: Sample, answers: Sequence[Answer]) -> Record:
        """The record of a sample whose answers have no error."""

    def record(self, sample: Sample, answers: Sequence[Answer]) -> Record:
        """The record of a sample."""
        error = next((answer.error for answer in answers if answer.error is not None), None)
        if error is not None:
            return self.new(sample, answers, output="", status=Status.ERROR, error=error)
        return self.judged(sample, answers)

    def new(self, sample: Sample, answers: Sequence[Answer], *, output: str, status: Status, **values: Any) -> Record:
        """A record with what all kinds have."""
        first = answers[0]
        details: dict[str, Any] = dict(values.pop("details", {}))
        cut = max(answer.truncated_tokens for answer in answers)
        if cut:
            details["truncated_tokens"] = cut
        if sample.name is not None:
            details["name"] = sample.name
        seconds = [answer.seconds for answer in answers if answer.seconds is not None]
        fields = {"parsed": None, "references": sample.question.references, "target": None, **values}
        return Record(
            task=self.task.name, index=sample.index, sample_id=sample.id, prompt=first.prompt,
            prompt_tokens=first.prompt_tokens, output=output, status=status, details=details,
            latency_seconds=max(seconds) if seconds else None, **fields,
        )  # fmt: skip


class ChoiceJudge(Judge[ChoiceTask]):
    """Rates every choice. The first of equally likely ones counts as chosen."""

    def calls(self, sample: Sample) -> list[Call]:
        return rating_calls(self.prompter, sample)

    def judged(self, sample: Sample, answers: Sequence[Answer]) -> Record:
        question = sample.question
        count = len(question.choices)
        logprobs = [answer.logprob if answer.logprob is not None else -math.inf for answer in answers[:count]]
        lengths = tuple(
            (answer.tokens, len(choice), len(choice.encode()))
            for answer, choice in zip(answers, question.choices, strict=False)
        )
        details: dict[str, Any] = {"targets": list(question.targets)} if len(question.targets) > 1 else {}
        scores = normalized(logprobs, lengths, self.task.normalization)
        if question.unconditional is not None:
            base = [answer.logprob or 0.0 for answer in answers[count:]]
            details["unconditional_logprobs"] = base
            scores = [score - other for score, other in zip(logprobs, base, strict=True)]
        chosen = max(range(count), key=lambda place: scores[place])
        return self.new(
            sample, answers, output=question.choices[chosen], parsed=question.choices[chosen],
            status=Status.CORRECT if chosen in question.targets else Status.WRONG, target=question.targets[0],
            choice_logprobs=tuple(logprobs), choice_lengths=lengths, details={"chosen": chosen, **details},
        )  # fmt: skip


def rating_calls(prompter: Prompter, sample: Sample) -> list[Call]:
    """One call for each choice; then, where asked for, one each for the choices without the question."""
    question = sample.question
    prompt = prompter.prompt(sample)
    calls: list[Call] = [Continue(prompt, prompter.continuation(question, choice)) for choice in question.choices]
    if question.unconditional is not None:
        bare = PromptInput(question.unconditional)
        calls += [Continue(bare, prompter.continuation(question, choice)) for choice in question.choices]
    return calls


def normalized(logprobs: Sequence[float], lengths: Sequence[tuple[int, int, int]], by: str) -> list[float]:
    """Log-probabilities divided by the length of their texts: not at all, in tokens, characters or bytes."""
    if by == "none":
        return list(logprobs)
    unit = ("tokens", "characters", "bytes").index(by)
    return [value / max(length[unit], 1) for value, length in zip(logprobs, lengths, strict=True)]


class ClassificationJudge(Judge[ClassificationTask]):
    """Asks a classifier for the class; a model that writes rates the word of every class.

    Args:
        labels: names of the model's own classes, if it is a classifier.

    Raises:
        Unsupported: the classes of the model are not those of the task.
    """

    def __init__(self, task: ClassificationTask, prompter: Prompter | None, labels: Sequence[str] | None) -> None:
        super().__init__(task, prompter)
        self._names = None if labels is None else matched_labels(task, labels)

    def calls(self, sample: Sample) -> list[Call]:
        if self._names is None:
            return rating_calls(self.prompter, sample)
        return [Label(sample.question.text, sample.question.pair)]

    def judged(self, sample: Sample, answers: Sequence[Answer]) -> Record:
        labels, question = self.task.labels, sample.question
        lengths = None
        if self._names is None:
            logprobs = [answer.logprob if answer.logprob is not None else -math.inf for answer in answers]
            lengths = tuple(
                (answer.tokens, len(word), len(word.encode()))
                for answer, word in zip(answers, question.choices, strict=True)
            )
        else:
            scores = answers[0].scores or {}
            logprobs = [math.log(max(scores[name], _SMALLEST)) for name in self._names]
        if not all(math.isfinite(value) for value in logprobs):
            return self.new(sample, answers, output="", status=Status.ERROR, error=t("the model gave no finite score"))
        chosen = max(range(len(labels)), key=lambda place: logprobs[place])
        (target,) = question.targets
        return self.new(
            sample, answers, output=labels[chosen], parsed=labels[chosen], target=target,
            status=Status.CORRECT if chosen == target else Status.WRONG, choice_logprobs=tuple(logprobs),
            choice_lengths=lengths, details={"chosen": chosen},
        )  # fmt: skip


_SMALLEST = 1e-45
"""Probabilities that underflow to 0 count as this, so that their logarithm stays a number."""


def matched_labels(task: ClassificationTask, labels: Sequence[str]) -> list[str]:
    """The model's name of every class of the task: by name, by alias, or in order where the model's are generic.

    Raises:
        Unsupported: there is a class that the model does not have.
    """
    generic = all(label.upper() == f"LABEL_{index}" for index, label in enumerate(labels))
    if generic and len(labels) == len(task.labels):
        return list(labels)
    known = {label.casefold(): label for label in labels}
    others = {label: [alias for alias, name in task.aliases.items() if name == label] for label in task.labels}
    found = []
    for label in task.labels:
        names = [label, *others[label]]
        match = next((known[name.casefold()] for name in names if name.casefold() in known), None)
        if match is None:
            raise Unsupported(
                t("the classes of the model are {model}; the task {task} has {labels}", model=", ".join(labels),
                  task=task.name, labels=", ".join(task.labels)),
                hint=did_you_mean(label, labels) or t("Name the model's classes as aliases in the task."),
            )  # fmt: skip
        found.append(match)
    if len(set(found)) < len(found):
        raise InvalidRequest(
            t("two classes of the task {task} have one name in the model: {names}", task=task.name,
              names=", ".join(found)),
            hint=t("Correct aliases in the task."),
        )  # fmt: skip
    return found


class PerplexityJudge(Judge[PerplexityTask]):
    """Adds up how likely a text is."""

    def calls(self, sample: Sample) -> list[Call]:
        question = sample.question
        if question.context is not None:
            return [Continue(PromptInput(question.context), question.text)]
        return [Predict(question.text, self.task.window)]

    def judged(self, sample: Sample, answers: Sequence[Answer]) -> Record:
        (answer,), text = answers, sample.question.text
        status = Status.SCORED
        details: dict[str, Any] = {}
        words = count_words(text)
        if sample.question.context is not None:
            words = max(len(text.split()), 1)  # the blank before a last word is no word
            status = Status.CORRECT if answer.greedy else Status.WRONG
            details["greedy"] = answer.greedy
        return self.new(
            sample, answers, output="", status=status, references=(text,), loglikelihood=answer.logprob,
            token_count=answer.tokens, word_count=words, byte_count=len(text.encode()), details=details,
        )  # fmt: skip


def count_words(text: str) -> int:
    """Words as lm-evaluation-harness counts them for word perplexity: what lies between blanks, empty ends too."""
    return len(re.split(r"\s+", text))


def need(reference: str, abilities: Set[Ability], task: BaseTask, *any_of: Ability) -> None:
    """Refuse a task that a model cannot do.

    Args:
        reference: what people call the model.
        abilities: what it can do.

    Raises:
        Unsupported: it has none of those that the task needs one of.
    """
    if abilities.isdisjoint(any_of):
        wanted = {name: text for name, text in _abilities().items() if name in any_of}
        raise Unsupported(
            t("{model} cannot do the task {task}, which needs a model that can {wanted}; it can {possible}",
              model=reference, task=task.name, wanted=t(" or ").join(wanted.values()),
              possible=", ".join(_abilities()[name] for name in sorted(abilities))),
            hint=t("`llmasos eval --list` shows the tasks and what each needs."),
        )  # fmt: skip


def _abilities() -> Mapping[str, str]:
    return {
        "loglikelihood": t("rate a text"),
        "perplexity": t("rate a whole text"),
        "generate": t("write"),
        "classify": t("label texts"),
    }
