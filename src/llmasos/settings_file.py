"""Changing ``config.toml``: one key at a time, with everything else in the file as it was, comments too."""

from __future__ import annotations

import json
import stat
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from llmasos.errors import InvalidRequest, did_you_mean
from llmasos.home import home_directory
from llmasos.i18n import t
from llmasos.library.disk import replacing
from llmasos.library.locks import file_lock
from llmasos.settings import Settings, get_settings, read_configuration_file, validation_lines

NOT_HERE = frozenset({"home", "database"})
"""Where everything lies cannot be changed from inside."""


def change_setting(name: str, value: object) -> None:
    """Write a setting into ``config.toml``, in one step; it is in force for what asks from now on.

    Args:
        value: also as a text, as people type it; ``None`` takes the key away.

    Raises:
        InvalidRequest: there is no such setting, it cannot be changed here, or the value is not allowed.
        InvalidRecipe: the file is not TOML.
    """
    if name not in Settings.model_fields:
        raise InvalidRequest(
            t("there is no setting {name!r}", name=name), hint=did_you_mean(name, list(Settings.model_fields))
        )
    if name in NOT_HERE:
        raise InvalidRequest(
            t("{name} cannot be changed while the library is open", name=name),
            hint=t("Set LLMASOS_{name} or edit config.toml, and start anew.", name=name.upper()),
        )
    home = home_directory()
    with file_lock(home / "locks" / "config.lock", timeout=30.0, waiting_for=t("the settings")):
        before = read_configuration_file()
        after = {key: item for key, item in before.items() if key != name}
        if value is not None:
            after[name] = _checked(name, value, after)
        path = home / "config.toml"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.touch(stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666)
            partial.write_text(changed_text(text, before, after, name), encoding="utf-8")
    get_settings.cache_clear()


def _checked(name: str, value: object, others: dict[str, Any]) -> Any:
    """The value as TOML has it, if it is allowed."""
    try:
        found = getattr(Settings(**{**others, name: value}), name)
    except ValidationError as error:
        lines = validation_lines(error, sorted(Settings.model_fields))
        raise InvalidRequest("\n".join(lines), hint=t("See docs/settings.md for what is allowed.")) from error
    if isinstance(found, Path):
        return str(found)
    return list(found) if isinstance(found, tuple) else found


def changed_text(text: str, before: dict[str, Any], after: dict[str, Any], name: str) -> str:
    """The text of a file with another value for one key, or without it.

    The new text is read again: where a file is written in a way that this does not understand, it is written anew from
    its values.
    """
    new = [f"{name} = {_toml(after[name])}"] if name in after else []
    lines = text.splitlines()
    for start, line in enumerate(lines):
        if line.split("=")[0].strip().strip("\"'") != name:
            continue
        for end in range(start + 1, len(lines) + 1):
            changed = "\n".join([*lines[:start], *new, *lines[end:]]) + "\n"
            if _read(changed) == after:
                return changed
    first_table = next((number for number, line in enumerate(lines) if line.lstrip().startswith("[")), len(lines))
    changed = "\n".join([*lines[:first_table], *new, *lines[first_table:]]) + "\n"
    if _read(changed) == after:
        return changed
    return "".join(f"{key} = {_toml(value)}\n" for key, value in after.items())


def _read(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _toml(value: Any) -> str:
    """A value as TOML writes it: for those that settings have, as JSON does."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
