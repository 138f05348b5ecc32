"""Data sets of the library as sources."""

from __future__ import annotations

import re
from pathlib import Path

from llmasos.data.sources.config import LibrarySource
from llmasos.data.sources.planning import Found
from llmasos.errors import NotFound, Unsupported
from llmasos.i18n import t
from llmasos.settings import get_settings


def find_library_data_set(source: LibrarySource) -> Found:
    """The files of one split of a data set of the library.

    Raises:
        NotFound: the library has no such data set, or it has no such split.
        Unsupported: the artefact is no data set.
    """
    from llmasos.library.kind import Kind
    from llmasos.library.store import Library

    library = Library()
    version = library.resolve(source.reference)
    if version.metadata.kind is not Kind.DATASET:
        raise Unsupported(
            t("{reference} is a {kind}, not a data set", reference=source.reference, kind=version.metadata.kind.value),
            hint=t("`llmasos data list` lists the data sets."),
        )
    view = library.view(version, verify=get_settings().verify_on_load)
    files = split_files(view, source.split)
    if not files:
        splits = split_names(view)
        raise NotFound(
            t("{reference} has no split {split!r}", reference=source.reference, split=source.split),
            hint=t("It has: {splits}.", splits=", ".join(splits) or "-"),
        )
    known = version.manifest.files
    digests = {path: known[path.relative_to(view).as_posix()].digest for path in files}
    return Found(files, view, reference=source.reference, reference_digest=version.digest, digests=digests)


def split_files(folder: Path, split: str) -> list[Path]:
    """The files of a split in the folder of a prepared data set."""
    return sorted(path for path in (folder / "data").glob("*") if _split_of(path) == split)


def split_names(folder: Path) -> list[str]:
    """The splits in the folder of a prepared data set."""
    return sorted({name for path in (folder / "data").glob("*") if (name := _split_of(path)) is not None})


def _split_of(path: Path) -> str | None:
    """The split in a name such as ``train-00000.parquet`` or, as on the hub, ``train-00000-of-00003.parquet``."""
    found = re.fullmatch(r"(.+?)-\d+(-of-\d+)?\.\w+", path.name)
    return found[1] if found is not None else None
