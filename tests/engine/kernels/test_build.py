"""Compiling the kernels, and never using a library made from other sources."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from llmasos.engine.kernels import build, native


def test_no_compiler_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(build.BuildError, match="install g\\+\\+"):
        build.build(tmp_path / "library.so")


def test_a_failing_compiler_is_quoted_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "broken-cxx"
    compiler.write_text("#!/bin/sh\necho 'cannot do that' >&2\nexit 3\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    target = tmp_path / "out" / "library.so"
    with pytest.raises(build.BuildError, match=r"exit code 3:\ncannot do that"):
        build.build(target)
    assert list(target.parent.iterdir()) == []


@pytest.mark.skipif(native.load() is None, reason="the native kernels do not run here")
def test_a_stale_library_is_recognised(tmp_path: Path) -> None:
    loaded = native.load()
    assert loaded is not None
    assert native.compiled_digest(loaded.path) == build.source_digest()
    other = tmp_path / "other.so"
    shutil.copy(loaded.path, other)
    content = other.read_bytes()
    assert content.count(build.source_digest().encode()) == 1
    other.write_bytes(content.replace(build.source_digest().encode(), b"0" * 16))
    assert native.compiled_digest(other) == "0" * 16
