"""From the steps of a recipe to stages, and running them one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from llmasos.data.pipeline.account import StepAccount, merge_accounts
from llmasos.data.pipeline.complete import CompleteConfig
from llmasos.data.pipeline.execution import Execution, run_stage
from llmasos.data.pipeline.shard import read_json
from llmasos.data.pipeline.stage import ConcludeStage, ReduceStage, RowStage, remove_folder
from llmasos.data.pipeline.steps import step_name
from llmasos.data.pipeline.tokens import TokensConfig
from llmasos.data.splitting.assign import AssignConfig
from llmasos.data.step import CorpusStepConfig, StepConfig, TransformConfig
from llmasos.i18n import t


@dataclass(frozen=True)
class Section:
    """A corpus step, and the row steps up to the next one; the first section has no corpus step."""

    corpus: CorpusStepConfig | None
    steps: tuple[StepConfig, ...]


def sections(steps: Sequence[StepConfig], tokens: TokensConfig | None, assign: AssignConfig | None) -> list[Section]:
    """Divide the steps at those that need all rows.

    The check for empty rows comes before the first of them, so that duplicates of nothing are not compared, and again
    at the end if texts were changed after it. Tokens are counted when texts are final, and splitting comes last.
    """
    divided: list[tuple[CorpusStepConfig | None, list[StepConfig]]] = [(None, [])]
    for step in steps:
        if isinstance(step, CorpusStepConfig):
            divided.append((step, []))
        else:
            divided[-1][1].append(step)
    divided[0][1].append(CompleteConfig())
    if len(divided) > 1 and any(isinstance(step, TransformConfig) for _, later in divided[1:] for step in later):
        divided[-1][1].append(CompleteConfig())
    if tokens is not None:
        divided[-1][1].append(tokens)
    if assign is not None:
        divided.append((assign, []))
    return [Section(corpus, tuple(later)) for corpus, later in divided]


@dataclass(frozen=True)
class Stages:
    """All stages of rows of a preparation in a folder of work."""

    work: Path
    shards: int
    sections: tuple[Section, ...]
    splits: tuple[str, ...]
    seed: int

    def folder(self, number: int) -> Path:
        return self.work / f"{number:02d}-rows"

    def notes(self, number: int) -> Path:
        """Where the corpus step of a section notes."""
        return self.work / f"{number:02d}-notes"

    @property
    def last(self) -> Path:
        """The folder of the last stage of rows."""
        return self.folder(len(self.sections) - 1)

    def run(self, execution: Execution) -> int:
        """Run all stages that are not done; returns the number of tasks that had been done before."""
        skipped = 0
        for number, section in enumerate(self.sections):
            if section.corpus is not None:
                skipped += self._run_corpus_step(number, section.corpus, execution)
            label = t("read the files") if number == 0 else t("apply {step}", step=step_name_of(section))
            skipped += run_stage(self._row_stage(number), self.shards, label, self.folder(number) / "tasks", execution)
            if number > 0:  # nothing reads them any more
                remove_folder(self.folder(number - 1) / "rows")
                remove_folder(self.notes(number))
        return skipped

    def _run_corpus_step(self, number: int, corpus: CorpusStepConfig, execution: Execution) -> int:
        label = t("compare for {step}", step=step_name(corpus))
        tasks = self.work / f"{number:02d}-tasks"
        partitions = corpus.build().partitions
        skipped = 0
        if partitions:
            stage = ReduceStage(corpus, self.notes(number), self.shards)
            skipped += run_stage(stage, partitions, label, tasks / "reduce", execution)
        conclude = ConcludeStage(corpus, self.notes(number), tasks / "conclusion.json", self.shards)
        return skipped + run_stage(conclude, 1, label, tasks / "conclude", execution)

    def _row_stage(self, number: int) -> RowStage:
        section = self.sections[number]
        following = self.sections[number + 1].corpus if number + 1 < len(self.sections) else None
        return RowStage(
            folder=self.folder(number),
            plan_file=self.work / "plan.json",
            before=self.folder(number - 1) if number > 0 else None,
            applied=(section.corpus, self.notes(number)) if section.corpus is not None else None,
            steps=section.steps,
            noted=(following, self.notes(number + 1)) if following is not None else None,
            splits=self.splits if isinstance(section.corpus, AssignConfig) else (),
            salt=f"shuffle {self.seed}" if following is None else None,
        )

    def warnings(self) -> list[str]:
        """What steps warned of, each once."""
        stages = [self._row_stage(number).warnings(self.shards) for number in range(len(self.sections))]
        return list(dict.fromkeys(warning for found in stages for warning in found))

    def accounts(self) -> list[StepAccount]:
        """The accounts of all steps in order; each gets exactly the rows that the one before let through."""
        result: list[StepAccount] = []
        for number, section in enumerate(self.sections):
            merged = merge_accounts(self._row_stage(number).accounts(self.shards))
            if section.corpus is not None:
                conclusion = read_json(self.work / f"{number:02d}-tasks" / "conclusion.json")
                merged[0].count(conclusion)
            result += merged
        for before, after in pairwise(result):
            assert before.rows_out == after.rows_in, f"{before.name}: {before.rows_out}, {after.name}: {after.rows_in}"
        return result


def step_name_of(section: Section) -> str:
    assert section.corpus is not None
    return step_name(section.corpus)
