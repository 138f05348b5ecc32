"""The settings in force and where each comes from."""

from __future__ import annotations

import os

from llmasos.cli.checks import Problem, Section
from llmasos.errors import InvalidRecipe, did_you_mean
from llmasos.home import home_directory
from llmasos.i18n import t
from llmasos.library.sources.masking import mask_url
from llmasos.settings import Settings, get_settings, origin_of
from llmasos.units import format_bytes


def check() -> Section:
    """Every setting with its value and origin; variables and keys that mean nothing are problems."""
    section = Section("settings", t("Settings"))
    path = home_directory() / "config.toml"
    section.facts.append((t("configuration file"), str(path) + ("" if path.exists() else " " + t("(none)"))))
    section.data = {"file": str(path), "file_exists": path.exists(), "values": {}}
    known = {f"LLMASOS_{name.upper()}" for name in Settings.model_fields}
    for variable in sorted(os.environ):
        if variable.startswith("LLMASOS_") and variable not in known:
            hint = did_you_mean(variable, sorted(known))
            section.problems.append(
                Problem(
                    "advice",
                    t("the variable {name} means nothing", name=variable) + (f" ({hint})" if hint else ""),
                    f"unset {variable}",
                )
            )
    try:
        settings = get_settings()
    except InvalidRecipe as error:
        section.problems.append(Problem("error", error.message, error.hint))
        return section
    for name in Settings.model_fields:
        value, origin = getattr(settings, name), origin_of(name)
        shown = mask_url(value) if name == "database" and value else value
        section.data["values"][name] = {"value": shown, "origin": origin}
        section.facts.append((name, f"{_text(name, shown)}  ({_origin_text(origin)})"))
    return section


def _origin_text(origin: str) -> str:
    return t("default") if origin == "default" else origin


def uses_postgresql() -> bool:
    """Whether the catalogue is in PostgreSQL, as far as the settings can be read."""
    try:
        return (get_settings().database or "").startswith("postgresql")
    except InvalidRecipe:
        return False


def _text(name: str, value: object) -> str:
    if name == "disk_reserve" and isinstance(value, int):
        return format_bytes(value)
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)
