"""Merges an adapter into its base, and proves that the merged model computes the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from llmasos.errors import IntegrityError, InvalidRequest, Unsupported, did_you_mean
from llmasos.hardware import DTYPES
from llmasos.i18n import t
from llmasos.library.disk import full_disk_as_error, require_space
from llmasos.library.kind import Kind
from llmasos.library.metadata import Lineage, LineageInput
from llmasos.library.reference import Reference
from llmasos.modeling.adapter_folder import VIRTUAL_TOKENS, AdapterFolder
from llmasos.modeling.adapters import with_layers
from llmasos.modeling.finding import base_of, verified_folder
from llmasos.modeling.folder import Family, ModelFolder
from llmasos.modeling.weights import load_weights
from llmasos.training.methods.lora import ADAPTER
from llmasos.training.result.files import copy_companions

if TYPE_CHECKING:
    from llmasos.library.store import Library, Version

MERGED_TOLERANCE = 1e-2
"""Most relative difference of logits that rounding in float32 explains, sharp attention included."""
NOISE = 1e-4
"""Below it a difference is rounding, however little the adapter does."""
MOST_OF_EFFECT = 0.25
"""Most of the adapter's own effect on the logits that may be lost beyond that."""
STORED_TOLERANCE = {"float32": 1e-2, "bfloat16": 0.1, "float16": 0.05}
"""The same after weights were rounded to the format of the file."""
_PRECISIONS = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


@dataclass(frozen=True)
class Difference:
    """How far logits are apart.

    Attributes:
        largest: absolute, of one logit.
        relative: norm of the difference by the norm.
        agreement: share of positions (texts, for a classifier) whose highest logit is the same.
    """

    largest: float
    relative: float
    agreement: float


@dataclass(frozen=True)
class MergeReport:
    """What merging did.

    Attributes:
        merged: from the model with the adapter beside it to the merged one, both in float32.
        stored: from the model with the adapter to the merged one as it was read again from its files.
        dtype: number format of the files.
        effect: from the base alone to the base with the adapter: what the others are to be compared with.
        untied: whether head and embeddings, one weight in the base, are two now.
    """

    merged: Difference
    stored: Difference
    dtype: str
    effect: Difference
    untied: bool

    def sentences(self) -> list[str]:
        """For people."""
        found = [
            t("The adapter changes logits by up to {largest:.2g} ({relative:.2g} of their norm).",
              largest=self.effect.largest, relative=self.effect.relative),
            t("Merged in float32: they differ by at most {largest:.2g} ({relative:.2g}).",
              largest=self.merged.largest, relative=self.merged.relative),
            t("Read again as {dtype}: by at most {largest:.2g} ({relative:.2g}); {agreement:.1%} of the likeliest "
              "answers are the same.", dtype=self.dtype, largest=self.stored.largest,
              relative=self.stored.relative, agreement=self.stored.agreement),
        ]  # fmt: skip
        if self.untied:
            found.append(t("Head and embeddings shared one weight; the adapter made them two."))
        return found

    def metrics(self) -> dict[str, Any]:
        """For lineage and programs."""
        return {
            "merge.effect": self.effect.relative,
            "merge.largest_difference": self.merged.largest,
            "merge.relative_difference": self.merged.relative,
            "merge.stored_largest_difference": self.stored.largest,
            "merge.stored_relative_difference": self.stored.relative,
            "merge.agreement": self.stored.agreement,
            "merge.untied": self.untied,
        }


