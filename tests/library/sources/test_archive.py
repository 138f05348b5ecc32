from __future__ import annotations

import contextlib
import io
import stat
import struct
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos.errors import IntegrityError, NotFound, OutOfDisk, UnsafeContent
from llmasos.library.sources.archive import extract, glob_matcher, open_archive, select


def make(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def unpack(path: Path, wanted: str, destination: Path) -> list[Path]:
    with open_archive(path) as archive:
        return extract(archive, select(path.name, archive.infolist(), wanted), destination, lambda _: None)


def test_a_file_a_folder_and_a_glob(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", {"m/model/config.json": b"{}", "m/model/sub/w.bin": b"w", "m/x.py": b"code"})
    assert unpack(path, "m/model", tmp_path / "folder") == [
        tmp_path / "folder/config.json",
        tmp_path / "folder/sub/w.bin",
    ]
    assert unpack(path, "m/model/sub/w.bin", tmp_path / "file") == [tmp_path / "file/w.bin"]
    assert unpack(path, "**/*.bin", tmp_path / "glob") == [tmp_path / "glob/w.bin"]
    assert (tmp_path / "folder/sub/w.bin").read_bytes() == b"w"


def test_nothing_found_names_what_is_there(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", {"m/model.gguf": b"x"})
    with pytest.raises(NotFound) as caught:
        unpack(path, "m/modle.gguf", tmp_path / "out")
    assert "m/model.gguf" in caught.value.message
    assert "m/model.gguf" in str(caught.value.hint)


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/etc/evil", "C:/evil", "C:\\evil", "..\\evil", "a\\..\\..\\b"]
)
def test_names_that_leave_the_folder(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / "a.zip", {"good": b"x", name: b"evil"})
    with pytest.raises(UnsafeContent):
        unpack(path, "good", tmp_path / "out")  # not even what is harmless is taken from such an archive
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path / "out").exists()


def test_links_and_devices(tmp_path: Path) -> None:
    for kind in (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO):
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w") as archive:
            member = zipfile.ZipInfo("model.gguf")
            member.external_attr = (kind | 0o777) << 16
            archive.writestr(member, "/etc/passwd")
        with pytest.raises(UnsafeContent, match="link"):
            unpack(path, "model.gguf", tmp_path / "out")


def test_a_bomb(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", {"model.gguf": bytes(50_000_000)})
    assert path.stat().st_size < 100_000
    with pytest.raises(UnsafeContent, match="ratio"):
        unpack(path, "model.gguf", tmp_path / "out")


def test_a_bomb_of_overlapping_members(tmp_path: Path) -> None:
    """Many directory entries that share the same packed bytes."""
    path = make(tmp_path / "a.zip", {"0": bytes(range(256)) * 400}, zipfile.ZIP_STORED)
    with zipfile.ZipFile(path) as archive:
        member = archive.infolist()[0]
        start = archive.start_dir
    data = path.read_bytes()
    entry = data[start : data.rindex(b"PK\x05\x06")]
    entries = [entry[:46] + bytes([48 + number]) + entry[47:] for number in range(5)]
    directory = b"".join(entries)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 5, 5, len(directory), start, 0)
    path.write_bytes(data[:start] + directory + end)
    assert member.compress_size * 5 > path.stat().st_size
    with pytest.raises(UnsafeContent, match="overlap"):
        unpack(path, "0", tmp_path / "out")


def test_encrypted_members(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", {"a": b"text"})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    with pytest.raises(UnsafeContent, match="encrypted"):
        unpack(path, "a", tmp_path / "out")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "text", "empty"])
def test_damaged_archives(tmp_path: Path, damage: str) -> None:
    data = bytearray(make(tmp_path / "a.zip", {"a": bytes(range(256)) * 100}, zipfile.ZIP_STORED).read_bytes())
    if damage == "truncated":
        del data[len(data) // 2 :]
    elif damage == "flipped":
        data[5000] ^= 1
    else:
        data = bytearray(b"no archive at all" if damage == "text" else b"")
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(IntegrityError):
        unpack(tmp_path / "a.zip", "a", tmp_path / "out")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 300), st.binary(max_size=20))
def test_arbitrary_bytes_give_our_errors_only(noise: bytes, position: int, patch: bytes) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/b", noise)
    data = bytearray(buffer.getvalue())
    data[position : position + len(patch)] = patch
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.zip"
        path.write_bytes(data)
        with contextlib.suppress(IntegrityError, UnsafeContent, NotFound):
            unpack(path, "a/b", Path(folder) / "out")


def test_space_is_checked(tmp_path: Path, configure: Callable[..., None]) -> None:
    configure(disk_reserve=2**60)
    path = make(tmp_path / "a.zip", {"a": b"text"})
    with pytest.raises(OutOfDisk):
        unpack(path, "a", tmp_path / "out")


def test_globs() -> None:
    assert glob_matcher("**/*.bin")("a/b/c.bin")
    assert glob_matcher("**/*.bin")("c.bin")
    assert not glob_matcher("*.bin")("a/c.bin")
    assert glob_matcher("a/*/c.gguf.part*")("a/b/c.gguf.part01")
    assert not glob_matcher("a/*.bin")("a/xbin")
