"""What the pictures of the Studio show: a home folder with models, a classifier, evaluations, a conversation."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from llmasos.evaluation.finished import FinishedEvaluations
from llmasos.library.store import Library
from llmasos.runs.states import State
from llmasos.runs.store import RunStore

MODEL = "smollm2:135m-instruct"
CLASSIFIER = "samples/customer-messages"
TASKS = "arc-easy,hellaswag,mmlu"
QUESTION = "What is a language model? One sentence."
SAMPLES = Path(__file__).parent.parent / "src/llmasos/studio/samples"
RECIPE = SAMPLES / "customer-messages.en.yaml"
TABLE = SAMPLES / "customer-messages.en.csv"
_PATIENCE = 1800


@dataclass(frozen=True)
class Stage:
    """Names of what the home folder holds, for the addresses of pages."""

    table: str
    """The table that was sent, as in an address."""
    training: str
    other_training: str
    preparation: str
    evaluations: tuple[str, str]
    """Two on the same task."""
    conversation: str

    @classmethod
    def found(cls, home: Path) -> Stage:
        """In a home folder that :func:`fill` and :func:`act` have filled."""
        library = Library(home)
        runs = {run.name: run.id for run in RunStore(library).all(states=[State.SUCCEEDED])}
        preparation = next(run.id for run in RunStore(library).all(states=[State.SUCCEEDED]) if run.kind == "data")
        finished = [one for one in FinishedEvaluations(library).all() if one.evaluation.task == "hellaswag"]
        talks = sorted((home / "conversations" / "owner").glob("*.json"))
        library.close()
        return cls(
            quote(str(home / "uploads" / "data" / TABLE.name), safe=""), runs["customer messages"],
            runs["fewer epochs"], preparation, (finished[0].key, finished[1].key), talks[0].stem,
        )  # fmt: skip


def fill(home: Path) -> None:
    """What commands can make: models, trainings, evaluations. What is there already is not made again."""
    library = Library(home)
    names = {run.name for run in RunStore(library).all(states=[State.SUCCEEDED])}
    evaluated = len(FinishedEvaluations(library).all())
    library.close()
    for model in (MODEL, "minilm:l6-v2"):
        _command(home, "pull", model, "--accept-license")
    if "customer messages" not in names:
        _command(home, "train", str(RECIPE))
    if "fewer epochs" not in names:
        _command(home, "train", str(RECIPE), "--set", "name=fewer epochs", "--set", "trainer.epochs=2",
                 "--set", "output.name=samples/fewer-epochs")  # fmt: skip
    if not evaluated:
        _command(home, "eval", MODEL, "--task", TASKS, "--sample")
        _command(home, "eval", MODEL, "--task", TASKS, "--sample", "--few-shot", "2")


def act(page: Any, address: str, home: Path) -> None:
    """What is made by clicking: a table that was sent, its preparation, a conversation."""
    if not (home / "uploads" / "data" / TABLE.name).exists():
        page.goto(f"{address}/studio/data")
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Choose files").click()
        chooser.value.set_files(str(TABLE))
        page.get_by_role("heading", name=TABLE.name, level=1).wait_for()
        page.get_by_role("button", name=f"Prepare {TABLE.name}").click()
        page.get_by_text("These are all rows.").wait_for()
        page.get_by_role("button", name="Start").click()
        page.get_by_text("succeeded", exact=True).wait_for()
    if not (home / "conversations" / "owner").exists():
        page.goto(f"{address}/studio/playground")
        page.get_by_role("main").get_by_text("Settings").click()
        page.get_by_label("Temperature").fill("0")
        page.get_by_label("Probabilities of tokens").click()
        page.get_by_label("Message").fill(QUESTION)
        page.get_by_role("button", name="Send").press("Enter")
        page.get_by_role("button", name="Another answer").wait_for()
        page.wait_for_url(re.compile("conversation="))


def add_person(home: Path, name: str) -> None:
    """Somebody who may sign in."""
    _command(home, "users", "add", name, "--role", "admin", "--password-stdin", given=secrets.token_urlsafe())


@contextmanager
def running(home: Path, *options: str) -> Iterator[str]:
    """The address of a Studio on a home folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "llmasos.cli.app", "up", "--no-browser", "--port", str(port), *options]
    process = subprocess.Popen(command, env=_environment(home), stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + _PATIENCE
        while not _answers(f"{address}/health"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the Studio did not start")
            time.sleep(0.2)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def chromium_path() -> str:
    """The browser that takes the pictures."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if (path := shutil.which(name)) is not None:
            return path
    raise SystemExit("no Chromium here; Debian and Ubuntu: apt-get install chromium fonts-noto-cjk")


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def _command(home: Path, *arguments: str, given: str = "") -> None:
    command = [sys.executable, "-m", "llmasos.cli.app", *arguments]
    subprocess.run(command, env=_environment(home), check=True, input=given, text=True)


def _environment(home: Path) -> dict[str, str]:
    others = {name: value for name, value in os.environ.items() if not name.startswith("LLMASOS_")}
    return {**others, "LLMASOS_HOME": str(home), "LLMASOS_LANG": "en", "LLMASOS_THREADS": "1"}
