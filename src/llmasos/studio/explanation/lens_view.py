"""What the model would say after the chosen token if it stopped after each layer."""

from __future__ import annotations

from nicegui import ui

from llmasos.explain.explanation import Explanation, LensLayer
from llmasos.i18n import t
from llmasos.studio.components import parts
from llmasos.studio.components.labelled import labelled
from llmasos.studio.context import Context
from llmasos.studio.explanation import markup

_SAYINGS = 4


class LensView:
    """A line for each layer."""

    def __init__(self, context: Context, found: Explanation, model: str) -> None:
        self._context, self._found, self._model = context, found, model
        self._wanted: int | None = None
        with parts.card():
            parts.title_line(2, t("Layer by layer"))
            ui.label(
                t("What the model would say after the chosen token if it stopped after each layer (logit lens).")
            ).classes("small soft")
            self._title = ui.label().classes("h3")
            with labelled(ui.element("div").classes("wide").props("tabindex=0 role=group"), t("Layer by layer")):
                self._table = ui.html("", sanitize=False)

    async def choose(self, position: int) -> None:
        """Show the layers at a token; the model is loaded anew if it was unloaded."""
        self._wanted = position
        layers: list[LensLayer] = await self._context.platform.service.with_adapter(
            self._model, lambda model, _: self._found.lens(model, position, top=_SAYINGS)
        )
        if position != self._wanted or self._table.is_deleted:  # another was chosen meanwhile
            return
        tokens = self._found.tokens
        following = tokens[position + 1].token_id if position + 1 < len(tokens) else None
        self._title.text = t("After “{token}”", token=markup.visible(tokens[position].text))
        names = [t("embedding") if item.layer < 0 else str(item.layer) for item in layers]
        self._table.set_content(
            markup.lens([(name, item.prediction) for name, item in zip(names, layers, strict=True)], following)
        )
