"""Pages that are only HTML: they work without scripts, and have none. Every text passes :func:`html.escape`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from urllib.parse import quote

from starlette.responses import HTMLResponse

from llmasos.errors import LLMasOSError
from llmasos.i18n import t
from llmasos.studio.favicon import FAVICON
from llmasos.studio.preferences import Preferences

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Field:
    """A field of a form.

    Attributes:
        autocomplete: what it is to password managers.
        value: what stands in it; never of a secret.
    """

    name: str
    label: str
    autocomplete: str
    secret: bool = False
    value: str = ""
    explanation: str = ""

    def html(self, *, first: bool) -> str:
        """The field with its label."""
        kind = "password" if self.secret else "text"
        about = f' aria-describedby="{self.name}-about"' if self.explanation else ""
        note = f'<span class="soft small" id="{self.name}-about">{escape(self.explanation)}</span>' if about else ""
        return (
            f'<label for="{self.name}">{escape(self.label)}</label>'
            f'<input id="{self.name}" name="{self.name}" type="{kind}" autocomplete="{self.autocomplete}" required'
            f' autocapitalize="none" spellcheck="false" value="{escape(self.value)}"{about}{" autofocus" * first}>'
            f"{note}"
        )


@dataclass(frozen=True)
class Form:
    """A page with one form.

    Attributes:
        hidden: further values that it brings back.
    """

    title: str
    explanation: str
    action: str
    button: str
    fields: Sequence[Field]
    hidden: dict[str, str]

    def answer(self, preferences: Preferences, *, error: LLMasOSError | None = None, status: int = 200) -> HTMLResponse:
        """The page, with what was wrong with the form that was sent."""
        hidden = "".join(
            f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
            for name, value in self.hidden.items()
        )
        fields = "".join(field.html(first=number == 0) for number, field in enumerate(self.fields))
        wrong = ""
        if error is not None:
            hint = f'<span class="small">{escape(error.hint)}</span>' if error.hint else ""
            wrong = f'<div class="wrong" role="alert"><strong>{escape(error.message)}</strong>{hint}</div>'
        theme = {True: "body--dark", False: "", None: "as-the-system"}[preferences.dark]
        content = (
            f'<!doctype html><html lang="{preferences.language}"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(self.title)} · LLMasOS'
            f'</title><link rel="icon" href="data:image/svg+xml,{quote(FAVICON)}"><style>{_style()}</style></head>'
            f'<body class="{theme}"><main class="sign-in"><div class="mark">LLMasOS</div><div class="card">'
            f'<h1 class="h1">{escape(self.title)}</h1><p class="soft">{escape(self.explanation)}</p>{wrong}'
            f'<form method="post" action="{escape(self.action)}">{hidden}{fields}'
            f"<button>{escape(self.button)}</button></form></div></main></body></html>"
        )
        headers = {"content-security-policy": _POLICY, "cache-control": "no-store"}
        return HTMLResponse(content, status, headers=headers)


def _style() -> str:
    """The style sheet of all pages. What it says of the dark theme is also true where the system is dark."""
    style = (resources.files("llmasos.studio") / "static" / "studio.css").read_text(encoding="utf-8")
    dark = style.partition(".body--dark {")[2].partition("}")[0]
    return f"{style}\n@media (prefers-color-scheme: dark) {{ .as-the-system {{ color-scheme: dark; {dark} }} }}"


def expired() -> LLMasOSError:
    """What is told of a form without our token."""
    return LLMasOSError(t("this form has expired"), hint=t("Send it again."))
