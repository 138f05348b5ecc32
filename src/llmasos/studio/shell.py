"""The frame around every page: bar, navigation, choice of language and theme."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from nicegui import ui
from nicegui.language import Language

from llmasos.i18n import speaking, t
from llmasos.studio import address, preferences, theme
from llmasos.studio.accounts.door import FORM_TOKEN
from llmasos.studio.context import Context
from llmasos.studio.page import Page

_NARROW = 900
"""Pixels below which the navigation is closed and opens above the page."""
LANGUAGES = {"en": "English", "zh": "中文"}
_LOCALES: dict[str, Language] = {"en": "en-US", "zh": "zh-CN"}


def build(context: Context, pages: Sequence[Page]) -> None:
    """The frame, with the page of the address in it; further pages are shown in it without loading it anew."""
    theme.apply()
    # For the texts of Quasar, the word that the connection is lost, and the voice of screen readers.
    ui.context.client.page.language = _LOCALES[context.preferences.language]
    ui.dark_mode(context.preferences.dark)
    ui.html(f'<a class="skip" href="#main">{t("To the content")}</a>', sanitize=False)
    with ui.header(elevated=False).classes("bar"):
        menu = ui.button(icon="menu").props(f'flat round dense aria-label="{t("Navigation")}"')
        ui.link("LLMasOS", address.home()).classes("mark")
        ui.space()
        _theme_button(context)
        _language_button(context)
        _person_button(context)
    # The browser opens it where there is room: asking the browser from here fails when the page goes away meanwhile.
    drawer = ui.left_drawer(value=False).classes("side")
    drawer.props(f'show-if-above width=224 breakpoint={_NARROW} aria-label="{t("Navigation")}"')
    with drawer, ui.element("nav").props(f'aria-label="{t("Navigation")}"'):
        links = [_link(page) for page in pages if page.in_navigation]
    menu.on("click", js_handler=f"() => getElement({drawer.id}).toggle()")
    for _, link in links:  # on a small screen it covers the page
        link.on("click", js_handler=f"() => {{ if (innerWidth < {_NARROW}) getElement({drawer.id}).hide() }}")
    routes = {page.path: _shown(page, context, links) for page in pages}
    with ui.element("div").props("id=main tabindex=-1").style("width: 100%"):
        ui.sub_pages(routes).style("width: 100%")


def _link(page: Page) -> tuple[Page, ui.link]:
    with ui.link(target=page.path) as link:
        ui.icon(page.icon, size="20px").props("aria-hidden=true")
        ui.label(page.title())
    return page, link


def _shown(page: Page, context: Context, links: Sequence[tuple[Page, ui.link]]) -> Callable[..., Any]:
    """The builder of a page, with its place in the navigation marked."""
    build = partial(page.build, context)

    def open_page() -> ui.element:
        for entry, link in links:
            if page.belongs_to(entry):
                link.props("aria-current=page")
            else:
                link.props(remove="aria-current")
        ui.page_title(f"{page.title()} · LLMasOS")
        return ui.element("div").classes("page")

    def show(**found: str) -> Any:
        with speaking(context.preferences.language), open_page():
            return build(**found)

    # NiceGUI hands over the parts of an address that the signature names.
    show.__signature__ = inspect.signature(build)  # type: ignore[attr-defined]  # as :pep:`362` has it
    return show


def theme_names() -> dict[preferences.Theme, str]:
    """The themes in the language in force."""
    return {"auto": t("As the system"), "light": t("Light"), "dark": t("Dark")}


def _theme_button(context: Context) -> None:
    names = theme_names()
    with ui.button(icon="contrast").props(f'flat round dense aria-label="{t("Theme")}"'), ui.menu():
        for name in preferences.THEMES:
            ui.menu_item(names[name], lambda name=name: preferences.change(context.preferences, theme=name))


def _language_button(context: Context) -> None:
    with ui.button(icon="translate").props(f'flat round dense aria-label="{t("Language")}"'), ui.menu():
        for code, name in LANGUAGES.items():
            ui.menu_item(name, lambda code=code: preferences.change(context.preferences, language=code))


def to_the_password() -> None:
    """Go to the form that changes the password: a plain page, which the frame knows nothing of."""
    ui.context.client.open(address.password())


def _person_button(context: Context) -> None:
    """Who is signed in, and how to change that. A form signs out, so that the browser forgets its cookie."""
    visitor = context.visitor
    if visitor.name is None or visitor.session is None:
        return
    token = context.platform.door.form_token(visitor.session)
    with ui.button(icon="account_circle").props(f'flat round dense aria-label="{t("Account")}"'), ui.menu():
        with ui.element("div").classes("person"):
            ui.label(visitor.name)
            ui.label(t("admin") if visitor.is_admin else t("member")).classes("small soft")
        ui.menu_item(t("Change the password"), to_the_password)
        ui.html(
            f'<form method="post" action="{address.ROOT}{address.sign_out()}">'
            f'<input type="hidden" name="{FORM_TOKEN}" value="{token}"><button>{t("Sign out")}</button></form>',
            sanitize=False,
        ).classes("person")
