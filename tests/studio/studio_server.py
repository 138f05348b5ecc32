"""``llmasos up`` as a person starts it, and a real browser in front of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


@contextmanager
def studio(home: Path, *options: str) -> Iterator[str]:
    """The address of a Studio on a home folder, in a process of its own."""
    with announced_studio(home, *options) as told:
        yield told["address"]


@contextmanager
def announced_studio(home: Path, *options: str) -> Iterator[dict[str, Any]]:
    """What a Studio says when it has started."""
    with running_studio(home, *options) as running:
        yield running.told


@dataclass(frozen=True)
class Running:
    """The process of a Studio, and what it said when it had started."""

    process: subprocess.Popen[str]
    told: dict[str, Any]

    @property
    def address(self) -> str:
        return str(self.told["address"])


@contextmanager
def running_studio(home: Path, *options: str, port: int = 0) -> Iterator[Running]:
    """A Studio on a home folder, in a process of its own; port 0 takes a free one."""
    environment = {**os.environ, "LLMASOS_HOME": str(home), "LLMASOS_LANG": "en", "LLMASOS_THREADS": "1"}
    command = [sys.executable, "-m", "llmasos.cli.app", "up", "--no-browser", "--port", str(port), "--json", *options]
    log = home.parent / f"{home.name}-studio.log"
    with log.open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
        try:
            assert process.stdout is not None
            told = ""
            for line in process.stdout:
                told += line
                if line.startswith("}"):
                    break
            assert told, log.read_text()
            yield Running(process, json.loads(told))
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass
class Watched:
    """A page of a browser, and what must not happen in it.

    Attributes:
        problems: errors of the console and of scripts, and requests that went to another host.
    """

    page: Any
    address: str
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.problems.append(f"script: {error}"))
        self.page.on("request", self._asked)

    def _heard(self, message: Any) -> None:
        if message.type == "error":
            self.problems.append(f"console: {message.text}")

    def _asked(self, request: Any) -> None:
        own = (self.address, self.address.replace("http", "ws", 1), "data:", "blob:")
        if not request.url.startswith(own):
            self.problems.append(f"request: {request.url}")

    def open(self, path: str) -> Any:
        """Go to a page of the Studio and wait for its frame."""
        self.page.goto(f"{self.address}/studio{path}")
        self.page.get_by_role("main").wait_for()
        self.page.wait_for_function("window.did_handshake")  # before that the page does not tell the server anything
        return self.page
