"""Running the server: where it listens, how it stops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable

import uvicorn
from fastapi import FastAPI

from llmasos.errors import InvalidRequest, Unavailable
from llmasos.i18n import t
from llmasos.server.application import create_application
from llmasos.server.configuration import ServerConfiguration
from llmasos.server.serving.service import ModelService

logger = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """Says when it begins to stop: from then on nothing new is taken, and what runs is finished."""

    def __init__(self, config: uvicorn.Config, service: ModelService, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._service, self._announce = service, announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.ready = False
        logger.info("finishing what runs, then stopping")
        await super().shutdown(sockets=sockets)


def open_socket(configuration: ServerConfiguration) -> socket.socket:
    """The socket that the server listens on.

    Raises:
        Unavailable: the address is in use.
        InvalidRequest: the address is not this machine's, or needs rights.
    """
    host, port = configuration.host.strip("[]"), configuration.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        kind = Unavailable if error.errno in _IN_USE else InvalidRequest
        raise kind(
            t("cannot listen on {host}:{port}: {reason}", host=host, port=port, reason=error.strerror or error),
            hint=t("Choose another with --host and --port; --port 0 takes a free one."),
        ) from error
    return listening


_IN_USE = frozenset({48, 98, 10048})  # EADDRINUSE on macOS, Linux, Windows


def serve(
    service: ModelService,
    listening: socket.socket,
    announce: Callable[[str], None],
    *,
    extend: Callable[[FastAPI], object] | None = None,
    prepare: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Load the configured models and run until a signal.

    Args:
        service: the models.
        listening: from :func:`open_socket`.
        announce: called with the address once requests are answered.
        extend: adds to the application before it starts.
        prepare: starts the service while requests are answered already, and tells itself what goes wrong; default: the
            service is started first.

    Raises:
        LLMasOSError: a configured model cannot be had, unless ``prepare`` is given.
    """
    configuration = service.configuration
    # The service is started here, so that its errors are told like those of every command.
    application = create_application(service, owns_service=False)
    if extend is not None:
        extend(application)
    host, port = listening.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    drain = configuration.drain_seconds
    config = uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=drain,
        server_header=False,
        lifespan="on",
        h11_max_incomplete_event_size=64 * 1024,
    )
    server = _Server(config, service, lambda: announce(address))

    async def run() -> None:
        preparing = None
        try:
            if prepare is None:
                await service.start()
            else:
                preparing = asyncio.ensure_future(prepare())
            await server.serve(sockets=[listening])
        finally:
            if preparing is not None:
                preparing.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await preparing
            await service.close()

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(run())
