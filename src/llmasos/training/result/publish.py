"""Puts what a run trained into the library: weights, card, lineage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmasos import progress
from llmasos.i18n import t
from llmasos.library.digest import digest_of
from llmasos.library.disk import remove_tree
from llmasos.library.formats.describe import describe
from llmasos.library.kind import Kind
from llmasos.library.manifest import canonical_json
from llmasos.library.metadata import Lineage, LineageInput, Metadata
from llmasos.library.reference import Reference
from llmasos.modeling.adapter_folder import AdapterFolder
from llmasos.training.methods.storage import save_trained
from llmasos.training.recipe.models import BaseModelSource
from llmasos.training.result.card import card_text
from llmasos.training.result.files import copy_companions
from llmasos.training.result.merge import MergeReport, merge_into
from llmasos.training.result.summary import RunSummary

if TYPE_CHECKING:
    from llmasos.library.store import Library, Version
    from llmasos.training.methods.applied import Applied
    from llmasos.training.opening import OpenedModel
    from llmasos.training.recipe.kinds import TrainingRecipe

__all__ = ["RunSummary", "publish"]

SUMMARY_PATH = "training.json"
_PATHS = frozenset({"path", "first", "second", "dataset", "reference", "model", "task"})
"""Keys of recipes whose values may be paths of this machine."""


def publish(
    recipe: TrainingRecipe,
    opened: OpenedModel,
    applied: Applied,
    summary: RunSummary,
    folder: Path,
    library: Library,
) -> Version:
    """Write the result into a folder and make it a version of the library.

    Args:
        summary: how the run went.
        folder: of the run, for the files of the result; what is in it is replaced. A merged model's adapter goes into
            a folder beside it, whose name ends in ``-adapter``.

    Raises:
        OutOfDisk: it does not fit.
        Unsupported: ``output.merge``, and adapters of this method cannot be merged.
        IntegrityError: ``output.merge``, and the merged model differs from the adapted one.
        InvalidReference: ``output.name`` is no name.
    """
    name = Reference.parse(recipe.output.name) if recipe.output.name is not None else None
    base = base_name(recipe, opened)
    if folder.exists():
        remove_tree(folder)
    report = None
    if recipe.output.merge and applied.artefact == "adapter":
        beside = folder.with_name(f"{folder.name}-adapter")
        save_trained(applied, beside, base=base)
        adapted = opened.folder.adapted(AdapterFolder.open(beside), reference=opened.folder.reference)
        report = merge_into(adapted, folder)
        for sentence in report.sentences():
            progress.current().log(sentence)
    else:
        save_trained(applied, folder, base=base)
        copy_companions(opened.folder.path, folder, legal_only=applied.artefact == "adapter")
    written = portable(recipe.model_dump(mode="json", exclude={"variables"}, exclude_none=True))
    lineage = _lineage(recipe, opened, base, summary, written, report)
    metadata = _metadata(recipe, opened, applied, summary, folder, base)
    if metadata.kind is Kind.ADAPTER and opened.version is None:
        progress.current().log(
            t(
                "The base is a folder and no version of the library: the adapter cannot be loaded by its name. "
                "Import the base, and train from its name."
            ),
            level="warning",
        )
    card = card_text(name, recipe.kind, metadata, base, applied, summary, lineage.inputs, written)
    with library.draft() as draft:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                draft.add_file(path.relative_to(folder).as_posix(), path)
        draft.add_bytes(SUMMARY_PATH, json.dumps(summary.document(), ensure_ascii=False, indent=1).encode("utf-8"))
        return draft.publish(name, metadata, card=card, lineage=lineage)


def base_name(recipe: TrainingRecipe, opened: OpenedModel) -> str | None:
    """What the model that was trained is called: a name without the paths of this machine."""
    if not isinstance(recipe.model, BaseModelSource):
        return None
    if opened.version is not None and opened.version.names:
        return opened.version.names[0]
    return _last_part(recipe.model.reference)


def portable(document: Any, key: str = "") -> Any:
    """A recipe as JSON has it with the last part of absolute paths only: where data lay says something about the
    machine and nothing about the result; digests name them in the lineage."""
    if isinstance(document, Mapping):
        return {name: portable(value, name) for name, value in document.items()}
    if isinstance(document, list):
        return [portable(value, key) for value in document]
    return _last_part(document) if isinstance(document, str) and key in _PATHS else document


def _last_part(text: str) -> str:
    plain = text.removeprefix("file:")
    return Path(plain).name if Path(plain).is_absolute() or plain.startswith((".", "~")) else text


def _lineage(
    recipe: TrainingRecipe, opened: OpenedModel, base: str | None, summary: RunSummary, written: dict[str, Any],
    report: MergeReport | None,
) -> Lineage:  # fmt: skip
    inputs = []
    if base is not None:
        digest = opened.version.digest if opened.version is not None else None
        inputs.append(LineageInput(role="base", digest=digest, reference=base))
    inputs += [item.model_copy(update={"reference": _last_part(item.reference or "-")}) for item in summary.inputs]
    inputs.append(LineageInput(role="recipe", digest=digest_of(canonical_json(written)), reference=recipe.name))
    metrics: dict[str, Any] = {"steps": summary.steps, "tokens": summary.tokens}
    metrics |= {f"before.{name}": value for name, value in _finite(summary.before).items()}
    metrics |= _finite(summary.after)
    if report is not None:
        metrics |= report.metrics()
    return Lineage(step="train", inputs=inputs, recipe=written, metrics=metrics)


def _metadata(
    recipe: TrainingRecipe, opened: OpenedModel, applied: Applied, summary: RunSummary, folder: Path, base: str | None
) -> Metadata:
    found = describe(folder)
    own = opened.version.metadata if opened.version is not None else Metadata()
    changes: dict[str, Any] = {
        "license": recipe.output.license or own.license,
        "license_url": own.license_url if recipe.output.license is None else None,
        "languages": list(recipe.output.languages or own.languages),
        "description": recipe.output.description,
        "base": opened.version.digest if opened.version is not None else base,
        "data": list(dict.fromkeys(_last_part(item.reference or "-") for item in summary.inputs)),
        "metrics": _finite(summary.after),
    }
    if recipe.kind == "reward":
        changes["task_family"] = "reward"
    if opened.labels:
        changes["labels"] = list(opened.labels)
    if found.kind is Kind.ADAPTER:
        changes["chat_template"] = own.chat_template
        changes["context_length"] = opened.context_length - applied.virtual_tokens
    return found.model_copy(update=changes)


def _finite(scores: Mapping[str, float]) -> dict[str, Any]:
    return {name: float(value) for name, value in scores.items() if abs(value) < float("inf")}
