"""What a model makes of a text: how likely each token was, what attended to what, what each layer would say."""

from __future__ import annotations

from nicegui import ui

from llmasos.explain.explanation import Explanation, explain_text
from llmasos.i18n import t
from llmasos.settings import get_settings
from llmasos.studio import address
from llmasos.studio.components import parts
from llmasos.studio.components.model_choice import ModelChoice, causal_models
from llmasos.studio.context import Context
from llmasos.studio.explanation.attention_view import AttentionView
from llmasos.studio.explanation.lens_view import LensView
from llmasos.studio.explanation.token_view import TokenView
from llmasos.studio.page import Page

_CANDIDATES = 8
_MOST_TOKENS = 256
"""Each open page keeps the attention of its text, in all layers and heads."""


def build(context: Context, model: str | None = None) -> None:
    """The page, with a model chosen."""
    with parts.heading(t("Explain"), t("How a model reads a text: what it expected, and where it looked.")):
        pass
    names = causal_models(context, upstream=False)
    if names:
        _Explain(context, names, model)
        return
    with parts.empty("psychology", t("There is no model to explain."), t("Download one first; a small one will do.")):
        ui.link(t("To the models"), address.models())


class _Explain:
    """In one tab."""

    def __init__(self, context: Context, names: list[str], model: str | None) -> None:
        self._context = context
        default = get_settings().default_model
        with parts.card():
            with ui.element("div").classes("line"):
                self._model = ModelChoice(context, names, t("Model"), name=default if default in names else names[0])
                if model:
                    self._model.choose(model)
                self._answers = ui.checkbox(t("It answers a question"), value=False)
                self._answers.props["aria-label"] = t("It answers a question")
            self._prompt = ui.textarea(t("Question")).props("outlined dense autogrow rows=1").classes("w-full")
            self._prompt.bind_visibility_from(self._answers, "value")
            self._text = ui.textarea(t("Text"), value=t("The capital of France is Paris.")).props(
                "outlined dense autogrow rows=2"
            )
            self._text.classes("w-full").on("keydown.ctrl.enter", context.handle(self._explain))
            with ui.element("div").classes("line"):
                self._button = ui.button(t("Explain"), icon="psychology", on_click=context.handle(self._explain))
                self._button.props("unelevated no-caps")
                ui.label(t("At most {count} tokens.", count=_MOST_TOKENS)).classes("small soft")
        self._place = ui.element("div").classes("talk")

    async def _explain(self) -> None:
        if not self._button.enabled:
            return
        model, text = self._model.name, self._text.value or ""
        prompt = (self._prompt.value or "") if self._answers.value else None
        self._button.props("loading").disable()
        try:
            found: Explanation = await self._context.platform.service.with_adapter(
                model,
                lambda loaded, adapter: explain_text(
                    loaded, text, prompt=prompt, top=_CANDIDATES, adapter=adapter, most_tokens=_MOST_TOKENS
                ),
            )
        finally:
            if not self._button.is_deleted:
                self._button.props(remove="loading").enable()
        if not self._place.is_deleted:
            await self._show(found, model)

    async def _show(self, found: Explanation, model: str) -> None:
        async def choose(position: int) -> None:
            tokens.choose(position)
            attention.choose(position)
            await lens.choose(position)

        self._place.clear()
        with self._place:
            tokens = TokenView(self._context, found, choose)
            attention = AttentionView(self._context, found, choose)
            lens = LensView(self._context, found, model)
            await choose(len(found.tokens) - 1)  # where there is most to see
            await attention.show()


PAGE = Page("/explain", lambda: t("Explain"), "psychology", build)
