"""What a pass costs, by its number of rows, learnt from the passes themselves."""

from __future__ import annotations

_MEMORY = 0.99  # how much older passes count after each new one
_SMALL = 64  # up to this many rows decide about guesses; larger passes (prompts) follow a line of their own
_GUESS = 0.1  # before anything is known: a row more costs this part of a pass per row
_GUESS_WEIGHT = 16.0  # of that assumption: as a few passes whose rows differ by a few
_LEAST = 0.01  # no row is cheaper than this part of an average row: noise must not make it free
_OUTLIER = 3.0  # a pass that takes longer than this many times what was expected says nothing about rows


class _Line:
    """Seconds as a straight line over rows, by least squares with fading memory.

    The slope leans to an assumption as far as passes of different sizes are few or long ago. So one disturbed
    measurement cannot end speculation for good: it fades, and then speculation is tried again.
    """

    __slots__ = ("_product", "_rows", "_seconds", "_square", "_weight")

    def __init__(self) -> None:
        self._weight = self._rows = self._seconds = self._square = self._product = 0.0

    @property
    def known(self) -> bool:
        return self._weight > 0

    def record(self, rows: int, seconds: float) -> None:
        if self._weight:
            seconds = min(seconds, _OUTLIER * self.at(rows))
        self._weight = self._weight * _MEMORY + 1.0
        share = 1.0 / self._weight
        # Running means and centred sums, so that nothing cancels (Welford's method, weighted).
        from_mean = rows - self._rows
        self._rows += share * from_mean
        late = seconds - self._seconds
        self._seconds += share * late
        self._square = self._square * _MEMORY + from_mean * (rows - self._rows)
        self._product = self._product * _MEMORY + from_mean * (seconds - self._seconds)

    @property
    def slope(self) -> float:
        per_row = self._seconds / self._rows
        slope = (self._product + _GUESS_WEIGHT * _GUESS * per_row) / (self._square + _GUESS_WEIGHT)
        return max(slope, _LEAST * per_row)

    def at(self, rows: int) -> float:
        seconds = self._seconds + self.slope * (rows - self._rows)
        return max(seconds, _LEAST * self._seconds)


class PassCosts:
    """Seconds of a pass as a function of its rows.

    Rows are nowhere near free on a CPU: reading the weights is paid once per pass, but the arithmetic is not.
    """

    __slots__ = ("_large", "_small")

    def __init__(self) -> None:
        self._small = _Line()
        self._large = _Line()

    def _line(self, rows: int) -> _Line:
        preferred, other = (self._small, self._large) if rows <= _SMALL else (self._large, self._small)
        return preferred if preferred.known else other

    def record(self, rows: int, seconds: float) -> None:
        """A pass over ``rows`` rows took ``seconds``."""
        (self._small if rows <= _SMALL else self._large).record(rows, seconds)

    @property
    def known(self) -> bool:
        """Whether anything was recorded."""
        return self._small.known or self._large.known

    def seconds(self, rows: int) -> float:
        """What a pass over ``rows`` rows takes; something must have been recorded."""
        return self._line(rows).at(rows)

    def of_one_more(self, rows: int) -> float:
        """What one row more adds to a pass over ``rows`` rows."""
        return self._line(rows).slope
