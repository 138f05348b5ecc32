"""A prepared data set as a version of the library: files, rejected rows, report, card, lineage."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from llmasos.data.output.card import card_text
from llmasos.library.kind import Kind
from llmasos.library.metadata import Lineage, LineageInput, Metadata

if TYPE_CHECKING:
    from llmasos.data.output.gather import GatherStage
    from llmasos.data.pipeline.stages import Stages
    from llmasos.data.recipe import DataRecipe
    from llmasos.data.sources.plan import Plan, SourcePlan
    from llmasos.library.reference import Reference
    from llmasos.library.store import Library, Version

REPORT_PATH = "report.json"
REJECTED_PATH = "rejected/rejected.jsonl.gz"


def publish(
    library: Library,
    name: Reference | None,
    recipe: DataRecipe,
    plan: Plan,
    facts: dict[str, Any],
    inputs: list[LineageInput],
    work: Path,
    gather: GatherStage,
    stages: Stages,
) -> Version:
    """Put the data set into the library. The same rows and recipe give the same digest."""
    metadata = Metadata(
        kind=Kind.DATASET,
        format=f"{recipe.output.format}/{facts['kind']}",
        license=recipe.license,
        languages=list(recipe.languages),
        description=recipe.description,
        labels=sorted(facts["labels"]),
        data=[source.reference for source in plan.sources if source.reference is not None],
        metrics={
            "rows": facts["totals"]["kept"],
            "rows_read": facts["totals"]["read"],
            "rows_rejected": facts["totals"]["rejected"],
            **{f"rows_{split}": count for split, count in facts["splits"].items()},
            **({"tokens": facts["tokens"]["total"]} if facts["tokens"] else {}),
        },
    )
    lineage = Lineage(
        step="prepare",
        inputs=inputs,
        recipe=recipe.model_dump(mode="json", exclude={"execution", "variables"}, exclude_none=True),
        metrics=metadata.metrics,
    )
    rejected = work / "rejected.jsonl.gz"
    _write_rejected(rejected, stages)
    with library.draft() as draft:
        for task in range(len(gather.files)):
            path = gather.path(task)
            draft.add_file(f"data/{path.name}", path)
        if facts["totals"]["rejected"]:
            draft.add_file(REJECTED_PATH, rejected)
        draft.add_bytes(REPORT_PATH, orjson.dumps(facts, option=orjson.OPT_INDENT_2))
        return draft.publish(name, metadata, card=card_text(recipe, facts), lineage=lineage)


def plan_inputs(sources: Sequence[SourcePlan], role: str) -> Iterator[LineageInput]:
    """What was read, as inputs of the lineage: data sets of the library by their digests, else every file."""
    for source in sources:
        if source.reference_digest is not None:
            yield LineageInput(role=role, digest=source.reference_digest, reference=source.reference)
            continue
        for file in source.files:
            yield LineageInput(role=role, digest=file.digest, reference=f"{source.name}/{file.name}")


def _write_rejected(path: Path, stages: Stages) -> None:
    """Gather the rejected rows of all stages and shards into one file."""
    with path.open("wb") as raw, gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as file:
        for number in range(len(stages.sections)):
            for shard in range(stages.shards):
                with (stages.folder(number) / "rejected" / f"{shard:05d}.jsonl").open("rb") as part:
                    shutil.copyfileobj(part, file)
