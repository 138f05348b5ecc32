from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration  # by its time: seconds, not milliseconds


def complete(words: str, home: Path) -> list[str]:
    """What the shell gets for ``words`` with the cursor at their end."""
    parts = words.split(" ")
    done = subprocess.run(
        [sys.executable, "-m", "llmasos.cli.app"],
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "_LLMASOS_COMPLETE": "complete_bash",
            "COMP_WORDS": "\n".join(parts),
            "COMP_CWORD": str(len(parts) - 1),
            "LLMASOS_HOME": str(home),
        },
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_commands(home: Path) -> None:
    assert complete("llmasos pu", home) == ["pull", "push"]
    assert complete("llmasos --la", home) == ["--lang"]
    assert "doctor" in complete("llmasos ", home)


def test_options_of_a_command(home: Path) -> None:
    assert complete("llmasos run --temp", home) == ["--temperature"]


def test_values_of_a_global_option(home: Path) -> None:
    assert complete("llmasos --lang ", home) == ["en", "zh"]


def test_models_of_the_catalogue(home: Path) -> None:
    assert "smollm2:135m-instruct" in complete("llmasos run smol", home)


def test_names_that_bash_has_cut_at_the_colon(home: Path) -> None:
    assert "135m-instruct" in complete("llmasos run smollm2 : 135", home)
    assert "135m-instruct" in complete("llmasos run smollm2 :", home)
    assert "smollm2:135m-instruct" in complete("llmasos run smollm2:135", home), "a shell that does not cut"


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_in_a_real_bash(home: Path) -> None:
    """Through bash's own splitting of the line, as Tab does it."""
    script = (
        'eval "$(_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION=1 llmasos --show-completion bash)"\n'
        "COMP_WORDS=(llmasos run smollm2 : 135m-ins); COMP_CWORD=4\n"
        '_llmasos_completion llmasos; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, env={**os.environ, "PATH": path}
    )
    assert "135m-instruct" in done.stdout.split()


def test_an_unreadable_library_completes_to_nothing(home: Path) -> None:
    home.mkdir()
    (home / "config.toml").write_text("this is not toml", encoding="utf-8")
    assert complete("llmasos show x", home) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell(shell: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "llmasos.cli.app", "--show-completion", shell],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )
    assert "_LLMASOS_COMPLETE" in done.stdout
    assert shell in done.stdout
