"""Tasks in which the model writes a program: it is run against its tests where it can reach nothing."""

from __future__ import annotations

from collections.abc import Sequence

from llmasos.errors import Unsupported
from llmasos.evaluation.backends.protocol import Answer
from llmasos.evaluation.extraction.extract import extract
from llmasos.evaluation.judging_written import WrittenJudge
from llmasos.evaluation.prompts import Prompter, Sample
from llmasos.evaluation.records import Record, Status
from llmasos.evaluation.sandbox.isolation import choose
from llmasos.evaluation.sandbox.options import Isolation, Limits, Outcome, OutcomeStatus
from llmasos.evaluation.sandbox.run import run
from llmasos.evaluation.task import CodeTask
from llmasos.evaluation.templates import Template
from llmasos.i18n import t

_LONGEST_REASON = 500


class CodeJudge(WrittenJudge[CodeTask]):
    """Runs every program of a sample.

    Args:
        unsafe: run programs without isolation where this machine offers none.

    Raises:
        Unsupported: this machine offers none, and ``unsafe`` is off.
    """

    concurrent = True

    def __init__(self, task: CodeTask, prompter: Prompter | None, seed: int, *, unsafe: bool) -> None:
        super().__init__(task, prompter, seed)
        try:
            self.isolation = choose()
        except Unsupported:
            if not unsafe:
                raise
            self.isolation = choose(Isolation.NONE)
            self.notes = [t("programs were run without isolation")]
        self._limits = Limits(seconds=task.timeout, memory=task.memory)
        parts = (task.program,) if isinstance(task.program, str) else task.program
        self._parts = [Template(part, f"{task.name}: program.{number}") for number, part in enumerate(parts)]

    def judged(self, sample: Sample, answers: Sequence[Answer]) -> Record:
        outputs = answers[0].outputs
        programs = [extract(self.task.extraction, text) for text in self.texts(answers)]
        outcomes = [None if program is None else self._run(sample, program) for program in programs]
        broken = next((one for one in outcomes if one is not None and one.status is OutcomeStatus.ERROR), None)
        if broken is not None:
            return self.written(sample, answers, status=Status.ERROR, error=broken.stderr.strip()[:_LONGEST_REASON])
        passed = tuple(one is not None and one.status is OutcomeStatus.PASSED for one in outcomes)
        cut = outputs[0].finish_reason == "length"
        if passed[0]:
            status = Status.CORRECT
        elif cut or programs[0] is None:
            status = Status.TRUNCATED if cut else Status.UNPARSED
        else:
            status = Status.WRONG
        details = {
            "outcomes": ["unparsed" if one is None else one.status.value for one in outcomes],
            "reason": _reason(outcomes[0]),
        }
        return self.written(sample, answers, status=status, parsed=programs[0], passed=passed, details=details)

    def _run(self, sample: Sample, completion: str) -> Outcome:
        values = {**sample.question.row, "completion": completion}
        parts: list[str] = []
        for template in self._parts:
            found = template.value(values)
            parts += [str(item) for item in found] if isinstance(found, list | tuple) else [str(found)]
        return run(parts, self._limits, self.isolation)


def _reason(outcome: Outcome | None) -> str | None:
    """The last line of what a program wrote about its failure."""
    if outcome is None or outcome.status is OutcomeStatus.PASSED:
        return None
    lines = outcome.stderr.strip().splitlines()
    return lines[-1][:_LONGEST_REASON] if lines else outcome.status.value
