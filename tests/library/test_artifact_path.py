import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos.errors import UnsafeContent
from llmasos.library.artifact_path import check_path, check_paths


@pytest.mark.parametrize(
    "path",
    ["config.json", "original/model.gguf", "a/b/c.txt", "..hidden", ".gitattributes", "名字/权重.bin", "a b.txt"],
)
def test_allows_relative_paths(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a/..",
        ".",
        "./a",
        "a//b",
        "a/",
        "a\\b",
        "C:x",
        "c:/x",
        "a\x00b",
        "a\nb",
        "x" * 256,
        "a/" * 600 + "b",
        "a:b",
        "\ud800",
        "..\\x",
        "...",
        ". .",
    ],
)
def test_refuses_paths_that_could_leave_the_artefact(path: str) -> None:
    with pytest.raises(UnsafeContent) as caught:
        check_path(path)
    assert caught.value.hint


@pytest.mark.parametrize("paths", [["a", "a"], ["a", "a/b"], ["x/y/z", "x/y"]])
def test_refuses_paths_that_collide(paths: list[str]) -> None:
    with pytest.raises(UnsafeContent):
        check_paths(paths)


def test_allows_siblings() -> None:
    check_paths(["a/b", "a/c", "ab", "a.b", "A.b"])


@given(st.text(max_size=40))
def test_an_allowed_path_stays_inside(path: str) -> None:
    import posixpath

    try:
        check_path(path)
    except UnsafeContent:
        return
    normal = posixpath.normpath(posixpath.join("/root/artefact", path))
    assert normal == f"/root/artefact/{path}"
