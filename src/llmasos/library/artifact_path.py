"""Paths of files inside an artefact. They come from archives, registries and repositories, so none is trusted."""

from __future__ import annotations

import re
from collections.abc import Iterable

from llmasos.errors import UnsafeContent
from llmasos.i18n import t

MAX_PATH = 1024
MAX_PART_BYTES = 255  # what common file systems allow for one name

_DRIVE = re.compile(r"[A-Za-z]:")
# Control characters, and the separators and wildcards that Windows gives a meaning to.
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f\\<>:"|?*]')


def check_path(path: str) -> str:
    """Return ``path`` if it is a relative POSIX path that cannot leave its folder.

    Raises:
        UnsafeContent: it is absolute, has ``..``, ``.`` or empty parts, control characters, a drive, a backslash,
            or is too long.
    """
    reason = _problem(path)
    if reason is not None:
        raise UnsafeContent(
            t("the path {path!r} is not allowed in an artefact: {reason}", path=path[:200], reason=reason),
            hint=t("Paths are relative, with '/' between parts, and stay inside the artefact."),
        )
    return path


def _problem(path: str) -> str | None:
    if not path:
        return t("it is empty")
    if len(path) > MAX_PATH:
        return t("it is longer than {limit} characters", limit=MAX_PATH)
    if path.startswith("/"):
        return t("it is absolute")
    if _DRIVE.match(path):
        return t("it names a drive")
    if (found := _FORBIDDEN.search(path)) is not None:
        return t("it contains the character {character!r}", character=found.group())
    for part in path.split("/"):
        if part in ("", ".", ".."):
            return t("it has the part {part!r}", part=part)
        try:
            encoded = part.encode("utf-8")
        except UnicodeEncodeError:
            return t("it is not valid Unicode")
        if len(encoded) > MAX_PART_BYTES:
            return t("a part is longer than {limit} bytes", limit=MAX_PART_BYTES)
        if part != part.rstrip(". ") and part.strip(". ") == "":
            return t("it has the part {part!r}", part=part)
    return None


def check_paths(paths: Iterable[str]) -> None:
    """Check every path, and that together they can lie in one folder.

    Raises:
        UnsafeContent: a path is not allowed, comes twice, or is a file in one place and a folder in another.
    """
    files: set[str] = set()
    folders: set[str] = set()
    for path in paths:
        if check_path(path) in files:
            raise UnsafeContent(t("the path {path!r} comes twice", path=path), hint=_collision_hint())
        files.add(path)
        parts = path.split("/")
        folders.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
    for path in folders & files:
        raise UnsafeContent(t("the path {path!r} is a file and a folder at once", path=path), hint=_collision_hint())


def collision(path: str) -> UnsafeContent:
    """The error for a path that only differs in case from another, where the file system does not tell them apart."""
    return UnsafeContent(
        t("the path {path!r} is taken: this file system does not tell capital letters from small ones", path=path),
        hint=t("Use the artefact on a file system that does."),
    )


def _collision_hint() -> str:
    return t("Each file of an artefact needs a path of its own.")
