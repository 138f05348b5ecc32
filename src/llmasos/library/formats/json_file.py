"""Small JSON files beside the weights: written the same way everywhere, read with an error that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llmasos.errors import IntegrityError
from llmasos.i18n import t

MAX_JSON_BYTES = 256 * 2**20  # the largest tokenizer.json known has 35 MB


def write_json(path: Path, document: Any, *, indent: int | None = None) -> None:
    """Write ``document`` as UTF-8; numbers that JSON does not have are a programming error."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(document, ensure_ascii=False, indent=indent, separators=separators, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        IntegrityError: it is too large, not UTF-8 or not JSON.
    """
    size = path.stat().st_size
    if size > MAX_JSON_BYTES:
        raise IntegrityError(
            t("{path} has {size} bytes, at most {limit} are read", path=path, size=size, limit=MAX_JSON_BYTES),
            hint=t("Fetch the file again."),
        )
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise IntegrityError(
            t("{path} is not valid JSON: {error}", path=path, error=error), hint=t("Fetch the file again.")
        ) from error


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        IntegrityError: it does not.
    """
    document = read_json(path)
    if not isinstance(document, dict):
        raise IntegrityError(t("{path} is not a JSON object", path=path), hint=t("Fetch the file again."))
    return document
