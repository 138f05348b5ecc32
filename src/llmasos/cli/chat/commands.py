"""The commands of the conversation: lines that begin with ``/``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmasos.cli.chat import options
from llmasos.cli.commands import near_commands
from llmasos.cli.help import wrap
from llmasos.errors import InvalidRequest, suggest
from llmasos.i18n import t
from llmasos.units import format_duration, format_rate

if TYPE_CHECKING:
    from llmasos.cli.chat.loop import Conversation


@dataclass(frozen=True)
class SlashCommand:
    """``usage`` shows the arguments; ``run`` gets what follows the name."""

    name: str
    usage: str
    help: str
    run: Callable[[Conversation, str], None]


def slash_commands() -> tuple[SlashCommand, ...]:
    """All commands, with texts in the language in force."""
    return (
        SlashCommand("/help", "", t("show this list"), _help),
        SlashCommand("/system", t("[TEXT|off]"), t("show, set or remove the system message"), _system),
        SlashCommand("/set", t("[OPTION [VALUE|default]]"), t("show or set how answers are sampled"), _set),
        SlashCommand("/model", t("[NAME]"), t("show the model or go on with another"), _model),
        SlashCommand("/save", t("NAME|FILE"), t("save the conversation"), _save),
        SlashCommand("/load", t("[NAME|FILE]"), t("list saved conversations or continue one"), _load),
        SlashCommand("/stats", "", t("tokens, speed and context of this conversation"), _stats),
        SlashCommand("/clear", "", t("forget the messages"), _clear),
        SlashCommand("/exit", "", t("leave (also Ctrl-D)"), _exit),
    )


_SYNONYMS = {"/bye": "/exit", "/quit": "/exit", "/q": "/exit", "/?": "/help", "/reset": "/clear", "/new": "/clear"}


def run(conversation: Conversation, line: str) -> None:
    """Carry out one line that begins with ``/``.

    Raises:
        InvalidRequest: there is no such command; the hint names the nearest.
    """
    word, _, rest = line.partition(" ")
    word = _SYNONYMS.get(word.lower(), word.lower())
    table = {command.name: command for command in slash_commands()}
    command = table.get(word)
    if command is None:
        near = suggest(word, table) or [f"/{name}" for name in near_commands(word[1:], [n[1:] for n in table])]
        raise InvalidRequest(
            t("there is no command {name}", name=word),
            hint=(t("did you mean {names}?", names=", ".join(near)) + " " if near else "")
            + t("/help lists all. Begin with // to send a message that starts with /."),
        )
    command.run(conversation, rest.strip())


def _help(conversation: Conversation, _rest: str) -> None:
    rows = [(f"{command.name} {command.usage}".strip(), command.help) for command in slash_commands()]
    rows += [
        ('"""', t("begin and end a message of several lines")),
        ("Alt-Enter", t("new line")),
        ("Ctrl-C", t("stop the answer")),
    ]
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        conversation.say(f"  {name:<{width}}   ", style="cyan", end="")
        conversation.say(text)


def _system(conversation: Conversation, rest: str) -> None:
    session = conversation.session
    if not rest:
        conversation.say(session.system or t("There is no system message."))
    elif rest.lower() in ("off", "none", "-"):
        session.set_system(None)
        conversation.note(t("The system message is removed."))
    else:
        session.set_system(rest)
        conversation.note(t("The system message is set; it holds from the next answer on."))


def _set(conversation: Conversation, rest: str) -> None:
    session = conversation.session
    name, _, value = rest.partition(" ")
    if name and value.strip():
        options.set_option(session, name, value.strip())
        name = name.replace("-", "_")
        shown = session.options.get(name, getattr(session.model.defaults, name))
        conversation.note(f"{name} = {shown!r}" + ("" if name in session.options else f"  {t('(default)')}"))
        return
    known = options.names(session)
    if name and name.replace("-", "_") not in known:
        options.set_option(session, name, "default")  # raises, with a suggestion
    for item in known if not name else [name.replace("-", "_")]:
        chosen = item in session.options
        shown = session.options.get(item, getattr(session.model.defaults, item))
        first, *more = wrap(options.explanation(session.model.defaults, item), conversation.width - 39)
        conversation.say(f"  {item:<22}", style="cyan", end="")
        conversation.say(f"{shown!r:<12} ", style="bold" if chosen else "dim", end="")
        conversation.say(first, style="dim")
        for line in more:
            conversation.say(" " * 37 + line, style="dim")


def _model(conversation: Conversation, rest: str) -> None:
    session = conversation.session
    if not rest:
        limit = session.model.context_length
        conversation.say(session.model.name + (t(", context {limit} tokens", limit=limit) if limit else ""))
        return
    conversation.switch_model(rest)


def _save(conversation: Conversation, rest: str) -> None:
    from llmasos.cli.chat import record

    path = record.save(conversation.session, rest)
    conversation.note(t("Saved {count} messages to {path}.", count=len(conversation.session.messages), path=path))


def _load(conversation: Conversation, rest: str) -> None:
    from llmasos.cli.chat import record

    if not rest:
        names = record.saved_names()
        conversation.say("\n".join(names) if names else t("Nothing is saved yet: /save NAME."))
        return
    saved = record.load(rest)
    session = conversation.session
    session.model.defaults.updated(saved.options)
    record.restore(session, saved)
    conversation.note(t("Continuing a conversation of {count} messages.", count=len(saved.messages)))
    if saved.model != session.model.name:
        conversation.note(t("It was held with {other}: /model {other} continues with that.", other=saved.model))
    for message in saved.messages[-2:]:
        mark = ">>> " if message.role == "user" else ""
        conversation.say(mark + message.content, style="dim")


def _stats(conversation: Conversation, _rest: str) -> None:
    session = conversation.session
    totals = session.totals
    stopped = " " + t("({count} stopped)", count=totals.interrupted) if totals.interrupted else ""
    rows = [
        (t("answers"), f"{totals.answers}{stopped}"),
        (t("tokens read"), f"{totals.prompt_tokens:,}"),
        (t("tokens written"), f"{totals.completion_tokens:,}"),
        (t("time"), format_duration(totals.seconds)),
    ]
    if session.last_timings is not None:
        rate = session.last_timings.tokens_per_second
        if rate is not None:
            rows.append((t("speed of the last answer"), format_rate(rate, 1.0, t("tokens"))))
        rows.append((t("first token of the last answer"), format_duration(session.last_timings.first_token_seconds)))
    if session.last_usage is not None and session.model.context_length:
        used = session.last_usage.prompt_tokens + session.last_usage.completion_tokens
        rows.append((t("context in use"), f"{used:,} / {session.model.context_length:,}"))
    if session.left_out:
        rows.append((t("oldest messages left out"), str(session.left_out)))
    for name, value in rows:
        conversation.pair(name, value)


def _clear(conversation: Conversation, _rest: str) -> None:
    conversation.session.clear()
    conversation.note(t("The messages are forgotten; the system message and options stay."))


def _exit(conversation: Conversation, _rest: str) -> None:
    conversation.running = False
