"""What the worker can do: the work for each kind of recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmasos.runs.execution import Done, Work
from llmasos.runs.run import Run
from llmasos.runs.store import RECIPE, RunStore

if TYPE_CHECKING:
    from llmasos.runs.context import RunContext


@dataclass(frozen=True)
class Kind:
    """How runs of a kind are done.

    Attributes:
        work: makes the work of a run from the recipe in its folder; may raise :class:`~llmasos.errors.LLMasOSError`.
        polls: whether the work looks at ``should_stop``; otherwise a signal ends it where it stands.
    """

    work: Callable[[Run, RunStore], Work]
    polls: bool = True


def _training(run: Run, store: RunStore) -> Work:
    from llmasos.training.launch import recipe_of, training_work

    return training_work(recipe_of(run, store), store.library)


def _data(run: Run, store: RunStore) -> Work:
    def work(context: RunContext) -> Done:
        from llmasos.data.prepare import prepare
        from llmasos.data.recipe import DataRecipe
        from llmasos.recipe import loading
        from llmasos.sdk import open_tokenizer_folder

        recipe = loading.load(store.folder(run) / RECIPE, DataRecipe)
        prepared = prepare(
            recipe,
            folder=context.recipe_folder,
            library=store.library,
            open_model=lambda reference: open_tokenizer_folder(
                reference, library=store.library, accept_license=context.accept_license
            ),
        )
        version = prepared.version
        name = version.names[0] if version.names else None
        context.artefact(kind="dataset", name=name, digest=version.digest)
        summary = {"name": name, "digest": version.digest, "totals": prepared.facts["totals"]}
        return Done(prepared, summary)

    return work


def _evaluation(run: Run, store: RunStore) -> Work:
    from llmasos.evaluation.recipe import EvaluateRecipe
    from llmasos.recipe import loading
    from llmasos.sdk_evaluation import evaluation_work

    return evaluation_work(loading.load(store.folder(run) / RECIPE, EvaluateRecipe), store.library)


_TRAINING = Kind(_training)

KINDS: Mapping[str, Kind] = {
    "pretrain": _TRAINING,
    "sft": _TRAINING,
    "classify": _TRAINING,
    "seq2seq": _TRAINING,
    "reward": _TRAINING,
    # Each part of a preparation is durable when it is done, so that it may be ended anywhere.
    "data": Kind(_data, polls=False),
    "evaluate": Kind(_evaluation, polls=False),  # so is each record of an evaluation
}
