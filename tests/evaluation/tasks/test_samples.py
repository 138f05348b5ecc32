"""Every built-in task fills its templates on every row of its own sample, with as many examples as it asks for."""

from __future__ import annotations

import pytest

from llmasos.evaluation.data.fetch import Places
from llmasos.evaluation.data.rows import read_split
from llmasos.evaluation.prompts import Prompter, Sample
from llmasos.evaluation.question import Questions
from llmasos.evaluation.records import sample_id
from llmasos.evaluation.task import ChoiceTask, ClassificationTask, PromptedTask
from llmasos.evaluation.tasks.find import builtin_names, find


@pytest.mark.parametrize("name", builtin_names())
def test_a_sample_is_like_the_data(name: str) -> None:
    found = find(name)
    task = found.task
    rows = read_split(task.data, task.data.evaluate, Places(name, found.folder), sample=True).rows
    assert len(rows) >= 2
    questions = Questions(task)
    asked = [questions.of(row) for row in rows]
    if isinstance(task, ChoiceTask | ClassificationTask):
        assert all(question.targets and len(question.choices) > max(question.targets) for question in asked)
    if not isinstance(task, PromptedTask):
        assert all(question.text.strip() for question in asked)
        return
    examples = task.few_shot.examples or rows
    for chat in (False, True):
        prompter = Prompter(task, questions, examples, count=task.few_shot.count, chat=chat, seed=0)
        for index, (row, question) in enumerate(zip(rows, asked, strict=True)):
            prompt = prompter.prompt(Sample(index, sample_id(row), question))
            whole = prompt.text if prompt.messages is None else prompt.messages[-1]["content"]
            assert question.prompt.strip() in whole
