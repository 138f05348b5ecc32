"""The highest memory of this process, for programs of other environments too: only the standard library."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def peak_memory() -> int:
    """Bytes of the largest resident set until now.

    Linux adds what the process that started this one had at that time to ``ru_maxrss``, and not to the mark that it
    keeps of the program itself.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
