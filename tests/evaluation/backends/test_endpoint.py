from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import llmasos
import tiny_models
from llmasos.errors import Unauthorised, Unavailable, Unsupported
from llmasos.evaluation.backends import endpoint as module
from llmasos.evaluation.backends.endpoint import EndpointBackend, EndpointOptions
from llmasos.evaluation.backends.open import backend_of
from llmasos.evaluation.backends.protocol import Answer, Call, Continue, Label, Predict, PromptInput, Write
from server.running import running


class StandIn:
    """A server with an API like OpenAI's: it says ``reply``, or fails with the statuses that are queued first."""

    def __init__(self) -> None:
        self.reply: dict[str, Any] | bytes = {}
        self.statuses: list[int] = []
        self.headers: dict[str, str] = {}
        self.seen: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.at_once = self.most_at_once = 0
        lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    owner.seen.append((self.path, body, dict(self.headers)))
                    owner.at_once += 1
                    owner.most_at_once = max(owner.most_at_once, owner.at_once)
                    status = owner.statuses.pop(0) if owner.statuses else 200
                threading.Event().wait(0.01)
                reply = owner.reply if status == 200 else {"error": {"message": f"told to fail with {status}"}}
                data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
                with lock:
                    owner.at_once -= 1
                self.send_response(status)
                for name, value in owner.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def standin() -> Iterator[StandIn]:
    server = StandIn()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 0.02)


def open_backend(standin: StandIn, **options: Any) -> EndpointBackend:
    return EndpointBackend(EndpointOptions(standin.url, "some-model", **{"retries": 2, **options}))


def run(backend: EndpointBackend, *calls: Call) -> list[Answer]:
    found = dict(backend.run(calls))
    return [found[index] for index in range(len(calls))]


