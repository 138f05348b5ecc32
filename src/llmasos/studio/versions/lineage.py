"""The lineage of a version on its page: the graph, and how each step was done."""

from __future__ import annotations

from dataclasses import dataclass

import yaml
from nicegui import ui

from llmasos.i18n import t
from llmasos.library.catalogue import LineageRow
from llmasos.library.lineage import ancestors, descendants
from llmasos.library.metadata import Lineage
from llmasos.library.store import Library
from llmasos.studio.components import parts
from llmasos.studio.versions.drawing import NARROW, WIDE, draw, step_text
from llmasos.studio.versions.graph import Graph, graph


@dataclass(frozen=True)
class History:
    """What is known of how a version came to be and what came of it."""

    graph: Graph
    steps: list[LineageRow]


def history(library: Library, digest: str) -> History:
    """Find out; this asks the catalogue many times where the lineage is long."""
    return History(graph(ancestors(library, digest), descendants(library, digest)), library.lineage(digest))


def show(found: History) -> None:
    """The graph, once for wide and once for narrow pages, and the steps with their recipes."""
    if len(found.graph.nodes) == 1:
        ui.label(t("Nothing is known.")).classes("soft")
    else:
        for measure, classes in ((WIDE, "lineage-wide"), (NARROW, "lineage-narrow")):
            ui.html(draw(found.graph, measure), sanitize=False).classes(classes)  # of our own making, texts escaped
    if found.graph.evaluations:
        ui.label(
            t("{count} evaluations are left out; they are among the scores.", count=found.graph.evaluations)
        ).classes("small soft")
    for step in found.steps:
        _step(step)


def _step(step: LineageRow) -> None:
    lineage = Lineage.model_validate_json(step.document, extra="ignore")
    when = step.recorded.strftime("%Y-%m-%d %H:%M UTC") if step.recorded else ""
    with ui.expansion(" · ".join(filter(None, (step_text(step.step), step.name, when)))).classes("w-full"):
        parts.facts([
            (t("Source"), lineage.source),
            (t("Program"), f"LLMasOS {lineage.code_version}"),
            *((name, _figure(value)) for name, value in lineage.metrics.items()),
        ])  # fmt: skip
        if lineage.recipe:
            parts.code(yaml.safe_dump(lineage.recipe, sort_keys=False, allow_unicode=True), "yaml")


def _figure(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
