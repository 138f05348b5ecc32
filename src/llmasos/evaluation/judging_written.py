"""Kinds of tasks in which the model writes: an answer, a text."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from llmasos.evaluation.backends.protocol import Answer, Call, Write
from llmasos.evaluation.extraction.extract import extract
from llmasos.evaluation.extraction.matching import matches
from llmasos.evaluation.extraction.thoughts import OPENING, without_thoughts
from llmasos.evaluation.judging import Judge
from llmasos.evaluation.prompts import Prompter, Sample
from llmasos.evaluation.records import Record, Status
from llmasos.evaluation.task import GenerationTask, Seq2SeqTask, WrittenTask

WrittenT = TypeVar("WrittenT", bound=WrittenTask)

_FROM_THE_END = ("whole", "last_number")
"""Extractions whose answer is not yet there when an output is cut off."""


class WrittenJudge(Judge[WrittenT], Generic[WrittenT]):
    """What these kinds have in common: one call for each sample.

    Args:
        seed: of the run; every sample draws with a seed of its own.
    """

    def __init__(self, task: WrittenT, prompter: Prompter | None, seed: int) -> None:
        super().__init__(task, prompter)
        self._seed = seed

    def calls(self, sample: Sample) -> list[Call]:
        options = self.task.generation
        # A whole number that any server takes, the same whatever runs beside this sample.
        seed = zlib.crc32(f"{self._seed}/{sample.id}".encode()) & 0x7FFFFFFF
        return [
            Write(
                self.prompter.prompt(sample), options.max_tokens, options.stop, options.temperature, options.top_p,
                options.samples, seed, **self._how(sample),
            )
        ]  # fmt: skip

    def _how(self, sample: Sample) -> dict[str, Any]:
        """What else the call says."""
        return {}

    def texts(self, answers: Sequence[Answer]) -> list[str]:
        """What the outputs answer: without what the model thought before."""
        (answer,) = answers
        opened = answer.prompt.rstrip().endswith(OPENING)
        return [without_thoughts(output.text, opened=opened) for output in answer.outputs]

    def written(self, sample: Sample, answers: Sequence[Answer], *, status: Status, **values: Any) -> Record:
        """A record with the outputs and why they ended."""
        (answer,) = answers
        reasons = [output.finish_reason for output in answer.outputs]
        details = {**values.pop("details", {}), "finish_reason": reasons[0] if len(reasons) == 1 else reasons}
        texts = tuple(output.text for output in answer.outputs)
        return self.new(
            sample, answers, output=texts[0], outputs=texts if len(texts) > 1 else (), status=status, details=details,
            **values,
        )  # fmt: skip


class GenerationJudge(WrittenJudge[GenerationTask]):
    """Reads the answer in the output and compares it."""

    def judged(self, sample: Sample, answers: Sequence[Answer]) -> Record:
        task, output = self.task, answers[0].outputs[0]
        parsed = extract(task.extraction, self.texts(answers)[0])
        cut = output.finish_reason == "length"
        if parsed is None:
            status = Status.TRUNCATED if cut else Status.UNPARSED
        elif task.match == "none":
            status = Status.SCORED
        elif any(matches(task.match, parsed, reference) for reference in sample.question.references):
            status = Status.CORRECT
        else:
            status = Status.TRUNCATED if cut and task.extraction.kind in _FROM_THE_END else Status.WRONG
        return self.written(sample, answers, status=status, parsed=parsed)


class Seq2SeqJudge(WrittenJudge[Seq2SeqTask]):
    """Keeps the text for metrics that compare texts."""

    def _how(self, sample: Sample) -> dict[str, Any]:
        return {
            "source": sample.question.text,
            "source_language": self.task.source_language,
            "target_language": self.task.target_language,
        }

    def judged(self, sample: Sample, answers: Sequence[Answer]) -> Record:
        output = answers[0].outputs[0]
        parsed = extract(self.task.extraction, self.texts(answers)[0])
        if parsed is None:
            status = Status.TRUNCATED if output.finish_reason == "length" else Status.UNPARSED
        else:
            status = Status.SCORED
        return self.written(sample, answers, status=status, parsed=parsed, details={"source": sample.question.text})
