"""``llmasos up``: the Studio and the APIs in one server."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser
from typing import TYPE_CHECKING, Annotated

import typer

from llmasos.cli.completion import complete_model
from llmasos.cli.output import Output
from llmasos.cli.serve import log_to_standard_error
from llmasos.errors import LLMasOSError, MissingDependency
from llmasos.i18n import t

if TYPE_CHECKING:
    from fastapi import FastAPI

    from llmasos.studio.context import Platform

app = typer.Typer()


@app.command("up")
def up(
    model: Annotated[
        str | None,
        typer.Argument(
            help=t("Model that is loaded at once; default: the default model."), autocompletion=complete_model
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help=t("Address to listen on; beyond this machine everybody has to sign in."))
    ] = None,
    port: Annotated[int | None, typer.Option(help=t("Port to listen on; 0 takes a free one."))] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help=t("Open the Studio in a browser."))] = True,
    access_log: Annotated[
        str, typer.Option(metavar="off|requests|prompts", help=t("What the log tells of each request."))
    ] = "off",
    json: Annotated[bool, typer.Option("--json", help=t("Write JSON."))] = False,
) -> None:
    """Start the Studio: the platform as a web application, with the APIs of `llmasos serve` beside it.

    It is there at once; its model is fetched and loaded meanwhile, with --json before the address is told.

    It listens on 127.0.0.1 unless told otherwise. SIGTERM and Ctrl-C finish what runs; a second one stops at once.

    Where other machines can reach it, people sign in to the Studio and programs need a key. As long as there are no
    users, it prints a code with which the first browser makes the admin.
    """
    out = Output(json=json)
    if not json:
        out.note(t("Starting the Studio ..."))
    try:
        from llmasos.server.configuration import read_configuration
        from llmasos.server.process import open_socket
        from llmasos.server.process import serve as run
        from llmasos.server.serving.service import ModelService
        from llmasos.studio import address
        from llmasos.studio.mount import mount
        from llmasos.studio.opening import ready_models
    except ImportError as error:
        raise MissingDependency(
            t("the Studio needs the package {package}", package=error.name), hint='pip install "llmasos[all]"'
        ) from error
    from llmasos.library.store import Library
    from llmasos.settings import get_settings

    configuration = read_configuration(
        None,
        {"models": (model or get_settings().default_model,), "access_log": access_log, "host": host, "port": port},
    )
    log_to_standard_error()
    listening = open_socket(configuration)
    service = ModelService(configuration, Library())
    platform: Platform | None = None

    def extend(application: FastAPI) -> None:
        nonlocal platform
        platform = mount(application, service)
        platform.door.expect_the_first()

    async def prepare() -> None:
        """The Studio is there while its model is fetched and loaded, and stays if that fails."""
        assert platform is not None
        try:
            await ready_models(platform)
        except LLMasOSError as error:
            out.warn(t("{model} cannot be had: {reason}", model=configuration.models[0], reason=error.message))
            if error.hint:
                out.note(error.hint)
        else:
            out.note(t("{model} is loaded.", model=configuration.models[0]))

    def announce(server: str) -> None:
        server = _from_here(server)
        studio = server + address.ROOT + address.home()
        setup_code = platform.door.setup_code if platform is not None else None
        code = setup_code.text if setup_code is not None else None
        if json:
            out.result({"address": server, "studio": studio, "setup_code": code}, lambda: None)
            sys.stdout.flush()
        else:
            out.note(t("The Studio: {address}", address=studio))
            out.note(t("APIs of OpenAI and Anthropic at {address}/v1, of Ollama at /api.", address=server))
        if not configuration.is_loopback:
            out.warn(t("Other machines can reach it. Put a proxy with TLS before it: passwords travel as they are."))
        if code is not None and not json:
            out.note(t("There are no users yet. The first browser makes the admin with this code: {code}", code=code),
                     style="bold")  # fmt: skip
        if browser and _has_screen():
            threading.Thread(target=webbrowser.open, args=[studio], daemon=True).start()

    with out.progress():  # programs wait for the line of JSON to use the model
        run(service, listening, announce, extend=extend, prepare=None if json else prepare)


def _has_screen() -> bool:
    """Whether a browser of its own can be opened: without a screen, one of the terminal would take it over."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _from_here(server: str) -> str:
    """The address for a browser of this machine: none can go to "all addresses"."""
    return server.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
