"""Pickles that want to run something, unpack to too much or are damaged. Nothing of them is ever run."""

from __future__ import annotations

import argparse
import builtins
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmasos.errors import IntegrityError, LLMasOSError, UnsafeContent, Unsupported
from llmasos.library.formats.torch_checkpoint import convert_checkpoint
from torch_files import Raw, legacy_file, save, tensor_pickle, zip_file

FOUR = struct.pack("<4f", 1, 2, 3, 4)


class Runs:
    """An object whose unpickling calls ``function(*arguments)``."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


class Restores:
    """An object whose unpickling sets its state."""

    def __init__(self) -> None:
        self.value = 1


def mark(folder: Path) -> str:
    return f"touch {folder / 'executed'}"


def attacks(folder: Path) -> dict[str, tuple[Any, str]]:
    """What is pickled, and the name that the refusal must give."""
    command = mark(folder)
    return {
        "os.system": (Runs(os.system, command), "posix.system"),
        "eval": (Runs(builtins.eval, f"__import__('os').system({command!r})"), "eval"),
        "exec": (Runs(builtins.exec, f"__import__('os').system({command!r})"), "exec"),
        "getattr": (Runs(builtins.getattr, "x", "upper"), "getattr"),
        "import": (Runs(builtins.__import__, "antigravity"), "__import__"),
        "nested in the tensors": ({"weight": torch.ones(1), "x": [{"y": (Runs(os.system, command),)}]}, "posix.system"),
        "nested in a call": (Runs(print, Runs(os.system, command)), "print"),
        "load from bytes": (Runs(torch.storage._load_from_bytes, b"x"), "_load_from_bytes"),
        "pickle in a pickle": (Runs(pickle.loads, pickle.dumps(1)), "loads"),
        "namespace": ({"args": argparse.Namespace(a=1), "weight": torch.ones(1)}, "argparse.Namespace"),
        "class": ({"weight": torch.ones(1), "x": Restores()}, "Restores"),
        "module": ({"model": torch.nn.Linear(1, 1)}, "torch.nn.modules.linear.Linear"),
        "function": ({"f": os.path.join}, "join"),
    }


NAMES = list(attacks(Path()))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_code_is_refused_by_name_and_never_run(name: str, legacy: bool, tmp_path: Path) -> None:
    content, expected = attacks(tmp_path)[name]
    path = save(content, tmp_path / "w.bin", legacy=legacy)
    with pytest.raises(UnsafeContent) as error:
        convert_checkpoint(path, tmp_path)
    # Modules are refused in the old format by the source code that they carry, before their class is named.
    assert expected in error.value.message or (name == "module" and "'module'" in error.value.message)
    assert "safetensors" in (error.value.hint or "")
    assert not (tmp_path / "executed").exists()
    assert not list(tmp_path.glob("*.safetensors"))


def test_the_attacks_are_real(tmp_path: Path) -> None:
    """The same file, read by Python's unpickler, does run its command."""
    pickle.loads(pickle.dumps(attacks(tmp_path)["os.system"][0]))
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_every_protocol_is_refused(protocol: int, tmp_path: Path) -> None:
    pickled = pickle.dumps(Runs(os.system, mark(tmp_path)), protocol=protocol)
    with pytest.raises(UnsafeContent, match=r"posix\.system"):
        convert_checkpoint(zip_file(tmp_path / "w.bin", pickled), tmp_path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("pickled", "words"),
    [
        (b"(S'touch executed'\nios\nsystem\n.", "INST"),
        (b"cos\nsystem\n(S'touch executed'\ntR.", "os.system"),
        (Raw().name("collections", "OrderedDict").add(b")\x81").done(), "NEWOBJ"),
        (Raw().name("collections", "OrderedDict").add(b"(", b"o").done(), "OBJ"),
        (Raw().add(b"\x82\x01").done(), "EXT1"),
        (Raw().add(b"P1\n").done(), "PERSID"),
        (Raw().name("torch", "FloatStorage").add(b")R").done(), "call of torch.FloatStorage"),
        (Raw().name("torch", "Size").add(b"}b").done(), "state of an object"),
        (Raw().name("torch", "hub").done(), "torch.hub"),
        (Raw().name("torch", "FloatStorage.from_file").done(), "from_file"),
        (Raw().name("torch.serialization", "load").done(), "torch.serialization.load"),
        (Raw().text("os").text("system").add(b"\x93").done(), "os.system"),
        (Raw().add(b"(").text("module").text("x").text("0").text("cpu").add(b"K\x01tQ").done(), "'module'"),
    ],
)  # fmt: skip
def test_other_ways_to_run_something(pickled: bytes, words: str, tmp_path: Path) -> None:
    for path in (zip_file(tmp_path / "z.bin", pickled), legacy_file(tmp_path / "l.bin", pickled)):
        with pytest.raises(UnsafeContent, match=words):
            convert_checkpoint(path, tmp_path)


