"""What the commands of data write for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmasos.cli.output import Column, Output
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.data.prepare import Prepared


def show_steps(out: Output, facts: Mapping[str, Any]) -> None:
    """The steps with their rows, and the sum."""
    from llmasos.data.report.names import reason_text

    rows: list[tuple[Any, ...]] = []
    for step in facts["steps"]:
        reasons = ", ".join(f"{reason_text(reason)} {count:,}" for reason, count in step["rejected"].items())
        rows.append(
            (
                step["name"],
                f"{step['rows_in']:,}" + (f" + {step['added']:,}" if step["added"] else ""),
                f"{step['rows_out']:,}",
                f"{step['changed']:,}" if step["changed"] else None,
                reasons,
            )
        )
    heads: list[str | Column] = [t("Step"), Column(t("Rows in"), right=True), Column(t("Rows out"), right=True)]
    out.table([*heads, Column(t("Changed"), right=True), t("Rejected")], rows)
    totals = facts["totals"]
    repeated = t(" + {count} repeated", count=f"{totals['added']:,}") if totals["added"] else ""
    out.print()
    out.print(
        t("{read} rows read{repeated} = {kept} kept + {rejected} rejected",
          read=f"{totals['read']:,}", repeated=repeated, kept=f"{totals['kept']:,}",
          rejected=f"{totals['rejected']:,}"),
        style="bold",
    )  # fmt: skip
    if len(facts["splits"]) > 1:
        out.print(
            t("Splits: {splits}", splits=", ".join(f"{name} {count:,}" for name, count in facts["splits"].items()))
        )
    if facts["tokens"]:
        tokens = facts["tokens"]
        out.print(
            t("Tokens of {model}: {total}, of which {trained} are learned",
              model=tokens["model"], total=f"{tokens['total']:,}", trained=f"{tokens['trained']:,}")
        )  # fmt: skip


def show_notes(out: Output, facts: Mapping[str, Any]) -> None:
    """What was decided without being asked: layouts, encodings, columns left aside."""
    for source in facts["sources"]:
        if source["recognised"]:
            out.note(t("{source}: recognised as {name}", source=source["name"], name=source["recognised"]))
        if source["unused_columns"]:
            names = ", ".join(source["unused_columns"])
            out.note(t("{source}: columns not used: {names}", source=source["name"], names=names))
        if source["skipped_files"]:
            names = ", ".join(source["skipped_files"][:5]) + (" ..." if len(source["skipped_files"]) > 5 else "")
            out.warn(t("{source}: files of unknown format left out: {names}", source=source["name"], names=names))
        guessed = {file["encoding"]: file["name"] for file in source["files"] if not file["encoding_certain"]}
        for encoding, name in guessed.items():
            out.warn(
                t("{source}: {file} is taken as {encoding}, a guess; set encoding if it is wrong",
                  source=source["name"], file=name, encoding=encoding)
            )  # fmt: skip


def show_prepared(out: Output, prepared: Prepared, name: str, report: Path) -> None:
    """The result of `llmasos data prepare`."""
    show_notes(out, prepared.facts)
    for warning in prepared.facts["warnings"]:
        out.warn(warning)
    if prepared.resumed:
        out.note(t("{count} tasks were done by an earlier run", count=prepared.resumed))
    show_steps(out, prepared.facts)
    out.print()
    out.print(t("In the library: {name}", name=name))
    out.print(t("Report: {path}", path=report))
