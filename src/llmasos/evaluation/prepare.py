"""Before the first question: data read and chosen, examples drawn, the judge of the kind, what the run is named by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from llmasos.errors import InvalidRequest
from llmasos.evaluation.backends.protocol import Ability, Backend
from llmasos.evaluation.data.fetch import Places
from llmasos.evaluation.data.options import HubFile, LocalFile, UrlFile
from llmasos.evaluation.data.rows import Rows, fetch_split, missing, read_split
from llmasos.evaluation.judging import ChoiceJudge, ClassificationJudge, Judge, PerplexityJudge, need
from llmasos.evaluation.metrics.registry import metric_of
from llmasos.evaluation.options import RunOptions
from llmasos.evaluation.prompts import Prompter, Sample
from llmasos.evaluation.question import Questions
from llmasos.evaluation.records import sample_id
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
    WrittenTask,
)
from llmasos.evaluation.tasks.find import FoundTask
from llmasos.evaluation.templates import Template
from llmasos.i18n import t
from llmasos.library.digest import digest_of, short
from llmasos.library.manifest import canonical_json
from llmasos.modeling.chat_template import missing_template
from llmasos.settings import get_settings

EXAMPLES_SPLIT = "few_shot"


@dataclass(frozen=True)
class PreparedTask:
    """A task that is ready to run on one model."""

    found: FoundTask
    task: Task
    """With the caller's changes."""
    samples: list[Sample]
    judge: Judge[Any]
    settings: Mapping[str, Any]
    """What decides the records beside the task and the model."""
    data_digest: str
    notes: tuple[str, ...]

    def key(self, backend: Backend) -> str:
        """Digest of all that decides the records."""
        model = {"reference": backend.reference, "digest": backend.digest, **backend.facts}
        parts = [model, self.found.digest, self.data_digest, dict(self.settings)]
        return digest_of(canonical_json(parts))

    @property
    def settings_digest(self) -> str:
        """Digest of the settings alone."""
        return digest_of(canonical_json(dict(self.settings)))


def fetch_data(found: FoundTask, options: RunOptions) -> None:
    """Get the data of a task, so that what is missing shows before a model is loaded.

    Raises:
        NotFound, Unavailable, Unauthorised, IntegrityError: see :func:`~llmasos.evaluation.data.fetch.fetch`.
    """
    task = _changed(found.task, options)
    for split in _splits(task):
        fetch_split(task.data, split, _places(found, options), sample=options.sample)


def missing_data(found: FoundTask, options: RunOptions) -> list[HubFile | UrlFile | LocalFile]:
    """The files of a task that are not on this machine, and would be fetched."""
    if options.sample:
        return []
    task = _changed(found.task, options)
    return [file for split in _splits(task) for file in missing(task.data, split, _places(found, options))]


def _splits(task: Task) -> list[str]:
    """The splits that a run of the task reads."""
    if isinstance(task, PromptedTask) and task.few_shot.count and not task.few_shot.examples:
        return [task.data.evaluate, _examples_split(task)]
    return [task.data.evaluate]


def _places(found: FoundTask, options: RunOptions) -> Places:
    folder = options.data or get_settings().evaluation_data
    return Places(found.task.name, found.folder, folder, options.unchecked_data)


def prepare(found: FoundTask, backend: Backend, options: RunOptions) -> PreparedTask:
    """Read the data of a task and get everything ready.

    Raises:
        Unsupported: the model cannot do this kind of task, or has no chat template.
        InvalidRecipe: a template does not fit the rows, or there is no such metric.
        InvalidRequest: no sample is left, or there are too few rows for examples.
        NotFound, Unavailable, IntegrityError: what :func:`~llmasos.evaluation.data.rows.read_split` says.
    """
    task = _changed(found.task, options)
    check_abilities(task, backend.reference, backend.abilities)
    for use in task.metric_uses:
        metric_of(use)  # a misspelled metric shows before the model works
    places = _places(found, options)
    rows = read_split(task.data, task.data.evaluate, places, sample=options.sample)
    questions = Questions(task)
    samples = _samples(task, questions, rows.rows, options.limit)
    notes = [*rows.notes, *backend.notes]
    if len(samples) < len(rows.rows) and options.limit is not None:
        notes.append(t("{count} of {total} samples, spread evenly", count=len(samples), total=len(rows.rows)))
    settings: dict[str, Any] = dict(options.deciding())
    prompter = None
    if isinstance(task, PromptedTask):
        chat = _uses_chat(task, backend)
        examples = _examples(task, places, options)
        notes += [] if examples is None else examples.notes
        count = task.few_shot.count
        solved = [] if examples is None else _kept(task, examples.rows)
        settings |= {"few_shot": count, "chat": chat}
        if solved:  # a file of one's own may stand in for the split: other rows, other prompts
            settings["examples"] = short(digest_of(canonical_json([sample_id(row) for row in solved])))
        prompter = Prompter(task, questions, solved, count=count, chat=chat, seed=task.few_shot.seed)
        if samples:
            prompter.prompt(samples[0])  # what is wrong with the examples shows before the model works
    data_digest = digest_of(canonical_json([sample.id for sample in samples]))
    judge = _judge(task, prompter, backend, options)
    notes += judge.notes
    return PreparedTask(found, task, samples, judge, settings, data_digest, tuple(dict.fromkeys(notes)))