# --- too much -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words", "kind"),
    [
        ({"shape": (10**6, 10**6), "strides": (0, 0)}, "unpacks to far more", UnsafeContent),
        ({"shape": (5,)}, "beyond its storage", IntegrityError),
        ({"shape": (2, 2), "strides": (3, 1)}, "beyond its storage", IntegrityError),
        ({"offset": 1}, "beyond its storage", IntegrityError),
        ({"elements": 10**12, "shape": (10**12,)}, "16 bytes, 4000000000000 are needed", IntegrityError),
        ({"shape": (-4,)}, "impossible shape", IntegrityError),
        ({"shape": (4,), "strides": (-1,)}, "impossible shape", IntegrityError),
        ({"shape": (4, 1)}, "impossible shape", IntegrityError),
        ({"shape": (2**63,)}, "impossible shape", IntegrityError),
        ({"shape": (1,) * 70, "strides": (1,) * 70}, "impossible shape", IntegrityError),
        ({"key": "../../etc/passwd"}, "storage '../../etc/passwd' is missing", IntegrityError),
        ({"names": ("__metadata__",)}, "impossible name", IntegrityError),
    ],
)
def test_tensors_that_lie(options: dict[str, Any], words: str, kind: type, tmp_path: Path) -> None:
    path = zip_file(tmp_path / "w.bin", tensor_pickle(**options), {"0": FOUR})
    with pytest.raises(kind, match=words):
        convert_checkpoint(path, tmp_path)


