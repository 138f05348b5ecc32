"""Two models side by side."""

from __future__ import annotations

from nicegui import ui

from llmasos.i18n import t
from llmasos.library.kind import Kind
from llmasos.studio import address
from llmasos.studio.components import parts
from llmasos.studio.components.later import later
from llmasos.studio.context import Context
from llmasos.studio.page import Page
from llmasos.studio.versions import comparison


def build(context: Context, first: str = "", second: str = "") -> None:
    """The page, with none, one or both of the models chosen."""
    library = context.platform.library
    names = [name for row in library.versions() if row.kind != Kind.REPORT.value for name in row.names]
    names += [name for name in (first, second) if name not in names and name and library.has(name)]
    with parts.heading(t("Compare models"), t("Facts, scores, tokenizer, files and tensors, as far as they differ.")):
        pass

    def choose() -> None:
        if left.value and right.value:
            ui.navigate.to(address.compare_models(left.value, right.value))

    def swap() -> None:
        ui.navigate.to(address.compare_models(right.value or "", left.value or ""))

    with ui.element("div").classes("line"):
        left = _choice(names, t("First model"), first, context.handle(choose))
        ui.button(icon="swap_horiz", on_click=context.handle(swap)).props(f'flat round aria-label="{t("Swap")}"')
        right = _choice(names, t("Second model"), second, context.handle(choose))
    missing = next((name for name in (first, second) if name and name not in names), None)
    if missing is not None:
        with parts.empty("search_off", t("{name} is not in the library", name=missing)):
            pass
    elif first and second:
        later(
            context, lambda: comparison.look(library, first, second),
            lambda found: comparison.show(found, (first, second)),
        )  # fmt: skip
    else:
        with parts.empty("compare", t("Choose two models."), t("Two versions of one name can be compared as well.")):
            pass


def _choice(names: list[str], label: str, chosen: str, change: object) -> ui.select:
    element = ui.select(names, label=label, value=chosen if chosen in names else None, with_input=True)
    element.props("outlined dense").style("min-width: 260px; flex: 1 1 260px")
    element.on_value_change(change)  # type: ignore[arg-type]  # a handler that takes no event
    return element


PAGE = Page("/models/compare", lambda: t("Compare models"), "compare", build, section="/models")
