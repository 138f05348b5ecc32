"""The two locks of the isolation without namespaces, apart from this machine's kernel."""

from __future__ import annotations

import errno

import pytest

from llmasos.evaluation.sandbox import isolation
from llmasos.evaluation.sandbox.inside import landlock, seccomp

TRUNCATE, FTRUNCATE = {"x86_64": (76, 77), "aarch64": (45, 46)}.get(seccomp.ARCHITECTURE or "", (None, None))


@pytest.mark.parametrize("version", [1, 2])
def test_a_kernel_that_cannot_forbid_truncation_is_refused(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> int:
        raise AssertionError("nothing may be asked of the kernel")

    monkeypatch.setattr(landlock, "version", lambda: version)
    monkeypatch.setattr(landlock, "call", never)
    with pytest.raises(OSError, match=f"version {version}, which cannot forbid truncation") as caught:
        landlock.restrict([], [])
    assert caught.value.errno == errno.ENOSYS


@pytest.mark.skipif(TRUNCATE is None, reason="the filter does not know this processor")
def test_truncation_by_path_is_filtered_and_that_of_an_open_file_is_not() -> None:
    numbers = {operand for operation, _, _, operand in seccomp.program(False, False) if operation == seccomp._EQUAL}
    assert TRUNCATE in numbers
    assert FTRUNCATE not in numbers
    others = {operand for operation, _, _, operand in seccomp.program(False, True) if operation == seccomp._EQUAL}
    assert TRUNCATE not in others, "in a file system of its own a program may shorten its files"


def test_whether_isolation_works_is_tried_with_a_truncation() -> None:
    assert "os.truncate(CANARY, 0)" in isolation._PROBE
    assert "truncate_a_file_outside" in isolation._PROBE.rpartition("for action in")[2]
