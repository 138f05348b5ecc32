"""What the stand-in servers share: real HTTP on loopback, byte ranges, and faults on request."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit


@dataclass
class Logged:
    """One request and what was sent in answer."""

    method: str
    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0


@dataclass
class Faults:
    """What goes wrong. Keys are the last parts of paths.

    cut: close the connection after so many bytes of the body, once for every number in the list.
    stall: send so many bytes, then nothing until the server closes.
    delay: seconds between pieces of 16 KiB.
    statuses: answer with these statuses first.
    """

    cut: dict[str, list[int]] = field(default_factory=dict)
    stall: dict[str, int] = field(default_factory=dict)
    delay: dict[str, float] = field(default_factory=dict)
    statuses: dict[str, list[int]] = field(default_factory=dict)
    ignore_ranges: bool = False


class StandIn:
    """A server on a free port of loopback, in a thread."""

    def __init__(self) -> None:
        self.log: list[Logged] = []
        self.faults = Faults()
        self.lock = threading.Lock()
        self.closing = threading.Event()
        owner = self

        class Bound(Handler):
            standin = owner

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def answer(self, handler: Handler) -> None:
        """Answer one request."""
        raise NotImplementedError

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def requests(self, method: str, ending: str) -> list[Logged]:
        with self.lock:
            return [item for item in self.log if item.method == method and item.path.split("?")[0].endswith(ending)]

    def sent(self, ending: str) -> int:
        """Bytes of bodies sent for paths that end so."""
        return sum(item.sent for item in self.requests("GET", ending))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    standin: StandIn
    record: Logged

    def handle_any(self) -> None:
        parts = urlsplit(self.path)
        self.route = unquote(parts.path)
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.record = Logged(self.command, self.path, {key.lower(): value for key, value in self.headers.items()})
        with self.standin.lock:
            self.standin.log.append(self.record)
        waiting = self.standin.faults.statuses.get(self.route.rpartition("/")[2])
        if waiting:
            self.reply(waiting.pop(0), b"", {"Retry-After": "0"})
            return
        try:
            self.standin.answer(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def reply(
        self, status: int, data: bytes, headers: dict[str, str] | None = None, *, length: int | None = None
    ) -> None:
        self.record.status = status
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        if self.command != "HEAD" and data:
            self.wfile.write(data)
            self.record.sent += len(data)

    def reply_file(self, data: bytes, etag: str, headers: dict[str, str] | None = None) -> None:
        """A file with ETag, Range and If-Range, and the faults that were asked for."""
        faults, name = self.standin.faults, self.route.rpartition("/")[2]
        start, status = 0, 200
        wanted = self.headers.get("Range")
        condition = self.headers.get("If-Range")
        if wanted and not faults.ignore_ranges and condition in (None, etag):
            start, status = int(wanted.removeprefix("bytes=").split("-")[0]), 206
            if start >= len(data):
                self.reply(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                return
        self.record.status = status
        self.send_response(status)
        for key, value in {"ETag": etag, "Accept-Ranges": "bytes", **(headers or {})}.items():
            self.send_header(key, value)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        with self.standin.lock:
            cuts = faults.cut.get(name)
            cut = cuts.pop(0) if cuts else None
        stall = faults.stall.get(name)
        delay = faults.delay.get(name, 0.0)
        position = start
        while position < len(data):
            end = min(len(data), position + 16384)
            if cut is not None:
                end = min(end, start + cut)
            if stall is not None:
                end = min(end, stall)
            self.wfile.write(data[position:end])
            self.record.sent += end - position
            position = end
            if cut is not None and position - start >= cut:
                self.close_connection = True
                self.connection.close()
                return
            if stall is not None and position >= stall:
                self.standin.closing.wait(30)
                self.close_connection = True
                return
            if delay:
                time.sleep(delay)


@contextmanager
def running(standin: Any) -> Iterator[Any]:
    try:
        yield standin
    finally:
        standin.close()
