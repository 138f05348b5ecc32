"""Making a version of the library from a base, or from files that were sent, with what a Modelfile adds."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmasos import progress
from llmasos.errors import InvalidRequest, NotFound, Unsupported
from llmasos.i18n import t
from llmasos.library.artifact_path import check_path, check_paths
from llmasos.library.card import CARD_PATH
from llmasos.library.kind import Kind
from llmasos.library.licenses import find_license
from llmasos.library.metadata import Lineage, LineageInput, Metadata
from llmasos.modeling.chat_template import ChatTemplate
from llmasos.server.ollama.transfers import fetch, refuse_paths
from llmasos.server.ollama.uploads import Uploads
from llmasos.server.serving.job import Message
from llmasos.server.serving.presets import PRESETS_PATH, Presets, read_presets, weights_of

if TYPE_CHECKING:
    from llmasos.library.draft import Draft
    from llmasos.library.reference import Reference
    from llmasos.library.store import Library
    from llmasos.library.version import Version

TEMPLATE_PATH = "chat_template.jinja"
_GO_TEMPLATE = re.compile(r"\{\{-?\s*(\.[A-Z]|\$|(if|range|with|else|end|template|block|define)\b)")
_SHORT_LICENSE = 60  # characters: a name rather than a text


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be made."""

    name: Reference
    base: str | None = None
    """A name of the library or of its catalogue."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Files that were sent: path -> digest."""
    adapters: Mapping[str, str] = field(default_factory=dict)
    template: str | None = None
    licenses: Sequence[str] = ()
    system: str | None = None
    messages: Sequence[Message] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    context_limit: int | None = None

    @property
    def changes(self) -> bool:
        """Whether anything but the name differs from the base."""
        return bool(
            self.files or self.adapters or self.template is not None or self.licenses or self.system is not None
            or self.messages is not None or self.options or self.context_limit is not None
        )  # fmt: skip


def build(library: Library, plan: Plan) -> Version:
    """Make the version and give it its name.

    Raises:
        NotFound: there is no such base, or a file was not sent.
        Unsupported: the base cannot take what the plan adds; or the files are no model.
        InvalidRequest: the template is not one.
        IntegrityError, UnsafeContent, OutOfDisk, LicenseNotAccepted: as they say.
    """
    base = _base(library, plan)
    if base is not None and not plan.changes:
        return library.tag(base.digest, plan.name)
    if base is None and not plan.files:
        raise InvalidRequest(
            t("a model is made from another or from files"), hint=t("Give from, or files that were sent to /api/blobs.")
        )
    if plan.template is not None:
        _check_template(plan.template)
    with library.draft() as draft:
        if plan.files:
            metadata = _receive(library, draft, plan.files, without=_replaced(plan))
            if metadata.kind is not Kind.MODEL:
                raise Unsupported(
                    t("the files are a {kind}, not a model", kind=metadata.kind.value),
                    hint=t("Give an adapter's files under adapters, and its base under from."),
                )
        elif plan.adapters:
            assert base is not None
            metadata = _receive(library, draft, plan.adapters, without=_replaced(plan))
            if metadata.kind is not Kind.ADAPTER:
                raise Unsupported(
                    t("the files under adapters are a {kind}, not an adapter", kind=metadata.kind.value),
                    hint=t("Send adapter_config.json and adapter_model.safetensors."),
                )
            metadata = metadata.model_copy(update={"base": base.digest})
        else:
            assert base is not None
            metadata = base.metadata
            _reuse(draft, base, without=_replaced(plan))
        if plan.template is not None:
            draft.add_bytes(TEMPLATE_PATH, plan.template.encode("utf-8"))
            metadata = metadata.model_copy(update={"chat_template": True})
        metadata = _add_licenses(draft, plan, metadata)
        _add_presets(library, draft, plan, base, metadata)
        progress.current().log(t("storing {name}", name=plan.name))
        version = draft.publish(plan.name, metadata, lineage=_lineage(plan, base))
    Uploads(library).forget([*plan.files.values(), *plan.adapters.values()])
    return version


def _base(library: Library, plan: Plan) -> Version | None:
    if plan.base is None:
        if plan.adapters:
            raise InvalidRequest(t("an adapter needs its base"), hint=t("Give from."))
        return None
    if plan.files:
        raise InvalidRequest(t("from and files exclude each other"), hint=t("Give one of them."))
    refuse_paths(plan.base)
    base = library.resolve(plan.base) if library.has(plan.base) else fetch(library, plan.base)
    allowed = (Kind.MODEL,) if plan.adapters else (Kind.MODEL, Kind.ADAPTER)
    if base.metadata.kind not in allowed:
        raise Unsupported(
            t("{name} is a {kind}, not a model", name=plan.base, kind=base.metadata.kind.value),
            hint=t("Name a model."),
        )
    return base


