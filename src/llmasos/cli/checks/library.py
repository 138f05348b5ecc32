"""The state of the library: what it holds, and whether its files are there."""

from __future__ import annotations

from llmasos.cli.checks import Problem, Section
from llmasos.errors import LLMasOSError
from llmasos.i18n import t
from llmasos.settings import get_settings
from llmasos.units import format_bytes


def check() -> Section:
    """Counts, sizes, and blobs that are absent or have another size; `llmasos verify` reads every byte."""
    section = Section("library", t("Library"))
    try:
        _inspect(section)
    except (LLMasOSError, OSError) as error:
        hint = error.hint if isinstance(error, LLMasOSError) else None
        section.problems.append(Problem("error", t("the library cannot be read: {error}", error=error), hint))
    return section


def _inspect(section: Section) -> None:
    from llmasos.library.store import Library

    settings = get_settings()
    section.facts.append((t("folder"), str(settings.home)))
    section.data["home"] = str(settings.home)
    if settings.database is None and not (settings.home / "catalogue.db").exists():
        section.facts.append((t("models"), t("none yet; `llmasos run` fetches the first")))
        section.data.update(versions=0, names=0, bytes=0)
        return
    library = Library()
    try:
        rows = library.versions()
        names = library.names()
        blobs: dict[str, int] = {}
        absent: dict[str, list[str]] = {}
        for row in rows:
            manifest, _ = library.read_manifest(row.digest)
            for item in (manifest.config, *manifest.layers):
                blobs[item.digest] = item.size
                if not library.blobs.has(item.digest) or library.blobs.size(item.digest) != item.size:
                    absent.setdefault(", ".join(row.names) or row.digest, []).append(item.path or item.digest)
        garbage = library.gc(dry_run=True)
    finally:
        library.close()
    section.facts += [
        (t("models"), t("{versions} versions with {names} names", versions=len(rows), names=len(names))),
        (t("size"), format_bytes(sum(blobs.values()))),
        (t("reclaimable"), format_bytes(garbage.bytes + garbage.draft_bytes)),
        (t("health"), t("{count} versions are damaged", count=len(absent)) if absent else t("all files are there")),
    ]
    section.data.update(
        versions=len(rows),
        names=len(names),
        bytes=sum(blobs.values()),
        reclaimable=garbage.bytes + garbage.draft_bytes,
        damaged=absent,
    )
    for name, paths in absent.items():
        section.problems.append(
            Problem(
                "error",
                t("{name} lacks files or has damaged ones: {paths}", name=name, paths=", ".join(paths)),
                f"llmasos pull {name.split(',')[0]} --force",
            )
        )
