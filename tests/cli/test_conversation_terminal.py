"""The conversation as a person has it: through a real pseudo-terminal, with keys and signals."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pexpect = pytest.importorskip("pexpect")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")

PROMPT = ">>> "
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\r")


class Terminal:
    """A terminal with the conversation on it."""

    def __init__(self, command: list[str], home: Path, *, language: str = "en") -> None:
        environment = {**os.environ, "LLMASOS_HOME": str(home), "LLMASOS_LANG": language, "TERM": "xterm-256color"}
        environment.pop("NO_COLOR", None)
        environment["PROMPT_TOOLKIT_NO_CPR"] = "1"  # nobody answers where the cursor is
        self.process = pexpect.spawn(
            command[0], command[1:], env=environment, encoding="utf-8", dimensions=(40, 120), timeout=20
        )
        self.wait_for_prompt()

    def wait_for_prompt(self) -> str:
        """Everything written until the editor waits for a message."""
        self.process.expect(r"\x1b\[\?2004h")  # the editor switches bracketed paste on
        written = self.process.before
        self.process.expect(PROMPT)
        return ESCAPES.sub("", written)

    def send(self, text: str, *keys: str) -> str:
        """Type ``text`` and Enter; returns what was written before the next prompt."""
        self.process.send(text)
        for key in keys:
            self.process.send(key)
        self.process.send("\r")
        return self.wait_for_prompt()

    def leave(self) -> str:
        self.process.sendeof()
        self.process.expect(pexpect.EOF)
        self.process.wait()
        return ESCAPES.sub("", self.process.before)


@pytest.fixture
def terminal(driver: list[str], home: Path) -> Iterator[Terminal]:
    opened = Terminal(driver, home)
    yield opened
    opened.process.close(force=True)


def test_a_question_and_its_answer_with_speed(terminal: Terminal) -> None:
    written = terminal.send("hello there")
    assert "echo: hello there\n" in written
    assert re.search(r"3 tokens · [\d.]+ tokens/s · first after 1 ms · context 5/1000", written)
    assert "left the conversation" in terminal.leave()
    assert terminal.process.exitstatus == 0


def test_ctrl_c_stops_the_answer_and_not_the_program(terminal: Terminal) -> None:
    terminal.process.send("slowly 2000\r")
    terminal.process.expect("word20")
    terminal.process.sendintr()
    written = terminal.wait_for_prompt()
    assert "^C" not in written
    assert "stopped after" in written
    assert "word1999" not in written
    assert "turns=3" in terminal.send("turns?"), "the part that came is part of the conversation"
    assert terminal.process.isalive()


def test_every_word_before_ctrl_c_arrives(terminal: Terminal) -> None:
    terminal.process.send("slowly 2000\r")
    terminal.process.expect("word30")
    shown = terminal.process.before + "word30"
    terminal.process.sendintr()
    shown += terminal.wait_for_prompt()
    numbers = [int(number) for number in re.findall(r"word(\d+)", ESCAPES.sub("", shown))]
    assert numbers == list(range(len(numbers)))


def test_ctrl_c_at_the_prompt_gives_the_line_up(terminal: Terminal) -> None:
    terminal.process.send("half a mess")
    terminal.process.sendintr()
    assert "Ctrl-D or /exit leaves." in terminal.wait_for_prompt()
    assert "echo: whole" in terminal.send("whole")


def test_what_is_typed_during_an_answer_becomes_the_next_message(terminal: Terminal) -> None:
    terminal.process.send("slowly 60\r")
    terminal.process.expect("word5")
    terminal.process.send("next")
    written = terminal.wait_for_prompt()
    assert "next" not in written, "it does not land in the middle of the answer"
    assert "echo: next" in terminal.send("")


def test_a_message_of_several_lines_in_quotes(terminal: Terminal) -> None:
    terminal.process.send('"""first line')
    terminal.process.send("\r")
    terminal.process.expect(r"\.\.\. ")
    assert "echo: first line\nsecond line" in terminal.send('second line"""')


def test_a_new_line_with_alt_enter_and_with_ctrl_j(terminal: Terminal) -> None:
    terminal.process.send("first")
    terminal.process.send("\x1b\r")
    terminal.process.expect(r"\.\.\. ")
    terminal.process.send("second")
    terminal.process.send("\n")
    terminal.process.expect(r"\.\.\. ")
    assert "echo: first\nsecond\nthird" in terminal.send("third")


