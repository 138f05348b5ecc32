"""GGUF files that are truncated, damaged or made to harm: a clear error, never a crash, never much memory."""

from __future__ import annotations

import shutil
import struct
import tracemalloc
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gguf_files import byte_level_vocab, gguf_tensors, tiny_model, write_gguf
from llmasos.errors import IntegrityError, LLMasOSError, Unsupported
from llmasos.library.formats.gguf import convert_gguf, read_header
from llmasos.library.formats.gguf.header import MAX_HEADER_BYTES


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small valid file."""
    path = tmp_path_factory.mktemp("good") / "m.gguf"
    model = tiny_model("llama", num_hidden_layers=1, hidden_size=32, intermediate_size=32, num_attention_heads=2,
                       num_key_value_heads=1, vocab_size=280)  # fmt: skip
    return write_gguf(path, model, byte_level_vocab(size=280), kind=Type.Q8_0).read_bytes()


@pytest.fixture
def convert(tmp_path: Path) -> Callable[[bytes], None]:
    """Write bytes to a file and import them."""

    def run(data: bytes) -> None:
        source, out = tmp_path / "m.gguf", tmp_path / "out"
        source.write_bytes(data)
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        convert_gguf(source, out)

    return run


@cache
def sections(data: bytes) -> dict[str, int]:
    """Where each part of a file begins, according to the gguf package."""
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
        file.write(data)
        file.flush()
        reader = gguf.GGUFReader(file.name)
        marks = {f"key {name}": field.offset for name, field in reader.fields.items()}
        marks |= {f"entry {tensor.name}": tensor.field.offset for tensor in reader.tensors}
        return marks | {f"data {tensor.name}": int(tensor.data_offset) for tensor in reader.tensors}


def test_good_file_is_imported(good: bytes, convert: Callable[[bytes], None]) -> None:
    convert(good)


def test_truncation_in_every_section_is_found(good: bytes, convert: Callable[[bytes], None]) -> None:
    for name, offset in sections(good).items():
        for cut in (offset, offset + 3, offset + 9):
            if cut >= len(good):
                continue
            with pytest.raises(IntegrityError) as error:
                convert(good[:cut])
            assert "m.gguf" in error.value.message, name
            assert "incomplete download" in (error.value.hint or "")


def test_last_byte_missing_names_the_tensor_and_the_sizes(good: bytes, convert: Callable[[bytes], None]) -> None:
    last = max((offset, name) for name, offset in sections(good).items() if name.startswith("data "))[1]
    cut = good.rstrip(b"\0")[:-40]
    with pytest.raises(IntegrityError) as error:
        convert(cut)
    assert last.removeprefix("data ") in error.value.message
    assert str(len(cut)) in error.value.message


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bytes_never_do_worse_than_an_error(
    data: st.DataObject, good: bytes, convert: Callable[[bytes], None]
) -> None:
    header = min(offset for name, offset in sections(good).items() if name.startswith("data "))
    damaged = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        damaged = damaged[: data.draw(st.integers(0, len(damaged)))]
    assert_harmless(bytes(damaged), convert)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(offset=st.integers(0, 2**20), value=st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1]))
def test_huge_numbers_never_do_worse_than_an_error(
    offset: int, value: int, good: bytes, convert: Callable[[bytes], None]
) -> None:
    offset %= len(good) - 8
    assert_harmless(good[:offset] + struct.pack("<Q", value) + good[offset + 8 :], convert)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=400))
def test_noise_never_does_worse_than_an_error(noise: bytes, convert: Callable[[bytes], None]) -> None:
    assert_harmless(b"GGUF\3\0\0\0" + noise, convert)


def assert_harmless(data: bytes, convert: Callable[[bytes], None]) -> None:
    """Importing works or raises one of our errors, in little memory (numpy's counts too)."""
    tracemalloc.start()
    try:
        convert(data)
    except LLMasOSError as error:
        assert error.message
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 40_000_000


# --- single lies -----------------------------------------------------------------------------------------------------


class Bytes:
    """A GGUF file put together by hand."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.entries: list[bytes] = []
        self.key_count: int | None = None
        self.tensor_count: int | None = None
        self.version = 3

    @staticmethod
    def text(value: str | bytes) -> bytes:
        raw = value.encode() if isinstance(value, str) else value
        return struct.pack("<Q", len(raw)) + raw

    def key(self, name: str, kind: int, raw: bytes) -> Bytes:
        self.keys.append(self.text(name) + struct.pack("<I", kind) + raw)
        return self

    def entry(self, name: str, shape: list[int], kind: int = 0, offset: int = 0) -> Bytes:
        shape_bytes = b"".join(struct.pack("<Q", n) for n in shape)
        self.entries.append(
            self.text(name) + struct.pack("<I", len(shape)) + shape_bytes + struct.pack("<IQ", kind, offset)
        )
        return self

    def build(self, data: bytes = b"") -> bytes:
        tensors = len(self.entries) if self.tensor_count is None else self.tensor_count
        keys = len(self.keys) if self.key_count is None else self.key_count
        head = b"GGUF" + struct.pack("<IQQ", self.version, tensors, keys) + b"".join(self.keys + self.entries)
        return head + b"\0" * (-len(head) % 32) + data


def changed(**values: Any) -> Bytes:
    built = Bytes()
    for name, value in values.items():
        setattr(built, name, value)
    return built


ZEROS = b"\0" * 4096


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "signature"),
        (b"GGUF", "version"),
        (b"GGML" + ZEROS, "does not begin with GGUF"),
        (changed(key_count=2**60).build(), "metadata keys"),
        (changed(tensor_count=2**60).build(), "number of tensors"),
        (Bytes().key("a", 99, b"").build(ZEROS), "unknown type 99"),
        (Bytes().key("a", 8, struct.pack("<Q", 2**62)).build(ZEROS), "ends inside"),
        (Bytes().key("a", 9, struct.pack("<IQ", 4, 2**61)).build(ZEROS), "number of items of a"),
        (Bytes().key("a", 9, struct.pack("<IQ", 8, 2**61)).build(ZEROS), "number of items of a"),
        (Bytes().key("a", 8, Bytes.text(b"\xff\xfe")).build(), "not UTF-8"),
        (Bytes().key("a", 7, b"\2").build(ZEROS), "neither true nor false"),
        (Bytes().key("a", 0, b"\1").key("a", 0, b"\1").build(ZEROS), "'a' comes twice"),
        (Bytes().key("k" * 70_000, 0, b"\1").build(ZEROS), "at most 65535"),
        (Bytes().key("general.alignment", 4, struct.pack("<I", 33)).build(ZEROS), "power of two"),
        (Bytes().key("general.alignment", 4, struct.pack("<I", 0)).build(ZEROS), "power of two"),
        (Bytes().entry("x", []).build(ZEROS), "0 dimensions"),
        (Bytes().entry("x", [1] * 5).build(ZEROS), "5 dimensions"),
        (Bytes().entry("x", [2**40, 2**40]).build(ZEROS), "impossible shape"),
        (Bytes().entry("x", [0, 4]).build(ZEROS), "impossible shape"),
        (Bytes().entry("x", [33], kind=8).build(ZEROS), "blocks of 32"),
        (Bytes().entry("x", [4], offset=7).build(ZEROS), "not a multiple of 32"),
        (Bytes().entry("x", [4], offset=2**63).build(ZEROS), "but the file has"),
        (Bytes().entry("x", [2000]).build(ZEROS), "but the file has"),
        (Bytes().entry("x", [64]).entry("y", [64], offset=128).build(ZEROS), "overlap"),
        (Bytes().entry("x", [4]).entry("x", [4], offset=32).build(ZEROS), "'x' comes twice"),
    ],
)  # fmt: skip
def test_lies_in_the_header_are_named(data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=words):
        read_header(path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (changed(version=1).build(), "version 1"),
        (changed(version=0x03000000).build(), "big-endian"),
        (Bytes().entry("x", [4], kind=77).build(ZEROS), "'x' has the unknown type 77"),
        (Bytes().key("a", 9, struct.pack("<IQ", 9, 1)).build(ZEROS), "array of arrays"),
    ],
)
def test_what_cannot_be_read_is_named(data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    with pytest.raises(Unsupported, match=words):
        read_header(path)


def test_header_is_not_read_without_limit(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    with path.open("wb") as file:
        file.write(Bytes().key("a", 8, struct.pack("<Q", MAX_HEADER_BYTES)).build())
        file.truncate(2 * MAX_HEADER_BYTES)  # a sparse file, so the length is true
    with pytest.raises(IntegrityError, match="larger than"):
        read_header(path)


# --- whole models that do not fit together -----------------------------------------------------------------------


def write(folder: Path, **options: Any) -> None:
    model = tiny_model("llama", num_hidden_layers=1, hidden_size=32, intermediate_size=32, vocab_size=280)
    tensors = gguf_tensors(model, "llama")
    change = options.pop("change", None)
    if change is not None:
        change(tensors)
    write_gguf(folder / "m.gguf", model, byte_level_vocab(size=280), tensors=tensors, **options)
    (folder / "out").mkdir()
    convert_gguf(folder / "m.gguf", folder / "out")


def remove(name: str) -> Callable[[dict[str, Any]], None]:
    def change(tensors: dict[str, Any]) -> None:
        del tensors[name]

    return change


def put(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda tensors: tensors.update({name: value})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (remove("blk.0.attn_k.weight"), "'blk.0.attn_k.weight' is missing"),
        (remove("token_embd.weight"), "'token_embd.weight' is missing"),
        (
            put("blk.0.ffn_up.weight", np.zeros((8, 32), np.float32)),
            r"shape \[8, 32\], the metadata promises \[32, 32\]",
        ),
        (
            put("blk.0.ffn_up.weight", np.full((32, 32), np.nan, np.float32)),
            "'blk.0.ffn_up.weight' has values that are",
        ),
        (
            put("blk.0.attn_norm.weight", np.full(32, np.inf, np.float32)),
            "'blk.0.attn_norm.weight' has values that are",
        ),
        (put("rope_freqs.weight", np.zeros(4, np.float32)), "not positive"),
        (put("rope_freqs.weight", np.ones(3, np.float32)), "'rope_freqs.weight' has the shape"),
    ],
)
def test_damaged_models_are_refused(change: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=words):
        write(tmp_path, change=change)


@pytest.mark.parametrize("kind", [Type.F16, Type.BF16, Type.Q8_0])
def test_numbers_that_are_none_are_found_in_every_type(kind: Type, tmp_path: Path) -> None:
    def change(tensors: dict[str, Any]) -> None:
        tensors["blk.0.ffn_up.weight"][3, 5] = np.inf

    with np.errstate(all="ignore"), pytest.raises(IntegrityError, match=r"blk\.0\.ffn_up"):
        write(tmp_path, change=change, kind=kind)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("blk.0.ffn_gate_exps.weight", np.zeros((2, 32, 32), np.float32)), "no place for 1 tensor"),
        (put("blk.0.attn_q.bias", np.zeros(32, np.float32)), "biases for q_proj"),
    ],
)
def test_models_that_transformers_cannot_hold_are_refused(change: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=words):
        write(tmp_path, change=change)


@pytest.mark.parametrize(
    ("add", "error", "words"),
    [
        (lambda w: w.add_expert_count(4), Unsupported, "mixture of experts"),
        (lambda w: w.add_string("llama.rope.scaling.type", "sideways"), Unsupported, "sideways"),
        (lambda w: w.add_float32("llama.rope.scaling.factor", -2.0), IntegrityError, "positive number"),
        (lambda w: w.add_uint32("llama.attention.value_length", 4), Unsupported, "different lengths"),
        (lambda w: w.add_uint32("split.count", 3), IntegrityError, "one of 3 parts"),
        (lambda w: w.add_string("tokenizer.chat_template", ""), None, ""),
        (lambda w: w.add_uint32("tokenizer.chat_template", 3), IntegrityError, "a text is needed"),
        (lambda w: w.add_string("general.file_type", "7"), IntegrityError, "whole number"),
    ],
)
def test_metadata_that_makes_no_sense(add: Any, error: Any, words: str, tmp_path: Path) -> None:
    if error is None:
        write(tmp_path, extra=add)
        return
    with pytest.raises(error, match=words):
        write(tmp_path, extra=add)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("head_count", 3, "heads do not divide"),
        ("head_count_kv", 3, "key heads do not divide"),
        ("block_count", 2**31 - 1, "only 11 tensors"),
        ("block_count", 2, "'blk.1.attn_norm.weight' is missing"),
        ("embedding_length", 64, "promises"),
        ("feed_forward_length", 0, "whole number from 1"),
        ("layer_norm_rms_eps", 0.0, "positive number"),
        ("layer_norm_rms_eps", float("nan"), "finite number"),
        ("rope_freq_base", -1.0, "positive number"),
        ("rope_dimension_count", 7, "cannot be rotated"),
        ("context_length", 0, "whole number from 1"),
    ],
)
def test_hyperparameters_that_contradict_the_tensors(
    key: str, value: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = getattr(gguf.GGUFWriter, f"add_{key}")
    monkeypatch.setattr(gguf.GGUFWriter, f"add_{key}", lambda writer, _: original(writer, value))
    with pytest.raises(IntegrityError, match=words):
        write(tmp_path)


def test_unknown_architecture_names_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(Bytes().key("general.architecture", 8, Bytes.text("qwen4")).build())
    with pytest.raises(Unsupported, match=r"'qwen4'.*llama, qwen2, qwen3") as error:
        convert_gguf(path, tmp_path)
    assert "did you mean" in error.value.message


def test_unsupported_type_names_the_tensor(tmp_path: Path) -> None:
    def kind(name: str) -> Type:
        return Type.MXFP4 if name == "blk.0.ffn_up.weight" else Type.Q8_0

    with pytest.raises(Unsupported, match=r"'blk\.0\.ffn_up\.weight' .* MXFP4"):
        write(tmp_path, kind=kind)


def test_missing_package_says_how_to_get_it(
    good: bytes, convert: Callable[[bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    from llmasos.errors import MissingDependency

    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingDependency, match="gguf") as error:
        convert(good)
    assert "llmasos[local]" in (error.value.hint or "")


def test_full_disk_is_told_before_anything_is_written(
    good: bytes, convert: Callable[[bytes], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmasos.errors import OutOfDisk

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(OutOfDisk):
        convert(good)
    assert not list((tmp_path / "out").iterdir())
