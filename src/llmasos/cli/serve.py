"""``llmasos serve``: the API server."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from llmasos.cli.completion import complete_model
from llmasos.cli.output import Output
from llmasos.errors import InvalidRequest, MissingDependency
from llmasos.i18n import t

app = typer.Typer()


@app.command("serve")
def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL]...",
            help=t("Models that are loaded at once; all others of the library are loaded when they are asked for."),
            autocompletion=complete_model,
        ),
    ] = None,
    host: Annotated[str | None, typer.Option(help=t("Address to listen on."))] = None,
    port: Annotated[int | None, typer.Option(help=t("Port to listen on; 0 takes a free one."))] = None,
    adapter: Annotated[
        list[str] | None, typer.Option(metavar="NAME=REF", help=t("Serve an adapter of the library under a name."))
    ] = None,
    upstream: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=URL", help=t("Serve a model of another OpenAI-compatible server under its name.")),
    ] = None,
    config: Annotated[Path | None, typer.Option(help=t("YAML file with any of the keys of docs/server.md."))] = None,
    only: Annotated[bool | None, typer.Option("--only", help=t("Serve nothing but what is named here."))] = None,
    dtype: Annotated[str | None, typer.Option(help=t("Number format: int8, int4, bfloat16 or float32."))] = None,
    max_queue: Annotated[int | None, typer.Option(help=t("Outputs that may wait for each model."))] = None,
    keep_alive: Annotated[
        float | None, typer.Option(help=t("Seconds after its last request that a model stays loaded."))
    ] = None,
    deadline: Annotated[float | None, typer.Option(help=t("Seconds after which a request ends."))] = None,
    lenient: Annotated[
        bool | None, typer.Option("--lenient", help=t("Ignore unknown fields, and name them in a header."))
    ] = None,
    insecure: Annotated[
        bool | None, typer.Option("--insecure", help=t("Allow listening beyond this machine without keys."))
    ] = None,
    access_log: Annotated[
        str | None, typer.Option(metavar="off|requests|prompts", help=t("What the log tells of each request."))
    ] = None,
    json: Annotated[bool, typer.Option("--json", help=t("Write JSON."))] = False,
) -> None:
    """Serve models to clients of OpenAI, Anthropic and Ollama.

    It listens on 127.0.0.1 unless told otherwise. SIGTERM and Ctrl-C finish what runs; a second one stops at once.
    """
    out = Output(json=json)
    try:
        from llmasos.server.configuration import read_configuration
        from llmasos.server.keys import KeyStore
        from llmasos.server.process import open_socket
        from llmasos.server.process import serve as run
        from llmasos.server.serving.service import ModelService
        from llmasos.server.web.gate import Gate
    except ImportError as error:
        raise MissingDependency(
            t("the server needs the package {package}", package=error.name), hint='pip install "llmasos[local,server]"'
        ) from error
    from llmasos.library.store import Library

    overrides: dict[str, Any] = {
        "models": tuple(models) if models else None, "host": host, "port": port, "only": only, "dtype": dtype,
        "adapters": _pairs("--adapter", adapter), "max_queue": max_queue, "keep_alive": keep_alive,
        "upstreams": {name: {"url": url} for name, url in _pairs("--upstream", upstream).items()},
        "deadline": deadline, "lenient": lenient, "insecure": insecure, "access_log": access_log,
    }  # fmt: skip
    configuration = read_configuration(
        config, {key: value for key, value in overrides.items() if value not in (None, {})}
    )
    log_to_standard_error()
    library = Library()
    Gate(configuration, KeyStore(library.catalogue.database)).check_configuration()
    listening = open_socket(configuration)
    service = ModelService(configuration, library)

    def announce(address: str) -> None:
        if json:
            out.result({"address": address, "models": [item.name for item in service.names.listing()]}, lambda: None)
            sys.stdout.flush()
        else:
            out.note(
                t("Serving on {address}: OpenAI and Anthropic at /v1, Ollama at /api; /docs explains.", address=address)
            )

    with out.progress():
        run(service, listening, announce)


def _pairs(option: str, values: list[str] | None) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for value in values or []:
        name, equals, rest = value.partition("=")
        if not equals or not name or not rest:
            raise InvalidRequest(
                t("{option} {value!r}: allowed is NAME=VALUE", option=option, value=value),
                hint=t("`llmasos serve --help` shows what is allowed."),
            )
        pairs[name] = rest
    return pairs


def log_to_standard_error() -> None:
    """The server's own messages, and one JSON line for each request."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    access = logging.getLogger("llmasos.access")
    access.handlers, access.propagate = [handler], False
    access.setLevel(logging.INFO)
    logging.getLogger("llmasos.server").setLevel(logging.INFO)
