"""Whose data somebody may read: members what was sent and what the library has, admins every file of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from llmasos.data.sources.config import AlignedSource, FileSource, HubSource
from llmasos.errors import Forbidden
from llmasos.i18n import t
from llmasos.studio import uploads
from llmasos.studio.context import Context


def check_reach(context: Context, recipe: BaseModel) -> None:
    """Check every source that a recipe, or a source itself, names; relative paths are those of sent files.

    Raises:
        Forbidden: one lies elsewhere on this machine, and who asks is no admin.
    """
    check_paths(context, _paths(recipe))


def check_paths(context: Context, paths: Iterable[str]) -> None:
    """Check paths themselves, as :func:`check_reach` does those of a recipe.

    Raises:
        Forbidden: see there.
    """
    if context.visitor.is_admin:
        return
    folder = uploads.folder(context.platform.library)
    for path in paths:
        place = os.path.realpath(folder / Path(path).expanduser())
        if not Path(place).is_relative_to(os.path.realpath(folder)):
            raise Forbidden(
                t("only admins may read {path} on this machine", path=path),
                hint=t("Send the file on the page Data, or ask an admin."),
            )


def _paths(value: Any) -> Iterator[str]:
    """The paths of all sources in a value, however deep they are in it."""
    if isinstance(value, FileSource):
        yield from [value.path] if isinstance(value.path, str) else value.path
    elif isinstance(value, AlignedSource):
        yield from (value.first, value.second)
    elif isinstance(value, HubSource):
        yield value.dataset  # a name of the hub looks like a path in the folder, and a folder outside it does not
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _paths(getattr(value, name))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _paths(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _paths(item)
