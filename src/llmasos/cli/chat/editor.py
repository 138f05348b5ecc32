"""Reading a message: line editing, history, completion, several lines."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.styles import Style

from llmasos.cli.chat import options
from llmasos.cli.chat.commands import slash_commands
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.cli.chat.loop import Conversation

FENCE = '"""'


def is_open(text: str) -> bool:
    """Whether ``text`` began a block of several lines that is not closed yet."""
    stripped = text.strip()
    return stripped.startswith(FENCE) and not (len(stripped) >= 2 * len(FENCE) and stripped.endswith(FENCE))


def unfence(text: str) -> str:
    """The message inside a block of several lines, or the text as it is."""
    stripped = text.strip()
    if stripped.startswith(FENCE) and stripped.endswith(FENCE) and len(stripped) >= 2 * len(FENCE):
        return stripped[len(FENCE) : -len(FENCE)].strip("\n")
    return text


class SlashCompleter(Completer):
    """Completes commands, options of ``/set``, models of ``/model`` and conversations of ``/load``."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        text = document.text_before_cursor
        if not text.startswith("/") or "\n" in text:
            return
        word, space, rest = text.partition(" ")
        if not space:
            for command in slash_commands():
                if command.name.startswith(word):
                    yield Completion(command.name, start_position=-len(word), display_meta=command.help)
            return
        for value in self._arguments(word):
            if value.startswith(rest) and value != rest:
                yield Completion(value, start_position=-len(rest))

    def _arguments(self, command: str) -> list[str]:
        if command == "/set":
            return options.names(self._conversation.session)
        if command == "/model":
            return self._conversation.model_names()
        if command in ("/load", "/save"):
            from llmasos.cli.chat import record

            return record.saved_names()
        return ["off"] if command == "/system" else []


def key_bindings() -> KeyBindings:
    """Enter sends, unless a block is open; Alt-Enter (or Esc, Enter) and Ctrl-J begin a new line."""
    bindings = KeyBindings()

    @bindings.add("enter")
    def _send(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if is_open(buffer.text):
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @bindings.add("escape", "enter")
    @bindings.add("c-j")
    def _new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return bindings


def _continuation(_width: int, _line: int, _wrapped: int) -> FormattedText:
    return FormattedText([("class:continuation", "... ")])


class Editor:
    """Reads messages from the terminal. ``history`` is the file that keeps earlier ones, ``None`` keeps none."""

    def __init__(self, conversation: Conversation, history: Path | None, **arguments: Any) -> None:
        kept: History = InMemoryHistory()
        if history is not None:
            history.parent.mkdir(parents=True, exist_ok=True)
            history.touch(mode=0o600)
            kept = FileHistory(str(history))
        self._session: PromptSession[str] = PromptSession(
            history=kept,
            completer=SlashCompleter(conversation),
            complete_while_typing=True,
            key_bindings=key_bindings(),
            multiline=True,
            prompt_continuation=_continuation,
            reserve_space_for_menu=6,
            style=Style.from_dict(
                {"prompt": "bold ansicyan", "continuation": "ansibrightblack", "placeholder": "ansibrightblack"}
            ),
            **arguments,
        )

    def read(self) -> str:
        """The next message.

        Raises:
            KeyboardInterrupt: Ctrl-C, the line is given up.
            EOFError: Ctrl-D on an empty line.
        """
        text = self._session.prompt(
            FormattedText([("class:prompt", ">>> ")]),
            placeholder=FormattedText([("class:placeholder", t("Write a message; /help shows the commands"))]),
        )
        return unfence(text)
