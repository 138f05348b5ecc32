"""Clients that go away, and a server that is told to stop: a slot is freed at once, an accepted request is finished."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.running import Running, running
from tiny_models import change_json

LONG: dict[str, Any] = {"model": "llama", "prompt": "a", "max_tokens": 20_000, "ignore_eos": True, "stream": True}


@pytest.fixture(scope="module")
def long_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a context in which an answer takes a while."""
    import shutil

    folder = tmp_path_factory.mktemp("long") / "llama"
    shutil.copytree(tiny_folder, folder)
    change_json(folder / "config.json", max_position_embeddings=32_768)
    return folder


@pytest.fixture
def server(long_folder: Path, home: Path) -> Iterator[Running]:
    with running(home, models=(str(long_folder),), cache_bytes=2**26) as server:
        yield server


def request_bytes(body: dict[str, Any], path: str = "/v1/completions") -> bytes:
    text = json.dumps(body).encode()
    return (f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(text)}\r\n\r\n").encode() + text


@pytest.mark.parametrize("stream", [True, False])
def test_clients_that_go_away_free_their_slots(server: Running, stream: bool) -> None:
    """Sockets are closed in the middle; the engine must be idle within a pass or two."""
    local = server.service.loaded()[0].local
    engine = local.decoder_engine
    assert engine is not None
    address = server.address.removeprefix("http://").split(":")
    sockets = []
    for _ in range(16):
        connection = socket.create_connection((address[0], int(address[1])))
        connection.sendall(request_bytes({**LONG, "stream": stream}))
        sockets.append(connection)
    server.wait_until(lambda: engine.stats().running == 16)
    for connection in sockets:
        connection.close()
    passes = engine.stats().passes
    server.wait_until(lambda: engine.stats().running == engine.stats().waiting == 0, 5)
    assert local.outputs == 0 and server.service.loaded()[0].users == 0
    stopped_after = engine.stats().passes - passes
    assert stopped_after < 200, f"{stopped_after} passes went on for nobody"
    server.wait_until(lambda: server.metric("llmasos_requests_cancelled_total", model="llama") == 16)
    with server.client() as client:  # all of the cache can be had again
        engine.clear_cache()
        assert engine.stats().free_blocks == engine.stats().blocks
        assert client.post("/v1/completions", json={**LONG, "stream": False, "max_tokens": 3}).status_code == 200


def test_more_than_the_queue_holds_is_refused_at_once(long_folder: Path, home: Path) -> None:
    with running(home, models=(str(long_folder),), max_sequences=4, max_queue=4) as server:

        async def main() -> list[tuple[int, float]]:
            async with httpx.AsyncClient(base_url=server.address, timeout=60) as client:

                async def one() -> tuple[int, float]:
                    started = time.monotonic()
                    answer = await client.post("/v1/completions", json={**LONG, "stream": False, "max_tokens": 300})
                    if answer.status_code == 429:
                        assert int(answer.headers["retry-after"]) >= 1
                        assert answer.json()["error"]["type"] == "rate_limit_error"
                    return answer.status_code, time.monotonic() - started

                return await asyncio.gather(*(one() for _ in range(40)))

        outcomes = asyncio.run(main())
    assert sum(status == 200 for status, _ in outcomes) >= 8
    assert {status for status, _ in outcomes} == {200, 429}
    assert server.metric("llmasos_requests_refused_total", reason="too_many_requests") > 0


def start(folder: Path, home: Path, *options: str) -> tuple[subprocess.Popen[str], str]:
    """A server in a process of its own, and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "llmasos.cli.app", "serve", str(folder), "--port", "0", "--json", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "LLMASOS_HOME": str(home)},
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    for _ in range(50):
        if line.rstrip() == "}" or not line:
            break
        line += process.stdout.readline()
        try:
            return process, json.loads(line)["address"]
        except ValueError:
            continue
    return process, json.loads(line)["address"]


@pytest.mark.integration
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_told_to_stop_finishes_what_it_took(
    long_folder: Path, home: Path, signal_number: signal.Signals
) -> None:
    process, address = start(long_folder, home)
    try:
        answers: list[httpx.Response] = []

        def ask(stream: bool) -> None:
            body = {**LONG, "stream": stream, "max_tokens": 1500}
            answers.append(httpx.post(f"{address}/v1/completions", json=body, timeout=120))

        threads = [threading.Thread(target=ask, args=(number % 2 == 0,)) for number in range(6)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 60
        while 'llmasos_requests_running{model="llama"} 6.0' not in httpx.get(f"{address}/metrics").text:
            assert time.monotonic() < end and not answers
            time.sleep(0.01)
        process.send_signal(signal_number)
        for thread in threads:
            thread.join(120)
        assert [answer.status_code for answer in answers] == [200] * 6
        for answer in answers:
            finished = "data: [DONE]" in answer.text or answer.json()["usage"]["completion_tokens"] == 1500
            assert finished, answer.text[-200:]
        assert process.wait(30) in (0, -signal_number, 128 + signal_number)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_a_taken_port_is_told(long_folder: Path, home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "llmasos.cli.app", "serve", str(long_folder), "--port", port],
            capture_output=True, text=True, env={**os.environ, "LLMASOS_HOME": str(home)}, timeout=60,
        )  # fmt: skip
    assert done.returncode == 5 and f"cannot listen on 127.0.0.1:{port}" in done.stderr


def test_a_model_that_is_not_there_ends_the_start(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "llmasos.cli.app", "serve", "./nothing-here", "--port", "0"],
        capture_output=True, text=True, env={**os.environ, "LLMASOS_HOME": str(home)}, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0 and "nothing-here" in done.stderr and "Traceback" not in done.stderr
