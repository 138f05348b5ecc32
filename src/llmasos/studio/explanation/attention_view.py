"""What the chosen token attended to, in a layer and head, and the maps of the heads to choose from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from nicegui import ui

from llmasos.explain.explanation import Explanation
from llmasos.i18n import t
from llmasos.studio.components import parts
from llmasos.studio.components.labelled import labelled
from llmasos.studio.context import Context
from llmasos.studio.explanation import markup
from llmasos.studio.explanation.picture import picture
from llmasos.studio.explanation.strip import Strip

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MOST_NAMED = 8
_SMALL = 64
"""Pixels of a small map, on a side."""
#: The row of the map that was clicked on.
_ROW = "(event) => emit(event.offsetY / event.currentTarget.clientHeight)"


class AttentionView:
    """One map large, all heads of the layer small, all layers smaller still; a click on one shows it."""

    def __init__(self, context: Context, found: Explanation, chosen: Callable[[int], Any]) -> None:
        assert found.attention is not None
        self._context, self._found, self._attention, self._chosen = context, found, found.attention, chosen
        self._layer: int | None = None
        self._head: int | None = None
        self._position = len(found.tokens) - 1
        with parts.card():
            parts.title_line(2, t("Attention"))
            ui.label(t("How much the chosen token took from each token before it, and from itself.")).classes(
                "small soft"
            )
            with ui.element("div").classes("line"):
                layers = {-1: t("Mean over layers"), **{layer: str(layer) for layer in range(self._attention.layers)}}
                heads = {-1: t("Mean over heads"), **{head: str(head) for head in range(self._attention.heads)}}
                self._layer_choice = self._select(layers, t("Layer"))
                self._head_choice = self._select(heads, t("Head"))
                self._step("chevron_left", t("The layer before"), -1)
                self._step("chevron_right", t("The next layer"), 1)
                self._without_first = ui.checkbox(t("First token left out"), value=True)
                self._without_first.on_value_change(context.handle(self._show))
                self._without_first.tooltip(
                    t("Heads that find nothing leave their attention there, and hide the rest.")
                )
                labelled(self._without_first, t("First token left out"))
            with ui.element("div").classes("attention"):
                with ui.element("div"):
                    self._map = ui.element("img").classes("map large")
                    self._map.on("click", context.handle(lambda event: self._row(event.args)), js_handler=_ROW)
                    ui.label(t("Rows attend to columns; a click chooses the row.")).classes("small soft")
                with ui.element("div").classes("talk"):
                    self._strip = Strip(context, found.tokens, t("What the chosen token attended to"), chosen)
                    with ui.element("div").props("aria-live=polite").classes("talk"):
                        self._table_title = ui.label().classes("h3")
                        self._table = ui.html("", sanitize=False)
            parts.title_line(3, t("Heads of this layer"))
            self._heads = ui.element("div").classes("maps")
            parts.title_line(3, t("Layers"))
            self._layers = ui.element("div").classes("maps")
        self._tiles: list[ui.element] = []

    def _select(self, options: dict[int, str], name: str) -> ui.select:
        choice = ui.select(options, value=-1, label=name).props("outlined dense options-dense")
        choice.style("min-width: 150px")
        return choice.on_value_change(self._context.handle(self._choose_map))

    def _step(self, icon: str, name: str, by: int) -> None:
        def step() -> None:
            now = self._layer_choice.value
            self._layer_choice.value = max(-1, min(now + by, self._attention.layers - 1))

        button = ui.button(icon=icon, on_click=self._context.handle(step)).props("flat round dense")
        labelled(button, name).tooltip(name)

    def choose(self, position: int) -> None:
        """Show what a token attended to."""
        self._position = position
        self._strip.show(position=position)
        self._show_row(self._attention.map(self._layer, self._head))

    async def show(self) -> None:
        """Draw everything."""
        await self._show()
        await self._show_layers()

    async def _choose_map(self) -> None:
        layer, head = self._layer_choice.value, self._head_choice.value
        self._layer, self._head = (None if layer == -1 else layer), (None if head == -1 else head)
        await self._show()

    async def _row(self, share: object) -> None:
        """A browser may send anything."""
        if isinstance(share, int | float) and 0 <= share <= 1:
            count = len(self._found.tokens)
            await self._chosen(min(int(share * count), count - 1))

    async def _show(self) -> None:
        weights = self._attention.map(self._layer, self._head)
        self._show_row(weights)
        self._map.props["src"] = picture(self._seen(weights), most_pixels=len(weights))
        self._map.props["alt"] = self._name(self._layer, self._head)
        self._map.update()
        for place, tile in enumerate(self._tiles):
            tile.props(f"aria-pressed={str(place - 1 == (-1 if self._layer is None else self._layer)).lower()}")
        layer = self._layer
        heads: list[int | None] = [None, *range(self._attention.heads)]
        pictures = await asyncio.to_thread(
            lambda: [picture(self._seen(self._attention.map(layer, head)), most_pixels=_SMALL) for head in heads]
        )
        if layer != self._layer or self._heads.is_deleted:
            return
        self._heads.clear()
        with self._heads:
            for head, address in zip(heads, pictures, strict=True):
                name = t("Mean") if head is None else str(head)
                self._small(address, name, self._name(layer, head), partial(self._set_head, head), head == self._head)

    async def _show_layers(self) -> None:
        layers: list[int | None] = [None, *range(self._attention.layers)]
        pictures = await asyncio.to_thread(
            lambda: [picture(self._seen(self._attention.map(layer)), most_pixels=_SMALL) for layer in layers]
        )
        if self._layers.is_deleted:
            return
        self._layers.clear()
        self._tiles.clear()
        with self._layers:
            for layer, address in zip(layers, pictures, strict=True):
                name = t("Mean") if layer is None else str(layer)
                told = self._name(layer, None)
                tile = self._small(address, name, told, partial(self._set_layer, layer), layer == self._layer)
                self._tiles.append(tile)

    def _small(self, address: str, name: str, told: str, handler: Callable[[], None], pressed: bool) -> ui.element:
        with ui.element("button").classes("tile").props(f"type=button aria-pressed={str(pressed).lower()}") as tile:
            image = ui.element("img").classes("map")
            image.props["src"], image.props["alt"] = address, ""
            ui.label(name).classes("small number")
        return labelled(tile, told).on("click", self._context.handle(handler))

    def _set_head(self, head: int | None) -> None:
        self._head_choice.value = -1 if head is None else head

    def _set_layer(self, layer: int | None) -> None:
        self._layer_choice.value = -1 if layer is None else layer

    def _name(self, layer: int | None, head: int | None) -> str:
        return t(
            "Attention: {layer}, {head}",
            layer=t("mean over layers") if layer is None else t("layer {number}", number=layer),
            head=t("mean over heads") if head is None else t("head {number}", number=head),
        )

    def _seen(self, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the colours show."""
        if not self._without_first.value or len(weights) == 1:
            return weights
        shown = weights.copy()
        shown[:, 0] = 0.0
        return shown

    def _show_row(self, weights: NDArray[np.float32]) -> None:
        position = self._position
        seen = self._seen(weights)[position]
        peak = float(seen.max()) or 1.0
        self._strip.show([0.6 * float(value) / peak for value in seen], position)
        row = weights[position, : position + 1]
        best = row.argsort()[::-1][:_MOST_NAMED]
        self._table_title.text = t("“{token}” attended to", token=markup.visible(self._found.tokens[position].text))
        self._table.set_content(
            markup.attended(self._found.tokens, [(int(place), float(row[place])) for place in best])
        )
