"""Looking for artefacts: the built-in catalogue, the library, the configured registries and, when asked, the hub."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial

from llmasos.errors import IntegrityError, InvalidRequest, Unauthorised, Unavailable, did_you_mean
from llmasos.i18n import t
from llmasos.library import builtin
from llmasos.library.sources.reference import OCISource
from llmasos.library.store import Library
from llmasos.settings import get_settings

PLACES = ("library", "catalogue", "registry", "hub")
MAXIMUM_TAGS = 20


@dataclass(frozen=True)
class Hit:
    """Something that was found.

    Attributes:
        reference: what to give to ``llmasos pull`` or ``llmasos run``.
        place: ``"library"``, ``"catalogue"``, ``"registry"`` or ``"hub"``.
        size: bytes to download, or on the disk if it is here.
        memory: recommended bytes of memory.
        score: how well it fits; higher is better.
    """

    reference: str
    place: str
    description: str = ""
    license: str | None = None
    task: str | None = None
    parameters: int | None = None
    size: int | None = None
    memory: int | None = None
    languages: tuple[str, ...] = ()
    installed: bool = False
    keywords: str = field(default="", repr=False)  # further text to search in
    score: float = 0.0


@dataclass(frozen=True)
class Findings:
    """The hits, best first, and the places that could not be asked, with the reason."""

    hits: tuple[Hit, ...]
    unreachable: dict[str, str] = field(default_factory=dict)


def search(
    query: str = "",
    *,
    library: Library | None = None,
    language: str | None = None,
    task: str | None = None,
    hub: bool = False,
    limit: int = 50,
) -> Findings:
    """Look for artefacts whose name, description, task, licence or languages have every word of ``query``.

    Args:
        query: words; empty finds everything.
        language: only those that know this language (ISO 639 code).
        task: only this task family.
        hub: ask the Hugging Face hub, too.
        limit: at most so many hits.

    Raises:
        InvalidRequest: the task is not one that models are made for.
    """
    library = library or Library()
    tasks = sorted({entry.task for entry in builtin.entries()} | {"encoder", "token-classifier", "reward"})
    if task is not None and task not in tasks:
        raise InvalidRequest(
            t("unknown task {task}; allowed: {allowed}", task=task, allowed=", ".join(tasks)),
            hint=did_you_mean(task, tasks),
        )
    words = query.lower().split()
    unreachable: dict[str, str] = {}
    hits = [*_in_library(library), *_in_catalogue(library)]
    for registry in get_settings().registries:
        hits.extend(_asked(registry, partial(_in_registry, registry), unreachable))
    if hub:
        hits.extend(_asked("hub", partial(_on_hub, query, limit), unreachable))
    scored = [_scored(hit, words) for hit in hits]
    fitting = [
        hit
        for hit in scored
        if hit.score > 0 and (language is None or language in hit.languages) and (task is None or hit.task == task)
    ]
    fitting.sort(key=lambda hit: -hit.score)  # stable: within a score the library first, then the catalogue's order
    return Findings(tuple(fitting[:limit]), unreachable)


def _asked(place: str, ask: Callable[[], Iterable[Hit]], unreachable: dict[str, str]) -> list[Hit]:
    """One place that does not answer must not hide what the others have."""
    try:
        return list(ask())
    except (Unavailable, Unauthorised) as error:
        unreachable[place] = error.message
        return []


def _in_library(library: Library) -> Iterable[Hit]:
    for row in library.versions():
        for name in row.names:
            yield Hit(
                name,
                "library",
                row.description or row.architecture or "",
                row.license,
                row.task_family,
                row.parameters,
                row.size,
                builtin.recommended_memory(row.parameters, row.task_family) if row.parameters else None,
                _languages(library, row.digest),
                installed=True,
                keywords=row.kind,
            )


def _languages(library: Library, digest: str) -> tuple[str, ...]:
    try:
        return tuple(library.read_manifest(digest)[1].languages)
    except IntegrityError:  # a damaged version is still found; `verify` and `load` tell what is wrong with it
        return ()


def _in_catalogue(library: Library) -> Iterable[Hit]:
    """The catalogue's models, save those that are here already under the same name."""
    present = set(library.names())
    for entry in builtin.entries():
        if entry.name not in present:
            yield Hit(
                entry.name,
                "catalogue",
                f"{entry.title}: {entry.description}",
                entry.license,
                entry.task,
                entry.parameters,
                entry.download,
                entry.memory,
                entry.languages,
                keywords=f"{entry.publisher} {entry.source} {' '.join(entry.descriptions.values())}",
            )


def _in_registry(registry: str) -> Iterable[Hit]:
    """All artefacts of ``host`` or ``host/namespace``."""
    from llmasos.library.sources.oci import list_repositories, list_tags

    host, _, namespace = registry.partition("/")
    for repository in list_repositories(host, namespace or None):
        tags = list_tags(OCISource(host, repository))
        for tag in tags[:MAXIMUM_TAGS]:
            left = len(tags) - MAXIMUM_TAGS
            note = t("and {count} more tags", count=left) if left > 0 and tag == tags[MAXIMUM_TAGS - 1] else ""
            yield Hit(f"oci:{host}/{repository}:{tag}", "registry", note)


def _on_hub(query: str, limit: int) -> Iterable[Hit]:
    from llmasos.library.sources.hub import search_hub

    for name, task, downloads in search_hub(query, limit):
        note = t("{count} downloads last month", count=f"{downloads:,}")
        yield Hit(f"hf:{name}", "hub", f"{task}, {note}" if task else note)


def _scored(hit: Hit, words: list[str]) -> Hit:
    """Every word must fit somewhere; the whole name counts most, then its parts, then the rest."""
    if not words:
        return replace(hit, score=1.0)
    name = hit.reference.lower()
    parts = set(re.split(r"[:/._-]+", name))
    rest = " ".join(
        str(item).lower() for item in (hit.description, hit.license, hit.task, *hit.languages, hit.keywords) if item
    )
    total = 0.0
    for word in words:
        if word in (name, name.partition(":")[0]):
            total += 8
        elif word in parts:
            total += 5
        elif any(part.startswith(word) for part in parts) or name.startswith(word):
            total += 4
        elif word in name:
            total += 3
        elif re.search(rf"(?<!\w){re.escape(word)}", rest):
            total += 1.5
        elif word in rest:
            total += 1
        else:
            return replace(hit, score=0.0)
    return replace(hit, score=total / len(words))
