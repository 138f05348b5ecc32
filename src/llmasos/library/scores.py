"""Scores that were attached to a version: artefacts of the kind ``report`` whose lineage names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from llmasos.library.metadata import Lineage

if TYPE_CHECKING:
    from llmasos.library.store import Library

EVALUATE = "evaluate"
"""The step that makes such an artefact."""


@dataclass(frozen=True)
class AttachedScores:
    """The scores of one evaluation."""

    name: str
    """Of the artefact."""
    task: str
    metrics: Mapping[str, Any]
    settings: Mapping[str, Any]
    recorded: datetime | None


def attached_scores(library: Library, digest: str) -> list[AttachedScores]:
    """The scores of a version by task, the newest first. Those whose artefact has lost its name are left out."""
    named = {row.digest: row.names[0] for row in library.versions(kind="report") if row.names}
    found = []
    for step in library.catalogue.lineage_using(digest):
        if step.step != EVALUATE or step.version not in named:
            continue
        lineage = Lineage.model_validate_json(step.document, extra="ignore")
        settings = dict(lineage.recipe or {})
        task = str(settings.pop("task", ""))
        found.append(AttachedScores(named[step.version], task, lineage.metrics, settings, step.recorded))
    return sorted(found, key=lambda scores: (scores.task, -(scores.recorded.timestamp() if scores.recorded else 0)))
