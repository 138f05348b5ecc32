"""Asking the person at the terminal for names and secrets; scripts send secrets by standard input."""

from __future__ import annotations

import sys

import typer

from llmasos.cli import terminal
from llmasos.errors import InvalidRequest
from llmasos.i18n import t


def secret(label: str, from_standard_input: bool, *, twice: bool = False) -> str:
    """A password or token, not shown while it is typed.

    Args:
        twice: ask for it again, since nobody sees a slip of a new one.

    Raises:
        InvalidRequest: nobody can be asked, or nothing came.
    """
    if from_standard_input:
        value = sys.stdin.readline().rstrip("\r\n")
    else:
        require_terminal("--password-stdin")
        value = typer.prompt(label, hide_input=True, err=True, confirmation_prompt=t("Again") if twice else False)
    if not value:
        raise InvalidRequest(t("an empty password or token"), hint=t("Run the command again."))
    return value


def answer(label: str, flag: str) -> str:
    """What the person types; ``flag`` is the option that says it without asking."""
    require_terminal(flag)
    return str(typer.prompt(label, err=True))


def require_terminal(flag: str) -> None:
    """Refuse to ask where nobody can answer.

    Raises:
        InvalidRequest: nobody can be asked; the hint names ``flag``.
    """
    if not terminal.is_interactive():
        raise InvalidRequest(t("nobody can be asked without a terminal"), hint=t("Pass {flag}.", flag=flag))
