"""A server in this process on a free port of loopback, stopped for good at the end."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from llmasos.library.store import Library
from llmasos.server.application import create_application
from llmasos.server.configuration import ServerConfiguration
from llmasos.server.process import open_socket
from llmasos.server.serving.service import ModelService


class Running:
    """A running server."""

    def __init__(self, address: str, service: ModelService, server: uvicorn.Server) -> None:
        self.address = address
        self.service = service
        self.server = server

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.address, timeout=60, **options)

    def metric(self, name: str, **labels: str) -> float:
        """A sample of /metrics; 0 if there is none."""
        return self.service.metrics.registry.get_sample_value(name, labels) or 0.0

    def wait_until(self, condition: Any, seconds: float = 10.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not happen"
            time.sleep(0.005)


def alike(one: Any, other: Any) -> bool:
    """Whether two answers are the same but for what rounding does to numbers: a request that finds its beginning in the
    cache is computed in other shapes than the first."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, abs_tol=1e-4)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    return bool(one == other)


@contextmanager
def running(home: Path, **configuration: Any) -> Iterator[Running]:
    """Serve with ``configuration``; the library is in ``home``."""
    values = {"threads": 1, "port": 0, "access_log": "off", "cache_bytes": 2**24, **configuration}
    service = ModelService(ServerConfiguration.model_validate(values), Library(home))
    listening = open_socket(service.configuration)
    config = uvicorn.Config(create_application(service), log_config=None, access_log=False, lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: server.run(sockets=[listening]), daemon=True)
    thread.start()
    end = time.monotonic() + 60
    while not server.started:
        assert thread.is_alive() and time.monotonic() < end, "the server did not start"
        time.sleep(0.01)
    try:
        yield Running(f"http://127.0.0.1:{listening.getsockname()[1]}", service, server)
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "the server did not stop"
        listening.close()
