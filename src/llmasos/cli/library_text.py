"""The human view of the library's commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmasos.cli.output import Column, Output
from llmasos.i18n import t
from llmasos.library.digest import short
from llmasos.units import format_bytes, format_count

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from llmasos.library.diff import TensorDifference, VersionDifference
    from llmasos.library.gc import GcReport
    from llmasos.library.lineage import LineageNode
    from llmasos.library.scores import AttachedScores
    from llmasos.library.store import Library, Version
    from llmasos.library.verify import VerifyReport
    from llmasos.library.version import VersionRow


def row_json(row: VersionRow) -> dict[str, Any]:
    """A line of `list --json`."""
    return {
        "names": list(row.names),
        "digest": row.digest,
        "kind": row.kind,
        "architecture": row.architecture,
        "task_family": row.task_family,
        "parameters": row.parameters,
        "context_length": row.context_length,
        "size": row.size,
        "license": row.license,
        "format": row.format,
        "precision": row.precision,
        "quantization": row.quantization,
        "description": row.description,
        "created": row.created,
        "published": row.published,
    }


def print_list(out: Output, rows: list[VersionRow], *, filtered: bool) -> None:
    """One line per name."""
    if not rows:
        out.note(
            t("Nothing in the library matches.")
            if filtered
            else t("The library is empty. Get a model with `llmasos pull smollm2:135m-instruct`.")
        )
        return
    columns: list[str | Column] = [
        Column(t("Name"), style="bold"),
        t("Kind"),
        t("Architecture"),
        Column(t("Parameters"), right=True),
        Column(t("Size"), right=True),
        t("Type"),
        t("Licence"),
        t("Digest"),
        t("Added"),
    ]
    out.table(
        columns,
        [
            (
                name,
                row.kind,
                row.architecture,
                format_count(row.parameters) if row.parameters is not None else None,
                format_bytes(row.size),
                row.quantization or row.precision,
                row.license,
                short(row.digest),
                _moment(row.published),
            )
            for row in rows
            for name in row.names or (None,)
        ],
    )


def _moment(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


def print_version(out: Output, library: Library, version: Version, source: str | None) -> None:
    """What is known of a version, one fact a line, and its files."""
    metadata = version.metadata
    facts: list[tuple[str, str | None]] = [
        (t("Name"), ", ".join(version.names)),
        (t("Digest"), version.digest),
        (t("Kind"), metadata.kind.value),
        (t("Description"), metadata.description),
        (t("Architecture"), metadata.architecture),
        (t("Task"), metadata.task_family),
        (t("Parameters"), _parameters(metadata.parameters)),
        (
            t("Context"),
            t("{count} tokens", count=f"{metadata.context_length:,}") if metadata.context_length is not None else None,
        ),
        (t("Languages"), ", ".join(metadata.languages)),
        (t("Licence"), " ".join(filter(None, (metadata.license, metadata.license_url)))),
        (t("Size"), format_bytes(version.size)),
        (t("Format"), metadata.format),
        (t("Type"), metadata.precision),
        (t("Quantisation"), metadata.quantization),
        (t("Chat template"), t("yes") if metadata.chat_template else t("no")),
        (t("Base"), _base(library, metadata.base)),
        (t("Data"), ", ".join(metadata.data)),
        (t("Labels"), ", ".join(metadata.labels)),
        (t("Metrics"), ", ".join(f"{key} {_figure(value)}" for key, value in metadata.metrics.items())),
        (t("Source"), source),
        (t("Created"), _moment(version.created)),
        (t("Added"), _moment(version.published)),
    ]
    known = [(label, value) for label, value in facts if value]
    _print_facts(out, known)
    out.print()
    out.table(
        [t("File"), Column(t("Size"), right=True), t("Digest")],
        [(path, format_bytes(file.size), short(file.digest)) for path, file in version.manifest.files.items()],
    )


def print_scores(out: Output, scores: list[AttachedScores]) -> None:
    """What a version reached on tasks."""
    if not scores:
        return
    out.print()
    out.table(
        [Column(t("Task"), style="bold"), t("Scores"), t("Settings"), t("Evaluated")],
        [
            (
                entry.task,
                ", ".join(f"{name} {_figure(value)}" for name, value in entry.metrics.items()),
                _settings(entry.settings),
                None if entry.recorded is None else _moment(entry.recorded),
            )
            for entry in scores
        ],
    )


def _settings(settings: Mapping[str, Any]) -> str:
    """What was chosen for an evaluation, digests left out."""
    return ", ".join(f"{name} {value}" for name, value in settings.items() if not name.endswith("digest"))


def _print_facts(out: Output, facts: list[tuple[str, str]]) -> None:
    from rich.cells import cell_len

    width = max(cell_len(label) for label, _ in facts)
    for label, value in facts:
        out.print(f"{label}{' ' * (width - cell_len(label))}   {value}")


def _parameters(count: int | None) -> str | None:
    if count is None:
        return None
    return f"{format_count(count)} ({count:,})" if count >= 1000 else str(count)


def _base(library: Library, base: str | None) -> str | None:
    """The base with the name it has here, where the metadata only has its digest."""
    rows = library.catalogue.rows(digest=base) if base and base.startswith("sha256:") else []
    return f"{rows[0].names[0]} ({base})" if rows and rows[0].names else base


def _figure(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def print_nodes(out: Output, nodes: list[LineageNode], indent: str) -> None:
    """A tree, one version a line."""
    for number, node in enumerate(nodes):
        last = number == len(nodes) - 1
        out.print(f"{indent}{'└─ ' if last else '├─ '}{node_text(node)}")
        print_nodes(out, node.nodes, indent + ("   " if last else "│  "))


def node_text(node: LineageNode) -> str:
    """A version of the tree in one line."""
    words = [f"{node.role}:"] if node.role else []
    words.append(node.name or node.digest or t("unknown"))
    if node.digest and node.name:
        words.append(f"@{node.digest.removeprefix('sha256:')[:12]}")
    if node.step:
        words.append(f"[{node.step}{': ' + node.source if node.source else ''}]")
    if node.digest and not node.present:
        words.append(t("(not in the library)"))
    if node.repeated:
        words.append(t("(see above)"))
    return " ".join(words)


def _value(value: object) -> str:
    return "-" if value is None or value == [] or value == {} else str(value)


def _tensor_text(tensor: TensorDifference) -> str:
    def form(dtype: str | None, shape: tuple[int, ...] | None) -> str:
        return f"{dtype} {list(shape or ())}"

    if tensor.change == "added":
        return form(tensor.dtype_after, tensor.shape_after)
    if tensor.change == "removed":
        return form(tensor.dtype_before, tensor.shape_before)
    if tensor.differs == ("values",):
        return t("values differ")
    return f"{form(tensor.dtype_before, tensor.shape_before)} -> {form(tensor.dtype_after, tensor.shape_after)}"


def gc_figures(report: Any) -> dict[str, object]:
    return {
        "versions": len(report.versions),
        "blobs": len(report.blobs),
        "drafts": report.drafts,
        "views": report.views,
        "size": format_bytes(report.bytes + report.draft_bytes),
    }


def print_verification(out: Output, report: VerifyReport) -> None:
    """What was checked, and each problem with the versions and files it touches."""
    for problem in report.problems:
        where = ", ".join((*problem.versions, *problem.paths))
        out.print(f"{problem.message}" + (f" ({where})" if where else ""), style="red")
    out.print(
        t(
            "{versions} version(s), {blobs} blob(s), {size} checked: {count} problem(s)",
            versions=report.versions,
            blobs=report.blobs,
            size=format_bytes(report.bytes),
            count=len(report.problems),
        )
    )
    if report.problems:
        out.note(t("Pull what is damaged again: `llmasos pull NAME --force`."))
    elif report.unneeded:
        out.note(t("{count} blob(s) belong to no version; `llmasos gc` removes them.", count=report.unneeded))


def print_collection(out: Output, report: GcReport, *, dry_run: bool) -> None:
    """What garbage collection removed."""
    figures = {
        "versions": len(report.versions),
        "blobs": len(report.blobs),
        "drafts": report.drafts,
        "views": report.views,
        "size": format_bytes(report.bytes + report.draft_bytes),
    }
    if dry_run:
        out.print(
            t(
                "would remove {versions} version(s), {blobs} blob(s), {drafts} draft(s), {views} view(s): {size}",
                **figures,
            )
        )
    else:
        out.print(
            t("removed {versions} version(s), {blobs} blob(s), {drafts} draft(s), {views} view(s): {size}", **figures)
        )


def print_lineage(out: Output, up: LineageNode, down: LineageNode) -> None:
    """The tree of inputs above the tree of users; both begin with the version itself."""
    out.print(node_text(up), style="bold")
    out.print(t("made from:") if up.nodes else t("made from nothing that is recorded"))
    print_nodes(out, up.nodes, "")
    out.print(t("used by:") if down.nodes else t("used by nothing"))
    print_nodes(out, down.nodes, "")


def print_difference(out: Output, result: VersionDifference) -> None:
    """One line per difference: fields, files, tensors."""
    for item in result.metadata:
        out.print(f"{item.field}: {_value(item.before)} -> {_value(item.after)}")
    marks = {"added": "+", "removed": "-", "changed": "~"}
    for file in result.files:
        sizes = " -> ".join(format_bytes(size) for size in (file.size_before, file.size_after) if size is not None)
        out.print(f"{marks[file.change]} {file.path} ({sizes})")
    for tensor in result.tensors:
        out.print(f"{marks[tensor.change]} {tensor.name}: {_tensor_text(tensor)}")
    if result.same:
        out.print(t("the versions are equal"))
    else:
        out.print(
            t(
                "{files} file(s) and {tensors} tensor(s) are equal",
                files=result.equal_files,
                tensors=result.equal_tensors,
            )
        )
