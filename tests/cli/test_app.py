from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from llmasos import __version__, i18n
from llmasos.cli import app
from llmasos.cli.commands import SYNONYMS, command_table, near_commands
from llmasos.errors import InvalidRequest

Run = Callable[..., tuple[int, str, str]]
COMMANDS = [row.name for row in command_table("en")]


def start(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the program in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "llmasos.cli.app", *arguments], capture_output=True, text=True, check=False, **options
    )  # type: ignore[call-overload]


def test_help_lists_every_command_and_imports_none() -> None:
    code = (
        "import sys\nfrom llmasos.cli import app\ncode = app.main(['--help'])\n"
        "heavy = {'torch', 'transformers', 'numpy', 'pydantic', 'sqlalchemy', 'rich', 'httpx', 'huggingface_hub',"
        " 'prompt_toolkit', 'llmasos.settings'} | {row.module for row in app.command_table('en')}\n"
        "print('imported:', sorted(heavy & set(sys.modules)), file=sys.stderr)\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr.strip() == "imported: []"
    for name in COMMANDS:
        assert f"  {name} " in done.stdout


def test_import_of_the_package_is_light() -> None:
    code = "import sys, llmasos; print(sorted({'torch', 'transformers', 'pydantic', 'sqlalchemy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_row_of_the_table_leads_to_its_command(name: str, llmasos: Run) -> None:
    row = next(row for row in command_table("en") if row.name == name)
    for words, _ in app.leaves(app.load_command(name, row.module)):
        code, out, err = llmasos(*words, "--help")
        assert (code, err) == (0, "")
        assert out.startswith(f"Usage: llmasos {' '.join(words)}")
        assert "--json" in out, "every command has a machine view"


def test_no_command_imports_torch_for_its_help() -> None:
    code = (
        "import sys\nfrom llmasos.cli import app\n"
        "for row in app.command_table('en'):\n"
        "    app.main([row.name, '--help'])\n"
        "    assert not {'torch', 'transformers', 'sqlalchemy'} & set(sys.modules), row.name"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_arguments_show_the_help(llmasos: Run) -> None:
    assert llmasos()[1] == llmasos("--help")[1]


def test_version(llmasos: Run) -> None:
    assert llmasos("--version") == (0, f"llmasos {__version__}\n", "")


def test_help_in_chinese(llmasos: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = llmasos("--lang", "zh", "--help")[1]
    assert "用法" in chosen
    assert "与模型对话" in chosen
    assert llmasos("--help", "--lang=zh")[1] == chosen, "global options work after the command too"
    monkeypatch.setenv("LLMASOS_LANG", "zh")
    assert llmasos("--help")[1] == chosen
    assert "Usage:" in llmasos("--lang", "en", "--help")[1]


def test_the_language_of_the_configuration_file(llmasos: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir()
    (home / "config.toml").write_text('lang = "zh"\n', encoding="utf-8")
    monkeypatch.delenv("LLMASOS_LANG")
    assert "用法" in llmasos("--help")[1]
    monkeypatch.setenv("LLMASOS_LANG", "en")
    assert "Usage:" in llmasos("--help")[1]


@pytest.mark.parametrize(
    ("word", "meant"), [("lst", "list"), ("ls", "list"), ("delete", "rm"), ("chat", "run"), ("doctr", "doctor")]
)
def test_a_mistyped_command_gets_a_suggestion(llmasos: Run, word: str, meant: str) -> None:
    code, out, err = llmasos(word)
    assert code == 2
    assert out == ""
    assert f"there is no command '{word}'" in err
    assert meant in err


def test_synonyms_lead_to_commands() -> None:
    assert set(SYNONYMS.values()) <= set(COMMANDS)
    assert not set(SYNONYMS) & set(COMMANDS)
    assert near_commands("zzzz", COMMANDS) == []


def test_a_mistyped_option_gets_a_suggestion(llmasos: Run) -> None:
    code, _, err = llmasos("run", "--temprature", "1")
    assert code == 2
    assert "llmasos run has no option --temprature" in err
    assert "--temperature" in err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("run", "--top-k", "many"), "--top-k"),
        (("show",), "llmasos show needs NAME"),
        (("--lang", "fr", "list"), "--lang"),
        (("list", "--home"), "--home needs a value"),
        (("run", "--top-k", "many"), "a whole number is needed"),
        (("run", "--top-p", "many"), "a number is needed"),
        (("show", "a", "b"), "takes no further argument: b"),
        (("--debug",), "no command in this line"),
    ],
)
def test_usage_errors_name_the_parameter(llmasos: Run, arguments: tuple[str, ...], text: str) -> None:
    code, _, err = llmasos(*arguments)
    assert code == 2
    assert text in err
    assert "hint:" in err
    assert "Traceback" not in err


def test_errors_as_json(llmasos: Run) -> None:
    code, out, err = llmasos("lst", "--json")
    assert code == 2
    assert json.loads(out) == {
        "error": {"code": "invalid_request", "message": "there is no command 'lst'", "hint": "did you mean list?"}
    }
    assert err == ""


def test_debug_shows_the_traceback(llmasos: Run) -> None:
    assert "Traceback" not in llmasos("lst")[2]
    assert "Traceback" in llmasos("lst", "--debug")[2]


def test_home_option(llmasos: Run, tmp_path: Path) -> None:
    other = tmp_path / "other"
    code, out, _ = llmasos("doctor", "--json", "--home", str(other))
    assert code == 0
    assert json.loads(out)["library"]["home"] == str(other)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["pull", "x", "--debug"], ["--debug", "pull", "x"]),
        (["pull", "--lang", "zh", "x"], ["--lang", "zh", "pull", "x"]),
        (["pull", "--home=/x", "y"], ["--home=/x", "pull", "y"]),
        (["run", "--", "--debug"], ["run", "--", "--debug"]),
        (["run", "--langs", "zh"], ["run", "--langs", "zh"]),
        (["run", "--lang"], ["--lang"]),
    ],
)
def test_global_options_move_to_the_front(given: list[str], expected: list[str]) -> None:
    assert app.hoist_global_options(given) == expected


