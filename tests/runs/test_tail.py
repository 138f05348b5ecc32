"""Lines of a file that is being written."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from llmasos.runs.tail import Tail


def test_a_file_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    tail = Tail(path)
    assert list(tail.read()) == []
    path.write_bytes(b"first\n\xffsec")
    assert list(tail.texts()) == ["first"]
    path.write_bytes(b"first\n\xffsecond\n")
    assert list(tail.texts()) == ["\ufffdsecond"]


@given(st.lists(st.binary(max_size=6).map(lambda data: data.replace(b"\n", b"")), max_size=8), st.data())
def test_every_line_comes_once_however_it_is_written(lines: list[bytes], data: st.DataObject) -> None:
    import tempfile

    whole = b"".join(line + b"\n" for line in lines)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lines"
        tail = Tail(path)
        found: list[bytes] = []
        done = 0
        while done < len(whole):
            step = data.draw(st.integers(1, len(whole) - done))
            with path.open("ab") as file:
                file.write(whole[done : done + step])
            done += step
            found += tail.read()
        assert found == lines
