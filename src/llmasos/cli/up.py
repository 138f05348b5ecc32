"""``llmasos up``: the Studio and the APIs in one server."""

from __future__ import annotations

import sys
import webbrowser
from typing import Annotated, Any

import typer

from llmasos.cli.completion import complete_model
from llmasos.cli.output import Output
from llmasos.cli.serve import log_to_standard_error
from llmasos.errors import MissingDependency
from llmasos.i18n import t

app = typer.Typer()


@app.command("up")
def up(
    model: Annotated[
        str | None,
        typer.Argument(
            help=t("Model that is loaded at once; default: the default model."), autocompletion=complete_model
        ),
    ] = None,
    port: Annotated[int | None, typer.Option(help=t("Port to listen on; 0 takes a free one."))] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help=t("Open the Studio in a browser."))] = True,
    access_log: Annotated[
        str, typer.Option(metavar="off|requests|prompts", help=t("What the log tells of each request."))
    ] = "off",
    json: Annotated[bool, typer.Option("--json", help=t("Write JSON."))] = False,
) -> None:
    """Start the Studio: the platform as a web application, with the APIs of `llmasos serve` beside it.

    It listens on 127.0.0.1 only. SIGTERM and Ctrl-C finish what runs; a second one stops at once.
    """
    out = Output(json=json)
    try:
        from llmasos.server.configuration import read_configuration
        from llmasos.server.process import open_socket
        from llmasos.server.process import serve as run
        from llmasos.server.serving.service import ModelService
        from llmasos.studio import address
        from llmasos.studio.mount import mount
    except ImportError as error:
        raise MissingDependency(
            t("the Studio needs the package {package}", package=error.name), hint='pip install "llmasos[all]"'
        ) from error
    from llmasos.library.store import Library
    from llmasos.settings import get_settings

    values: dict[str, Any] = {"models": (model or get_settings().default_model,), "access_log": access_log}
    configuration = read_configuration(None, values if port is None else {**values, "port": port})
    log_to_standard_error()
    listening = open_socket(configuration)
    service = ModelService(configuration, Library())

    def announce(server: str) -> None:
        studio = server + address.ROOT + address.home()
        if json:
            out.result({"address": server, "studio": studio}, lambda: None)
            sys.stdout.flush()
        else:
            out.note(t("The Studio: {address}", address=studio))
            out.note(t("APIs of OpenAI and Anthropic at {address}/v1, of Ollama at /api.", address=server))
        if browser:
            webbrowser.open(studio)

    with out.progress():
        run(service, listening, announce, extend=lambda application: mount(application, service))