def _receive(library: Library, draft: Draft, files: Mapping[str, str], *, without: Collection[str]) -> Metadata:
    """Put files that were sent into the draft as the import of a folder does: checked, and converted if need be."""
    from llmasos.library.formats.prepare import prepare

    uploads = Uploads(library)
    check_paths(files)
    folder = draft.directory / "input"
    for name, digest in files.items():
        source = uploads.find(digest)
        if source is None:
            raise NotFound(
                t("the file {name} ({digest}) was not sent", name=name, digest=digest),
                hint=t("Send it to /api/blobs first."),
            )
        target = folder / check_path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        _link(source, target)
    only = [folder / name for name in files]
    destination = draft.directory / "prepared"
    prepared = prepare(only[0] if len(only) == 1 else folder, destination)
    for skipped in prepared.skipped:
        progress.current().log(t("{path} was left out: {reason}", path=skipped.path, reason=skipped.reason))
    for path in prepared.files:
        if path not in (PRESETS_PATH, *without):
            draft.add_file(path, destination / path, move=True)
    return prepared.metadata


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def _reuse(draft: Draft, base: Version, *, without: Collection[str]) -> None:
    """Take over the files of the base: the same blobs. Presets and card are written anew."""
    for path, blob in base.manifest.files.items():
        if path not in (PRESETS_PATH, CARD_PATH, *without):
            draft.blobs.pin(blob.digest)
            draft.add_blob(path, blob)


def _replaced(plan: Plan) -> tuple[str, ...]:
    """Files that a template of the plan stands for."""
    return () if plan.template is None else (TEMPLATE_PATH, "chat_template.json")


def _check_template(template: str) -> None:
    """Raise InvalidRequest or Unsupported unless it is a chat template."""
    if _GO_TEMPLATE.search(template):
        raise Unsupported(
            t("the template is written in Go's language; templates here are in Jinja"),
            hint=t("Leave it out: a model brings its own. Or write it in Jinja, as on the Hugging Face hub."),
        )
    ChatTemplate(template)


def _add_licenses(draft: Draft, plan: Plan, metadata: Metadata) -> Metadata:
    """Add the texts beside those of the base; a licence that is stated is never replaced."""
    for text in plan.licenses:
        name, number = "LICENSE", 2
        while name in draft.paths:
            name, number = f"LICENSE-{number}", number + 1
        draft.add_bytes(name, text.encode("utf-8"))
        known = find_license(text) if len(text) <= _SHORT_LICENSE else None
        if metadata.license is None and known is not None:
            metadata = metadata.model_copy(update={"license": known.name, "license_url": known.url})
    return metadata


def _add_presets(library: Library, draft: Draft, plan: Plan, base: Version | None, metadata: Metadata) -> None:
    inherited = read_presets(library, base.digest) if base is not None else None
    before = inherited or Presets()
    system = before.system if plan.system is None else plan.system or None
    messages = before.messages if plan.messages is None else [dict(message) for message in plan.messages]
    presets = Presets(
        base=None if base is None else weights_of(library, base.digest, before),
        system=system,
        messages=messages,
        options={**before.options, **plan.options},
        context_limit=plan.context_limit or before.context_limit,
    )
    talks = metadata.chat_template or metadata.kind is Kind.ADAPTER
    if (system is not None or messages) and not talks:
        raise Unsupported(
            t("a model without a chat template has no place for a system prompt or messages"),
            hint=t("Choose a base that is tuned for conversation, or give a template."),
        )
    if presets.model_copy(update={"base": None}) != Presets():
        draft.add_bytes(PRESETS_PATH, presets.to_bytes())


def _lineage(plan: Plan, base: Version | None) -> Lineage:
    inputs = [LineageInput(role="base", digest=base.digest, reference=plan.base)] if base is not None else []
    inputs += [
        LineageInput(role=role, digest=digest, reference=name)
        for role, files in (("source", plan.files), ("adapter", plan.adapters))
        for name, digest in files.items()
    ]
    recipe: dict[str, Any] = {
        "template": plan.template, "license": list(plan.licenses), "system": plan.system,
        "messages": [dict(message) for message in plan.messages or ()], "options": dict(plan.options),
        "context_limit": plan.context_limit,
    }  # fmt: skip
    return Lineage(step="create", inputs=inputs, recipe={key: value for key, value in recipe.items() if value})
