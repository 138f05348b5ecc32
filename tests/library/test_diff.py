import contextlib
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos.errors import IntegrityError, LLMasOSError
from llmasos.library.diff import compare
from llmasos.library.metadata import Metadata
from llmasos.library.safetensors_header import read_header
from llmasos.library.store import Library

SIZES = {"F32": 4, "F16": 2, "I8": 1}


def safetensors(**tensors: tuple[str, list[int], bytes]) -> bytes:
    """A safetensors file, written by hand: independent of the code under test."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_equal_versions(library: Library, publish: Any) -> None:
    version = publish("a", {"model.safetensors": safetensors(w=("F32", [1], b"1234"))})
    result = compare(library, version, version)
    assert result.same
    assert (result.equal_files, result.equal_tensors) == (2, 1)


def test_metadata_files_and_tensors(library: Library, publish: Any) -> None:
    before = publish(
        "a",
        {
            "model.safetensors": safetensors(
                same=("F32", [1], b"1234"),
                values=("F32", [2], b"12345678"),
                shape=("F32", [2, 1], b"abcdefgh"),
                dtype=("F32", [1], b"wxyz"),
                gone=("I8", [1], b"g"),
            ),
            "config.json": b"{}",
            "old.txt": b"old",
        },
        metadata=Metadata(architecture="llama", parameters=5),
        card="card",
    )
    after = publish(
        "b",
        {
            "model-1.safetensors": safetensors(
                values=("F32", [2], b"12345679"), shape=("F32", [1, 2], b"abcdefgh"), new=("I8", [2], b"nn")
            ),
            "model-2.safetensors": safetensors(same=("F32", [1], b"1234"), dtype=("F16", [1], b"wx")),
            "config.json": b"{}",
            "old.txt": b"new!",
        },
        metadata=Metadata(architecture="llama", parameters=6),
        card="card",
    )
    result = compare(library, before, after)
    assert [(item.field, item.before, item.after) for item in result.metadata] == [("parameters", 5, 6)]
    assert [(item.path, item.change, item.size_before, item.size_after) for item in result.files] == [
        ("model-1.safetensors", "added", None, after.manifest.files["model-1.safetensors"].size),
        ("model-2.safetensors", "added", None, after.manifest.files["model-2.safetensors"].size),
        ("model.safetensors", "removed", before.manifest.files["model.safetensors"].size, None),
        ("old.txt", "changed", 3, 4),
    ]
    assert result.equal_files == 2  # the card and config.json
    tensors = {item.name: (item.change, item.differs) for item in result.tensors}
    assert tensors == {
        "gone": ("removed", ()),
        "new": ("added", ()),
        "values": ("changed", ("values",)),
        "shape": ("changed", ("shape",)),
        "dtype": ("changed", ("dtype", "values")),
    }
    assert result.equal_tensors == 1  # the same bytes in another shard
    [dtype] = [item for item in result.tensors if item.name == "dtype"]
    assert (dtype.dtype_before, dtype.dtype_after, dtype.shape_before, dtype.shape_after) == ("F32", "F16", (1,), (1,))


def test_a_missing_blob_is_an_error(library: Library, publish: Any) -> None:
    version = publish("a", {"model.safetensors": safetensors(w=("F32", [1], b"1234"))})
    library.blobs.path(version.manifest.files["model.safetensors"].digest).unlink()
    with pytest.raises(IntegrityError, match="missing"):
        compare(library, version, version)


def test_reads_what_the_reference_library_writes(tmp_path: Any) -> None:
    safetensors_torch = pytest.importorskip("safetensors.numpy")
    numpy = pytest.importorskip("numpy")
    path = tmp_path / "x.safetensors"
    arrays = {"a": numpy.arange(6, dtype=numpy.float32).reshape(2, 3), "b": numpy.zeros((0, 4), numpy.int64)}
    safetensors_torch.save_file(arrays, path, metadata={"made": "by"})
    header, metadata = read_header(path)
    assert metadata == {"made": "by"}
    assert {name: (entry.dtype, entry.shape, entry.elements) for name, entry in header.items()} == {
        "a": ("F32", (2, 3), 6),
        "b": ("I64", (0, 4), 0),
    }
    entry = header["a"]
    assert path.read_bytes()[entry.begin : entry.end] == arrays["a"].tobytes()


GOOD = {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1234567",
        struct.pack("<Q", 2**62),
        struct.pack("<Q", 100) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 2) + b"{a",
        *(
            struct.pack("<Q", len(text := json.dumps(header).encode())) + text + b"1234"
            for header in (
                {"w": 1},
                {"w": {}},
                {"w": {**GOOD["w"], "dtype": "F33"}},
                {"w": {**GOOD["w"], "dtype": []}},
                {"w": {**GOOD["w"], "shape": [-1]}},
                {"w": {**GOOD["w"], "shape": [2]}},
                {"w": {**GOOD["w"], "shape": "1"}},
                {"w": {**GOOD["w"], "shape": [True]}},
                {"w": {**GOOD["w"], "data_offsets": [0, 5]}},
                {"w": {**GOOD["w"], "data_offsets": [4, 0]}},
                {"w": {**GOOD["w"], "data_offsets": [0, 4, 8]}},
                {"w": {**GOOD["w"], "data_offsets": [0.0, 4]}},
                {"__metadata__": {"a": 1}},
                {"__metadata__": []},
            )
        ),
    ],
)
def test_damaged_files_are_refused(tmp_path: Any, data: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"x\.safetensors"):
        read_header(path)


@given(data=st.binary(max_size=60), length=st.integers(0, 60) | st.integers(0, 2**64 - 1))
def test_any_bytes_are_read_or_refused(tmp_path_factory: Any, data: bytes, length: int) -> None:
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    path.write_bytes(struct.pack("<Q", length) + data)
    with contextlib.suppress(LLMasOSError):
        read_header(path)
