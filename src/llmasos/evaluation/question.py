"""From a row to a question: every template of a task filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmasos.errors import InvalidRecipe, did_you_mean
from llmasos.evaluation.task import (
    ChoiceTask,
    ClassificationTask,
    CodeTask,
    GenerationTask,
    InstructionsTask,
    PerplexityTask,
    PromptedTask,
    Seq2SeqTask,
    Task,
)
from llmasos.evaluation.templates import Template, shown
from llmasos.i18n import t


@dataclass(frozen=True)
class Question:
    """What a row asks. Fields that do not belong to the kind of the task keep their defaults."""

    prompt: str = ""
    answer_prefix: str = ""
    solution: str | None = None
    """The answer as a solved example shows it; ``None``: the task does not say it."""
    choices: tuple[str, ...] = ()
    targets: tuple[int, ...] = ()
    """Numbers of the right choices or of the right class."""
    references: tuple[str, ...] = ()
    unconditional: str | None = None
    text: str = ""
    """What a classifier or an encoder-decoder model reads, or the text to predict."""
    pair: str | None = None
    context: str | None = None
    """Text before the one to predict."""
    instructions: tuple[str, ...] = ()
    arguments: tuple[Mapping[str, Any], ...] = ()
    row: Mapping[str, Any] = field(default_factory=dict)


class Questions:
    """Fills the templates of a task.

    Args:
        task: checked.

    Raises:
        InvalidRecipe: a template has a syntax error.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._templates: dict[str, Template] = {}
        for name in _TEXTS:
            source = getattr(task, name, None)
            if isinstance(source, str):
                self._templates[name] = Template(source, f"{task.name}: {name}")
        self._lists = {
            name: [Template(item, f"{task.name}: {name}.{index}") for index, item in enumerate(given)]
            for name in ("choices", "references")
            if isinstance(given := getattr(task, name, None), tuple)
        }

    def of(self, row: Mapping[str, Any]) -> Question:
        """The question of a row.

        Raises:
            InvalidRecipe: a template names a column that the row lacks, or gives what its key does not take.
        """
        task = self._task
        common: dict[str, Any] = {"row": row}
        if isinstance(task, PromptedTask):
            common |= {"prompt": self._text("prompt", row), "answer_prefix": self._text("answer_prefix", row)}
        if isinstance(task, ChoiceTask):
            return self._choice(task, row, common)
        if isinstance(task, GenerationTask):
            references = self._list("references", row)
            if task.match != "none" and not all(text.strip() for text in references or ("",)):
                raise InvalidRecipe(  # nothing equals it: the row would be wrong whatever the model writes
                    t("{place}: a reference is empty", place=f"{task.name}: references"),
                    hint=t("The row has: {columns}.", columns=shown(row)),
                )
            target = self._optional("target", row)
            solution = target if target is not None else next(iter(references), None)
            return Question(**common, references=references, solution=solution)
        if isinstance(task, Seq2SeqTask):
            references = self._list("references", row)
            source = self._text("source", row)
            return Question(**common, references=references, solution=next(iter(references), None), text=source)
        if isinstance(task, ClassificationTask):
            return self._classification(task, row, common)
        if isinstance(task, PerplexityTask):
            return Question(**common, text=self._text("text", row), context=self._optional("context", row))
        if isinstance(task, CodeTask):
            return Question(**common, solution=self._optional("target", row))
        assert isinstance(task, InstructionsTask)
        names = self._list("instructions", row)
        arguments = self._templates["arguments"].value(row)
        if not isinstance(arguments, Sequence) or len(arguments) != len(names):
            raise self._wrong("arguments", t("a list with as many entries as instructions"), arguments)
        given = tuple({} if entry is None else dict(entry) for entry in arguments)
        return Question(**common, instructions=names, arguments=given)

    def system(self, row: Mapping[str, Any]) -> str | None:
        """The text before everything, of the row that is asked about: examples need not have its columns. Raises as
        :meth:`of`."""
        return self._optional("system", row)

    def _choice(self, task: ChoiceTask, row: Mapping[str, Any], common: dict[str, Any]) -> Question:
        choices = self._list("choices", row)
        if not choices:
            raise self._wrong("choices", t("a list with at least one text"), choices)
        labels: Sequence[str] = ()
        if task.labels is not None:
            given = task.labels if isinstance(task.labels, tuple) else self._templates["labels"].value(row)
            labels = [str(label) for label in given]
        found = self._templates["answer"].value(row)
        entries = found if isinstance(found, list | tuple) else [found]
        targets = tuple(self._place(entry, choices, labels) for entry in entries)
        if not targets:
            raise self._wrong("answer", t("the number, label or text of a choice"), found)
        return Question(
            **common, choices=choices, targets=targets, references=tuple(choices[place] for place in targets),
            solution=choices[targets[0]], unconditional=self._optional("unconditional", row),
        )  # fmt: skip

    def _classification(self, task: ClassificationTask, row: Mapping[str, Any], common: dict[str, Any]) -> Question:
        words = task.words or task.labels
        place = self._place(self._templates["answer"].value(row), task.labels, ())
        return Question(
            **common, choices=words, targets=(place,), references=(task.labels[place],), solution=words[place],
            text=self._text("text", row), pair=self._optional("pair", row),
        )  # fmt: skip

    def _place(self, answer: Any, choices: Sequence[str], labels: Sequence[str]) -> int:
        """The number of the choice that an answer names: by label, text or number."""
        text = str(answer).strip()
        if text in labels:
            place = list(labels).index(text)
            if place < len(choices):
                return place
        if isinstance(answer, str) and text in [choice.strip() for choice in choices]:
            return [choice.strip() for choice in choices].index(text)
        if (isinstance(answer, int) or text.isdecimal()) and 0 <= int(answer) < len(choices):
            return int(answer)
        allowed = ", ".join([*labels, *(repr(choice) for choice in choices)])[:200]
        near = did_you_mean(text, [*labels, *choices])
        raise InvalidRecipe(
            t("{place} = {value}: this names no choice", place=f"{self._task.name}: answer", value=repr(answer)),
            hint=near or t("Allowed are a number from 0 to {last}, or: {names}", last=len(choices) - 1, names=allowed),
        )

    def _text(self, name: str, row: Mapping[str, Any]) -> str:
        return self._templates[name].text(row)

    def _optional(self, name: str, row: Mapping[str, Any]) -> str | None:
        return self._templates[name].text(row) if name in self._templates else None

    def _list(self, name: str, row: Mapping[str, Any]) -> tuple[str, ...]:
        if name in self._lists:
            return tuple(template.text(row) for template in self._lists[name])
        found = self._templates[name].value(row)
        if isinstance(found, str | int | float):
            return (str(found),)
        if isinstance(found, list | tuple):
            return tuple(str(item) for item in found)
        raise self._wrong(name, t("a list"), found)

    def _wrong(self, name: str, allowed: str, value: object) -> InvalidRecipe:
        return InvalidRecipe(
            t("{name} = {value}: allowed is {allowed}", name=f"{self._task.name}: {name}", value=repr(value)[:80],
              allowed=allowed),
            hint=t("Correct the template in the task."),
        )  # fmt: skip


_TEXTS = (
    "prompt", "system", "answer_prefix", "choices", "labels", "answer", "unconditional", "references", "target",
    "source", "text", "pair", "context", "instructions", "arguments",
)  # fmt: skip
"""Fields of tasks that are templates."""