def test_a_full_disk_and_other_refusals_of_the_system() -> None:
    full = app.system_error(OSError(28, "No space left on device", "/somewhere/x"))
    assert (full.exit_code, full.code) == (7, "out_of_disk")
    assert "/somewhere/x" in full.message
    other = app.system_error(PermissionError(13, "Permission denied", "/x"))
    assert (other.exit_code, other.code) == (1, "system_error")


def test_a_defect_is_said_without_a_traceback_and_with_one_in_debug_mode(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom llmasos.cli import app\n"
        "app.build = lambda: 1 / 0\nsys.argv = ['llmasos', *sys.argv[1:]]\nsys.exit(app.main())"
    )
    plain = subprocess.run([sys.executable, "-c", program, "list"], capture_output=True, text=True, check=False)
    assert plain.returncode == 1
    assert plain.stderr.startswith("internal error: ZeroDivisionError")
    assert "Traceback" not in plain.stderr
    debug = subprocess.run([sys.executable, "-c", program, "--debug"], capture_output=True, text=True, check=False)
    assert "Traceback" in debug.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_the_program_without_a_traceback(number: signal.Signals, code: int) -> None:
    program = (
        "import sys, time\nfrom llmasos.cli import app\n"
        "class Slow:\n    def main(self, **_):\n        print('ready', flush=True)\n        time.sleep(30)\n"
        "app.build = Slow\nsys.exit(app.main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == code
    assert "Traceback" not in errors


@pytest.mark.skipif(os.name != "posix", reason="pipes")
def test_a_closed_pipe_is_quiet() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "llmasos.cli.app", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    errors = process.stderr.read()
    process.wait(timeout=10)
    assert errors == ""


def test_usage_errors_carry_a_next_step() -> None:
    import typer

    error = app.usage_error(typer.BadParameter("odd"))
    assert isinstance(error, InvalidRequest)
    assert error.hint


def test_help_is_quick() -> None:
    """The bound is five times what is promised, because other work may share the machine."""
    start("--help")
    began = time.monotonic()
    assert start("--help").returncode == 0
    assert time.monotonic() - began < 1.5


def test_language_is_not_changed_by_nonsense(llmasos: Run) -> None:
    llmasos("--lang", "xx", "--help")
    assert i18n.language() in i18n.LANGUAGES
