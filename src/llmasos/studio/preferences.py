"""What a person prefers: language and theme. Kept in cookies of the browser, so that the server keeps nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from nicegui import ui
from starlette.requests import HTTPConnection

from llmasos import i18n

Theme = Literal["auto", "light", "dark"]
THEMES: tuple[Theme, ...] = get_args(Theme)
_LANGUAGE_COOKIE = "llmasos_language"
_THEME_COOKIE = "llmasos_theme"
_YEAR = 365 * 24 * 3600


@dataclass(frozen=True)
class Preferences:
    """Of one browser."""

    language: str
    theme: Theme

    @property
    def dark(self) -> bool | None:
        """For NiceGUI; ``None``: as the browser has it."""
        return {"auto": None, "light": False, "dark": True}[self.theme]


def read(request: HTTPConnection) -> Preferences:
    """From the cookies, else from what the browser asks for, else English."""
    chosen = request.cookies.get(_LANGUAGE_COOKIE)
    if chosen not in i18n.LANGUAGES:
        chosen = _asked_for(request.headers.get("accept-language", ""))
    theme = request.cookies.get(_THEME_COOKIE)
    default: Theme = "auto"
    return Preferences(chosen, next((item for item in THEMES if item == theme), default))


def _asked_for(header: str) -> str:
    """The first language of an ``Accept-Language`` header that we speak; browsers put the best first."""
    for entry in header.split(","):
        code = entry.split(";")[0].strip().lower().split("-")[0]
        if code in i18n.LANGUAGES:
            return code
    return "en"


async def change(before: Preferences, *, language: str | None = None, theme: Theme | None = None) -> None:
    """Remember a choice in the browser and show the page anew."""
    after = replace(before, language=language or before.language, theme=theme or before.theme)
    pairs = ((_LANGUAGE_COOKIE, after.language), (_THEME_COOKIE, after.theme))
    cookies = ";".join(
        f"document.cookie='{name}={value}; path=/; max-age={_YEAR}; samesite=strict'" for name, value in pairs
    )
    ui.run_javascript(f"{cookies}; location.reload()")
