"""What HTTP costs: the same requests to one engine, handed over directly and through the server, in turns.

    python benchmarks/server.py [--model smollm2:135m-instruct] [--streams 16] [--new-tokens 128] [--repeat 5]

Engine and server are one process, as in ``llmasos serve``; the client is another that reads raw bytes from sockets and
looks into them when all is over, so that it takes as little as possible of the same cores. Prompts are token ids,
different in every run; outputs are greedy and have their full length. The figure is output tokens per second over the
whole job; what is compared is the median of runs taken in turns.
"""

from __future__ import annotations

import argparse
import json
import re
import selectors
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn
from comparison.prompts import PromptSource

from llmasos.engine.request import Request, SamplingParameters
from llmasos.library.store import Library
from llmasos.sdk import open_model_folder
from llmasos.server.application import create_application
from llmasos.server.configuration import ServerConfiguration
from llmasos.server.process import open_socket
from llmasos.server.serving.service import ModelService


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2:135m-instruct")
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--prompt-tokens", type=int, default=110)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--client", metavar="PORT", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def drain(port: int, bodies: list[bytes]) -> list[bytes]:
    """Send all requests at once and read all answers to their end."""
    selector = selectors.DefaultSelector()
    parts: dict[socket.socket, list[bytes]] = {}
    for body in bodies:
        connection = socket.create_connection(("127.0.0.1", port))
        lines = ["POST /v1/completions HTTP/1.1", "Host: localhost", "Connection: close"]
        lines.append(f"Content-Length: {len(body)}")
        head = "\r\n".join(lines) + "\r\n\r\n"
        connection.sendall(head.encode() + body)
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ)
        parts[connection] = []
    left = len(bodies)
    while left:
        for key, _ in selector.select():
            connection = key.fileobj  # type: ignore[assignment]
            data = connection.recv(1 << 16)
            if data:
                parts[connection].append(data)
            else:
                selector.unregister(connection)
                connection.close()
                left -= 1
    return [b"".join(chunks) for chunks in parts.values()]


def client(port: int) -> None:
    """The other process: jobs come in by line, seconds go out."""
    for line in sys.stdin:
        bodies = [json.dumps(body).encode() for body in json.loads(line)]
        started = time.perf_counter()
        answers = drain(port, bodies)
        seconds = time.perf_counter() - started
        tokens = [int(match) for text in answers for match in re.findall(rb'"completion_tokens":\s*(\d+)', text)]
        print(json.dumps({"seconds": seconds, "tokens": tokens}), flush=True)


class Bench:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        configuration = ServerConfiguration(port=0, models=(options.model,), access_log="off", authentication="off")
        self.service = ModelService(configuration, Library())
        listening = open_socket(configuration)
        port = listening.getsockname()[1]
        config = uvicorn.Config(create_application(self.service), log_config=None, access_log=False)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=lambda: self.server.run(sockets=[listening]))
        self.thread.start()
        while not self.server.started:
            time.sleep(0.05)
        engine = self.service.loaded()[0].local.engine
        assert engine is not None
        self.engine = engine
        folder = open_model_folder(options.model)
        self.source = PromptSource(folder.path / "tokenizer.json", None)
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--client", str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def prompts(self) -> list[list[int]]:
        return [self.source.take(self.options.prompt_tokens) for _ in range(self.options.streams)]

    def direct(self) -> float:
        sampling = SamplingParameters(temperature=0, max_tokens=self.options.new_tokens, ignore_eos=True)
        requests = [Request(prompt, sampling) for prompt in self.prompts()]
        started = time.perf_counter()
        results = self.engine.generate(requests)
        seconds = time.perf_counter() - started
        return sum(result.usage.completion_tokens for result in results) / seconds

    def http(self, *, stream: bool) -> float:
        options = self.options
        bodies: list[dict[str, Any]] = [
            {"model": options.model, "prompt": prompt, "max_tokens": options.new_tokens, "temperature": 0,
             "ignore_eos": True, **({"stream": True, "stream_options": {"include_usage": True}} if stream else {})}
            for prompt in self.prompts()
        ]  # fmt: skip
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(bodies) + "\n")
        self.process.stdin.flush()
        report = json.loads(self.process.stdout.readline())
        if report["tokens"] != [options.new_tokens] * options.streams:
            raise SystemExit(f"answers are not whole: {report['tokens']}")
        return float(sum(report["tokens"]) / report["seconds"])

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self.server.should_exit = True
        self.thread.join()


def main() -> None:
    options = arguments()
    if options.client is not None:
        client(options.client)
        return
    bench = Bench(options)
    rows: dict[str, list[float]] = {"engine": [], "http, streamed": [], "http, whole": []}
    try:
        bench.direct()  # warm-up
        bench.http(stream=True)
        for _ in range(options.repeat):
            rows["engine"].append(bench.direct())
            rows["http, streamed"].append(bench.http(stream=True))
            rows["http, whole"].append(bench.http(stream=False))
    finally:
        bench.close()
    base = statistics.median(rows["engine"])
    print(f"{options.model}: {options.streams} streams, {options.prompt_tokens} + {options.new_tokens} tokens")
    print(f"{'':18}{'tok/s':>8}{'lowest-highest':>18}{'of the engine':>15}")
    for name, values in rows.items():
        median = statistics.median(values)
        print(f"{name:18}{median:8.0f}{f'{min(values):.0f}-{max(values):.0f}':>18}{100 * median / base:14.1f} %")
    options.results.mkdir(parents=True, exist_ok=True)
    file = options.results / f"server-{options.model.replace(':', '-').replace('/', '-')}.json"
    settings = {name: getattr(options, name) for name in ("model", "streams", "prompt_tokens", "new_tokens", "repeat")}
    file.write_text(json.dumps({"settings": settings, "tokens_per_second": rows}, indent=1) + "\n", encoding="utf-8")
    print(f"written to {file}")


if __name__ == "__main__":
    main()
