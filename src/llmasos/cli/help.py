"""Help pages, drawn without importing rich: they must come at once, and in Chinese as well as in English."""

from __future__ import annotations

import inspect
import os
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import typer

from llmasos.i18n import t, translate

_MAX_WIDTH = 100


def colours() -> bool:
    """Whether standard output shows colours: a terminal, ``NO_COLOR`` not set, not a dumb one."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _styled(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colours() else text


def heading(text: str) -> str:
    return _styled(text, "1")


def name_style(text: str) -> str:
    return _styled(text, "36")


def display_width(text: str) -> int:
    """Columns that ``text`` takes; Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def wrap(text: str, width: int) -> list[str]:
    """Break ``text`` into lines of at most ``width`` columns, at spaces and between Chinese characters."""
    lines: list[str] = []
    line = ""
    for word in _words(text):
        if line and display_width(line) + display_width(word.rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        line += word
    return [*lines, line.rstrip()] if line.strip() or not lines else lines


def _words(text: str) -> Iterable[str]:
    word = ""
    for char in text:
        wide = unicodedata.east_asian_width(char) in "WF"
        if wide and unicodedata.category(char).startswith("P"):  # punctuation stays with what precedes it
            yield word + char
            word = ""
        elif wide:
            if word:
                yield word
            word = char
        else:
            if word and unicodedata.east_asian_width(word[-1]) in "WF" and char != " ":
                yield word
                word = ""
            word += char
            if char == " ":
                yield word
                word = ""
    if word:
        yield word


def definitions(rows: Sequence[tuple[str, str]], *, left: int | None = None) -> list[str]:
    """Two aligned columns: names, and texts wrapped beside them."""
    width = min(shutil.get_terminal_size().columns, _MAX_WIDTH)
    left = left or min(max((display_width(name) for name, _ in rows), default=0), 30)
    lines = []
    for name, text in rows:
        wrapped = wrap(text, max(width - left - 5, 20))
        gap = left - display_width(name)
        if gap < 0:
            lines.append("  " + name_style(name))
        else:
            lines.append(("  " + name_style(name) + " " * gap + "   " + wrapped[0]).rstrip())
            wrapped = wrapped[1:]
        lines.extend(" " * (left + 5) + item for item in wrapped)
    return lines


def paragraphs(text: str | None) -> list[str]:
    """The paragraphs of a docstring in the language in force; what follows a form feed is for programmers."""
    clean = inspect.cleandoc(text or "").split("\f")[0]
    return [translate(" ".join(part.split())) for part in clean.split("\n\n") if part.strip()]


def _parameter_text(parameter: Any) -> str:
    """Help of one option or argument, with its default, range and whether it is required."""
    text = " ".join(paragraphs(getattr(parameter, "help", None)))
    notes = []
    default = parameter.default
    show = getattr(parameter, "show_default", True)
    if isinstance(show, str):
        notes.append(t("default: {value}", value=translate(show)))
    elif show and default is not None and default is not False and default != [] and not callable(default):
        shown = (
            ", ".join(map(str, default))
            if isinstance(default, list | tuple)
            else str(getattr(default, "value", default))
        )
        if shown and not getattr(parameter, "is_flag", False):
            notes.append(t("default: {value}", value=shown))
    low, high = getattr(parameter, "min", None), getattr(parameter, "max", None)
    if low is not None or high is not None:
        notes.append(f"{'' if low is None else low}..{'' if high is None else high}")
    if parameter.required and parameter.param_type_name == "option":
        notes.append(t("required"))
    return f"{text} [{'; '.join(notes)}]".strip() if notes else text


#: How help pages name the kinds of values; other kinds, such as choices, show what they are.
_VALUE_NAMES = {
    "<str>": "TEXT",
    "<int>": "N",
    "<int range>": "N",
    "<float range>": "NUMBER",
    "<float>": "NUMBER",
    "<path>": "PATH",
    "<file>": "FILE",
    "<list[str]>": "TEXT",
    "<list[int]>": "N",
    "<list[path]>": "PATH",
}
_BRACKETS = str.maketrans("", "", "[]")


def argument_name(parameter: Any) -> str:
    """The name of an argument in capitals, such as ``REFERENCE``."""
    name: str = parameter.metavar or parameter.name.upper()
    return name.translate(_BRACKETS).strip(". ")


def option_names(parameter: Any) -> str:
    """All spellings of an option, such as ``-m, --model``."""
    return ", ".join(sorted([*parameter.opts, *parameter.secondary_opts], key=lambda name: name.startswith("--")))


def parameter_name(parameter: Any) -> str:
    """How messages name an argument or option."""
    if parameter.param_type_name == "argument":
        return argument_name(parameter)
    return max(parameter.opts, key=len)  # type: ignore[no-any-return]  # opts are texts


def _option_entry(parameter: Any, context: typer.Context) -> tuple[str, str]:
    if "--help" in parameter.opts:
        return "--help", t("Show this page.")
    name = option_names(parameter)
    if not parameter.is_flag and not parameter.count:
        kind = parameter.metavar or parameter.display_type_rich(ctx=context) or ""
        name += f" {_VALUE_NAMES.get(kind, kind)}"
    return name, _parameter_text(parameter)


def _usage(command: Any, context: typer.Context) -> str:
    pieces = [context.command_path, t("[OPTIONS]")]
    for parameter in command.get_params(context):
        if parameter.param_type_name == "argument" and not parameter.hidden:
            name = argument_name(parameter) + ("..." if parameter.nargs == -1 else "")
            pieces.append(name if parameter.required else f"[{name}]")
    return " ".join(pieces)


def command_page(command: Any, context: typer.Context) -> str:
    """The help page of one command: usage, description, arguments, options."""
    lines = [f"{heading(t('Usage:'))} {_usage(command, context)}", ""]
    width = min(shutil.get_terminal_size().columns, _MAX_WIDTH) - 2
    for paragraph in paragraphs(command.help):
        lines += [*("  " + line for line in wrap(paragraph, width)), ""]
    shown = [parameter for parameter in command.get_params(context) if not parameter.hidden]
    arguments = [(argument_name(item), _parameter_text(item)) for item in shown if item.param_type_name == "argument"]
    options = [_option_entry(item, context) for item in shown if item.param_type_name == "option"]
    for title, rows in ((t("Arguments:"), arguments), (t("Options:"), options)):
        if rows:
            lines += [heading(title), *definitions(rows), ""]
    return "\n".join(lines).rstrip()


def group_page(
    command: Any,
    context: typer.Context,
    rows: Sequence[tuple[str, str, str]],
    *,
    intro: Sequence[str],
    outro: Sequence[str],
) -> str:
    """The help page of a group. ``rows`` are (panel, command, help); panels appear in their first order."""
    usage = f"{context.command_path} {t('[OPTIONS]')} {t('COMMAND ...')}"
    lines = [f"{heading(t('Usage:'))} {usage}", "", *("  " + line if line else "" for line in intro), ""]
    panels: dict[str, list[tuple[str, str]]] = {}
    for panel, name, text in rows:
        panels.setdefault(panel, []).append((name, text))
    options = [_option_entry(item, context) for item in command.get_params(context) if not item.hidden]
    left = max(display_width(name) for _, name, _ in rows)
    for panel, entries in panels.items():
        lines += [heading(t("{title}:", title=panel)), *definitions(entries, left=left), ""]
    lines += [heading(t("Options:")), *definitions(options), ""]
    return "\n".join([*lines, *outro]).rstrip()
