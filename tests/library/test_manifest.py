import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos.errors import IntegrityError, LLMasOSError, UnsafeContent
from llmasos.library.digest import digest_of
from llmasos.library.manifest import (
    CODE,
    DATASET,
    DOC,
    FILEPATH,
    MAX_LAYERS,
    MAX_MANIFEST_BYTES,
    WEIGHT,
    WEIGHT_CONFIG,
    Descriptor,
    Manifest,
    media_type_for,
)

DIGEST = "sha256:" + "ab" * 32


def document() -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.cncf.model.manifest.v1+json",
        "config": {"mediaType": "application/vnd.cncf.model.config.v1+json", "digest": DIGEST, "size": 2},
        "layers": [
            {"mediaType": WEIGHT, "digest": DIGEST, "size": 7, "annotations": {FILEPATH: "model.safetensors"}},
            {"mediaType": WEIGHT_CONFIG, "digest": DIGEST, "size": 0, "annotations": {FILEPATH: "a/config.json"}},
        ],
        "annotations": {"org.opencontainers.image.created": "2026-01-01T00:00:00Z"},
    }


def encode(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_reads_a_manifest() -> None:
    manifest = Manifest.from_bytes(encode(document()))
    assert list(manifest.files) == ["model.safetensors", "a/config.json"]
    assert manifest.size == 7
    assert manifest.blobs[0] is manifest.config
    assert manifest.artifact_type == "application/vnd.cncf.model.manifest.v1+json"


def test_identity_is_that_of_the_bytes_received_whatever_their_layout() -> None:
    data = json.dumps(document(), indent=3).encode()
    manifest = Manifest.from_bytes(data)
    assert manifest.to_bytes() == data
    assert manifest.digest == digest_of(data)


def test_writes_canonical_bytes() -> None:
    received = Manifest.from_bytes(encode(document()))
    made = Manifest(received.config, received.layers, received.annotations)
    assert made == received
    shuffled = Manifest(received.config, received.layers, dict(reversed(list(received.annotations.items()))))
    assert made.to_bytes() == shuffled.to_bytes()
    assert made.to_bytes() == json.dumps(document(), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert Manifest.from_bytes(made.to_bytes()).to_bytes() == made.to_bytes()


def test_files_of_other_tools_may_be_named_by_their_title() -> None:
    changed = document()
    changed["layers"][0]["annotations"] = {"org.opencontainers.image.title": "model.safetensors"}
    del changed["artifactType"]
    manifest = Manifest.from_bytes(encode(changed))
    assert "model.safetensors" in manifest.files
    assert manifest.artifact_type == manifest.config.media_type


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (["schemaVersion"], 1),
        (["schemaVersion"], True),
        (["schemaVersion"], "2"),
        (["mediaType"], "application/vnd.oci.image.index.v1+json"),
        (["artifactType"], 3),
        (["artifactType"], ""),
        (["config"], None),
        (["config"], []),
        (["config", "digest"], "sha256:xyz"),
        (["config", "digest"], "sha512:" + "a" * 128),
        (["config", "digest"], "sha256:" + "AB" * 32),
        (["config", "size"], -1),
        (["config", "size"], 2**63),
        (["config", "size"], True),
        (["config", "size"], 1.0),
        (["config", "size"], "1"),
        (["config", "mediaType"], None),
        (["layers"], {}),
        (["layers"], [1]),
        (["layers", 0, "annotations"], []),
        (["layers", 0, "annotations"], {FILEPATH: 1}),
        (["layers", 0, "annotations"], {}),
        (["layers", 0, "annotations"], {FILEPATH: ""}),
        (["layers", 0, "annotations"], {FILEPATH: "a", "note": "\ud800"}),
        (["layers", 0, "mediaType"], "\ud800"),
        (["annotations"], {"a": {"b": "c"}}),
    ],
)
def test_refuses_fields_that_are_not_allowed(where: list[Any], value: Any) -> None:
    changed: Any = document()
    target = changed
    for key in where[:-1]:
        target = target[key]
    target[where[-1]] = value
    with pytest.raises(IntegrityError) as caught:
        Manifest.from_bytes(encode(changed))
    assert caught.value.hint


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a\\b", "a", "model.safetensors/x"])
def test_refuses_paths_that_leave_or_collide(path: str) -> None:
    changed = document()
    changed["layers"].append({"mediaType": DOC, "digest": DIGEST, "size": 1, "annotations": {FILEPATH: path}})
    with pytest.raises(UnsafeContent):
        Manifest.from_bytes(encode(changed))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'{"schemaVersion": 2, "schemaVersion": 2}',
        b'{"schemaVersion": NaN}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"schemaVersion": ' + b"9" * 10_000 + b"}",
        b" " * (MAX_MANIFEST_BYTES + 1),
    ],
)
def test_refuses_what_is_not_strict_json(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        Manifest.from_bytes(data)


def test_refuses_too_many_layers() -> None:
    changed = document()
    changed["layers"] = [{}] * (MAX_LAYERS + 1)
    with pytest.raises(IntegrityError, match="layers"):
        Manifest.from_bytes(encode(changed))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.just(DIGEST),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@given(st.data(), _json)
def test_any_change_of_a_manifest_is_read_or_refused_with_an_error_of_ours(data: st.DataObject, value: Any) -> None:
    changed: Any = copy.deepcopy(document())
    target: Any = changed
    while True:
        keys = list(target) if isinstance(target, dict) else list(range(len(target)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(target[key], dict | list) and target[key] and data.draw(st.booleans()):
            target = target[key]
            continue
        if data.draw(st.booleans()):
            target[key] = value
        else:
            del target[key]
        break
    try:
        manifest = Manifest.from_bytes(encode(changed))
    except LLMasOSError:
        return
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest
    assert all(layer.path for layer in manifest.layers)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_with_an_error_of_ours(data: bytes) -> None:
    with pytest.raises(LLMasOSError):
        Manifest.from_bytes(data)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("model-00001-of-00002.safetensors", WEIGHT),
        ("original/x.GGUF", WEIGHT),
        ("adapter_model.bin", WEIGHT),
        ("config.json", WEIGHT_CONFIG),
        ("tokenizer.model", WEIGHT_CONFIG),
        ("chat_template.jinja", WEIGHT_CONFIG),
        ("model.safetensors.index.json", WEIGHT_CONFIG),
        ("README.md", DOC),
        ("LICENSE", DOC),
        ("LICENSE-2.0.txt", DOC),
        ("USE_POLICY.md", DOC),
        ("modeling_x.py", CODE),
        ("train.jsonl", DATASET),
        ("data/part-0.parquet", DATASET),
        ("licenses.json", WEIGHT_CONFIG),
    ],
)
def test_media_types(path: str, expected: str) -> None:
    assert media_type_for(path) == expected


def test_a_described_file_carries_its_path_for_both_conventions() -> None:
    described = Descriptor("application/octet-stream", DIGEST, 3).with_path("a/b.json")
    assert described.path == "a/b.json"
    assert described.annotations == {FILEPATH: "a/b.json", "org.opencontainers.image.title": "a/b.json"}
