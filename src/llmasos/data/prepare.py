"""Preparing a data set: plan, run the stages, write the files, report, and put it all into the library.

The work lies in a folder of its own until the version is published. Its name follows from everything that decides the
result, so that the same command after an interruption goes on where it stopped, and another recipe begins anew.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from filelock import FileLock, Timeout

from llmasos import __version__, progress
from llmasos.data.linguistics.warnings import warn_about_steps
from llmasos.data.output.gather import GatherStage, plan_files
from llmasos.data.output.publish import plan_inputs, publish
from llmasos.data.pipeline.execution import run_stage
from llmasos.data.pipeline.shard import read_json, write_json
from llmasos.data.pipeline.stages import Stages, sections
from llmasos.data.pipeline.tokens import TokensConfig
from llmasos.data.recipe import DataRecipe, resolved_steps
from llmasos.data.report.facts import make_facts
from llmasos.data.report.statistics import MeasureConfig, merge_statistics
from llmasos.data.sources.plan import Plan, SourcePlan
from llmasos.data.sources.planning import TRAIN, make_plan
from llmasos.data.splitting.assign import AssignConfig
from llmasos.data.step import StepConfig
from llmasos.errors import InvalidRecipe, InvalidRequest, Unavailable
from llmasos.i18n import t
from llmasos.library.metadata import LineageInput
from llmasos.library.reference import Reference

if TYPE_CHECKING:
    from llmasos.library.store import Library, Version
    from llmasos.modeling.folder import ModelFolder


_log = logging.getLogger(__name__)
_FORGOTTEN_SECONDS = 30 * 24 * 3600


@dataclass(frozen=True)
class Prepared:
    """A finished preparation.

    Attributes:
        version: of the data set in the library.
        facts: the report as data; see :mod:`llmasos.data.report.facts`.
        resumed: tasks that an earlier, interrupted run had done.
    """

    version: Version
    facts: dict[str, Any]
    resumed: int


def prepare(
    recipe: DataRecipe,
    *,
    folder: Path,
    library: Library,
    open_model: Callable[[str], ModelFolder],
    keep_work: bool = False,
) -> Prepared:
    """Prepare a data set and publish it in the library.

    Args:
        folder: what relative paths of the recipe are relative to.
        open_model: gives a model's folder for its tokenizer and template.
        keep_work: leave the folder of the work, to look into it.

    Raises:
        InvalidRecipe, NotFound: the recipe leads nowhere; see :func:`llmasos.data.sources.planning.make_plan`.
        InvalidRequest: no row is left.
        Unavailable: another process prepares the same, or a cluster lost tasks.
        IntegrityError: a file is damaged.
    """
    name = Reference.parse(recipe.name) if recipe.name is not None else None
    tokens = tokens_of(recipe, open_model)
    shard_bytes = max(int(recipe.execution.shard_megabytes * 2**20), 1)
    plan = make_plan(recipe.sources, folder, shard_bytes=shard_bytes)
    kind = kind_of(plan)
    _check_names(recipe, plan)
    steps = resolved_steps(recipe, folder)
    for warning in warn_about_steps(steps, [kind]):
        progress.current().log(warning.message, level="warning")
    compared = compared_sources(steps)
    work = library.home / "data" / fingerprint(recipe, plan, compared, tokens)
    work.mkdir(parents=True, exist_ok=True)
    lock = FileLock(work.with_name(work.name + ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise Unavailable(
            t("another process is preparing the same data set"),
            hint=t("Wait for it to finish, or end it, and try again."),
        ) from error
    try:
        write_json(work / "plan.json", plan.model_dump(mode="json"))
        task = _Task(recipe, plan, kind, steps, compared, tokens, work, library)
        prepared = _run(task, name)
        if not keep_work:
            shutil.rmtree(work)
        _sweep(work.parent)
        return prepared
    finally:
        lock.release()
        if not work.exists():
            Path(lock.lock_file).unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove the work of preparations that nobody has gone on with for weeks."""
    for work in folder.iterdir():
        if not work.is_dir() or time.time() - work.stat().st_mtime < _FORGOTTEN_SECONDS:
            continue
        lock = FileLock(work.with_name(work.name + ".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        _log.info("removing the unfinished preparation %s", work)
        shutil.rmtree(work)
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


@dataclass(frozen=True)
class _Task:
    recipe: DataRecipe
    plan: Plan
    kind: str
    steps: tuple[StepConfig, ...]
    compared: tuple[SourcePlan, ...]
    tokens: TokensConfig | None
    work: Path
    library: Library


def _run(task: _Task, name: Reference | None) -> Prepared:
    recipe, plan, work, tokens = task.recipe, task.plan, task.work, task.tokens
    splits = splits_of(recipe, plan)
    divided = tuple(sections(task.steps, tokens, assignment_of(recipe, plan)))
    stages = Stages(work, len(plan.shards), divided, splits, recipe.seed)
    resumed = stages.run(recipe.execution)
    accounts = stages.accounts()
    rows = accounts[-1].rows_out
    if rows == 0:
        lost = max(accounts, key=lambda account: account.rows_rejected)
        raise InvalidRequest(
            t("no row is left: {step} rejected {count} of {total}",
              step=lost.name, count=lost.rows_rejected, total=accounts[0].rows_in),
            hint=t("The rejected rows with their reasons are in {folder}.", folder=work),
        )  # fmt: skip
    files = plan_files(stages.last, len(plan.shards), splits, recipe.output)
    measure = MeasureConfig(
        rows=rows,
        tokenizer=tokens.folder if tokens is not None else None,
        reference=tokens.reference if tokens is not None else "",
    )
    output = work / "output"
    gather = GatherStage(output, stages.last, len(plan.shards), tuple(files), task.kind, recipe.output, measure)
    resumed += run_stage(gather, len(files), t("write the files"), output / "tasks", recipe.execution)
    parts = [output / "statistics" / f"{number:05d}.json" for number in range(len(files))]
    statistics = merge_statistics(read_json(part) for part in parts)
    by_split = {split: sum(file.last - file.first for file in files if file.split == split) for split in splits}
    facts = make_facts(recipe, plan, task.kind, accounts, statistics, by_split, stages.warnings())
    with progress.current().task(t("put it into the library")):
        inputs = [*plan_inputs(plan.sources, "data"), *plan_inputs(task.compared, "compared")]
        if tokens is not None:
            inputs.append(LineageInput(role="tokenizer", digest=tokens.digest, reference=tokens.reference))
        version = publish(task.library, name, recipe, plan, facts, inputs, work, gather, stages)
    return Prepared(version, facts, resumed)


def compared_sources(steps: Sequence[StepConfig]) -> tuple[SourcePlan, ...]:
    """The data sets that steps compare with, such as evaluation sets."""
    sources = [source for step in steps for source in getattr(step, "against", ())]
    return make_plan(sources, Path(), shard_bytes=1 << 40).sources if sources else ()


def fingerprint(recipe: DataRecipe, plan: Plan, compared: Sequence[SourcePlan], tokens: TokensConfig | None) -> str:
    """A name for everything that decides the result: files by their digests, steps, seed, tokenizer, version."""
    content = {
        "recipe": recipe.model_dump(
            mode="json", exclude={"execution", "variables", "name", "description", "license", "languages"}
        ),
        "plan": _portable(plan.sources),
        "compared": _portable(compared),
        "shards": [[piece.model_dump() for piece in shard] for shard in plan.shards],
        "tokens": tokens.model_dump(mode="json", exclude={"folder"}) if tokens is not None else None,
        "code": __version__,
    }
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()[:20]


def _portable(sources: Sequence[SourcePlan]) -> list[dict[str, Any]]:
    """The sources without where their files lie on this machine."""
    return [
        source.model_dump(
            mode="json", exclude={"files": {"__all__": {"path", "second", "pieces"}}, "skipped_files": True}
        )
        for source in sources
    ]


def tokens_of(recipe: DataRecipe, open_model: Callable[[str], ModelFolder]) -> TokensConfig | None:
    """The step that counts tokens, if the recipe names a model; raises what opening the model raises."""
    if recipe.tokens is None:
        return None
    from llmasos.modeling.tokenizer_files import load_tokenizer

    model = open_model(recipe.tokens.model)
    digest = load_tokenizer(model).digest
    return TokensConfig(
        folder=model.path, digest=digest, reference=recipe.tokens.model, options=recipe.tokens.rendering
    )


def kind_of(plan: Plan) -> str:
    """The kind of all samples."""
    kinds = {source.name: source.layout.kind for source in plan.sources}
    if len(set(kinds.values())) > 1:
        raise InvalidRecipe(
            t("the sources hold different kinds of samples: {kinds}",
              kinds=", ".join(f"{name}: {kind}" for name, kind in kinds.items())),
            hint=t("Give them layouts of the same kind; templates make prompts and completions of anything."),
        )  # fmt: skip
    return next(iter(kinds.values()))


def _check_names(recipe: DataRecipe, plan: Plan) -> None:
    names = [source.name for source in plan.sources]
    if recipe.mix is None:
        return
    for name in recipe.mix.weights:
        if name not in names:
            raise InvalidRecipe(
                t("mix.weights names {name!r}, which is no source", name=name),
                hint=t("The sources are: {names}.", names=", ".join(names)),
            )
    missing = [name for name in names if name not in recipe.mix.weights]
    if recipe.mix.method == "share" and missing:
        raise InvalidRecipe(
            t("mix.weights has no share for {name!r}", name=missing[0]),
            hint=t("The sources are: {names}.", names=", ".join(names)),
        )


def splits_of(recipe: DataRecipe, plan: Plan) -> tuple[str, ...]:
    """Names of all splits, train first."""
    parts = recipe.split.parts if recipe.split is not None else {}
    return tuple(dict.fromkeys([TRAIN, *parts, *(source.into for source in plan.sources)]))


def assignment_of(recipe: DataRecipe, plan: Plan) -> AssignConfig | None:
    """The step that divides and mixes the rows, if there is anything to divide or mix."""
    if recipe.split is None and recipe.mix is None and all(source.into == TRAIN for source in plan.sources):
        return None
    return AssignConfig(
        split=recipe.split,
        mix=recipe.mix,
        seed=recipe.seed,
        sources=tuple(source.name for source in plan.sources),
        into=tuple(source.into for source in plan.sources),
    )
