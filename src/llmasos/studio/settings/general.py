"""What each person chooses for themselves: language and theme, and their account."""

from __future__ import annotations

from nicegui import ui

from llmasos.i18n import t
from llmasos.studio import preferences
from llmasos.studio.components import parts
from llmasos.studio.context import Context
from llmasos.studio.shell import LANGUAGES, theme_names, to_the_password


def general(context: Context) -> None:
    """Language, theme, and who is signed in."""
    with parts.card():
        parts.title_line(2, t("This browser"))
        ui.label(t("Kept in this browser; everybody has their own.")).classes("small soft")
        with ui.element("div").classes("fields"):
            language = ui.select(LANGUAGES, value=context.preferences.language, label=t("Language"))
            theme = ui.select(theme_names(), value=context.preferences.theme, label=t("Theme"))
        for chosen in (language, theme):
            chosen.props("outlined dense")
        language.on_value_change(
            context.handle(lambda: preferences.change(context.preferences, language=str(language.value)))
        )
        theme.on_value_change(context.handle(lambda: preferences.change(context.preferences, theme=theme.value)))
    with parts.card():
        parts.title_line(2, t("Your account"))
        visitor = context.visitor
        if visitor.name is None:
            ui.label(t("Nobody has to sign in on this machine: you are its owner, and may do everything.")).classes(
                "soft"
            )
            return
        parts.facts([(t("Name"), visitor.name), (t("Role"), t("admin") if visitor.is_admin else t("member"))])
        ui.button(t("Change the password"), icon="key", on_click=context.handle(to_the_password)).props(
            "outline no-caps"
        )