def chat_reply(text: str) -> dict[str, Any]:
    return {
        "choices": [{"index": 0, "message": {"content": text}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 7},
    }  # fmt: skip


def scored(tokens: list[str], logprobs: list[float | None], *, offset: int = 0) -> dict[str, Any]:
    """What vLLM answers to echo and logprobs; the last token is the one that was written."""
    offsets = [offset + sum(map(len, tokens[:place])) for place in range(len(tokens))]
    likeliest = [None if value is None else {token: value, "other": -3.0} for token, value in
                 zip(tokens, logprobs, strict=True)]  # fmt: skip
    entry = {"tokens": tokens, "token_logprobs": logprobs, "text_offset": offsets, "top_logprobs": likeliest}
    return {"choices": [{"text": "", "logprobs": entry}], "usage": {"completion_tokens": 1}}


HELLO = PromptInput(messages=({"role": "user", "content": "Hello"},))


def test_a_conversation(standin: StandIn) -> None:
    standin.reply = chat_reply("Hi")
    call = Write(HELLO, 16, stop=("\n",), temperature=0.5, top_p=0.9, samples=1, seed=3)
    (answer,) = run(open_backend(standin, api_key="secret"), call)
    assert (answer.outputs[0].text, answer.outputs[0].finish_reason, answer.prompt_tokens) == ("Hi", "stop", 7)
    assert answer.prompt == "user: Hello"
    path, body, headers = standin.seen[0]
    assert path == "/v1/chat/completions"
    assert body == {
        "model": "some-model", "max_tokens": 16, "temperature": 0.5, "n": 1, "seed": 3, "top_p": 0.9, "stop": ["\n"],
        "messages": [{"role": "user", "content": "Hello"}],
    }  # fmt: skip
    assert headers["Authorization"] == "Bearer secret"


def test_plain_text_and_several_answers(standin: StandIn) -> None:
    choices = [{"index": 1, "text": "b", "finish_reason": "length"}, {"index": 0, "text": "a", "finish_reason": "stop"}]
    standin.reply = {"choices": choices}
    (answer,) = run(open_backend(standin), Write(PromptInput("Q:"), 16, temperature=1.0, samples=2))
    assert [output.text for output in answer.outputs] == ["a", "b"]
    assert standin.seen[0][0] == "/v1/completions"
    assert standin.seen[0][1]["prompt"] == "Q:"


@pytest.mark.parametrize("offset", [0, 3])
def test_the_log_probability_of_a_continuation(standin: StandIn, offset: int) -> None:
    # A server that writes its begin token into the text moves all offsets.
    standin.reply = scored(["Q", ":", " yes", ".", "!"], [None, -1.0, -0.25, -0.5, -9.0], offset=offset)
    (answer,) = run(open_backend(standin), Continue(PromptInput("Q:"), " yes."))
    assert answer.logprob == pytest.approx(-0.75)
    assert (answer.tokens, answer.prompt_tokens, answer.greedy) == (2, 2, True)
    body = standin.seen[0][1]
    assert (body["prompt"], body["echo"], body["logprobs"], body["temperature"]) == ("Q: yes.", True, 1, 0)


def test_a_token_across_the_edge_belongs_to_the_continuation(standin: StandIn) -> None:
    standin.reply = scored(["Q", ": y", "es", "!"], [None, -4.0, -0.5, -9.0])
    (answer,) = run(open_backend(standin), Continue(PromptInput("Q:"), " yes"))
    assert answer.logprob == pytest.approx(-4.5)
    assert not answer.greedy


def test_a_whole_text(standin: StandIn) -> None:
    standin.reply = scored(["Q", ":", " yes", "!"], [None, -1.0, -0.25, -9.0])
    (answer,) = run(open_backend(standin), Predict("Q: yes"))
    assert answer.logprob == pytest.approx(-1.25)
    assert answer.tokens == 2, "nothing is known of the first"


@pytest.mark.parametrize("logprobs", [None, {}, {"token_logprobs": [], "text_offset": []}, {"content": []}])
def test_a_server_without_log_probabilities_is_refused_clearly(standin: StandIn, logprobs: Any) -> None:
    standin.reply = {"choices": [{"text": "x", "logprobs": logprobs}]}
    with pytest.raises(Unsupported, match="no log-probabilities of a prompt") as caught:
        run(open_backend(standin), Continue(PromptInput("Q:"), " yes"))
    assert "echo and logprobs" in str(caught.value.hint)


def test_what_an_endpoint_cannot_do(standin: StandIn) -> None:
    with pytest.raises(Unsupported, match="no classifier"):
        run(open_backend(standin), Label("x"))
    with pytest.raises(Unsupported, match=r"in a conversation cannot"):
        run(open_backend(standin), Continue(HELLO, " yes"))
    begun = PromptInput(messages=HELLO.messages, answer_prefix="Well,")
    with pytest.raises(Unsupported, match="begins the model's answer"):
        run(open_backend(standin), Write(begun, 4))
    assert standin.seen == []


def test_errors_that_pass_are_tried_again(standin: StandIn) -> None:
    standin.reply, standin.statuses = chat_reply("Hi"), [503, 429]
    standin.headers = {"Retry-After": "0.01"}
    (answer,) = run(open_backend(standin), Write(HELLO, 4))
    assert answer.outputs[0].text == "Hi"
    assert len(standin.seen) == 3


def test_a_server_that_stays_away(standin: StandIn) -> None:
    standin.statuses = [500] * 3
    with pytest.raises(Unavailable, match="told to fail with 500") as caught:
        run(open_backend(standin), Write(HELLO, 4))
    assert "--resume" in str(caught.value.hint)
    backend = EndpointBackend(EndpointOptions("http://127.0.0.1:9/v1", "m", retries=1))
    with pytest.raises(Unavailable, match="does not answer"):
        run(backend, Write(HELLO, 4))
    backend.close()


def test_a_refused_prompt_is_an_error_of_its_sample_alone(standin: StandIn) -> None:
    standin.reply, standin.statuses = chat_reply("Hi"), [400]
    answers = run(open_backend(standin, concurrency=1), Write(HELLO, 4), Write(HELLO, 4))
    assert answers[0].error == "400: told to fail with 400"
    assert answers[1].outputs[0].text == "Hi"


@pytest.mark.parametrize(("status", "error"), [(401, Unauthorised), (403, Unauthorised), (404, Unsupported)])
def test_a_refusal_of_everything_ends_everything(standin: StandIn, status: int, error: type[Exception]) -> None:
    standin.statuses = [status] * 10
    with pytest.raises(error, match=f"told to fail with {status}"):
        run(open_backend(standin), Write(HELLO, 4))


@pytest.mark.parametrize("reply", [b"<html>", b"[1]", {"choices": []}, {"choices": [{"index": 0}]}, {}])
def test_an_answer_in_another_form(standin: StandIn, reply: Any) -> None:
    standin.reply = reply
    with pytest.raises(Unavailable, match="not OpenAI's"):
        run(open_backend(standin), Write(HELLO, 4))


def test_calls_run_side_by_side_up_to_a_limit(standin: StandIn) -> None:
    standin.reply = chat_reply("Hi")
    answers = run(open_backend(standin, concurrency=3), *[Write(HELLO, 4)] * 30)
    assert len(answers) == len(standin.seen) == 30
    assert 1 < standin.most_at_once <= 3


def test_our_own_server_answers_as_the_model_does(tmp_path: Path) -> None:
    folder = tiny_models.build("llama", tmp_path / "llama")
    calls: list[Call] = [
        Continue(PromptInput("the model"), " reads"), Continue(PromptInput("words, words"), " and more"),
        Write(PromptInput("the model"), 6), Write(HELLO, 6),
    ]  # fmt: skip
    with running(tmp_path / "home", models=(str(folder),)) as server:
        backend = EndpointBackend(EndpointOptions(f"{server.address}/v1", "llama"))
        remote = run(backend, *calls)
        backend.close()
    with llmasos.load(folder) as model:
        local = [answer for _, answer in sorted(backend_of(model).run(calls))]
    for there, here in zip(remote, local, strict=True):
        assert there.error is None
        assert there.outputs == here.outputs
        assert there.tokens == here.tokens
        assert there.logprob == (None if here.logprob is None else pytest.approx(here.logprob, abs=1e-3))
        assert there.greedy == here.greedy


def test_a_wish_that_a_server_does_not_know_is_given_up(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    standin.reply = chat_reply("Hi")
    wished = replace(HELLO, wishes={"enable_thinking": False})
    backend = open_backend(standin)
    (answer,) = run(backend, Write(wished, 16))
    assert (answer.outputs[0].text, standin.seen[0][1]["chat_template_kwargs"]) == ("Hi", {"enable_thinking": False})

    post = backend._post

    def strict(path: str, body: Any) -> Any:
        return (
            "400: Unrecognized request argument: chat_template_kwargs"
            if "chat_template_kwargs" in body
            else post(path, body)
        )

    monkeypatch.setattr(backend, "_post", strict)
    assert [found.error for found in run(backend, Write(wished, 16), Write(wished, 16))] == [None, None]
    # What a task demands is not given up in silence.
    (refused,) = run(backend, Write(replace(HELLO, variables={"enable_thinking": False}), 16))
    assert refused.error is not None and "chat_template_kwargs" in refused.error