def test_set_changes_the_sampling(terminal: Terminal) -> None:
    assert "temperature=0.7" in terminal.send("temperature?")
    assert "temperature = 0.25" in terminal.send("/set temperature 0.25")
    assert "temperature=0.25" in terminal.send("temperature?")
    refused = terminal.send("/set temperature warm")
    assert "temperature = 'warm'" in refused
    assert "did you mean temperature?" in terminal.send("/set temprature 1")
    assert "temperature=0.25" in terminal.send("temperature?")
    assert "temperature = 0.7  (default)" in terminal.send("/set temperature default")
    listed = terminal.send("/set")
    assert re.search(r"top_p +1\.0", listed)
    terminal.send("/set max_tokens 2")
    assert "cut at the limit of tokens" in terminal.send("one two three four")


def test_the_system_message(terminal: Terminal) -> None:
    assert "There is no system message." in terminal.send("/system")
    terminal.send("/system answer like a pirate")
    assert "system: answer like a pirate" in terminal.send("system?")
    terminal.send("/system off")
    assert "pirate" not in terminal.send("system?").split("system?")[-1]


def test_save_clear_and_load(terminal: Terminal, home: Path) -> None:
    assert "there is nothing to save yet" in terminal.send("/save notes")
    terminal.send("remember me")
    assert "Saved 2 messages" in terminal.send("/save notes")
    saved = json.loads((home / "conversations" / "notes.json").read_text(encoding="utf-8"))
    assert saved["messages"][0] == {"role": "user", "content": "remember me"}
    terminal.send("/clear")
    assert "turns=1" in terminal.send("turns?")
    written = terminal.send("/load notes")
    assert "Continuing a conversation of 2 messages." in written
    assert "echo: remember me" in written
    assert "turns=3" in terminal.send("turns?")
    assert "did you mean notes?" in terminal.send("/load note")


def test_another_model(terminal: Terminal) -> None:
    assert "fake:latest, context 1000 tokens" in terminal.send("/model")
    terminal.send("one two three four")
    terminal.send("five six seven")
    assert "did you mean tiny:latest?" in terminal.send("/model tinny")
    assert "it can: embed" in terminal.send("/model encoder:latest")
    assert "fake:latest" in terminal.send("/model"), "a model that cannot be used leaves the old one in place"
    assert "Going on with tiny:latest" in terminal.send("/model tiny:latest")
    written = terminal.send("turns?")
    assert "The context of 12 tokens is full: the oldest 2 messages are left out" in written


def test_stats(terminal: Terminal) -> None:
    terminal.send("one two")
    written = terminal.send("/stats")
    assert re.search(r"answers +1\n", written)
    assert re.search(r"tokens written +3\n", written)
    assert re.search(r"context in use +5 / 1,000", written)


def test_unknown_commands_are_not_sent_to_the_model(terminal: Terminal) -> None:
    written = terminal.send("/modell")
    assert "there is no command /modell" in written
    assert "did you mean /model?" in written
    assert "echo:" not in written
    assert "echo: /usr/bin" in terminal.send("//usr/bin")


def test_tab_completes_commands_and_options(terminal: Terminal) -> None:
    terminal.process.send("/sy")
    terminal.process.expect("show, set or remove the system message")  # the menu
    terminal.process.send("\t")
    terminal.process.expect("stem")
    assert "There is no system message." in terminal.send("")
    terminal.process.send("/set tempe")
    terminal.process.expect("temperature")
    terminal.process.send("\t")
    terminal.process.expect("rature")
    assert "temperature = 0.5" in terminal.send(" 0.5")


def test_help_lists_everything(terminal: Terminal) -> None:
    written = terminal.send("/help")
    for name in ("/system", "/set", "/model", "/save", "/load", "/stats", "/clear", "/exit", '"""', "Ctrl-C"):
        assert name in written


def test_exit_and_its_synonyms_leave(driver: list[str], home: Path) -> None:
    for word in ("/exit", "/bye"):
        opened = Terminal(driver, home)
        opened.process.send(f"{word}\r")
        opened.process.expect("left the conversation")
        opened.process.expect(pexpect.EOF)


def test_history_is_kept_for_the_next_time(driver: list[str], home: Path) -> None:
    first = Terminal(driver, home)
    first.send("a question to remember")
    first.leave()
    history = home / "history" / "conversation.txt"
    assert history.stat().st_mode & 0o777 == 0o600
    second = Terminal(driver, home)
    second.process.send("\x1b[A")  # arrow up
    second.process.expect("a question to remember")
    assert "echo: a question to remember" in second.send("")
    second.leave()


def test_in_chinese(driver: list[str], home: Path) -> None:
    opened = Terminal(driver, home, language="zh")
    assert "显示本列表" in opened.send("/help")
    assert "个词元" in opened.send("你好")
    opened.leave()
