"""Folders and files of this machine: ``./folder``, ``/file.gguf``, ``file:...``."""

from __future__ import annotations

import os

from llmasos.errors import InvalidRequest, NotFound, Unauthorised, did_you_mean
from llmasos.i18n import t
from llmasos.library.sources.fetched import Fetched
from llmasos.library.sources.reference import PathSource


def locate_path(source: PathSource) -> Fetched:
    """Check that a path can be imported. Its files stay the user's and are copied.

    The lineage records the last part of the path only: it travels with the artefact, and folders are nobody's business.

    Raises:
        NotFound: there is nothing; with suggestions from the same folder.
        InvalidRequest: it is an empty folder or no ordinary file.
        Unauthorised: it may not be read.
    """
    path = source.path
    if not path.exists():
        neighbours = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        raise NotFound(t("{path} does not exist", path=path), hint=did_you_mean(path.name, neighbours))
    if not (path.is_dir() or path.is_file()):
        raise InvalidRequest(
            t("{path} is neither a folder nor an ordinary file", path=path),
            hint=t("Give a model folder, a GGUF file or a checkpoint."),
        )
    if not os.access(path, os.R_OK):
        raise Unauthorised(t("{path} may not be read by you", path=path), hint=t("Change its permissions."))
    if path.is_dir() and not any(path.iterdir()):
        raise InvalidRequest(
            t("{path} is an empty folder", path=path), hint=t("Give a model folder, a GGUF file or a checkpoint.")
        )
    return Fetched(path, source=f"file:{path.name}", owned=False)
