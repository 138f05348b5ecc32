"""The conversation on a terminal: read a message, stream the answer, until the person leaves."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from llmasos.cli import terminal
from llmasos.cli.chat import commands
from llmasos.cli.chat.answer import statistics_line, stream_answer
from llmasos.cli.chat.backend import ChatModel
from llmasos.cli.chat.session import Session, require_text
from llmasos.cli.help import display_width
from llmasos.errors import LLMasOSError
from llmasos.i18n import t


class Reader(Protocol):
    """Where messages come from."""

    def read(self) -> str:
        """The next message; EOFError at the end, KeyboardInterrupt when one is given up."""


class Conversation:
    """A conversation with a person. ``open_model`` loads a model by name; ``model_names`` offers names."""

    def __init__(
        self,
        session: Session,
        open_model: Callable[[str], ChatModel],
        model_names: Callable[[], Sequence[str]],
    ) -> None:
        self.session = session
        self.running = True
        self._open_model = open_model
        self._model_names = model_names

    def run(self, history: Path | None = None, reader: Reader | None = None) -> None:
        """Talk until the person leaves."""
        if reader is None:
            from llmasos.cli.chat.editor import Editor

            reader = Editor(self, history)
        self._greet()
        while self.running:
            try:
                line = reader.read()
            except KeyboardInterrupt:
                self.note(t("Ctrl-D or /exit leaves."))
                continue
            except EOFError:
                self.running = False
                continue
            self.handle(line)

    def handle(self, line: str) -> None:
        """Carry out a command or answer a message; an error of ours is told and the conversation goes on."""
        text = line.strip()
        if not text:
            return
        try:
            if text.startswith("/") and not text.startswith("//"):
                commands.run(self, text)
            else:
                self.answer(text.removeprefix("/") if text.startswith("//") else text)
        except LLMasOSError as error:
            self.tell(error)

    def answer(self, text: str) -> None:
        """Stream the answer to ``text`` and show what it took."""
        began = time.monotonic()
        reply = stream_answer(self.session, text)
        self.note(statistics_line(self.session, reply, began))
        self.say()

    def switch_model(self, name: str) -> None:
        """Load another model and go on with it; the one in use stays when that fails."""
        model = self._open_model(name)
        try:
            require_text(model)
            model.defaults.updated(self.session.options)
        except LLMasOSError:
            model.close()
            raise
        before = self.session.model
        self.session.use(model)
        before.close()
        self.note(t("Going on with {name}; the conversation is kept.", name=model.name))
        self._explain_completion()

    def model_names(self) -> list[str]:
        """Names for completion."""
        return list(self._model_names())

    @property
    def width(self) -> int:
        """Columns of the terminal."""
        return max(terminal.console().width, 60)

    def say(self, text: str = "", *, style: str = "", end: str = "\n") -> None:
        terminal.console().print(text, style=style or None, end=end)

    def note(self, text: str) -> None:
        self.say(text, style="dim")

    def pair(self, name: str, value: str) -> None:
        """One line of a list of facts."""
        self.say("  " + name + " " * max(34 - display_width(name), 1), style="dim", end="")
        self.say(value)

    def tell(self, error: LLMasOSError) -> None:
        """Show an error and what to do about it."""
        self.say(error.message, style="red")
        if error.hint:
            self.say("  " + error.hint, style="dim")

    def _greet(self) -> None:
        self.say(self.session.model.name, style="bold", end="")
        self.note("  " + t("/help shows the commands, Ctrl-D leaves"))
        self._explain_completion()

    def _explain_completion(self) -> None:
        if not self.session.remembers:
            self.note(t("This model has no chat template: it continues each text on its own and remembers nothing."))
