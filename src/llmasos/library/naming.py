"""What an artefact is called in the library when its user gives it no name."""

from __future__ import annotations

import re

from packaging.utils import canonicalize_name

from llmasos.errors import InvalidReference
from llmasos.i18n import t
from llmasos.library.reference import DEFAULT_TAG, RESERVED, Reference
from llmasos.library.sources.reference import HubSource, OCISource, PathSource, PyPISource, Source

_LONGEST_TAG = 128


def derive_name(source: Source) -> Reference:
    """A name from a source: ``hf:Qwen/Qwen3-0.6B`` becomes ``qwen/qwen3-0.6b:latest``.

    Raises:
        InvalidReference: nothing in the source can be a name.
    """
    match source:
        case HubSource(repository=repository, revision=revision, file=file):
            tag = _stem(file) if file else (revision if revision and revision != "main" else None)
            return _reference(repository.split("/"), tag, source)
        case OCISource(repository=repository, tag=tag):
            return _reference(repository.split("/")[-2:], tag, source)
        case PyPISource(packages=packages, filename=filename):
            if len(packages) > 1:
                return _reference([_stem(filename) if filename else packages[0].name], None, source)
            return _reference([canonicalize_name(packages[0].name)], packages[0].version, source)
        case PathSource(path=path):
            return _reference([_stem(path.name) if path.is_file() else path.name], None, source)


def _reference(parts: list[str], tag: str | None, source: Source) -> Reference:
    cleaned = [component for part in parts if (component := _component(part))]
    if not cleaned or (len(cleaned) == 1 and cleaned[0] in RESERVED):
        raise InvalidReference(
            t("no name can be made from {source}", source=source), hint=t("Give one: --name NAME:TAG.")
        )
    return Reference(
        name=cleaned[-1], namespace=cleaned[0] if len(cleaned) > 1 else None, tag=_tag(tag) if tag else DEFAULT_TAG
    )


def _component(text: str) -> str:
    """Lower case, and every run of other characters than letters and digits made one allowed separator."""

    def separator(match: re.Match[str]) -> str:
        run = match.group()
        return run if run in (".", "_", "__") or set(run) == {"-"} else "-"

    return re.sub(r"[^a-z0-9]+", separator, text.lower()).strip("._-")[:128].strip("._-")


def _tag(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-")[:_LONGEST_TAG] or DEFAULT_TAG


def _stem(name: str) -> str:
    return re.sub(r"\.(gguf|safetensors|bin|pt|pth|ckpt)$", "", name.rpartition("/")[2], flags=re.IGNORECASE)
