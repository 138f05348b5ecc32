"""Tasks in which the model follows instructions that a program can check."""

from __future__ import annotations

from collections.abc import Sequence

from llmasos.evaluation.backends.protocol import Answer, Call
from llmasos.evaluation.instructions.check import follow, parse
from llmasos.evaluation.judging_written import WrittenJudge
from llmasos.evaluation.prompts import Sample
from llmasos.evaluation.records import Record, Status
from llmasos.evaluation.task import InstructionsTask


class InstructionsJudge(WrittenJudge[InstructionsTask]):
    """Checks every instruction, strictly and loosely. A sample is right if all are followed strictly."""

    def calls(self, sample: Sample) -> list[Call]:
        """What to ask the model.

        Raises:
            InvalidRequest: there is no such instruction, or its arguments are wrong.
        """
        for name, arguments in zip(sample.question.instructions, sample.question.arguments, strict=True):
            parse(name, arguments)
        return super().calls(sample)

    def judged(self, sample: Sample, answers: Sequence[Answer]) -> Record:
        question, text = sample.question, self.texts(answers)[0]
        followed = follow(question.instructions, question.arguments, question.prompt, text)
        details = {
            "instructions": list(question.instructions), "strict": list(followed.strict), "loose": list(followed.loose),
        }  # fmt: skip
        if not text.strip():
            cut = answers[0].outputs[0].finish_reason == "length"
            return self.written(sample, answers, status=Status.TRUNCATED if cut else Status.UNPARSED, details=details)
        status = Status.CORRECT if all(followed.strict) else Status.WRONG
        return self.written(sample, answers, status=status, parsed=text, details=details)
