"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from llmasos.errors import OutOfDisk
from llmasos.library.disk import replacing, write_file


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, b"old")
    with replacing(path) as partial:
        partial.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("failure", "seen"), [(OSError(errno.ENOSPC, "full"), OutOfDisk), (KeyError("x"), KeyError)])
def test_what_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, failure: Exception, seen: type[Exception]
) -> None:
    path = tmp_path / "file"
    write_file(path, b"old")
    with pytest.raises(seen), replacing(path) as partial:
        partial.write_bytes(b"half")
        raise failure
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
