"""One model: what it is, its card, where it comes from, its versions, files and scores; where it can go."""

from __future__ import annotations

import re

from nicegui import ui

from llmasos.i18n import t
from llmasos.library.history import versions_of
from llmasos.library.kind import Kind
from llmasos.library.scores import AttachedScores, attached_scores
from llmasos.library.version import Version
from llmasos.studio import address
from llmasos.studio.components import parts
from llmasos.studio.components.confirm import confirm
from llmasos.studio.components.labelled import labelled
from llmasos.studio.components.later import later
from llmasos.studio.components.table import table
from llmasos.studio.components.try_classifier import try_it
from llmasos.studio.context import Context
from llmasos.studio.page import Page
from llmasos.studio.versions import files, lineage, sending, tags
from llmasos.studio.versions.facts import facts

_TRAINED = ("causal", "seq2seq", "encoder", "embedder", "classifier")
"""Families of models that a recipe can start from."""


def build(context: Context, name: str) -> None:
    """The page of the model ``name``; what takes long is filled in afterwards."""
    name = address.model_name(name)
    library = context.platform.library
    if not library.has(name):
        with parts.empty("search_off", t("{name} is not in the library", name=name)):
            ui.link(t("To the models"), address.models())
        return
    version = library.resolve(name)
    shown = name if len(name) < 64 or not version.names else version.names[0]
    with parts.heading(shown, version.metadata.description or ""):
        pass
    _actions(context, name, version)
    try_it(context, name, version.metadata)
    with parts.card():
        parts.facts(facts(version))
    later(context, lambda: attached_scores(library, version.digest), _scores)
    with parts.card():
        parts.title_line(2, t("Lineage"))
        later(context, lambda: lineage.history(library, version.digest), lineage.show)
    named = next(iter(version.names), None) if name.startswith("sha256:") else name
    if named is not None:
        with parts.card():
            parts.title_line(2, t("Versions"))
            _versions(context, named, version)
    card = library.card(version)
    if card.strip():
        with parts.card():
            parts.title_line(2, t("Card"))
            ui.markdown(_beneath_a_heading(_without_front_matter(card))).classes("w-full")
    with parts.card():
        parts.title_line(2, t("Files"))
        files.show(context, version)


def _actions(context: Context, name: str, version: Version) -> None:
    """What can be done with it."""
    metadata = version.metadata
    runs = metadata.kind in (Kind.MODEL, Kind.ADAPTER)
    with ui.element("div").classes("line"):
        if runs and metadata.task_family == "causal":
            _way(t("Talk"), "forum", address.playground(name))
        if metadata.kind is Kind.MODEL and metadata.task_family in _TRAINED:
            _way(t("Train"), "school", address.train(model=name))
        if runs:
            _way(t("Evaluate"), "fact_check", address.evaluate(name))
        if runs and metadata.task_family == "causal":
            _way(t("Explain"), "insights", address.explain(name))
        _way(t("Compare"), "compare", address.compare_models(name))
        if context.visitor.is_admin:  # it uses the credentials of this machine, and removing cannot be undone
            push = context.handle(lambda: sending.ask(context, name), admin=True)
            ui.button(t("Push"), icon="cloud_upload", on_click=push).props("flat no-caps")
            remove = ui.button(icon="delete", on_click=context.handle(lambda: _ask_removal(context, name), admin=True))
            labelled(remove.props("flat round"), t("Remove {name}", name=name))


def _way(title: str, icon: str, target: str) -> None:
    with ui.link(target=target).classes("way"):
        ui.icon(icon, size="20px").props("aria-hidden=true")
        ui.label(title)


def _versions(context: Context, name: str, version: Version) -> None:
    place = ui.element("div").classes("talk")

    def fill() -> None:
        place.clear()
        with place:
            later(
                context,
                lambda: versions_of(context.platform.library, name),
                lambda found: tags.show(context, name, version.digest, found, fill),
            )

    fill()


def _scores(scores: list[AttachedScores]) -> None:
    if not scores:
        return
    with parts.card():
        parts.title_line(2, t("Scores"))
        rows = [
            (entry.task, ", ".join(f"{key} {_figure(value)}" for key, value in entry.metrics.items()))
            for entry in scores
        ]
        table((t("Task"), t("Scores")), rows, label=t("Scores"))


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


def _ask_removal(context: Context, name: str) -> None:
    def remove() -> None:
        context.platform.library.remove(name)
        context.platform.service.names.forget()
        ui.notify(t("{name} is removed.", name=name))
        ui.navigate.to(address.models())

    confirm(
        context, t("Remove {name}?", name=name),
        t("Its files go from this machine if no other name has them. This cannot be undone."), t("Remove"), remove,
        admin=True,
    )  # fmt: skip


PAGE = Page("/models/{name}", lambda: t("Model"), "view_in_ar", build, section="/models")
