"""Curves in the terminal, of Braille characters: each has 2 x 4 dots (Unicode, block U+2800)."""

from __future__ import annotations

from rich.cells import cell_len

from llmasos.runs.plots.figure import Panel, tick_text, ticks

#: Bit of each dot of a Braille character, by row and column.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
#: Colours of the lines, as rich names them; told apart on light and dark backgrounds.
COLOURS = ("cyan", "magenta", "yellow", "green", "red", "blue")
_MARKS = "●○◆◇■□"


def draw(panel: Panel, *, width: int, height: int = 12) -> list[list[tuple[str, str]]]:
    """A panel as lines of text, each of parts (text, style); styles are those of rich.

    Args:
        width: columns in all.
        height: rows of the drawing itself.
    """
    low, high = panel.y_range
    marks = {_row(value, low, high, height): tick_text(value) for value in ticks(low, high, height // 3)}
    margin = max((len(text) for text in marks.values()), default=0) + 1
    columns = max(width - margin - 2, 16)
    canvas = _Canvas(columns, height)
    x_low, x_high = panel.x_range
    for number, line in enumerate(panel.lines):
        dots = [
            (
                (x - x_low) / (x_high - x_low) * (columns * 2 - 1),
                (high - y) / (high - low) * (height * 4 - 1),
            )
            for x, y in line.points
        ]
        canvas.polyline(dots, number)
    legend: list[tuple[str, str]] = []
    for number, line in enumerate(panel.lines if len(panel.lines) > 1 else ()):  # of one, the title says it
        legend += [(f"{_MARKS[number % len(_MARKS)]} ", style(number)), (f"{line.label}   ", "")]
    unit = f" ({panel.unit})" if panel.unit else ""
    rows = [[(panel.title + unit, "bold"), ("   ", ""), *legend]]
    for row in range(height):
        label = marks.get(row, "")
        rows.append([(f"{label:>{margin}} ", "dim"), ("┤" if label else "│", "dim"), *canvas.row(row)])
    title = f" {panel.x_title}"
    rows.append([(" " * margin + " └" + "─" * (columns - cell_len(title)) + title, "dim")])
    rows.append([(_x_labels(panel, margin + 2, columns), "dim")])
    return rows


def style(number: int) -> str:
    """The style of the line with this number."""
    return COLOURS[number % len(COLOURS)]


def _row(value: float, low: float, high: float, height: int) -> int:
    return min(int((high - value) / (high - low) * (height * 4 - 1)) // 4, height - 1)


def _x_labels(panel: Panel, margin: int, columns: int) -> str:
    low, high = panel.x_range
    text = [" "] * (margin + columns)
    free = 0
    for value in ticks(low, high, max(columns // 12, 2)):
        label = tick_text(value)
        start = margin + round((value - low) / (high - low) * (columns - 1)) - len(label) // 2
        start = min(max(start, margin - 1), margin + columns - len(label))
        if start >= free:
            text[start : start + len(label)] = label
            free = start + len(label) + 2
    return "".join(text).rstrip()


class _Canvas:
    """A grid of Braille characters; of two lines that meet in a character, the later gives the colour."""

    def __init__(self, columns: int, rows: int) -> None:
        self._bits = [[0] * columns for _ in range(rows)]
        self._line = [[0] * columns for _ in range(rows)]
        self._columns, self._rows = columns, rows

    def polyline(self, dots: list[tuple[float, float]], number: int) -> None:
        """Connect dots, given in dots from the upper left."""
        for index, (x, y) in enumerate(dots):
            x_before, y_before = dots[max(index - 1, 0)]
            count = max(int(max(abs(x - x_before), abs(y - y_before))), 1)
            for part in range(count + 1):
                share = part / count
                self._dot(round(x_before + (x - x_before) * share), round(y_before + (y - y_before) * share), number)

    def _dot(self, x: int, y: int, number: int) -> None:
        column, row = min(x // 2, self._columns - 1), min(y // 4, self._rows - 1)
        self._bits[row][column] |= _DOTS[y % 4][x % 2]
        self._line[row][column] = number

    def row(self, row: int) -> list[tuple[str, str]]:
        """A row of characters, those of one line in one part."""
        parts: list[tuple[str, str]] = []
        for bits, number in zip(self._bits[row], self._line[row], strict=True):
            text, colour = (chr(0x2800 + bits), style(number)) if bits else (" ", "")
            if parts and parts[-1][1] == colour:
                parts[-1] = (parts[-1][0] + text, colour)
            else:
                parts.append((text, colour))
        return parts
