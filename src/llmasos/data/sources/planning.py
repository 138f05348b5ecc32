"""From the sources of a recipe to a plan: find the files, look at them, recognise what they hold."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from llmasos import progress
from llmasos.data.sources.config import AlignedSource, FileSource, HubSource, LibrarySource, Source
from llmasos.data.sources.layout import LabelLayout, Layout, ParallelLayout
from llmasos.data.sources.plan import FilePlan, Plan, Reading, SourcePlan, cut_into_shards
from llmasos.data.sources.read import read_piece
from llmasos.data.sources.recognition import recognise
from llmasos.data.sources.record import Record
from llmasos.data.sources.scan import count_lines, format_of, scan_file
from llmasos.errors import InvalidRecipe, InvalidRequest, NotFound
from llmasos.i18n import t

TRAIN = "train"
OWN_COLUMNS = ("id", "origin", "metadata")
"""Columns of a prepared data set that are no part of the samples."""
_SAMPLE = 100
"""Records that are looked at to recognise a layout."""


@dataclass(frozen=True)
class Found:
    """Files of a source before they are looked at.

    Attributes:
        base: the folder that names in rows are relative to.
        class_names: names of numbered classes by column.
        digests: of files whose digest is known, so that their bytes need not be read for it.
    """

    files: list[Path]
    base: Path
    skipped: list[str] = field(default_factory=list)
    reference: str | None = None
    reference_digest: str | None = None
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    digests: Mapping[Path, str] = field(default_factory=dict)


def make_plan(sources: Sequence[Source], folder: Path, *, shard_bytes: int) -> Plan:
    """Find and look at everything that the sources name.

    Args:
        folder: what relative paths are relative to.
        shard_bytes: size from which on a shard is full.

    Raises:
        NotFound: a file, pattern, data set or reference leads to nothing.
        InvalidRecipe: names collide, a format or layout is not known.
        IntegrityError: a file is damaged.
    """
    found = [find_source(source, folder) for source in sources]
    total = sum(path.stat().st_size for item in found for path in item.files)
    names = source_names(sources)
    with progress.current().task(t("look at the files"), total=total, unit="B") as task:
        plans = tuple(
            _plan_source(source, name, item, shard_bytes, task.advance)
            for source, name, item in zip(sources, names, found, strict=True)
        )
    return Plan(sources=plans, shards=cut_into_shards(plans, shard_bytes))


def source_names(sources: Sequence[Source]) -> list[str]:
    """The names of the sources, made where none is given."""
    names: list[str] = []
    for source in sources:
        name = source.name or _default_name(source)
        if source.name is None and name in names:
            name = f"{name}-{len(names) + 1}"
        if name in names:
            raise InvalidRecipe(
                t("two sources are named {name!r}", name=name), hint=t("Give each source a name of its own.")
            )
        names.append(name)
    return names


def _default_name(source: Source) -> str:
    if isinstance(source, HubSource):
        return source.dataset.rstrip("/").split("/")[-1]
    if isinstance(source, LibrarySource):
        return source.reference.split("/")[-1].split(":")[0]
    path = source.first if isinstance(source, AlignedSource) else source.path
    first = path if isinstance(path, str) else path[0]
    parts = [part for part in Path(first).parts if not glob.has_magic(part)]
    stem = Path(parts[-1]).name if parts else ""
    return stem.split(".")[0] or "data"


def find_source(source: Source, folder: Path) -> Found:
    if isinstance(source, FileSource):
        return find_files([source.path] if isinstance(source.path, str) else source.path, folder, source.format)
    if isinstance(source, AlignedSource):
        first, second = _existing(source.first, folder), _existing(source.second, folder)
        return Found([first, second], first.parent)
    if isinstance(source, HubSource):
        from llmasos.data.sources.hub import find_hub_data_set

        return find_hub_data_set(source, folder)
    from llmasos.data.sources.library import find_library_data_set

    return find_library_data_set(source)


def _existing(text: str, folder: Path) -> Path:
    path = folder / Path(text).expanduser()
    if not path.is_file():
        raise NotFound(
            t("there is no file {path}", path=path),
            hint=t("Paths are relative to the folder of the recipe; --set changes one."),
        )
    return path


def find_files(paths: Sequence[str], folder: Path, given_format: str | None) -> Found:
    """The files that paths, folders and patterns mean, each once, sorted within each of them.

    Hidden files are left out. Files of a folder in no known format are listed as skipped.
    """
    files: dict[Path, None] = {}
    skipped: list[str] = []
    bases: list[Path] = []
    for text in paths:
        path = folder / Path(text).expanduser()
        if path.is_dir():
            bases.append(path)
            for item in sorted(path.rglob("*")):
                if not item.is_file() or _is_hidden(item.relative_to(path)):
                    continue
                if given_format is None and format_of(item) is None:
                    skipped.append(str(item.relative_to(path)))
                else:
                    files.setdefault(item)
        elif path.is_file():
            bases.append(path.parent)
            files.setdefault(path)
        else:
            fixed = _fixed_part(path)
            found = sorted(fixed.glob(str(path.relative_to(fixed)))) if fixed != path else []
            matches = [item for item in found if item.is_file() and not _is_hidden(item.relative_to(fixed))]
            if not matches:
                raise NotFound(
                    t("there is no file {path}", path=path),
                    hint=t("Paths are relative to the folder of the recipe; --set changes one."),
                )
            bases.append(fixed)
            files.update(dict.fromkeys(matches))
    if not files:
        raise NotFound(
            t("there is no file of a known format in {path}", path=", ".join(paths)),
            hint=t("Name the format: format: jsonl, csv, parquet, text, ..."),
        )
    return Found(list(files), Path(os.path.commonpath(bases)), skipped)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _fixed_part(pattern: Path) -> Path:
    """The folder above the first part with a wildcard."""
    fixed: list[str] = []
    for part in pattern.parts:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return Path(*fixed)


def _plan_source(
    source: Source, name: str, found: Found, shard_bytes: int, advance: Callable[[int], None]
) -> SourcePlan:
    reading = Reading()
    if isinstance(source, FileSource):
        reading = Reading(
            columns=source.columns, delimiter=source.delimiter, quote=source.quote, records=source.records,
            document=source.document,
        )  # fmt: skip
    if isinstance(source, AlignedSource):
        files = [_plan_aligned(source, found, shard_bytes, advance)]
    else:
        files = [_plan_file(source, path, found, reading, shard_bytes, advance) for path in found.files]
    sample = _first_records(files, reading)
    layout, recognised = _layout(source, sample, found, files)
    prepared = isinstance(source, LibrarySource)
    used = layout.columns() | set(source.metadata) | (set(OWN_COLUMNS) if prepared else set())
    unused = [column for column in dict.fromkeys(key for fields in sample for key in fields) if column not in used]
    return SourcePlan(
        name=name, layout=layout, recognised=recognised, metadata=source.metadata,
        into=source.into or TRAIN, unused_columns=tuple(unused),
        reading=reading, files=tuple(files), skipped_files=tuple(found.skipped), prepared=prepared,
        reference=found.reference,
        reference_digest=found.reference_digest,
    )  # fmt: skip


def _plan_file(
    source: Source, path: Path, found: Found, reading: Reading, shard_bytes: int, advance: Callable[[int], None]
) -> FilePlan:
    file_format = (source.format if isinstance(source, FileSource) else None) or format_of(path)
    if file_format is None:
        raise InvalidRecipe(
            t("{path}: the format of the file is not known", path=path),
            hint=t("Name the format: format: jsonl, csv, parquet, text, ..."),
        )
    quoted = file_format == "csv" if reading.quote is None else bool(reading.quote)
    cut = file_format == "jsonl" or (file_format in ("csv", "tsv") and not quoted) or (
        file_format == "text" and reading.document == "line"
    )  # fmt: skip
    encoding = source.encoding if isinstance(source, FileSource) else None
    name = path.relative_to(found.base).as_posix() if path.is_relative_to(found.base) else path.name
    return scan_file(
        path,
        name,
        file_format,
        encoding=encoding,
        digest=found.digests.get(path),
        cut_lines=cut,
        piece_bytes=shard_bytes,
        advance=advance,
    )


def _plan_aligned(source: AlignedSource, found: Found, shard_bytes: int, advance: Callable[[int], None]) -> FilePlan:
    first, second = found.files
    counts = count_lines(first), count_lines(second)
    if counts[0] != counts[1]:
        raise InvalidRequest(
            t(
                "{first} has {first_lines} lines and {second} has {second_lines}",
                first=first, first_lines=counts[0], second=second, second_lines=counts[1],
            ),
            hint=t("Aligned files have as many lines; look for a line that was lost or split."),
        )  # fmt: skip
    plans = [
        scan_file(
            path, path.name, "text", encoding=source.encoding, cut_lines=False, piece_bytes=shard_bytes, advance=advance
        )
        for path in (first, second)
    ]
    return plans[0].model_copy(
        update={
            "name": f"{first.name}+{second.name}",
            "size": plans[0].size + plans[1].size,
            "digest": _combined(plans),
            "second": str(second),
            "second_encoding": plans[1].encoding,
            "encoding_certain": plans[0].encoding_certain and plans[1].encoding_certain,
            "undecodable_lines": plans[0].undecodable_lines + plans[1].undecodable_lines,
        }
    )


def _combined(plans: Sequence[FilePlan]) -> str:
    import hashlib

    return "sha256:" + hashlib.sha256("".join(plan.digest for plan in plans).encode()).hexdigest()


def _first_records(files: Sequence[FilePlan], reading: Reading) -> list[Mapping[str, object]]:
    """The fields of the first records of the source."""
    records = (
        item.fields
        for file in files
        for piece in file.pieces
        for item in read_piece(file, piece, reading)
        if isinstance(item, Record)
    )
    return list(islice(records, _SAMPLE))


def _layout(
    source: Source, sample: Sequence[Mapping[str, object]], found: Found, files: Sequence[FilePlan]
) -> tuple[Layout, str | None]:
    if source.layout is not None:
        layout = source.layout
        if isinstance(layout, LabelLayout) and layout.names is None and layout.label in found.class_names:
            layout = layout.model_copy(update={"names": found.class_names[layout.label]})
        return layout, None
    if isinstance(source, AlignedSource):
        aligned = ParallelLayout(source_language=source.first_language, target_language=source.second_language)
        return aligned, "parallel text"
    recognised = recognise(sample, class_names=found.class_names)
    if recognised is None:
        where = files[0].path if files else str(source)
        if not sample:
            raise InvalidRequest(
                t("{path} holds no record", path=where), hint=t("Check the format, and that the file is not empty.")
            )
        columns = ", ".join(sample[0])
        raise InvalidRecipe(
            t("{path}: what the columns mean is not clear: {columns}", path=where, columns=columns),
            hint=t("Say it with the key layout of the source; `llmasos recipe show data` explains it."),
        )
    return recognised.layout, recognised.name
