"""The lines of a file that is still being written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


class Tail:
    """Reads a file line by line: each call of :meth:`read` gives what is new. A line without its end waits for it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> Iterator[bytes]:
        """The lines since the last call, without their ends; none if there is no file yet."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        with file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                yield line[:-1]

    def texts(self) -> Iterator[str]:
        """As :meth:`read`, decoded."""
        return (line.decode("utf-8", "replace") for line in self.read())
