"""Any server with an API like OpenAI's: answers through chat or completions, log-probabilities through ``echo``."""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

from llmasos.errors import LLMasOSError, Unauthorised, Unavailable, Unsupported
from llmasos.evaluation.backends.engine import not_a_number
from llmasos.evaluation.backends.protocol import (
    Ability,
    Answer,
    Call,
    Label,
    Predict,
    PromptInput,
    Write,
    Written,
)
from llmasos.i18n import t

_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_LONGEST_PAUSE = 60.0
_VARIABLES = "chat_template_kwargs"


@dataclass(frozen=True)
class EndpointOptions:
    """How a server is spoken to."""

    url: str
    """Up to and including ``/v1``."""
    model: str
    """Name of the model there."""
    api_key: str | None = None
    concurrency: int = 8
    """Calls at the same time."""
    retries: int = 5
    """Further attempts after an error that may pass, with growing pauses."""
    timeout: float = 300.0
    """Seconds that one answer may take."""


class EndpointBackend:
    """See :class:`~llmasos.evaluation.backends.protocol.Backend`."""

    abilities: frozenset[Ability] = frozenset({"loglikelihood", "perplexity", "generate"})
    labels: Sequence[str] | None = None
    digest: str | None = None
    has_chat_template: bool | None = None
    notes: tuple[str, ...] = ()

    def __init__(self, options: EndpointOptions) -> None:
        self._options = options
        self._grants_wishes = True
        self.reference = options.model
        self.facts: Mapping[str, Any] = {"endpoint": options.url}
        headers = {} if options.api_key is None else {"Authorization": f"Bearer {options.api_key}"}
        self._client = httpx.Client(
            base_url=options.url.rstrip("/") + "/",
            headers=headers,
            timeout=httpx.Timeout(options.timeout, connect=20.0),
            limits=httpx.Limits(max_connections=options.concurrency),
            trust_env=False,  # a proxy of the environment must not see prompts unasked
        )

    def show(self, prompt: PromptInput) -> str:
        if prompt.messages is None:
            return prompt.text
        return "\n".join(f"{message['role']}: {message['content']}" for message in prompt.messages)

    def run(self, calls: Sequence[Call]) -> Iterator[tuple[int, Answer]]:
        waiting: deque[tuple[int, Future[Answer]]] = deque()
        pool = ThreadPoolExecutor(self._options.concurrency, thread_name_prefix="endpoint")
        try:
            for index, call in enumerate(calls):
                waiting.append((index, pool.submit(self._answer, call)))
                if len(waiting) >= 4 * self._options.concurrency:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def close(self) -> None:
        self._client.close()

    # --- calls ------------------------------------------------------------------------------------------------

    def _answer(self, call: Call) -> Answer:
        started = time.perf_counter()
        if isinstance(call, Label):
            raise Unsupported(t("an endpoint writes text and is no classifier"), hint=t("Choose a task with a prompt."))
        if isinstance(call, Write):
            return self._write(call, started)
        if isinstance(call, Predict):
            return self._rate(PromptInput(), call.text, started)
        return self._rate(call.prompt, call.continuation, started)

    def _write(self, call: Write, started: float) -> Answer:
        body: dict[str, Any] = {
            "model": self._options.model, "max_tokens": call.max_tokens, "temperature": call.temperature,
            "n": call.samples, "seed": call.seed,
        }  # fmt: skip
        body |= {"top_p": call.top_p} if call.top_p < 1 else {}
        body |= {"stop": list(call.stop)} if call.stop else {}
        chat = call.prompt.messages is not None
        wishes = dict(call.prompt.wishes) if chat and self._grants_wishes else {}
        if chat:
            if call.prompt.answer_prefix:
                raise Unsupported(
                    t("the task begins the model's answer, which conversations with an endpoint cannot"),
                    hint=t("Pass --chat off."),
                )
            body["messages"] = [dict(message) for message in call.prompt.messages or ()]
            variables = {**wishes, **call.prompt.variables}
            body |= {_VARIABLES: variables} if variables else {}
        else:
            body["prompt"] = call.prompt.text
        shown = self.show(call.prompt)
        found = self._post("chat/completions" if chat else "completions", body)
        if isinstance(found, str) and wishes and any(word in found for word in (_VARIABLES, *wishes)):
            self._grants_wishes = False  # the server, or its template, knows no such variable; it was merely wished
            return self._write(call, started)
        if isinstance(found, str):
            return Answer(shown, error=found)
        try:
            outputs = tuple(
                Written(
                    (choice["message"].get("content") if chat else choice["text"]) or "",
                    str(choice.get("finish_reason")),
                )
                for choice in sorted(found["choices"], key=lambda choice: int(choice.get("index", 0)))
            )
            tokens = int((found.get("usage") or {}).get("prompt_tokens") or 0)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._broken(error) from error
        if not outputs:
            raise self._broken("choices: []")
        return Answer(shown, tokens, outputs=outputs, seconds=time.perf_counter() - started)

    def _rate(self, prompt: PromptInput, text: str, started: float) -> Answer:
        if prompt.messages is not None:
            raise Unsupported(
                t("the log-probability of a text in a conversation cannot be asked of an endpoint"),
                hint=t("Pass --chat off."),
            )
        body = {
            "model": self._options.model, "prompt": prompt.text + text, "max_tokens": 1, "temperature": 0,
            "logprobs": 1, "echo": True,
        }  # fmt: skip
        found = self._post("completions", body)
        if isinstance(found, str):
            return Answer(prompt.text or text, error=found)
        total, greedy, rated, tokens = self._rated(found, len(text))
        answer = Answer(prompt.text or text, tokens - rated, tokens=rated, seconds=time.perf_counter() - started)
        if not math.isfinite(total):
            return Answer(answer.prompt, error=not_a_number(total))
        return Answer(
            answer.prompt, answer.prompt_tokens, logprob=total, tokens=rated, greedy=greedy, seconds=answer.seconds
        )

    def _rated(self, found: Mapping[str, Any], characters: int) -> tuple[float, bool, int, int]:
        """Log-probability of the last ``characters`` of the prompt, whether it is greedy, its tokens, all tokens."""
        try:
            logprobs = found["choices"][0]["logprobs"]
        except (KeyError, IndexError, TypeError) as error:
            raise self._broken(error) from error
        if not logprobs or not logprobs.get("token_logprobs") or not logprobs.get("text_offset"):
            raise self._no_logprobs()
        values, offsets = logprobs["token_logprobs"], logprobs["text_offset"]
        likeliest = logprobs.get("top_logprobs") or [None] * len(values)
        written = int((found.get("usage") or {}).get("completion_tokens", 1))
        count = len(values) - written
        if count < 2:
            raise self._no_logprobs()
        # Counted from the end of the prompt, for a begin token may have a text of its own.
        end = offsets[count] if written else offsets[-1] + len(logprobs["tokens"][-1])
        begin = end - characters
        first = next(place for place in range(count) if place + 1 == count or offsets[place + 1] > begin)
        first = max(first, 1)  # nothing is known of the first token of all
        total, greedy = 0.0, True
        for place in range(first, count):
            if values[place] is None:
                raise self._no_logprobs()
            total += float(values[place])
            best = likeliest[place]
            greedy = greedy and bool(best) and max(best.values()) <= float(values[place]) + 1e-9
        return total, greedy, count - first, count

    def _no_logprobs(self) -> Unsupported:
        return Unsupported(
            t("{url} gives no log-probabilities of a prompt", url=self._options.url),
            hint=t(
                "This task rates given texts. It needs a server whose /completions knows echo and logprobs, such as "
                "`llmasos serve`, vLLM or llama-server; or choose a task in which the model writes."
            ),
        )

    # --- the wire ---------------------------------------------------------------------------------------------

    def _post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any] | str:
        """The server's answer, or its words if it refuses this prompt.

        Raises:
            Unavailable: it cannot be reached.
            Unauthorised, Unsupported: it refuses all prompts.
        """
        failure = ""
        for attempt in range(self._options.retries + 1):
            pause = min(0.5 * 2.0**attempt, _LONGEST_PAUSE)
            try:
                response = self._client.post(path, json=dict(body))
            except httpx.HTTPError as error:
                failure = str(error) or type(error).__name__
            else:
                if response.status_code < 400:
                    return self._document(response)
                failure = f"{response.status_code}: {_reason(response)}"
                if response.status_code not in _RETRIED:
                    return self._refused(response, path)
                pause = max(pause, min(_retry_after(response), _LONGEST_PAUSE))
            if attempt < self._options.retries:
                time.sleep(pause)
        raise Unavailable(
            t("{url} does not answer: {problem}", url=self._options.url, problem=failure),
            hint=t("Check the address and that the server runs; then go on with --resume."),
        )

    def _document(self, response: httpx.Response) -> Mapping[str, Any]:
        try:
            document = response.json()
        except json.JSONDecodeError as error:
            raise self._broken(error) from error
        if not isinstance(document, dict):
            raise self._broken(type(document).__name__)
        return document

    def _refused(self, response: httpx.Response, path: str) -> str:
        reason = _reason(response)
        if response.status_code in (401, 403):
            raise Unauthorised(
                t("{url} refuses the key: {problem}", url=self._options.url, problem=reason),
                hint=t("Name the variable that holds the key with --api-key-variable."),
            )
        if response.status_code in (404, 405, 501):
            raise Unsupported(
                t("{url} has no {path} for {model}: {problem}", url=self._options.url, path=path,
                  model=self._options.model, problem=reason),
                hint=t("Check the address (it ends in /v1), the model's name, and --chat on or off."),
            )  # fmt: skip
        return f"{response.status_code}: {reason}"

    def _broken(self, problem: object) -> LLMasOSError:
        return Unavailable(
            t("{url} answered in a form that is not OpenAI's: {problem}", url=self._options.url, problem=repr(problem)),
            hint=t("Check the address: it ends in /v1."),
        )


def _reason(response: httpx.Response) -> str:
    """What the server says, in short."""
    try:
        document = response.json()
        error = document.get("error", document) if isinstance(document, dict) else document
        text = error.get("message", error) if isinstance(error, dict) else error
    except json.JSONDecodeError:
        text = response.text
    return str(text)[:500]


def _retry_after(response: httpx.Response) -> float:
    try:
        return max(float(response.headers.get("Retry-After", "0")), 0.0)
    except ValueError:
        return 0.0
