"""Everything that can be known before training, cheap things first, in one report.

>>> report = check(read_recipe("sft.yaml"), library=Library())
>>> report.valid, [finding.message for finding in report.errors]
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from llmasos.data.rendering import RenderingAccount
from llmasos.data.token_cache import TokenCache
from llmasos.errors import OutOfDisk
from llmasos.i18n import t
from llmasos.library.store import Library
from llmasos.modeling.finding import as_folder
from llmasos.training import limits
from llmasos.training.assembly import computing_threads
from llmasos.training.distributed.processes import join_processes
from llmasos.training.feeding import Feeds, feed
from llmasos.training.methods.applied import Applied
from llmasos.training.opening import OpenedModel, open_model
from llmasos.training.preflight.data import FoundData, check_data, sample_of
from llmasos.training.preflight.effort import disk_facts, expected_time
from llmasos.training.preflight.measure import measure_steps
from llmasos.training.preflight.memory import estimate_memory, require_fit
from llmasos.training.preflight.options import check_options
from llmasos.training.preflight.probe import probe
from llmasos.training.preflight.report import DataFacts, ModelFacts, Report
from llmasos.training.preflight.start import applied_shapes
from llmasos.training.recipe.kinds import ClassifyRecipe, TrainingRecipe
from llmasos.training.recipe.models import BaseModelSource, ExistingTokenizer
from llmasos.training.trainer.precision import Precision, choose_precision
from llmasos.units import format_bytes

_BYTES_PER_TOKEN = 5  # of the token cache: an id and whether it is learned
MANY_OVERLONG = 0.05
"""Share of rows over the limit from which on it is a warning."""


def check(recipe: TrainingRecipe, *, library: Library, full: bool = False, world: int = 1) -> Report:
    """Check a recipe whose paths are absolute; nothing is trained and nothing is changed, but caches are filled.

    Args:
        full: also read all rows of large files, render every row, fetch the model if it is not here, and do a few
            steps to measure speed and memory.
        world: processes that will share the work.
    """
    report = Report()
    device = check_options(recipe, report, world=world)
    data = check_data(recipe, report, full=full)
    if not _model_is_here(recipe, library, report, full=full) or data is None or device is None:
        return report
    if isinstance(recipe, ClassifyRecipe) and not recipe.labels and not data.counted and len(data.labels) < 2:
        report.warn(
            "data",
            t("the first rows show fewer than 2 classes: nothing that depends on the classes was checked"),
            t("Name them with the key labels, or check with --full."),
        )
        return report
    with report.catching("model"), tempfile.TemporaryDirectory(prefix="llmasos-check-") as folder:
        precision = choose_precision(recipe.trainer, recipe.method, device)
        opened = open_model(
            recipe,
            rows=data.rows.train.rows,
            device=device,
            dtype=str(precision.opened).removeprefix("torch."),
            library=library,
            meta=True,
        )
        for told in opened.warnings:
            if recipe.model.start == "preset":  # it tells about its new tokenizer
                report.note("model", told)
            else:
                report.warn("model", told)
        cache = TokenCache(library.home / "cache" / "tokens" if full else Path(folder))
        rendered = _render(recipe, opened, data, cache, report, full=full, device=device, world=world)
        applied = _apply(recipe, opened, precision, report)
        if applied is not None:
            report.model = _model_facts(recipe, opened, applied, precision, device, report)
            _check_disk(recipe, applied, precision, library, report)
        if applied is not None and rendered is not None:
            _estimate(recipe, _Parts(opened, applied, precision, rendered, device, world), report)
    if full and report.valid:
        _measure(recipe, library, report)
    return report


@dataclass(frozen=True)
class _Parts:
    opened: OpenedModel
    applied: Applied
    precision: Precision
    feeds: Feeds
    device: str
    world: int


def _model_is_here(recipe: TrainingRecipe, library: Library, report: Report, *, full: bool) -> bool:
    """Whether the model can be looked at without fetching it first."""
    if isinstance(recipe.model, BaseModelSource):
        name = recipe.model.reference
    elif isinstance(recipe.model.tokenizer, ExistingTokenizer):
        name = recipe.model.tokenizer.model
    else:
        return True
    if full or as_folder(name) is not None or library.has(name):
        return True
    report.warn(
        "model",
        t("{model} is not in the library: nothing that depends on it was checked", model=name),
        t("`llmasos pull {model}` fetches it, as training would.", model=name),
    )
    return False


def _render(
    recipe: TrainingRecipe,
    opened: OpenedModel,
    data: FoundData,
    cache: TokenCache,
    report: Report,
    *,
    full: bool,
    device: str,
    world: int,
) -> Feeds | None:
    """Turn rows into tokens and batches, as training does."""
    rows = data.rows if full else sample_of(data.rows, seed=recipe.seed)
    complete = data.counted and rows.train.count == data.rows.train.count
    feeds: Feeds | None = None
    with report.catching("tokens"):
        feeds = feed(recipe, opened, rows, cache=cache, world=world, device=device)
        account = feeds.train_account
        read = max(account.rendering.rows, 1)
        scale = data.rows.train.count / read
        counted = data.counted
        limit = opened.renderer.max_length
        facts = DataFacts(
            rows=data.rows.train.count if counted else None,
            validation_rows=(data.rows.validation.count if data.rows.validation is not None else 0)
            if counted
            else None,
            looked_at=account.rendering.rows,
            complete=complete,
            samples=account.rendering.samples,
            tokens=account.tokens,
            learned=account.trained,
            overlong=_overlong(account.rendering),
            max_length=limit,
            sequences=max(round(account.sequences * scale), 1) if counted else None,
            tokens_per_sequence=account.tokens / max(account.sequences, 1),
            padding=1 - account.tokens / account.places if account.places else 0.0,
            labels=dict(data.labels),
        )
        report.data = facts
        for note in account.rendering.notes():
            report.note("tokens", note)
        divided = opened.renderer.options.overlong.kind == "split"  # loses nothing
        if facts.overlong > MANY_OVERLONG * read and not divided:
            report.warn(
                "tokens",
                t("{share} of the rows are longer than {limit} tokens: {policy}", share=f"{facts.overlong / read:.0%}",
                  limit=limit, policy=_policy(opened)),
                t("Raise rendering.max_length, or choose another way in rendering.overlong."),
            )  # fmt: skip
    return feeds


def _overlong(account: RenderingAccount) -> int:
    return account.rejected["too_long"] + account.truncated + account.divided


def _policy(opened: OpenedModel) -> str:
    return {
        "drop": t("they are left out"),
        "truncate": t("they are cut"),
        "error": t("training would stop"),
    }[opened.renderer.options.overlong.kind]


def _apply(recipe: TrainingRecipe, opened: OpenedModel, precision: Precision, report: Report) -> Applied | None:
    """The method on the shapes of the model, weights in the formats of the run."""
    with report.catching("method"):
        applied = applied_shapes(recipe, opened, precision)
        for warning in applied.warnings:
            if not any(finding.message == warning for finding in report.findings):
                report.warn("method", warning)
        return applied
    return None


def _model_facts(
    recipe: TrainingRecipe, opened: OpenedModel, applied: Applied, precision: Precision, device: str, report: Report
) -> ModelFacts:
    packing, remark = limits.packing(recipe, packable=opened.packable)
    if remark is not None:
        report.note("model", remark)
    return ModelFacts(
        reference=opened.folder.reference,
        family=opened.family.value,
        parameters=applied.total,
        trainable=applied.trainable,
        context_length=opened.context_length,
        packed=packing.kind != "none",
        learning_rate=applied.learning_rate,
        compute=str(precision.compute).removeprefix("torch."),
        weights=str(precision.opened).removeprefix("torch."),
        device=device,
    )


def _check_disk(
    recipe: TrainingRecipe, applied: Applied, precision: Precision, library: Library, report: Report
) -> None:
    report.disk = disk_facts(recipe, applied, precision, library.home)
    if report.disk.total > report.disk.free:
        report.error(
            "disk",
            OutOfDisk(
                t("checkpoints and result need {needed} in {folder} and {free} is free",
                  needed=format_bytes(report.disk.total), folder=library.home, free=format_bytes(report.disk.free)),
                needed=report.disk.total,
                free=report.disk.free,
                hint=t("Lower checkpoints.keep_last, or free some space: `llmasos runs rm`, `llmasos gc`."),
            ),
        )  # fmt: skip


def _estimate(recipe: TrainingRecipe, parts: _Parts, report: Report) -> None:
    assert report.data is not None
    with report.catching("memory"), computing_threads(recipe.trainer.threads, join_processes(recipe.trainer.device)):
        probed = probe(recipe, parts.opened, parts.feeds, parts.precision, parts.device)
        size = parts.feeds.micro_batch_size
        report.memory = estimate_memory(
            recipe,
            parts.applied,
            parts.precision,
            probed,
            device=parts.device,
            micro_batches=max(recipe.trainer.batch_size // (size * parts.world), 1),
            data=_BYTES_PER_TOKEN * report.data.tokens * (report.data.rows or 0) // max(report.data.looked_at, 1),
        )
        report.time = expected_time(
            recipe, report.data, micro_batch_size=size, speed=parts.world * probed.tokens / max(probed.seconds, 1e-9)
        )
        require_fit(recipe, report.memory, micro_batch_size=size)


def _measure(recipe: TrainingRecipe, library: Library, report: Report) -> None:
    assert report.data is not None
    assert report.time is not None
    with report.catching("time"):
        found = measure_steps(recipe, library=library)
        report.time = expected_time(
            recipe,
            report.data,
            micro_batch_size=report.time.micro_batch_size,
            speed=found.tokens_per_second,
            measured=True,
            measured_memory=found.memory,
        )
