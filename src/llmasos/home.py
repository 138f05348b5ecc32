"""Where everything of this user lives. Apart from the settings so that asking costs no import."""

from __future__ import annotations

import os
from pathlib import Path


def home_directory() -> Path:
    """``LLMASOS_HOME`` or ``~/.llmasos``, as an absolute path."""
    return Path(os.environ.get("LLMASOS_HOME") or "~/.llmasos").expanduser().absolute()
