"""What every test needs: a home folder of its own, English, and no settings from outside."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

# Tiny models are fastest on one thread, and test processes that run side by side must not spin against each other.
# Set before torch is imported; tests about threads name their number.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Started in the background by a script, this process ignores Ctrl-C, and what a test starts would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import hypothesis
import pytest

from llmasos import i18n, settings

# The first example of a test imports what it needs, and machines are busy: its time says nothing.
hypothesis.settings.register_profile("llmasos", deadline=None)
hypothesis.settings.load_profile("llmasos")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home folder of this test, empty; nobody's own library or settings are touched."""
    for name in list(os.environ):
        if name.startswith("LLMASOS_"):
            monkeypatch.delenv(name)
    folder = tmp_path / "home"
    monkeypatch.setenv("LLMASOS_HOME", str(folder))
    monkeypatch.setenv("LLMASOS_LANG", "en")
    monkeypatch.setenv("LLMASOS_THREADS", "1")
    settings.get_settings.cache_clear()
    i18n.set_language(None)
    yield folder
    settings.get_settings.cache_clear()
    i18n.set_language(None)


@pytest.fixture
def default_threads(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting ``threads`` as a person finds it, not as these tests set it."""
    monkeypatch.delenv("LLMASOS_THREADS")
    settings.get_settings.cache_clear()


@pytest.fixture
def llmasos(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line in this process; returns exit code, standard output and standard error."""
    from llmasos.cli import app

    def run(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        try:
            code = app.main(arguments)
        except SystemExit as stop:
            code = int(stop.code or 0)
        written = capfd.readouterr()
        return code, written.out, written.err

    return run
