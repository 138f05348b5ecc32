"""A stand-in for a judge behind an API like OpenAI's, on loopback."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def serving(rule: Callable[[str, str], str] | Mapping[str, str]) -> Iterator[str]:
    """The address of a judge, open as long as the block runs.

    Args:
        rule: the judge's text for two answers, or by the single answer.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            question = body["messages"][-1]["content"]
            found = re.findall(r"<answer(?:_[ab])?>\n(.*?)\n</answer(?:_[ab])?>", question, re.DOTALL)
            text = rule[found[0]] if isinstance(rule, Mapping) else rule(found[0], found[1])
            message = {"role": "assistant", "content": text}
            answer = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
            content = json.dumps({**answer, "usage": {"prompt_tokens": 5, "completion_tokens": 2}}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
