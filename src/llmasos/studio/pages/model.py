"""One model: what it is, its card, where it comes from, its files, its scores; and its removal."""

from __future__ import annotations

import re

from nicegui import ui

from llmasos.i18n import t
from llmasos.library.lineage import LineageNode, ancestors, descendants
from llmasos.library.scores import attached_scores
from llmasos.library.version import Version
from llmasos.studio import address
from llmasos.studio.components import parts
from llmasos.studio.context import Context
from llmasos.studio.page import Page
from llmasos.units import format_bytes, format_count


def build(context: Context, name: str) -> None:
    """The page of the model ``name``."""
    name = address.model_name(name)
    library = context.platform.library
    if not library.has(name):
        with parts.empty("search_off", t("{name} is not in the library", name=name)):
            ui.link(t("To the models"), address.models())
        return
    version = library.resolve(name)
    with parts.heading(name, version.metadata.description or ""):
        if version.metadata.task_family == "causal":
            ui.button(t("Talk"), icon="forum", on_click=lambda: ui.navigate.to(address.playground(name))).props(
                "unelevated no-caps"
            )
        ui.button(icon="delete", on_click=lambda: _ask_removal(context, name)).props(
            f'flat round aria-label="{t("Remove {name}", name=name)}"'
        )
    with parts.card():
        _facts(version)
    scores = attached_scores(library, version.digest)
    if scores:
        with parts.card():
            parts.title_line(2, t("Scores"))
            rows = [
                {"task": entry.task, "scores": ", ".join(f"{key} {_figure(value)}" for key, value in
                                                         entry.metrics.items())}
                for entry in scores
            ]  # fmt: skip
            columns = [
                {"name": "task", "label": t("Task"), "field": "task", "align": "left"},
                {"name": "scores", "label": t("Scores"), "field": "scores", "align": "left"},
            ]
            ui.table(rows=rows, columns=columns).props("flat dense wrap-cells hide-pagination").classes("w-full")
    card = library.card(version)
    if card.strip():
        with parts.card():
            parts.title_line(2, t("Card"))
            ui.markdown(_beneath_a_heading(_without_front_matter(card))).classes("w-full")
    with parts.card():
        parts.title_line(2, t("Where it comes from"))
        _tree(ancestors(library, version.digest).nodes, t("Nothing is known."))
        below = descendants(library, version.digest).nodes
        if below:
            parts.title_line(2, t("What was made from it"))
            _tree(below, "")
    with parts.card():
        parts.title_line(2, t("Files"))
        for path, file in version.manifest.files.items():
            with ui.element("div").classes("line apart"):
                ui.label(path).classes("mono")
                ui.label(format_bytes(file.size)).classes("soft small number")


def _facts(version: Version) -> None:
    metadata = version.metadata
    parts.facts([
        (t("Digest"), version.digest),
        (t("Kind"), metadata.kind.value),
        (t("Architecture"), metadata.architecture),
        (t("Task"), metadata.task_family),
        (t("Parameters"), format_count(metadata.parameters) if metadata.parameters else None),
        (t("Context"), t("{count} tokens", count=f"{metadata.context_length:,}") if metadata.context_length else None),
        (t("Languages"), ", ".join(metadata.languages)),
        (t("Licence"), metadata.license),
        (t("Size"), format_bytes(version.size)),
        (t("Format"), metadata.format),
        (t("Type"), metadata.precision),
        (t("Quantisation"), metadata.quantization),
        (t("Chat template"), t("yes") if metadata.chat_template else t("no")),
        (t("Labels"), ", ".join(metadata.labels)),
        (t("Data"), ", ".join(metadata.data)),
    ])  # fmt: skip


def _figure(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _without_front_matter(card: str) -> str:
    """A card without its YAML head, which the facts show."""
    if card.startswith("---\n"):
        head, end, rest = card[4:].partition("\n---\n")
        return rest if end else head
    return card


def _beneath_a_heading(card: str) -> str:
    """A card with its headings two levels deeper, for a page has one first heading; code stays as it is."""
    code, lines = False, []
    for line in card.splitlines():
        if line.startswith(("```", "~~~")):
            code = not code
        lines.append(f"##{line}" if re.match(r"#{1,4} ", line) and not code else line)
    return "\n".join(lines)


def _tree(nodes: list[LineageNode], nothing: str, depth: int = 0) -> None:
    if not nodes and nothing:
        ui.label(nothing).classes("soft")
    for node in nodes:
        with ui.element("div").classes("line").style(f"padding-left: {24 * depth}px"):
            shown = node.name or node.source or node.digest or t("unknown")
            if node.present and node.name:
                ui.link(shown, address.model(node.name))
            else:
                ui.label(shown)
            for word in (node.role, node.step):
                if word:
                    parts.pill(word)
        _tree(node.nodes, "", depth + 1)


def _ask_removal(context: Context, name: str) -> None:
    with ui.dialog() as dialog, parts.sheet():
        parts.title_line(2, t("Remove {name}?", name=name))
        ui.label(t("Its files go from this machine if no other name has them. This cannot be undone."))

        def remove() -> None:
            dialog.close()
            context.platform.library.remove(name)
            context.platform.service.names.forget()
            ui.notify(t("{name} is removed.", name=name))
            ui.navigate.to(address.models())

        with ui.element("div").classes("line"):
            ui.button(t("Remove"), color="negative", on_click=context.handle(remove)).props("unelevated no-caps")
            ui.button(t("Cancel"), on_click=dialog.close).props("flat no-caps")
    dialog.open()


PAGE = Page("/models/{name}", lambda: t("Model"), "view_in_ar", build, section="/models")