def _changed(task: Task, options: RunOptions) -> Task:
    """The task with what the caller chose."""
    changes: dict[str, Any] = {}
    if isinstance(task, PromptedTask):
        shots: dict[str, Any] = {}
        if options.few_shot is not None:
            shots["count"] = options.few_shot
        if options.seed is not None:
            shots["seed"] = options.seed
        if shots:
            changes["few_shot"] = task.few_shot.model_copy(update=shots)
        if options.chat is not None:
            changes["chat"] = options.chat
    if isinstance(task, WrittenTask) and options.max_tokens is not None:
        changes["generation"] = task.generation.model_copy(update={"max_tokens": options.max_tokens})
    return task.model_copy(update=changes)


def check_abilities(task: Task, reference: str, abilities: Set[Ability]) -> None:
    """Refuse a task that a model cannot do.

    Args:
        reference: what people call the model.
        abilities: what it can do.

    Raises:
        Unsupported: it cannot do this one.
    """
    if isinstance(task, PerplexityTask):
        need(reference, abilities, task, "perplexity" if task.context is None else "loglikelihood")
    elif isinstance(task, ChoiceTask):
        need(reference, abilities, task, "loglikelihood")
    elif isinstance(task, ClassificationTask):
        need(reference, abilities, task, "classify", "loglikelihood")
    else:
        need(reference, abilities, task, "generate")


def _uses_chat(task: PromptedTask, backend: Backend) -> bool:
    if task.chat == "off" or "classify" in backend.abilities:
        return False
    if task.chat == "on":
        if backend.has_chat_template is False:
            raise missing_template(backend.reference)
        return True
    return isinstance(task, WrittenTask) and backend.has_chat_template is not False


def _samples(task: Task, questions: Questions, rows: Sequence[Mapping[str, Any]], limit: int | None) -> list[Sample]:
    wanted = _where(task)
    named = None if task.data.id is None else Template(task.data.id, f"{task.name}: data.id")
    places = [place for place, row in enumerate(rows) if wanted is None or _holds(wanted, row)]
    if not places:
        raise InvalidRequest(
            t("no sample of the task {task} is left: none of {count} rows fits {where}", task=task.name,
              count=len(rows), where=task.data.where),
            hint=t("Correct data.where in the task."),
        )  # fmt: skip
    ids: dict[int, str] = {}
    seen: dict[str, int] = {}
    for place in places:  # rows may stand in the data twice
        digest = sample_id(rows[place])
        seen[digest] = seen.get(digest, 0) + 1
        ids[place] = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
    if limit is not None and limit < len(places):
        places = [places[number * len(places) // limit] for number in range(limit)]
    return [
        Sample(place, ids[place], questions.of(rows[place]), None if named is None else named.text(rows[place]))
        for place in places
    ]


def _where(task: Task) -> Template | None:
    return None if task.data.where is None else Template(task.data.where, f"{task.name}: data.where")


def _holds(template: Template, row: Mapping[str, Any]) -> bool:
    found = template.value(row)
    return found not in ("", "False", "false", "0") if isinstance(found, str) else bool(found)


def _examples(task: PromptedTask, places: Places, options: RunOptions) -> Rows | None:
    """Rows that solved examples may come from; ``None``: none are needed."""
    if task.few_shot.count == 0:
        return None
    if task.few_shot.examples:
        return Rows(list(task.few_shot.examples), {})
    return read_split(task.data, _examples_split(task), places, sample=options.sample)


def _examples_split(task: PromptedTask) -> str:
    if task.few_shot.split is not None:
        return task.few_shot.split
    return EXAMPLES_SPLIT if EXAMPLES_SPLIT in task.data.splits else task.data.evaluate


def _kept(task: PromptedTask, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those of the rows that may be examples. Rows written in the task were chosen by its author, and may lack the
    columns that the templates of the data read."""
    shots = task.few_shot
    if shots.examples:
        return list(rows)
    wanted = [] if shots.where is None else [Template(shots.where, f"{task.name}: few_shot.where")]
    if task.data.where is not None and task.data.where_few_shot:
        wanted.append(Template(task.data.where, f"{task.name}: data.where"))
    return [row for row in rows if all(_holds(template, row) for template in wanted)]


def _judge(task: Task, prompter: Prompter | None, backend: Backend, options: RunOptions) -> Judge[Any]:
    from llmasos.evaluation import judging_written as written

    seed = options.seed or 0
    if isinstance(task, ChoiceTask):
        return ChoiceJudge(task, prompter)
    if isinstance(task, ClassificationTask):
        return ClassificationJudge(task, prompter, backend.labels)
    if isinstance(task, PerplexityTask):
        return PerplexityJudge(task, None)
    if isinstance(task, GenerationTask):
        return written.GenerationJudge(task, prompter, seed)
    if isinstance(task, Seq2SeqTask):
        return written.Seq2SeqJudge(task, prompter, seed)
    if isinstance(task, InstructionsTask):
        from llmasos.evaluation.judging_instructions import InstructionsJudge

        return InstructionsJudge(task, prompter, seed)
    assert isinstance(task, CodeTask)
    from llmasos.evaluation.judging_code import CodeJudge

    return CodeJudge(task, prompter, seed, unsafe=options.unsafe_code)
