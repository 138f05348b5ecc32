"""Values for shell completion. Completion must never print or fail: what cannot be read completes to nothing."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable

from llmasos.errors import LLMasOSError


def complete_library(incomplete: str) -> list[str]:
    """Names of versions in the library that start with ``incomplete``."""
    from llmasos.library.store import Library

    try:
        names = Library().names()
    except (LLMasOSError, OSError):
        return []
    return sorted(name for name in names if name.startswith(incomplete))


def complete_model(incomplete: str) -> list[str]:
    """Names in the library and friendly names of the built-in catalogue that start with ``incomplete``."""
    from llmasos.library import builtin

    catalogue = [name for name in builtin.names() if name.startswith(incomplete)]
    here = [name for name in complete_library(incomplete) if not name.startswith("evaluations/")]
    return sorted({*here, *catalogue})


def complete_run(incomplete: str) -> list[str]:
    """Ids and names of runs that start with ``incomplete``."""
    from llmasos.library.store import Library
    from llmasos.runs.store import RunStore

    try:
        runs = RunStore(Library()).all()
    except (LLMasOSError, OSError):
        return []
    names = dict.fromkeys(name for run in runs for name in (run.name, run.id) if name is not None)
    return [name for name in names if name.startswith(incomplete)]


def mend_bash_words() -> str:
    """Put together what bash has cut at colons, before completion reads it; returns what must not be offered again.

    For bash a colon ends a word (``COMP_WORDBREAKS``), so ``smollm2:1`` arrives as three words, and only what follows
    the last colon is replaced by what is offered.
    """
    if os.environ.get("_LLMASOS_COMPLETE") != "complete_bash":
        return ""
    words = os.environ.get("COMP_WORDS", "").split("\n")
    cursor = int(os.environ.get("COMP_CWORD", "0"))
    mended: list[str] = []
    place, repeated = len(words), ""
    for index, word in enumerate(words):
        joins = len(mended) > 1 and (word == ":" or mended[-1].endswith(":"))
        if joins:
            mended[-1] += word
        else:
            mended.append(word)
        if index == cursor:
            place = len(mended) - 1
            repeated = mended[-1][: mended[-1].rfind(":") + 1] if joins else ""
    os.environ["COMP_WORDS"] = "\n".join(mended)
    os.environ["COMP_CWORD"] = str(min(place, len(mended)))
    return repeated


def without_prefix(complete: Callable[[], object], prefix: str) -> None:
    """Run ``complete``, which writes one offer per line, and write the offers without ``prefix``."""
    written = io.StringIO()
    with contextlib.redirect_stdout(written), contextlib.suppress(SystemExit):
        complete()
    sys.stdout.write("\n".join(line.removeprefix(prefix) for line in written.getvalue().splitlines()))
