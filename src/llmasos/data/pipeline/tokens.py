"""Counting tokens, and rejecting rows that the model cannot be trained on, by rendering every row as training will."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from llmasos.data.rendering import RejectedRow, Renderer, RenderingAccount, RenderingOptions
from llmasos.data.row import Label, Row
from llmasos.data.step import Counts, FilterConfig, Outcome, Rejection


class TokensConfig(FilterConfig):
    """Render every row for a model: count its tokens, and reject rows that give nothing to train on."""

    step: Literal["tokens"] = "tokens"
    folder: Path = Field(description="Folder of the model.")
    digest: str = Field(description="Digest of the model's tokenizer.")
    reference: str = Field(description="What the user calls the model.")
    options: RenderingOptions = Field(description="How rows become tokens.")

    def build(self) -> TokenCounter:  # type: ignore[override]  # a stage of its own kind
        return TokenCounter(self)


class TokenCounter:
    """Renders rows in batches and writes the numbers of their tokens into their metadata."""

    batch_size = 256

    def __init__(self, config: TokensConfig) -> None:
        self._config = config
        self._labels: dict[str, None] = {}
        self._renderer: Renderer | None = None
        self._account = RenderingAccount()

    def process(self, rows: Sequence[Row]) -> list[Outcome]:
        """One outcome for each row."""
        renderer = self._renderer_for(rows)
        tokens = [0] * len(rows)
        trained = [0] * len(rows)
        rejections: dict[int, Rejection] = {}
        rendered: set[int] = set()
        for item in renderer.render(rows, self._account):
            if isinstance(item, RejectedRow):
                rejections[item.row] = item.rejection
                continue
            rendered.add(item.row)
            tokens[item.row] += sum(len(part) for part in item.parts.values())
            trained[item.row] += sum(part.trained_count for part in item.parts.values())
        return [
            Outcome(row.with_metadata(tokens=tokens[number], trained_tokens=trained[number]))
            if number in rendered
            else Outcome(row, rejections[number])
            for number, row in enumerate(rows)
        ]

    def finish(self) -> Counts:
        """What rendering counted."""
        counts: dict[str, int] = {}
        for name, value in self._account.as_json().items():
            if isinstance(value, dict):
                counts |= {f"{name} {key}": count for key, count in value.items() if count and name != "rejected"}
            elif value and name != "rows":
                counts[name] = value
        return counts

    def _renderer_for(self, rows: Sequence[Row]) -> Renderer:
        """The renderer, made anew when classes occur that it does not know."""
        new = [
            row.sample.label for row in rows if isinstance(row.sample, Label) and row.sample.label not in self._labels
        ]
        if self._renderer is None or new:
            from llmasos.modeling.folder import ModelFolder

            self._labels.update(dict.fromkeys(new))
            folder = ModelFolder.open(self._config.folder, reference=self._config.reference)
            self._renderer = Renderer.of_model(folder, self._config.options, labels=tuple(self._labels))
        return self._renderer