def test_honest_numbers_pass_the_same_way(tmp_path: Path) -> None:
    """The helper that writes the lies writes readable files when it tells the truth."""
    convert_checkpoint(zip_file(tmp_path / "w.bin", tensor_pickle(), {"0": FOUR}), tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes().endswith(FOUR)


def test_many_views_of_one_storage_are_a_bomb(tmp_path: Path) -> None:
    """Each is as large as the storage, none is the same as another, together they are a thousand times the file."""
    size = 2**20
    base = torch.zeros(size, dtype=torch.uint8)
    content = {f"t{i}": base[i:] for i in range(1000)}
    with pytest.raises(UnsafeContent, match="far more"):
        convert_checkpoint(save(content, tmp_path / "w.bin"), tmp_path)


def test_copies_inside_the_pickle_are_counted(tmp_path: Path) -> None:
    raw = Raw().text("x" * 1_000_000).add(b"q\x00", b"0", b"]")
    for _ in range(2000):
        raw.name("_codecs", "encode").add(b"h\x00").text("latin1").add(b"\x86R", b"a")
    with pytest.raises(UnsafeContent, match="far more"):
        limited(lambda: convert_checkpoint(zip_file(tmp_path / "w.bin", raw.done()), tmp_path))


def test_memo_places_cost_nothing(tmp_path: Path) -> None:
    """Python's unpickler takes 30 GB for this file: it makes a table up to the highest place."""
    raw = Raw().add(b"]", b"r" + struct.pack("<I", 2**31))
    with pytest.raises(Unsupported, match="no dictionary of tensors"):
        limited(lambda: convert_checkpoint(zip_file(tmp_path / "w.bin", raw.done()), tmp_path))


@pytest.mark.parametrize(
    "code", [b"\x8d" + struct.pack("<Q", 2**40), b"\x8e" + struct.pack("<Q", 2**62), b"\x8b\xff\xff\xff\x7f"]
)
def test_long_texts_that_are_not_there(code: bytes, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="damaged"):
        limited(lambda: convert_checkpoint(zip_file(tmp_path / "w.bin", Raw().add(code).done()), tmp_path))


def limited(action: Callable[[], object], limit: int = 60_000_000) -> None:
    tracemalloc.start()
    try:
        action()
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < limit


def test_packed_entries_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", tensor_pickle(elements=10**8, shape=(10**8,)))
        archive.writestr("archive/data/0", bytes(4 * 10**6))
    with pytest.raises(UnsafeContent, match="packed or encrypted"):
        convert_checkpoint(path, tmp_path)


# --- damage ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, bytes]:
    """A small good file of either format."""
    folder = tmp_path_factory.mktemp("good")
    content = {"a.weight": torch.randn(3, 4), "b": torch.randn(4, 3).t(), "c": torch.arange(5)}
    return {legacy: save(content, folder / f"{legacy}.bin", legacy=legacy).read_bytes() for legacy in (False, True)}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_every_truncation_is_an_error(legacy: bool, files: dict[bool, bytes], tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    for length in range(0, len(files[legacy]) - 1, 7):
        path.write_bytes(files[legacy][:length])
        with pytest.raises((IntegrityError, Unsupported)):
            convert_checkpoint(path, tmp_path)


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), legacy=st.booleans())
def test_flipped_bytes_never_do_worse_than_an_error(
    data: st.DataObject, legacy: bool, files: dict[bool, bytes], tmp_path: Path
) -> None:
    damaged = bytearray(files[legacy])
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    harmless(bytes(damaged), tmp_path)


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(program=st.lists(st.sampled_from([*(bytes([code]) for code in range(256)), b"ccollections\nOrderedDict\n",
                                         b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n",
                                         b"(X\x07\0\0\0storage", b"X\x01\0\0\x000", b"K\x04", b"h\0", b"q\0"]),
                        max_size=40))  # fmt: skip
def test_random_programs_never_do_worse_than_an_error(program: list[bytes], tmp_path: Path) -> None:
    pickled = b"\x80\x02" + b"".join(program) + b"."
    harmless(zip_file(tmp_path / "w.bin", pickled, {"0": FOUR}).read_bytes(), tmp_path)
    harmless(legacy_file(tmp_path / "w.bin", pickled).read_bytes(), tmp_path)


def harmless(data: bytes, folder: Path) -> None:
    path = folder / "w.bin"
    path.write_bytes(data)
    try:
        limited(lambda: convert_checkpoint(path, folder))
    except LLMasOSError as error:
        assert error.message


@pytest.mark.parametrize(
    ("entries", "words", "kind"),
    [
        ({"byteorder": b"big"}, "big-endian", Unsupported),
        ({"code/x.py": b"print()"}, "TorchScript", Unsupported),
    ],
)
def test_other_kinds_of_archives(entries: dict[str, bytes], words: str, kind: type, tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", tensor_pickle())
        for name, data in entries.items():
            archive.writestr(f"a/{name}", data)
    with pytest.raises(kind, match=words):
        convert_checkpoint(path, tmp_path)


@pytest.mark.parametrize(
    "data", [b"", b"\x7fELF", b"ustar" * 200, pickle.dumps({"a": 1}), pickle.dumps([1, 2], protocol=0)]
)
def test_other_files_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(data)
    with pytest.raises((Unsupported, IntegrityError)):
        convert_checkpoint(tmp_path / "w.bin", tmp_path)


def test_changed_bytes_of_a_storage_are_noticed(tmp_path: Path) -> None:
    """The archive has a checksum of each entry."""
    with zipfile.ZipFile(save({"a": torch.full((64,), 7.0)}, tmp_path / "w.bin")) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data/0"))
        place = (tmp_path / "w.bin").read_bytes().index(archive.read(name))
    data = bytearray((tmp_path / "w.bin").read_bytes())
    data[place + 5] ^= 1
    (tmp_path / "w.bin").write_bytes(data)
    with pytest.raises(IntegrityError, match="CRC"):
        convert_checkpoint(tmp_path / "w.bin", tmp_path)
