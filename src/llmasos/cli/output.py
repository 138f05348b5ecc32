"""What a command writes: tables and text for people, or JSON for programs.

Standard output carries the result alone; notes, questions and progress go to standard error, so that a result can
be piped. With ``--json`` the human view is left out and standard output holds exactly one JSON document.
"""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from typing import Any

from llmasos import progress
from llmasos.cli import terminal
from llmasos.errors import InvalidRequest
from llmasos.i18n import t


@dataclass(frozen=True)
class Column:
    """A table column; ``right`` aligns numbers, ``style`` is a rich style such as ``"dim"`` or ``"bold"``."""

    title: str
    right: bool = False
    style: str = ""


class Output:
    """Where one command writes. ``json`` selects the machine view."""

    def __init__(self, *, json: bool = False) -> None:
        self.json = json

    def print(self, text: str = "", *, style: str = "", end: str = "\n") -> None:
        """Write text of the human view to standard output; nothing in the machine view."""
        if not self.json:
            terminal.console().print(text, style=style or None, end=end)

    def table(
        self, columns: Sequence[str | Column], rows: Sequence[Sequence[object]], *, title: str | None = None
    ) -> None:
        """Write a table of the human view: aligned on a terminal, one line per row and never cut elsewhere."""
        if self.json:
            return
        heads = [column if isinstance(column, Column) else Column(column) for column in columns]
        cells = [["-" if value is None or value == "" else str(value) for value in row] for row in rows]
        if title:
            self.print(title, style="bold")
        target = terminal.console()
        if target.is_terminal:
            from rich.table import Table

            table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
            for head in heads:
                table.add_column(
                    head.title, justify="right" if head.right else "left", style=head.style or None, overflow="fold"
                )
            for row in cells:
                table.add_row(*row)
            target.print(table, soft_wrap=False)
            return
        from rich.cells import cell_len

        lines = [[head.title for head in heads], *cells]
        widths = [max(cell_len(line[index]) for line in lines) for index in range(len(heads))]
        for line in lines:
            padded = []
            for head, value, width in zip(heads, line, widths, strict=True):
                space = " " * (width - cell_len(value))
                padded.append(space + value if head.right else value + space)
            self.print("   ".join(padded).rstrip())

    def facts(self, pairs: Sequence[tuple[str, object]], *, width: int = 30) -> None:
        """Write (name, value) pairs of the human view, aligned; long values are wrapped under themselves."""
        from llmasos.cli.help import display_width, wrap

        if self.json:
            return
        target = terminal.console()
        for name, value in pairs:
            space = " " * max(width - display_width(name), 1)
            lines = str(value).splitlines() or [""]
            if target.is_terminal:
                lines = [part for line in lines for part in wrap(line, max(target.width - width - 3, 30))]
            self.print(f"  {name}{space}", style="dim", end="")
            self.print(("\n" + " " * (width + 2)).join(lines))

    def result(self, data: Any, human: Callable[[], None]) -> None:
        """Write the command's result: ``data`` as JSON in the machine view, else whatever ``human`` writes."""
        if self.json:
            write_json(data)
        else:
            human()

    def note(self, text: str, *, style: str = "dim") -> None:
        """Tell the person something beside the result, on standard error."""
        terminal.console(stderr=True).print(text, style=style)

    def warn(self, text: str) -> None:
        """Warn the person, on standard error."""
        self.note(text, style="yellow")

    def confirm(self, question: str, *, flag: str | None = None) -> bool:
        """Ask yes or no (default no) on the terminal.

        Raises:
            InvalidRequest: nobody can be asked here; the hint names ``flag``, the option that answers yes.
        """
        if not terminal.is_interactive():
            raise InvalidRequest(
                t("This needs an answer, and there is no terminal to ask on: {question}", question=question),
                hint=t("Pass {flag} to answer yes.", flag=flag) if flag else t("Run the command in a terminal."),
            )
        terminal.console(stderr=True).print(f"{question} [y/N] ", end="")
        return sys.stdin.readline().strip().lower() in ("y", "yes", "是", "好")

    @contextmanager
    def progress(self) -> Iterator[None]:
        """Show the progress events of the block on standard error: bars on a terminal, else plain lines."""
        if terminal.console(stderr=True).is_terminal:
            with terminal.BarSink() as bars, progress.reporting(bars):
                yield
        else:
            with progress.reporting(terminal.LineSink()):
                yield


def write_json(data: Any) -> None:
    """Write one JSON document to standard output."""
    sys.stdout.write(jsonlib.dumps(data, ensure_ascii=False, indent=2, default=_to_json) + "\n")
    sys.stdout.flush()


def _to_json(value: Any) -> Any:
    """What the json module does not know: dataclasses, pydantic models, times, paths, sets."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json")
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