def merge_into(folder: ModelFolder, target: Path, *, dtype: str | None = None) -> MergeReport:
    """Merge the adapter of a folder into its base and write the whole model.

    The logits of a fixed input are computed with the adapter beside the base, after merging, and with the model read
    again from the files.

    Args:
        folder: a base with an adapter (:meth:`ModelFolder.adapted`).
        target: folder for the files, which is made.
        dtype: number format of the files; default: that of the base.

    Raises:
        Unsupported: adapters of this kind cannot be merged.
        IntegrityError: files are damaged or do not fit, or the merged model computes something else.
        OutOfMemory, OutOfDisk: it does not fit.
    """
    assert folder.adapter is not None
    refuse_unmergeable(folder.adapter, folder.reference)
    stored_as = dtype or _stored_dtype(folder)
    assert stored_as in DTYPES
    model: Any = load_weights(folder, "float32", "cpu", adapt=False)
    was_tied = _is_tied(model)
    handle = with_layers(model, folder, folder.adapter)
    probe = _probe(model, folder)
    expected = _logits(model, probe)
    with handle.disable_adapter():
        effect = _difference(expected, _logits(model, probe))
    _unload(model)
    merged = _difference(expected, _logits(model, probe))
    _require(merged, max(NOISE, min(MERGED_TOLERANCE, MOST_OF_EFFECT * effect.relative)), folder)
    size = folder.weight_bytes(stored_as)
    target.mkdir(parents=True, exist_ok=True)
    require_space(target, size)
    with full_disk_as_error(target, size):
        untied = was_tied and not _is_tied(model)
        model.to(getattr(torch, stored_as)).save_pretrained(target)
        copy_companions(folder.path, target)
    del model, handle
    again = load_weights(ModelFolder.open(target, reference=folder.reference), "float32", "cpu")
    stored = _difference(expected, _logits(again, probe))
    _require(stored, STORED_TOLERANCE[stored_as], folder)
    return MergeReport(merged, stored, stored_as, effect, untied)


@dataclass(frozen=True)
class Merged:
    """A merged model in the library."""

    version: Version
    name: Reference
    report: MergeReport


def merge_version(reference: str, library: Library, *, name: str | None = None, dtype: str | None = None) -> Merged:
    """Merge an adapter of the library into its base and publish the whole model.

    Args:
        reference: name or digest of the adapter.
        name: of the new version; default: that of the adapter with ``-merged`` at its end.
        dtype: number format of the files; default: that of the base.

    Raises:
        NotFound: there is no such adapter, or its base is not in the library.
        Unsupported: it is no adapter, or one that cannot be merged.
        InvalidRequest: a number format that does not exist.
        InvalidReference, IntegrityError, OutOfMemory, OutOfDisk: as :func:`merge_into`.
    """
    from llmasos.library.formats.describe import describe

    adapter = library.resolve(reference)
    if adapter.metadata.kind is not Kind.ADAPTER:
        raise Unsupported(
            t("{reference} is an artefact of kind {kind}, not an adapter", reference=reference,
              kind=adapter.metadata.kind),
            hint=t("`llmasos list --kind adapter` shows the adapters."),
        )  # fmt: skip
    if dtype is not None and dtype not in DTYPES:
        raise InvalidRequest(
            t("{dtype!r} is not a number format; allowed: {allowed}", dtype=dtype, allowed=", ".join(DTYPES)),
            hint=did_you_mean(dtype, DTYPES) or t("Leave it out for that of the base."),
        )
    target = _target_name(reference, name, adapter)
    base = base_of(reference, adapter, library)
    folder = verified_folder(reference, adapter, library)

    with library.draft() as draft:
        made = draft.directory / "merged"
        report = merge_into(folder, made, dtype=dtype)
        found = describe(made)
        own = adapter.metadata
        metadata = found.model_copy(
            update={
                "license": own.license or base.metadata.license,
                "license_url": own.license_url or base.metadata.license_url,
                "languages": own.languages or base.metadata.languages,
                "description": own.description,
                "task_family": own.task_family if own.task_family == "reward" else found.task_family,
                "labels": own.labels or found.labels,
                "metrics": own.metrics,
                "data": own.data,
                "base": base.digest,
            }
        )
        lineage = Lineage(
            step="merge",
            inputs=[
                LineageInput(role="base", digest=base.digest, reference=next(iter(base.names), None)),
                LineageInput(role="adapter", digest=adapter.digest, reference=next(iter(adapter.names), None)),
            ],
            metrics=report.metrics(),
        )
        for path in sorted(made.rglob("*")):
            if path.is_file():
                draft.add_file(path.relative_to(made).as_posix(), path, move=True)
        return Merged(draft.publish(target, metadata, lineage=lineage), target, report)


