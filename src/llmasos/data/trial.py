"""Trying the steps of a recipe on the first rows: what each does to them, without writing anything."""

from __future__ import annotations

import io
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from llmasos.data.look import look_at
from llmasos.data.pipeline.account import StepAccount
from llmasos.data.pipeline.stage import warnings_kept
from llmasos.data.pipeline.stages import Section, sections
from llmasos.data.pipeline.steps import Ledger, apply_corpus_step, run_steps, step_name
from llmasos.data.prepare import assignment_of, kind_of, tokens_of
from llmasos.data.recipe import DataRecipe, resolved_steps
from llmasos.data.row import Row
from llmasos.data.sources.plan import Plan, cut_into_shards
from llmasos.data.sources.planning import make_plan, source_names
from llmasos.data.sources.rows import Unreadable, planned_rows

if TYPE_CHECKING:
    from llmasos.modeling.folder import ModelFolder

_one_at_a_time = threading.Lock()  # what steps warn of is caught from a logger that all share


@dataclass(frozen=True)
class Trial:
    """What became of the first rows.

    Attributes:
        rows: what is left of them; ``metadata["split"]`` names the split where the recipe divides.
        accounts: of all steps in order, as those of a preparation.
        complete: whether these are all rows there are.
        warnings: what steps warned of.
    """

    rows: tuple[Row, ...]
    accounts: tuple[StepAccount, ...]
    complete: bool
    warnings: tuple[str, ...]


def try_steps(recipe: DataRecipe, *, folder: Path, open_model: Callable[[str], ModelFolder], most: int) -> Trial:
    """Run the steps of a recipe on its first rows.

    Steps that compare rows, such as deduplication, see these rows only, and find less than in all of them.

    Args:
        folder: what relative paths are relative to.
        most: records that are read of each source.

    Raises: as :func:`llmasos.data.prepare.prepare`, except that no row need be left.
    """
    plans: list[Plan] = []
    for source, name in zip(recipe.sources, source_names(recipe.sources), strict=True):
        look = look_at(source.model_copy(update={"name": name}), folder)
        # Planning tells what is wrong with a layout that nobody gave and that is not known.
        plans.append(
            look.planned(look.layout) if look.layout is not None else make_plan([source], folder, shard_bytes=1 << 62)
        )
    sources = tuple(plan.sources[0] for plan in plans)
    kind_of(Plan(sources=sources, shards=()))
    whole = Plan(sources=sources, shards=cut_into_shards(sources, 1 << 62))
    divided = sections(resolved_steps(recipe, folder), tokens_of(recipe, open_model), assignment_of(recipe, whole))
    ledger = Ledger(io.BytesIO())
    with _one_at_a_time, warnings_kept() as warnings, tempfile.TemporaryDirectory(prefix="llmasos-trial-") as work:
        rows, complete = _read(plans, most, ledger)
        for number, section in enumerate(divided):
            rows = list(_apply(section, rows, Path(work) / str(number), ledger))
        return Trial(tuple(rows), tuple(ledger.accounts), complete, tuple(warnings))


def _read(plans: list[Plan], most: int, ledger: Ledger) -> tuple[list[Row], bool]:
    account = ledger.open("read")
    rows: list[Row] = []
    complete = True
    for plan in plans:
        items = planned_rows(plan)
        for item in islice(items, most):
            account.rows_in += 1
            if isinstance(item, Unreadable):
                ledger.reject_record(account, item.id, str(item.origin), item.raw, item.rejection)
            else:
                account.rows_out += 1
                rows.append(item)
        complete = complete and next(items, None) is None
    return rows, complete


def _apply(section: Section, rows: list[Row], notes: Path, ledger: Ledger) -> Iterator[Row]:
    current = iter(rows)
    if section.corpus is not None:
        notes.mkdir()
        account = ledger.open(step_name(section.corpus))
        section.corpus.build().map_shard(rows, 0, notes)
        step = section.corpus.build()
        for partition in range(step.partitions):
            step.reduce_partition(partition, 1, notes)
        account.count(step.conclude(1, notes))
        current = apply_corpus_step(current, section.corpus.build(), 0, notes, account, ledger)
    return run_steps(current, section.steps, ledger)
