"""Prompts: solved examples drawn with a fixed seed, as plain text or as a conversation."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmasos.errors import InvalidRequest
from llmasos.evaluation.backends.protocol import PromptInput
from llmasos.evaluation.question import Question, Questions
from llmasos.evaluation.records import sample_id
from llmasos.evaluation.task import FewShot, PromptedTask
from llmasos.i18n import t


@dataclass(frozen=True)
class Sample:
    """A row to evaluate."""

    index: int
    id: str
    """See :attr:`llmasos.evaluation.records.Record.sample_id`."""
    question: Question
    name: str | None = None


class Prompter:
    """Puts prompts together.

    Args:
        task: what is asked.
        questions: fills its templates.
        examples: rows that solved examples may be drawn from.
        count: how many examples.
        chat: whether prompts are conversations.
        seed: of the draw.

    Raises:
        InvalidRequest: there are too few rows for so many examples, or the task has no solutions to show.
    """

    def __init__(
        self,
        task: PromptedTask,
        questions: Questions,
        examples: Sequence[Mapping[str, Any]],
        *,
        count: int,
        chat: bool,
        seed: int,
    ) -> None:
        self._task, self._questions, self._chat = task, questions, chat
        self._options: FewShot = task.few_shot
        # A row that stands twice is one example.
        self._rows = list({sample_id(row): row for row in examples}.values()) if count else []
        self._count, self._seed = count, seed
        self._drawn: dict[str, list[tuple[str, Question]]] = {}
        if count > len(self._rows):
            raise self._too_few(len(self._rows))

    def prompt(self, sample: Sample) -> PromptInput:
        """The prompt of a sample. Where examples come from the evaluated split, a sample is no example for itself."""
        examples = self._examples(sample)
        if self._chat:
            return self._conversation(sample.question, examples)
        return PromptInput(self._plain(sample.question, examples))

    def continuation(self, question: Question, text: str) -> str:
        """A text as it follows the prompt."""
        prefix = question.answer_prefix
        if self._chat:
            return f" {text}" if prefix and not prefix[-1].isspace() else text
        return text if prefix and prefix[-1].isspace() else f"{self._task.delimiter}{text}"

    # --- inside -----------------------------------------------------------------------------------------------

    def _examples(self, sample: Sample) -> list[Question]:
        if not self._count:
            return []
        same = self._options.same
        group = "" if same is None else str(sample.question.row.get(same))
        if self._options.per_sample:
            found = self._solved(self._draw(self._rows_of(group), f"{group}/{sample.id}"))
        else:
            if group not in self._drawn:
                self._drawn[group] = self._solved(self._draw(self._rows_of(group), group))
            found = self._drawn[group]
        own = sample.id.partition("-")[0]  # without the number of a row that stands in the data twice
        others = [example for id_, example in found if id_ != own][: self._count]
        if len(others) < self._count:
            raise self._too_few(len(others))
        if any(example.solution is None for example in others):
            raise InvalidRequest(
                t("the task {task} does not say how a solved example looks", task=self._task.name),
                hint=t("Set few_shot.count to 0, or name the solution as target in the task."),
            )
        return others

    def _rows_of(self, group: str) -> list[Mapping[str, Any]]:
        same = self._options.same
        return self._rows if same is None else [row for row in self._rows if str(row.get(same)) == group]

    def _too_few(self, found: int) -> InvalidRequest:
        return InvalidRequest(
            t("{count} solved examples were asked for, and the task {task} has {found}", count=self._count,
              task=self._task.name, found=found),
            hint=t("Ask for fewer with --few-shot, or name more rows as few_shot in the task."),
        )  # fmt: skip

    def _draw(self, rows: Sequence[Mapping[str, Any]], salt: str) -> list[Mapping[str, Any]]:
        """One more than needed, for the sample itself may be among them."""
        count = min(self._count + 1, len(rows))
        if self._options.choose == "first":
            return list(rows[:count])
        digest = hashlib.sha256(f"{self._seed}/{salt}".encode()).digest()
        return random.Random(int.from_bytes(digest[:8], "big")).sample(list(rows), count)  # noqa: S311

    def _solved(self, rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, Question]]:
        return [(sample_id(row), self._questions.of(row)) for row in rows]

    def _answered(self, question: Question) -> str:
        """The beginning of the answer and its solution."""
        prefix, solution = question.answer_prefix, question.solution or ""
        if not prefix:
            return solution
        return prefix + solution if prefix[-1].isspace() else f"{prefix} {solution}"

    def _plain(self, question: Question, examples: Sequence[Question]) -> str:
        task, separator = self._task, self._options.separator
        system = self._questions.system(question.row)
        parts = [] if system is None else [system]
        parts += [f"{example.prompt}{task.delimiter}{self._answered(example)}" for example in examples]
        last = question.prompt
        if question.answer_prefix:
            last += task.delimiter + question.answer_prefix
        return separator.join([*parts, last])

    def _conversation(self, question: Question, examples: Sequence[Question]) -> PromptInput:
        task = self._task
        messages: list[dict[str, str]] = []
        system = self._questions.system(question.row)
        if system is not None:
            messages.append({"role": "system", "content": system})
        if self._options.multi_turn:
            for example in examples:
                messages.append({"role": "user", "content": example.prompt})
                messages.append({"role": "assistant", "content": self._answered(example)})
            asked = question.prompt
        else:
            solved = [f"{example.prompt}{task.delimiter}{self._answered(example)}" for example in examples]
            asked = self._options.separator.join([*solved, question.prompt])
        messages.append({"role": "user", "content": asked})
        thinking = getattr(task, "thinking", None)  # of tasks in which the model writes
        return PromptInput(
            messages=tuple(messages), answer_prefix=question.answer_prefix, variables=task.template_variables,
            wishes={} if thinking is None else {"enable_thinking": thinking},
        )  # fmt: skip
