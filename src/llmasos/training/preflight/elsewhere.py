"""Checks in a process of their own, for programs that have models in service: a check computes with torch, changes its
number of threads and its random numbers, and must not make anybody wait.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Sequence

from pydantic import TypeAdapter

from llmasos.errors import LLMasOSError
from llmasos.i18n import language, t
from llmasos.library.store import Library
from llmasos.recipe import loading
from llmasos.recipe.document import parse
from llmasos.training.launch import as_yaml
from llmasos.training.preflight.report import Report
from llmasos.training.recipe.kinds import KINDS, TrainingRecipe

_REPORT = TypeAdapter(Report)
_LONGEST_LINE = 16 * 2**20
_NICENESS = 5


async def check_elsewhere(
    recipes: Sequence[TrainingRecipe], library: Library, *, patient: bool = False
) -> AsyncGenerator[Report, None]:
    """The report of :func:`llmasos.training.preflight.check.check` for each recipe, as soon as it is there.

    Whoever stops to listen ends the process.

    Args:
        recipes: their paths are absolute.
        patient: leave the processor to others who want it: nobody waits for this.

    Raises:
        LLMasOSError: the process ended because of a defect.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, *(["--patient"] if patient else []), limit=_LONGEST_LINE,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "LLMASOS_HOME": str(library.home), "LLMASOS_DATABASE": library.database_url,
             "LLMASOS_LANG": language()},
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    errors = asyncio.create_task(process.stderr.read())
    try:
        process.stdin.write(json.dumps([as_yaml(recipe) for recipe in recipes]).encode())
        process.stdin.write_eof()
        for _ in recipes:
            line = await process.stdout.readline()
            if not line:
                told = (await errors).decode(errors="replace").strip().splitlines()
                raise LLMasOSError(
                    t("the check ended because of a defect: {problem}", problem=told[-1] if told else "?"),
                    hint=t("Try `llmasos recipe check FILE` with the same recipe; its log has the reason."),
                )
            yield _REPORT.validate_json(line)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        errors.cancel()


def _main() -> None:
    """Read recipes, write a report in a line for each."""
    if "--patient" in sys.argv:
        os.nice(_NICENESS)
    from llmasos.training.preflight.check import check

    library = Library()
    told = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not stand between the lines
    for text in json.load(sys.stdin):
        document = parse(text, "recipe")
        recipe = loading.check(document, KINDS[document.values["kind"]])
        told.write(_REPORT.dump_json(check(recipe, library=library)) + b"\n")  # type: ignore[arg-type]
        told.flush()


if __name__ == "__main__":
    _main()
