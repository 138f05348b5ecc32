from __future__ import annotations

import io
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from standin_hub import HubRepo, HubStandIn
from standin_index import IndexStandIn
from standin_registry import RegistryStandIn

from llmasos.cli import terminal

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def repo(hub: HubStandIn, model_files: dict[str, bytes]) -> HubRepo:
    hub.repos["org/tiny"] = HubRepo(dict(model_files), card={"license": "mit"})
    return hub.repos["org/tiny"]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Somebody sits at the terminal and types this."""

    def run(text: str) -> None:
        monkeypatch.setattr(terminal, "is_interactive", lambda: True)
        monkeypatch.setattr("sys.stdin", io.StringIO(text))

    return run


def test_pull(llmasos: Run, repo: HubRepo) -> None:
    code, out, _ = llmasos("pull", "hf:org/tiny")
    assert code == 0
    assert "org/tiny:latest is ready" in out
    assert "MIT" in out
    code, out, _ = llmasos("pull", "hf:org/tiny")
    assert code == 0
    assert "is here already" in out


def test_pull_as_json(llmasos: Run, repo: HubRepo) -> None:
    code, out, _ = llmasos("pull", "hf:org/tiny", "--name", "mine/x:v1", "--json")
    assert code == 0
    data = json.loads(out)
    assert data["names"] == ["mine/x:v1"]
    assert data["digest"].startswith("sha256:")
    assert (data["license"], data["already_present"]) == ("MIT", False)
    assert json.loads(llmasos("pull", "hf:org/tiny", "--name", "mine/x:v1", "--json")[1])["already_present"] is True


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["pull", "smolm2:135m-instruct"], 3, "smollm2:135m-instruct"),
        (["pull", "hf:org/none"], 3, "org/none"),
        (["pull", "hf:"], 2, "hub"),
        (["import", "/nowhere/at/all"], 3, "does not exist"),
        (["push", "no/thing", "oci:127.0.0.1:9/x"], 3, "no/thing"),
        (["export", "no/thing", "/tmp/never"], 3, "no/thing"),
        (["search", "--task", "clasify"], 2, "classifier"),
        (["login", "not a host"], 2, "host"),
    ],
)
def test_errors(llmasos: Run, hub: HubStandIn, arguments: list[str], code: int, text: str) -> None:
    actual, out, err = llmasos(*arguments)
    assert actual == code
    assert text in err
    assert out == ""
    assert "Traceback" not in err
    actual, out, _ = llmasos(*arguments, "--json")
    assert actual == code
    assert json.loads(out)["error"]["message"]


def test_a_licence_is_asked_for_where_somebody_can_answer(
    llmasos: Run, repo: HubRepo, answers: Callable[[str], None]
) -> None:
    repo.card = {"license": "gemma"}
    code, _, err = llmasos("pull", "hf:org/tiny")
    assert code == 6
    assert "--accept-license" in err
    answers("n\n")
    assert llmasos("pull", "hf:org/tiny")[0] == 6
    answers("y\n")
    code, out, err = llmasos("pull", "hf:org/tiny")
    assert code == 0
    assert "https://ai.google.dev/gemma/terms" in err
    assert "is ready" in out
    answers("")
    assert llmasos("pull", "hf:org/tiny", "--force")[0] == 0  # never asked again


def test_import_export_and_what_came_out(llmasos: Run, tmp_path: Path, model_files: dict[str, bytes]) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name, data in model_files.items():
        (folder / name).write_bytes(data)
    code, out, _ = llmasos("import", str(folder), "--name", "mine/m:v1")
    assert (code, "mine/m:v1 is ready" in out) == (0, True)
    code, out, _ = llmasos("export", "mine/m:v1", str(tmp_path / "out"), "--json")
    assert code == 0
    assert json.loads(out)["files"] == len(model_files) + 1
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == model_files["model.safetensors"]
    assert llmasos("export", "mine/m:v1", str(tmp_path / "out"))[0] == 2
    assert llmasos("export", "mine/m:v1", str(tmp_path / "out"), "--force")[0] == 0


def test_push_login_and_logout(
    llmasos: Run, registry: RegistryStandIn, repo: HubRepo, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.credentials = ("me", "secret")
    assert llmasos("pull", "hf:org/tiny")[0] == 0
    target = f"oci:{registry.host}/models/tiny:v1"
    code, _, err = llmasos("push", "org/tiny", target)
    assert code == 6
    assert f"llmasos login {registry.host}" in err
    code, _, err = llmasos("login", registry.host, "-u", "me")
    assert code == 2
    assert "--password-stdin" in err
    for password, expected in (("wrong", 6), ("", 2), ("secret", 0)):
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{password}\n"))
        code, out, err = llmasos("login", registry.host, "-u", "me", "--password-stdin")
        assert code == expected
        assert "secret" not in out + err
    assert stat.S_IMODE((home / "registries.json").stat().st_mode) == 0o600
    code, out, _ = llmasos("push", "org/tiny", target, "--json")
    assert code == 0
    report = json.loads(out)
    assert report["digest"] in report["target"]
    assert report["uploaded"] > 0
    assert "there already" in llmasos("push", "org/tiny", target)[1]
    assert json.loads(llmasos("logout", f"oci:{registry.host}/x", "--json")[1]) == {
        "host": registry.host, "removed": True
    }  # fmt: skip
    assert "nothing was kept" in llmasos("logout", registry.host)[1]
    assert llmasos("push", "org/tiny", target)[0] == 6


def test_login_at_the_hub(llmasos: Run, hub: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("hf_wrong\n"))
    code, _, err = llmasos("login", "hf", "--password-stdin")
    assert code == 6
    assert "hf_wrong" not in err


def test_search(llmasos: Run, index: IndexStandIn) -> None:
    code, out, _ = llmasos("search", "opus", "french")
    assert code == 0
    assert "opus-mt:en-fr" in out
    data = json.loads(llmasos("search", "smollm2", "--limit", "2", "--json")[1])
    assert len(data["hits"]) == 2
    assert set(data["hits"][0]) >= {"reference", "place", "license", "size", "parameters", "installed"}
    code, out, _ = llmasos("search", "no-such-model-anywhere")
    assert (code, "Nothing was found" in out) == (0, True)


def test_chinese(llmasos: Run, repo: HubRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMASOS_LANG", "zh")
    assert "许可" in llmasos("search", "opus")[1]
    _, _, err = llmasos("pull", "hf:org/none")
    assert "私有" in err


@pytest.mark.integration
def test_a_token_of_the_hub_is_kept_and_forgotten(hub: HubStandIn, repo: HubRepo, tmp_path: Path) -> None:
    """In a process of its own: huggingface_hub decides at its import where tokens lie."""
    repo.private = True
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_TOKEN")}
    environment["HF_HOME"] = str(tmp_path / "hf")

    def run(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "llmasos.cli.app", *arguments]
        return subprocess.run(command, input=text, env=environment, capture_output=True, text=True, check=False)

    assert run("pull", "hf:org/tiny").returncode == 3
    assert run("login", "hf", "--password-stdin", text="hf_wrong\n").returncode == 6
    done = run("login", "hf", "--password-stdin", text=f"{hub.token}\n")
    assert done.returncode == 0, done.stderr
    assert "tester" in done.stdout
    assert hub.token not in done.stdout + done.stderr
    assert run("pull", "hf:org/tiny").returncode == 0
    assert "signed out" in run("logout", "hf").stdout
    assert "nothing was kept" in run("logout", "hf").stdout
    assert run("pull", "hf:org/tiny", "--force").returncode == 3


def test_interrupt_stops_at_once_even_when_the_server_is_silent(hub: HubStandIn, repo: HubRepo) -> None:
    hub.faults.stall["model.safetensors"] = 100_000
    command = [sys.executable, "-m", "llmasos.cli.app", "pull", "hf:org/tiny"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while hub.sent("model.safetensors") < 100_000:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    time.sleep(0.2)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=59)
    assert time.monotonic() - started < 25  # a read of the network may take 60 s
    assert process.returncode == 130
    assert "Traceback" not in err
