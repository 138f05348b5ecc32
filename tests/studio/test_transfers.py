"""Downloads that belong to the server."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from llmasos import progress
from llmasos.errors import InUse, Unavailable
from llmasos.i18n import language, speaking
from llmasos.library import acquire
from llmasos.library.store import Library
from llmasos.studio.transfers import Transfer, Transfers


@pytest.fixture
def transfers(tmp_path: Path) -> Transfers:
    return Transfers(Library(tmp_path / "home"))


def ended(transfer: Transfer) -> Transfer:
    for thread in threading.enumerate():
        if thread.name == f"pull {transfer.reference}":
            thread.join(10)
    return transfer


def test_it_shows_how_far_it_is(transfers: Transfers, monkeypatch: pytest.MonkeyPatch) -> None:
    halfway, go_on = threading.Event(), threading.Event()
    heard: list[str] = []

    def pull(reference: str, **options: Any) -> None:
        heard.append(language())
        with progress.current().task("pull", total=100, unit="B") as task:
            task.update(50)
            halfway.set()
            assert go_on.wait(10)

    monkeypatch.setattr(acquire, "pull", pull)
    with speaking("zh"):
        transfer = transfers.start("a:b")
    assert halfway.wait(10)
    assert transfer.outcome == "running" and transfers.of("a:b") is transfer
    with pytest.raises(InUse, match="a:b"):
        transfers.start("a:b")
    go_on.set()
    assert ended(transfer).outcome == "done" and transfer.share == 1.0
    assert heard == ["zh"]


def test_a_failure_is_kept_and_it_can_be_begun_anew(transfers: Transfers, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(reference: str, **options: Any) -> None:
        raise Unavailable("nobody answers")

    monkeypatch.setattr(acquire, "pull", fail)
    first = ended(transfers.start("a:b"))
    assert first.outcome == "failed" and isinstance(first.error, Unavailable)
    monkeypatch.setattr(acquire, "pull", lambda reference, **options: None)
    assert ended(transfers.start("a:b")).outcome == "done"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_defect_ends_it_too(transfers: Transfers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acquire, "pull", lambda reference, **options: 1 / 0)
    transfer = ended(transfers.start("a:b"))
    assert transfer.outcome == "failed" and transfer.error is not None and "defect" in transfer.error.message


def test_files_that_come_together_are_summed() -> None:
    transfer = Transfer("x")
    for number, done in ((1, 10.0), (2, 30.0)):
        transfer.take(progress.Event("started", "f", number, 0.0, 100.0, "B"))
        transfer.take(progress.Event("progress", "f", number, done, 100.0, "B"))
    assert transfer.share == pytest.approx(0.2) and (transfer.completed, transfer.total) == (40.0, 200.0)
