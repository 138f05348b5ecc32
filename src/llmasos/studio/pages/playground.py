"""The playground: conversations with models in service, one or two beside each other."""

from __future__ import annotations

from nicegui import ui

from llmasos.i18n import t
from llmasos.studio import address
from llmasos.studio.components import parts
from llmasos.studio.components.model_choice import causal_models
from llmasos.studio.context import Context
from llmasos.studio.page import Page
from llmasos.studio.talk.playground import Playground


def build(context: Context, model: str | None = None, conversation: str | None = None) -> None:
    """The page, with a model chosen, or a saved conversation."""
    names = causal_models(context)
    if names:
        Playground(context, names, model, conversation)
        return
    with parts.heading(t("Playground")):
        pass
    with parts.empty("forum", t("There is no model to talk to."), t("Download one first; a small one will do.")):
        ui.link(t("To the models"), address.models())


PAGE = Page("/playground", lambda: t("Playground"), "forum", build)
