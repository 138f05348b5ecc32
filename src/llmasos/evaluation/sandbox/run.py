"""Running one program, or many at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from llmasos import hardware
from llmasos.evaluation.sandbox.isolation import choose
from llmasos.evaluation.sandbox.options import Isolation, Limits, Outcome
from llmasos.evaluation.sandbox.process import execute

Program = str | Sequence[str]
"""The text of a program; or several texts, which are compiled one by one and run in one namespace."""


def run(program: Program, limits: Limits | None = None, isolation: Isolation = Isolation.AUTO) -> Outcome:
    """Run a program of Python in the sandbox. It passes if it runs to its last line.

    Args:
        limits: default: 10 seconds and 1 GiB.

    Raises:
        Unsupported: the isolation does not work on this machine.
    """
    parts = (program,) if isinstance(program, str) else program
    return execute(parts, limits or Limits(), choose(isolation))


def run_all(
    programs: Iterable[Program],
    limits: Limits | None = None,
    isolation: Isolation = Isolation.AUTO,
    *,
    workers: int | None = None,
) -> Iterator[Outcome]:
    """Run many programs, several at a time; outcomes come in the order of the programs.

    Args:
        workers: how many at a time; default: as many as threads compute.

    Raises:
        Unsupported: the isolation does not work on this machine.
    """
    chosen = choose(isolation)
    count = workers or hardware.choose_threads()
    with ThreadPoolExecutor(count, thread_name_prefix="sandbox") as pool:
        yield from pool.map(lambda program: run(program, limits, chosen), programs)
