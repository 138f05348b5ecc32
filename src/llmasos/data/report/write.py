"""Where reports lie, and writing them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from llmasos.data.output.publish import REPORT_PATH
from llmasos.data.pipeline.shard import atomic_file
from llmasos.data.report.estimate import estimate_training
from llmasos.errors import InvalidRequest, Unsupported
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.library.store import Library, Version


def default_report_path(library: Library, version: Version) -> Path:
    """``reports/<name>-<digest>.html`` in the home folder."""
    name = version.names[0].replace("/", "-").replace(":", "-") if version.names else "data"
    return library.home / "reports" / f"{name}-{version.digest.removeprefix('sha256:')[:12]}.html"


def read_facts(library: Library, version: Version) -> dict[str, Any]:
    """The facts that a data set carries.

    Raises:
        Unsupported: it was not made by a preparation.
        IntegrityError: its report is damaged.
    """
    file = version.manifest.files.get(REPORT_PATH)
    if file is None:
        raise Unsupported(
            t("{name} has no report", name=version.names[0] if version.names else version.digest),
            hint=t("Only data sets made by `llmasos data prepare` have one."),
        )
    facts: dict[str, Any] = orjson.loads(library.blobs.read(file.digest))
    return facts


def write_report(facts: dict[str, Any], path: Path, library: Library) -> None:
    """Write the report, as HTML or JSON by the name of the file, in the language in force.

    Raises:
        InvalidRequest: the name ends in neither.
    """
    suffix = path.suffix.lower()
    if suffix not in (".html", ".htm", ".json"):
        raise InvalidRequest(
            t("{path}: a report is an .html or a .json file", path=path), hint=t("Choose another name.")
        )
    estimate = estimate_training(facts, library)
    if suffix == ".json":
        content = json.dumps({**facts, "training_estimate": estimate}, ensure_ascii=False, indent=2)
    else:
        from llmasos.data.report.page import page

        content = page(facts, estimate)
    with atomic_file(path) as file:
        file.write(content.encode("utf-8"))
