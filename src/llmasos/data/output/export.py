"""Writing the files of a data set into a folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from llmasos.errors import AlreadyExists
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.library.store import Library, Version


def export_files(library: Library, version: Version, folder: Path) -> None:
    """Copy data, rejected rows, report and card into a folder, which `datasets.load_dataset` reads as it is.

    Raises:
        AlreadyExists: the folder is not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise AlreadyExists(t("{path} is not empty", path=folder), hint=t("Choose another folder, or empty it."))
    shutil.copytree(library.view(version), folder, dirs_exist_ok=True)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)  # the library's own files are read-only
