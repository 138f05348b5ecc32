"""How an attempt ended, kept in the run's folder until the catalogue knows it too."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llmasos.library.disk import sync_folder
from llmasos.runs.run import Failure
from llmasos.runs.states import ENDED, State

FILE = "outcome.json"


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        state: succeeded, failed or cancelled.
        exit_code: what the program would return for it.
        failure: why, unless it succeeded.
        result: what the work says of its result; JSON values.
    """

    attempt: int
    state: State
    exit_code: int = 0
    failure: Failure | None = None
    result: Mapping[str, Any] = field(default_factory=dict)


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Write ``outcome.json``: all of it or nothing, and durable.

    Raises:
        OSError: it cannot be written, for instance because the disk is full.
    """
    path = folder / FILE
    temporary = path.with_name(f".{FILE}-{secrets.token_hex(4)}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(asdict(outcome), file, ensure_ascii=False, indent=2)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(folder)


def read_outcome(folder: Path, attempt: int) -> Outcome | None:
    """How an attempt ended, if its worker came to write that; damaged files count as none."""
    try:
        found = json.loads((folder / FILE).read_bytes())
        failure = Failure(**found["failure"]) if found["failure"] else None
        outcome = Outcome(found["attempt"], State(found["state"]), found["exit_code"], failure, found["result"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return outcome if outcome.attempt == attempt and outcome.state in ENDED else None