def _target_name(reference: str, name: str | None, adapter: Version) -> Reference:
    if name is not None:
        return Reference.parse(name)
    own = next(iter(adapter.names), None)
    if own is None:
        raise InvalidRequest(
            t("{reference} has no name to make one for the merged model from", reference=reference),
            hint=t("Give one with --name."),
        )
    parsed = Reference.parse(own)
    return replace(parsed, name=f"{parsed.name}-merged")


def _unload(model: Any) -> None:
    """Take the updates into the weights, and let modules that were trained whole take the places of the old ones."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper

    for name, part in list(model.named_modules()):
        if isinstance(part, BaseTunerLayer):
            part.merge(safe_merge=True)
            model.set_submodule(name, part.get_base_layer())
        elif isinstance(part, ModulesToSaveWrapper):
            model.set_submodule(name, part.modules_to_save[ADAPTER])


def refuse_unmergeable(adapter: AdapterFolder, reference: str) -> None:
    """Raise Unsupported for adapters that are no change of weights."""
    if adapter.kind in VIRTUAL_TOKENS:
        raise Unsupported(
            t("{reference} cannot be merged: {kind} puts vectors before the text and changes no weight",
              reference=reference, kind=adapter.kind),
            hint=t("Use it as it is: commands that take a model take an adapter too."),
        )  # fmt: skip


def _require(found: Difference, limit: float, folder: ModelFolder) -> None:
    if not found.relative <= limit:
        raise IntegrityError(
            t("{model}: the merged model computes something else: its logits differ by {found:.2g} of their norm, and "
              "rounding explains {limit:g}", model=folder.reference, found=found.relative, limit=limit),
            hint=t("Use the adapter unmerged; nothing was published."),
        )  # fmt: skip


def _stored_dtype(folder: ModelFolder) -> str:
    sizes: dict[str, int] = {}
    for entry in folder.tensors.values():
        if entry.dtype in _PRECISIONS:
            sizes[entry.dtype] = sizes.get(entry.dtype, 0) + entry.elements
    return _PRECISIONS[max(sizes, key=lambda name: sizes[name])] if sizes else "float32"


def _is_tied(model: Any) -> bool:
    head = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight


def _probe(model: Any, folder: ModelFolder) -> dict[str, Tensor]:
    """Distinct tokens, none of them padding, in two rows."""
    limit = min(folder.context_length or 32, 32)
    generator = torch.Generator().manual_seed(0)
    size = int(model.get_input_embeddings().weight.shape[0])
    padding = model.config.get_text_config().pad_token_id
    allowed = [token for token in range(size) if token != padding]

    def ids(length: int) -> Tensor:
        chosen = torch.randint(0, len(allowed), (2, length), generator=generator)
        return torch.tensor(allowed)[chosen]

    inputs = {"input_ids": ids(limit), "attention_mask": torch.ones(2, limit, dtype=torch.long)}
    if folder.family is Family.SEQ2SEQ:
        inputs["decoder_input_ids"] = ids(min(limit, 16))
    return inputs


@torch.inference_mode()
def _logits(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    return cast(Tensor, model.eval()(**inputs).logits).float()


def _difference(expected: Tensor, found: Tensor) -> Difference:
    return Difference(
        largest=float((found - expected).abs().max()),
        relative=float((found - expected).norm() / expected.norm()),
        agreement=float((found.argmax(-1) == expected.argmax(-1)).float().mean()),
    )
