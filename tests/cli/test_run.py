"""`llmasos run` where no conversation is held: one answer to a prompt, a pipe, a program."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import tiny_models

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    root = tmp_path_factory.mktemp("run")

    def folder(name: str) -> str:
        path = root / name
        return str(path if path.is_dir() else tiny_models.build(name, path))

    return folder


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a text on standard input."""

    def pipe(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    pipe("")
    return pipe


@pytest.fixture
def run(llmasos: Run, piped: Callable[[str], None]) -> Run:
    return llmasos


def test_one_answer_as_json(run: Run, tiny: Callable[[str], str]) -> None:
    code, out, err = run("run", tiny("llama"), "hello world", "--max-tokens", "5", "--seed", "1", "--json")
    assert (code, err) == (0, "")
    answer = json.loads(out)
    assert answer["finish_reason"] in ("length", "stop")
    assert 1 <= answer["usage"]["completion_tokens"] <= 5
    assert answer["usage"]["prompt_tokens"] > 2
    assert answer["timings"]["total_seconds"] > 0
    assert (
        run("run", tiny("llama"), "hello world", "--max-tokens", "5", "--seed", "1")[1].strip()
        == answer["text"].strip()
    )


def test_prompt_and_pipe_are_one_prompt(run: Run, piped: Callable[[str], None], tiny: Callable[[str], str]) -> None:
    def tokens(*arguments: str, text: str = "") -> int:
        piped(text)
        code, out, _ = run("run", "--model", tiny("llama"), *arguments, "--max-tokens", "1", "--json")
        assert code == 0
        return int(json.loads(out)["usage"]["prompt_tokens"])

    alone, both = tokens("--prompt", "the first"), tokens("--prompt", "the first", text="and the second part\n")
    assert both > alone
    assert tokens(text="the first") == alone


def test_options_of_sampling_are_honoured(run: Run, tiny: Callable[[str], str]) -> None:
    def text(*arguments: str) -> str:
        return str(json.loads(run("run", tiny("llama"), "hi", "--max-tokens", "8", "--json", *arguments)[1])["text"])

    assert text("--temperature", "0") == text("--temperature", "0", "--seed", "5")
    assert len({text("--temperature", "5", "--seed", str(seed)) for seed in range(4)}) > 1


def test_a_system_message_is_part_of_the_prompt(run: Run, tiny: Callable[[str], str]) -> None:
    def tokens(*arguments: str) -> int:
        out = run("run", tiny("llama"), "hi", "--max-tokens", "1", "--json", *arguments)[1]
        return int(json.loads(out)["usage"]["prompt_tokens"])

    assert tokens("--system", "be very brief") > tokens()


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--temperature", "-1"), 2, "temperature = -1"),
        (("--top-p", "3"), 2, "top_p = 3"),
        (("--dtype", "float7"), 2, "float7"),
        (("--device", "abacus"), 2, "abacus"),
        (("--threads", "0"), 2, "threads = 0"),
        (("--load", "nothing"), 3, "there is no saved conversation 'nothing'"),
        (("--max-tokens", "100000"), 2, "100000"),
    ],
)
def test_what_is_not_allowed_is_refused(
    run: Run, tiny: Callable[[str], str], arguments: tuple[str, ...], code: int, text: str
) -> None:
    got, out, err = run("run", tiny("llama"), "hi", *arguments)
    assert (got, out) == (code, "")
    assert text in err


def test_a_model_that_does_not_write(run: Run, tiny: Callable[[str], str]) -> None:
    code, _, err = run("run", tiny("bert_classifier"), "hi")
    assert code == 2
    assert "does not write text; it can: classify" in err


def test_a_model_without_a_chat_template(run: Run, tiny: Callable[[str], str]) -> None:
    code, _, err = run("run", tiny("t5"), "hello", "--system", "be brief")
    assert code == 2
    assert "takes no system message" in err
    code, out, _ = run("run", tiny("t5"), "hello world", "--json", "--max-tokens", "4")
    assert code == 0
    assert json.loads(out)["usage"]["prompt_tokens"] > 0


def test_json_needs_a_prompt(run: Run) -> None:
    code, out, _ = run("run", "--json")
    assert code == 2
    assert json.loads(out)["error"]["code"] == "invalid_request"


def test_a_mistyped_model_is_not_sent_as_a_prompt(run: Run) -> None:
    code, _, err = run("run", "smollm2:135m-instuct")
    assert code == 3
    assert "did you mean smollm2:135m-instruct" in err


def test_a_saved_conversation_is_continued(run: Run, tiny: Callable[[str], str], home: Path) -> None:
    model = tiny("llama")
    saved = {
        "format": "llmasos.conversation/1",
        "model": model,
        "system": "be brief",
        "options": {"max_tokens": 2},
        "created": "2026-01-01T00:00:00Z",
        "saved": "2026-01-01T00:00:00Z",
        "messages": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}],
    }
    (home / "conversations").mkdir(parents=True)
    (home / "conversations" / "talk.json").write_text(json.dumps(saved), encoding="utf-8")
    code, out, _ = run("run", "--load", "talk", "--prompt", "three", "--json")
    assert code == 0
    answer = json.loads(out)
    assert answer["model"] == model
    assert answer["usage"]["completion_tokens"] <= 2
    alone = json.loads(run("run", model, "three", "--json", "--max-tokens", "2")[1])
    assert answer["usage"]["prompt_tokens"] > alone["usage"]["prompt_tokens"]


def program(*arguments: str, home: Path, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "llmasos.cli.app", *arguments],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LLMASOS_HOME": str(home)},
    )


@pytest.fixture(scope="module")
def first_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder that was empty before the first command here."""
    return tmp_path_factory.mktemp("first") / "home"


@pytest.mark.integration
def test_the_first_start_fetches_the_model_and_answers(first_home: Path) -> None:
    done = program("run", home=first_home)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) > 3
    assert "No prompt and no terminal, so this is a sample." in done.stderr


@pytest.mark.integration
def test_a_pipe_is_answered(first_home: Path) -> None:
    done = program(
        "run",
        "--prompt",
        "What is the capital of",
        "--temperature",
        "0",
        "--dtype",
        "float32",
        home=first_home,
        text="France?",
    )
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout


@pytest.mark.integration
@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_conversation_with_a_real_model(first_home: Path) -> None:
    pexpect = pytest.importorskip("pexpect")
    process = pexpect.spawn(
        sys.executable,
        ["-m", "llmasos.cli.app", "run", "--temperature", "0", "--dtype", "float32"],
        env={**os.environ, "LLMASOS_HOME": str(first_home), "PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm-256color"},
        encoding="utf-8",
        dimensions=(40, 120),
        timeout=120,
    )

    def prompt() -> str:
        process.expect(r"\x1b\[\?2004h")
        written = str(process.before)
        process.expect(">>> ")
        return written

    prompt()
    process.send("What is the capital of France?\r")
    answer = prompt()
    assert "Paris" in answer
    assert "tokens/s" in answer
    process.send("/set max_tokens 2000\r")
    prompt()
    process.send("Write a very long story about a dragon.\r")
    process.expect(r"\x1b\[\?2004l")  # the editor has closed
    process.expect(r"[A-Za-z]+ [a-z]+ [a-z]+ ")
    process.sendintr()
    assert "stopped after" in prompt()
    process.send("/stats\r")
    assert "(1 stopped)" in prompt()
    process.sendeof()
    process.expect(pexpect.EOF)
    process.wait()
    assert process.exitstatus == 0
