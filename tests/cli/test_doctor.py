from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llmasos.cli.checks import machine, packages
from llmasos.library.sources.masking import mask_url
from llmasos.settings import get_settings

pytestmark = pytest.mark.integration  # by its time: seconds, not milliseconds

Run = Callable[..., tuple[int, str, str]]


def test_the_report_for_people(llmasos: Run) -> None:
    code, out, err = llmasos("doctor")
    assert code == 0, out
    assert err == ""
    for text in ("Installed", "Hardware", "Settings", "Library", "Sources", "instruction sets", "default_model"):
        assert text in out


@pytest.mark.usefixtures("default_threads")
def test_the_report_for_programs(llmasos: Run, home: Path) -> None:
    code, out, _ = llmasos("doctor", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["healthy"] is True
    assert report["hardware"]["processor"]["usable"] >= 1
    assert report["hardware"]["threads"] >= 1
    assert report["hardware"]["decode"] == ("graphs" if report["hardware"]["device"].startswith("cuda") else "eager")
    assert report["packages"]["extras"]["core"]["missing"] == {}
    assert report["library"]["home"] == str(home)
    assert report["settings"]["values"]["lang"] == {"value": "en", "origin": "LLMASOS_LANG"}
    assert report["settings"]["values"]["threads"] == {"value": None, "origin": "default"}


def test_looking_does_not_create_a_library(llmasos: Run, home: Path) -> None:
    llmasos("doctor")
    assert not (home / "catalogue.db").exists()


@pytest.mark.usefixtures("default_threads")
def test_settings_say_where_they_come_from(llmasos: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir()
    (home / "config.toml").write_text("threads = 3\n", encoding="utf-8")
    monkeypatch.setenv("LLMASOS_DOWNLOAD_RETRIES", "9")
    monkeypatch.setenv("LLMASOS_TREADS", "9")
    report = json.loads(llmasos("doctor", "--json")[1])
    values = report["settings"]["values"]
    assert values["threads"] == {"value": 3, "origin": "config.toml"}
    assert values["download_retries"] == {"value": 9, "origin": "LLMASOS_DOWNLOAD_RETRIES"}
    assert report["hardware"]["threads"] == 3
    problems = [problem["message"] for problem in report["problems"]]
    assert any("LLMASOS_TREADS means nothing (did you mean LLMASOS_THREADS" in message for message in problems)


def test_broken_settings_are_an_error_and_the_report_still_comes(llmasos: Run, home: Path) -> None:
    home.mkdir()
    (home / "config.toml").write_text("thread = 3\n", encoding="utf-8")
    code, out, _ = llmasos("doctor", "--json")
    report = json.loads(out)
    assert code == 1
    assert report["healthy"] is False
    assert "thread: unknown key" in report["problems"][-1]["message"]
    assert report["packages"]["llmasos"]
    assert "thread: unknown key" in llmasos("doctor")[1]


def test_an_unreadable_catalogue_is_an_error(llmasos: Run, home: Path) -> None:
    home.mkdir()
    (home / "catalogue.db").write_bytes(b"this is no database" * 100)
    code, out, _ = llmasos("doctor", "--json")
    assert code == 1
    assert any(problem["severity"] == "error" for problem in json.loads(out)["problems"])


def test_credentials_are_masked(llmasos: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://someone:geheim@mirror.example/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://tokengeheim@other.example/simple")
    monkeypatch.setenv("HF_ENDPOINT", "https://me:geheim@hub.example")
    monkeypatch.setenv("HF_TOKEN", "hf_geheim")
    monkeypatch.setenv("https_proxy", "http://user:geheim@proxy.example:3128")
    monkeypatch.setenv("LLMASOS_DATABASE", "sqlite:////nowhere/geheim.db")
    for arguments in (("doctor",), ("doctor", "--json")):
        out = llmasos(*arguments)[1].replace("/nowhere/geheim.db", "")
        assert "mirror.example" in out
        assert "hub.example" in out
        assert "proxy.example" in out
        assert "geheim" not in out


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("https://user:pass@host/simple", "https://***@host/simple"),
        ("https://token@host:8080/x", "https://***@host:8080/x"),
        ("postgresql+psycopg://u:p%40q@db/llm", "postgresql+psycopg://***@db/llm"),
        ("https://host/simple?token=abc&x=1", "https://host/simple?token=***&x=1"),
        ("https://host/a@b", "https://host/a@b"),
        ("file:///folder/x", "file:///folder/x"),
    ],
)
def test_masking(url: str, masked: str) -> None:
    assert mask_url(url) == masked


def test_missing_packages_come_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = packages.metadata.requires("llmasos")
    assert asked
    monkeypatch.setattr(
        packages.metadata,
        "requires",
        lambda _: ["rich>=14", "not-there-at-all>=1; extra == 'local'", "pydantic>=99; extra == 'local'"],
    )
    section = packages.check(uses_postgresql=False)
    assert [problem.command for problem in section.problems] == ['pip install "llmasos[local]"']
    assert "not-there-at-all (not installed)" in section.problems[0].message
    assert ">=99 is needed" in section.problems[0].message
    assert section.problems[0].severity == "advice"


def test_postgresql_matters_only_to_those_who_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.metadata, "requires", lambda _: ["not-there-at-all; extra == 'postgresql'"])
    assert packages.check(uses_postgresql=False).problems == []
    assert packages.check(uses_postgresql=True).problems[0].severity == "error"


def test_a_missing_compiler_comes_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from llmasos.engine.kernels import build

    monkeypatch.setattr(build, "find_compiler", lambda: None)
    section = machine.check(measure=False)
    fits = sys.platform == "linux" and "avx512_bf16" in section.data["processor"]["instruction_sets"]
    commands = [problem.command or "" for problem in section.problems]
    assert any("g++" in command or "gcc" in command for command in commands) == fits


def test_what_shuts_programs_in_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from llmasos.evaluation.sandbox import isolation
    from llmasos.evaluation.sandbox.options import Isolation

    monkeypatch.setattr(isolation, "why_not", lambda it: None if it is Isolation.SECCOMP else "switched off")
    section = machine.check(measure=False)
    assert ("sandbox for programs", "seccomp") in section.facts
    assert section.data["sandbox"] == {"bubblewrap": "switched off", "namespaces": "switched off", "seccomp": None}
    monkeypatch.setattr(isolation, "why_not", lambda it: "switched off")
    section = machine.check(measure=False)
    assert ("sandbox for programs", "none") in section.facts
    (problem,) = [problem for problem in section.problems if "programs that a model writes" in problem.message]
    assert "seccomp: switched off" in problem.message
    assert problem.command == "install bubblewrap"


def test_a_network_check_tells_what_does_not_answer(llmasos: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    report = json.loads(llmasos("doctor", "--network", "--json")[1])
    assert report["sources"]["reachable"]["http://127.0.0.1:9/simple"] is False
    assert any("cannot be reached" in problem["message"] for problem in report["problems"])


def test_torch_is_not_imported_without_an_accelerator() -> None:
    code = (
        "import sys\nfrom llmasos import hardware\nfrom llmasos.cli import app\napp.main(['doctor'])\n"
        "sys.exit('torch' in sys.modules and not hardware.gpus())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_the_report_says_how_a_gpu_decodes(llmasos: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_device", lambda section, cards: "cuda:0")
    assert "CUDA graphs" in llmasos("doctor")[1]
    monkeypatch.setenv("LLMASOS_CUDA_GRAPHS", "0")
    get_settings.cache_clear()
    assert json.loads(llmasos("doctor", "--json")[1])["hardware"]["decode"] == "eager"
