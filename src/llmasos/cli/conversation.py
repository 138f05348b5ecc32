"""`llmasos run`: a conversation in the terminal, or one answer to a prompt."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmasos.cli.completion import complete_model
from llmasos.cli.model_options import AcceptLicense, CacheDType, Device, DType, Threads
from llmasos.cli.output import Output
from llmasos.errors import InvalidRequest
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.cli.chat.backend import ChatModel
    from llmasos.cli.chat.record import SavedConversation
    from llmasos.cli.chat.session import Session

app = typer.Typer()


@app.command("run")
def run(
    first: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help=t("A model by name, source or folder; the default model when left out."),
            autocompletion=complete_model,
        ),
    ] = None,
    second: Annotated[
        str | None,
        typer.Argument(metavar="[PROMPT]", help=t("What to answer; without it a conversation begins.")),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help=t("The model, where a single word could be either."), autocompletion=complete_model
        ),
    ] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", "-p", help=t("The prompt, whatever it looks like."))] = None,
    system: Annotated[str | None, typer.Option("--system", "-s", help=t("System message."))] = None,
    load: Annotated[
        str | None, typer.Option("--load", help=t("Continue a conversation saved with /save (name or file)."))
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help=t("Randomness; 0 takes the likeliest token always."))
    ] = None,
    top_k: Annotated[int | None, typer.Option(help=t("Choose among the K likeliest tokens; 0: all."))] = None,
    top_p: Annotated[
        float | None, typer.Option(help=t("Choose among the likeliest tokens that together have this probability."))
    ] = None,
    min_p: Annotated[
        float | None, typer.Option(help=t("Leave out tokens less likely than this share of the likeliest."))
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(help=t("Above 1 makes tokens that occurred before less likely."))
    ] = None,
    presence_penalty: Annotated[
        float | None, typer.Option(help=t("Taken off tokens that are in the answer already."))
    ] = None,
    frequency_penalty: Annotated[
        float | None, typer.Option(help=t("Taken off a token for each time it is in the answer."))
    ] = None,
    seed: Annotated[int | None, typer.Option(help=t("The same seed gives the same answer."))] = None,
    max_tokens: Annotated[int | None, typer.Option(help=t("Most tokens of an answer."))] = None,
    stop: Annotated[list[str] | None, typer.Option(help=t("Text that ends an answer; may be repeated."))] = None,
    dtype: DType = None,
    device: Device = None,
    threads: Threads = None,
    cache_dtype: CacheDType = None,
    accept_license: AcceptLicense = False,
    json: Annotated[bool, typer.Option("--json", help=t("Write one JSON document (needs a prompt)."))] = False,
) -> None:
    """Hold a conversation with a model, or answer one prompt.

    Without a prompt, and on a terminal, a conversation begins: /help there shows what it can do. With a prompt, or
    with text on standard input, the answer is written to standard output and the command ends; given both, the text
    follows the prompt. The model is fetched on first use.
    """
    from llmasos.cli.chat import arguments, record
    from llmasos.settings import get_settings

    out = Output(json=json)
    saved = record.load(load) if load is not None else None
    reference, text = arguments.model_and_prompt(
        [word for word in (first, second) if word is not None],
        model=model,
        prompt=prompt,
        default_model=saved.model if saved is not None else get_settings().default_model,
        known=known_models,
    )
    asked = arguments.joined_prompt(text, arguments.piped_text())
    if asked is None and (json or not (sys.stdin.isatty() and sys.stdout.isatty())):
        asked = _sample_prompt(out)
    given = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "presence_penalty": presence_penalty,
        "frequency_penalty": frequency_penalty,
        "seed": seed,
        "max_tokens": max_tokens,
        "stop": stop or None,
    }
    options = {name: value for name, value in given.items() if value is not None}

    def open_model(name: str) -> ChatModel:
        from llmasos.cli.chat.backend import open_model

        return open_model(
            name,
            out,
            accept_license=accept_license,
            dtype=dtype,
            device=device,
            threads=threads,
            cache_dtype=cache_dtype,
        )

    loaded = open_model(reference)
    session = _session(loaded, saved, system, options)
    if asked is not None:
        _answer_once(session, asked, out)
    else:
        _converse(session, open_model)
    session.model.close()


def known_models() -> list[str]:
    """Names that `llmasos run` can start: those in the library and those of the built-in catalogue."""
    from llmasos.library import builtin
    from llmasos.library.store import Library

    return sorted({*map(str, Library().names()), *builtin.names()})


def _sample_prompt(out: Output) -> str:
    """What is asked where there is neither a prompt nor a terminal.

    Raises:
        InvalidRequest: a program asked for JSON, or a person redirected the output: they meant to give a prompt.
    """
    if out.json or sys.stdin.isatty():
        raise InvalidRequest(
            t("there is no prompt, and no terminal to hold a conversation on"),
            hint=t("Give one: llmasos run --prompt {example!r}", example=t("Write a haiku about rain.")),
        )
    asked = t("Hello! Who are you, and what can you help me with?")
    out.note(t("No prompt and no terminal, so this is a sample. Prompt: {prompt}", prompt=asked))
    return asked


def _session(
    loaded: ChatModel, saved: SavedConversation | None, system: str | None, options: dict[str, Any]
) -> Session:
    """A session with ``loaded``: the saved conversation if there is one, what the command line says on top.

    Raises:
        InvalidRequest: the model takes no system message, or an option is not allowed.
        Unsupported: the model does not write text.
    """
    from llmasos.cli.chat import record
    from llmasos.cli.chat.session import Session

    session = Session(loaded)
    if saved is not None:
        record.restore(session, saved)
    if system is not None:
        session.set_system(system)
    session.options.update(options)
    loaded.defaults.updated(session.options)
    return session


def _answer_once(session: Session, asked: str, out: Output) -> None:
    """Write the answer to one prompt; what it took goes to standard error if that is a terminal."""
    from llmasos.cli.chat.answer import statistics_line, stream_answer

    if not out.json:
        began = time.monotonic()
        reply = stream_answer(session, asked)
        if not reply.finished:
            raise typer.Exit(130)
        if sys.stderr.isatty():
            out.note(statistics_line(session, reply, began))
        return
    reply = session.reply(asked)
    for _piece in reply:
        pass
    out.result(
        {
            "model": session.model.name,
            "text": reply.text,
            "finish_reason": session.last_finish,
            "usage": session.last_usage,
            "timings": session.last_timings,
        },
        lambda: None,
    )


def _converse(session: Session, open_model: Callable[[str], ChatModel]) -> None:
    from llmasos.cli.chat.loop import Conversation
    from llmasos.settings import get_settings

    Conversation(session, open_model, known_models).run(get_settings().home / "history" / "conversation.txt")
