from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos.errors import InvalidReference
from llmasos.library.naming import derive_name
from llmasos.library.reference import Reference
from llmasos.library.sources.reference import PathSource, parse_source


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hf:Qwen/Qwen3-0.6B", "qwen/qwen3-0.6b:latest"),
        ("hf:gpt2", "gpt2:latest"),
        ("hf:org/Repo__x@main", "org/repo__x:latest"),
        ("hf:org/repo@refs/pr/1", "org/repo:refs-pr-1"),
        ("hf:org/repo-GGUF/sub/Model.Q4_K_M.gguf", "org/repo-gguf:Model.Q4_K_M"),
        ("hf:_odd_/name.-x", "odd/name-x:latest"),
        ("oci:ghcr.io/a/b/c:v1", "b/c:v1"),
        ("oci:localhost:5000/c@sha256:" + "0" * 64, "c:latest"),
        ("pypi:My_Package==1.0/x.gguf", "my-package:1.0"),
        ("pypi:part{1..2}==1/**/x?as=model.gguf", "model:latest"),
        ("pypi:part{1..2}==1/**/x", "part1:latest"),
    ],
)
def test_names(text: str, name: str) -> None:
    source = parse_source(text)
    assert source is not None
    assert str(derive_name(source)) == name


def test_names_of_paths(tmp_path: Path) -> None:
    file = tmp_path / "My Model.Q4.gguf"
    file.touch()
    assert str(derive_name(PathSource(file))) == "my-model.q4:latest"
    assert str(derive_name(PathSource(tmp_path / "bert (fine tuned)"))) == "bert-fine-tuned:latest"
    for name in ("...", "模型", "hf"):
        with pytest.raises(InvalidReference, match="name"):
            derive_name(PathSource(Path("/x") / name))


@given(st.text(min_size=1, max_size=300).filter(lambda text: "/" not in text and "\0" not in text))
def test_a_derived_name_is_always_valid(text: str) -> None:
    try:
        name = derive_name(PathSource(Path("/nowhere") / text))
    except InvalidReference:
        return
    assert Reference.parse(str(name)) == name
