"""`llmasos data preview`: what a source holds, and a sample as a model sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmasos.cli import terminal
from llmasos.cli.output import Output
from llmasos.errors import NotFound
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.data.preview import Preview
    from llmasos.data.rendering import RenderingOptions
    from llmasos.data.row import Row
    from llmasos.data.sources.plan import SourcePlan
    from llmasos.data.sources.rows import Unreadable

_MOST_SHOWN = 2000
"""Characters of a text that are shown."""


@dataclass(frozen=True)
class Found:
    """The row that was asked for, and how its source is read.

    Attributes:
        model: the model that the recipe counts tokens for, and how rows become tokens there.
        unreadable: what before the row could not be read.
    """

    source: SourcePlan
    row: Row
    unreadable: list[Unreadable]
    model: str | None = None
    rendering: RenderingOptions | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "source": self.source.name,
            "recognised": self.source.recognised,
            "layout": self.source.layout.model_dump(mode="json", exclude_none=True),
            "unused_columns": list(self.source.unused_columns),
            "encodings": sorted({file.encoding for file in self.source.files if file.encoding}),
            "unreadable": [
                {"origin": str(item.origin), "reason": item.rejection.reason, "detail": item.rejection.detail}
                for item in self.unreadable
            ],
            "row": self.row.as_json(),
        }


def first_rows(name: str, *, split: str, row: int, assignments: Sequence[str]) -> Found:
    """Find the row number ``row`` (from 1) of a recipe's sources, a data set of the library, a file or a folder.

    Raises:
        NotFound: there is nothing of this name, or there are fewer rows.
        InvalidRecipe: the recipe has problems, or the layout of the file is not known.
    """
    from llmasos.data.recipe import DataRecipe
    from llmasos.data.row import Row
    from llmasos.data.sources.config import FileSource, LibrarySource, Source
    from llmasos.data.sources.planning import make_plan
    from llmasos.data.sources.rows import planned_rows
    from llmasos.recipe import loading

    path = Path(name).expanduser()
    folder = Path.cwd()
    sources: tuple[Source, ...]
    model = rendering = None
    if path.suffix.lower() in (".yaml", ".yml"):
        recipe = loading.load(path, DataRecipe, assignments)
        folder, sources = path.absolute().parent, recipe.sources
        if recipe.tokens is not None:
            model, rendering = recipe.tokens.model, recipe.tokens.rendering
    elif path.exists():
        sources = (FileSource(path=str(path)),)
    else:
        sources = (LibrarySource(reference=name, split=split),)
    plan = make_plan(sources, folder, shard_bytes=1 << 40)
    unreadable: list[Unreadable] = []
    seen = 0
    for item in planned_rows(plan):
        if not isinstance(item, Row):
            unreadable.append(item)
            continue
        seen += 1
        if seen == row:
            source = next(source for source in plan.sources if source.name == item.origin.source)
            return Found(source, item, unreadable[:100], model, rendering)
    raise NotFound(
        t("{name} has {count} rows", name=name, count=seen),
        hint=t("Choose a row from 1 to {count}.", count=max(seen, 1)),
    )


def render(found: Found, reference: str, *, max_length: int | None, accept_license: bool) -> Preview:
    """The row as a model sees it; raises as :func:`llmasos.sdk.load` for what concerns fetching."""
    from llmasos.data.preview import preview
    from llmasos.data.rendering import Renderer, RenderingOptions
    from llmasos.data.row import Label
    from llmasos.sdk import open_tokenizer_folder

    options = found.rendering or RenderingOptions()
    if max_length is not None:
        options = options.model_copy(update={"max_length": max_length})
    folder = open_tokenizer_folder(reference, accept_license=accept_license)
    labels = (found.row.sample.label,) if isinstance(found.row.sample, Label) and not folder.labels else ()
    return preview(Renderer.of_model(folder, options, labels=labels), [found.row])


def show_rows(out: Output, found: Found) -> None:
    """How the source is read, and the texts of the row."""
    source = found.source
    layout = source.layout.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    columns = ", ".join(f"{key}: {value}" for key, value in {"kind": source.layout.kind, **layout}.items())
    facts: list[tuple[str, object]] = [(t("Source"), source.name)]
    if source.recognised:
        facts.append((t("Recognised as"), source.recognised))
    facts.append((t("Layout"), columns))
    if source.unused_columns:
        facts.append((t("Columns not used"), ", ".join(source.unused_columns)))
    if encodings := sorted({file.encoding for file in source.files if file.encoding}):
        facts.append((t("Encoding"), ", ".join(encodings)))
    facts.append((t("Row"), str(found.row.origin)))
    out.facts(facts, width=22)
    for place, text in found.row.texts():
        out.print()
        out.print(place, style="bold")
        out.print(text[:_MOST_SHOWN])
        if len(text) > _MOST_SHOWN:
            out.note(t("... and {count} more characters", count=f"{len(text) - _MOST_SHOWN:,}"))
    for item in islice(found.unreadable, 5):
        out.warn(f"{item.origin}: {item.rejection.reason}: {item.rejection.detail}")


def show_rendered(out: Output, found: Found, preview: Preview) -> None:
    """The tokens of the sample, learned ones in colour."""
    from llmasos.data.preview_terminal import as_rich, as_text

    if found.source.recognised:
        out.note(t("{source}: recognised as {name}", source=found.source.name, name=found.source.recognised))
    if terminal.console().is_terminal:
        terminal.console().print(as_rich(preview))
    else:
        out.print(as_text(preview))
