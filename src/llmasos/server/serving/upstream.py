"""A model that another OpenAI-compatible server computes: vLLM, SGLang, llama-server, or another LLMasOS."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import httpx

from llmasos.engine.request import Usage
from llmasos.errors import (
    DeadlineExceeded,
    InvalidRequest,
    LLMasOSError,
    NotFound,
    TooManyRequests,
    Unavailable,
    Unsupported,
)
from llmasos.i18n import t
from llmasos.server.configuration import UpstreamConfiguration
from llmasos.server.metrics import Metrics
from llmasos.server.serving.circuit import Circuit
from llmasos.server.serving.job import Job, Piece
from llmasos.server.serving.upstream_wire import completion_body, pieces_of_chunk, usage_of_chunk

if TYPE_CHECKING:
    from llmasos.modeling.results import Embedding

logger = logging.getLogger(__name__)

_RETRIED = frozenset({429, 502, 503, 504})
_LONGEST_PAUSE = 5.0
_LONGEST_REASON = 500


class UpstreamModel:
    """One model of one upstream server.

    A call that fails before the first byte is tried again with growing pauses; when calls fail in a row, the upstream
    is left alone for a while and requests are refused at once.
    """

    def __init__(self, name: str, configuration: UpstreamConfiguration, metrics: Metrics) -> None:
        self.name = name
        self._configuration = configuration
        self._metrics = metrics
        self._circuit = Circuit(configuration.failures_to_open, configuration.open_seconds)
        self._client = httpx.AsyncClient(
            base_url=configuration.url,
            timeout=httpx.Timeout(configuration.read_timeout, connect=configuration.connect_timeout),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            trust_env=False,  # a proxy of the environment must not see prompts unasked
        )

    async def generate(self, job: Job, deadline_seconds: float | None) -> UpstreamGeneration:
        """Send a job.

        Raises:
            Unsupported: the API of upstreams has no word for something that is asked.
            Unavailable: it cannot be reached, or is left alone for a while.
            LLMasOSError: what the upstream refused.
        """
        path, body = completion_body(job, self._configuration.model or self.name)
        end = None if deadline_seconds is None else time.monotonic() + deadline_seconds
        response = await self._send(path, body, end)
        return UpstreamGeneration(self, response, chat=job.messages is not None, end=end)

    async def embed(self, texts: Sequence[str], **options: Any) -> list[Embedding]:
        """Vectors of texts. Raises as :meth:`generate`."""
        import numpy as np

        from llmasos.modeling.results import Embedding

        given = {name: value for name, value in options.items() if value is not None}
        dimensions = given.pop("dimensions", None)
        if given:
            raise Unsupported(
                t("{name} is computed by another server, which does not take {options}", name=self.name,
                  options=", ".join(sorted(given)))
            )  # fmt: skip
        body = {"model": self._configuration.model or self.name, "input": list(texts), "encoding_format": "float"}
        if dimensions is not None:
            body["dimensions"] = dimensions
        response = await self._send("/embeddings", body, None)
        try:
            document = json.loads(await response.aread())
            rows = sorted(document["data"], key=lambda item: item["index"])
            vectors = [np.asarray(row["embedding"], dtype=np.float32) for row in rows]
            total = int(document.get("usage", {}).get("prompt_tokens", 0))
        except (ValueError, KeyError, TypeError, httpx.HTTPError) as error:
            raise self.broken(error) from error
        finally:
            await response.aclose()
        if len(vectors) != len(texts):
            raise self.broken(t("{count} vectors for {wanted} texts", count=len(vectors), wanted=len(texts)))
        share = [total // max(len(texts), 1)] * len(texts)
        share[0] += total - sum(share)
        return [Embedding(vector, tokens) for vector, tokens in zip(vectors, share, strict=True)]

    async def _send(self, path: str, body: dict[str, Any], end: float | None) -> httpx.Response:
        """The answer, its body still unread."""
        attempts = self._configuration.retries + 1
        self._check_circuit()
        for attempt in range(attempts):
            pause: float | None = None
            try:
                request = self._client.build_request("POST", path, json=body, headers=self._headers())
                response = await self._client.send(request, stream=True)
            except httpx.HTTPError as error:
                self._failed("connection")
                failure: LLMasOSError = self._unreachable(error)
            else:
                if response.status_code < 400:
                    self._circuit.succeeded()
                    return response
                failure = await self._refusal(response)
                if response.status_code not in _RETRIED:
                    if response.status_code >= 500:
                        self._failed(str(response.status_code))
                    raise failure
                self._failed(str(response.status_code), counts=response.status_code != 429)
                pause = failure.retry_after if isinstance(failure, TooManyRequests) else None
            if attempt + 1 == attempts or (pause is not None and pause > _LONGEST_PAUSE):
                break
            wait = pause if pause is not None else min(0.2 * 2**attempt, _LONGEST_PAUSE)
            if end is not None and time.monotonic() + wait > end:
                break
            await asyncio.sleep(wait)
            if self._circuit.closed_in() > 0:
                break
        raise failure

    def _headers(self) -> dict[str, str]:
        variable = self._configuration.api_key_variable
        if variable is None:
            return {}
        key = os.environ.get(variable)
        if not key:
            raise Unavailable(
                t("the environment has no {variable}, which holds the key for {name}", variable=variable,
                  name=self.name),
                hint=t("Set it and start the server again."),
            )  # fmt: skip
        return {"authorization": f"Bearer {key}"}

    def _check_circuit(self) -> None:
        wait = self._circuit.closed_in()
        if wait > 0:
            raise Unavailable(
                t("{name} has failed {count} times in a row and is left alone for {seconds} s", name=self.name,
                  count=self._configuration.failures_to_open, seconds=round(wait + 0.5)),
                hint=t("Check the server at {url}.", url=self._configuration.url),
            )  # fmt: skip

    def _failed(self, reason: str, *, counts: bool = True) -> None:
        self._metrics.upstream_failures.labels(self.name, reason).inc()
        if counts and self._circuit.failed():
            logger.warning("upstream %s: left alone for %.0f s", self.name, self._configuration.open_seconds)

    def _unreachable(self, error: httpx.HTTPError) -> Unavailable:
        return Unavailable(
            t("{name} cannot be reached at {url}: {reason}", name=self.name, url=self._configuration.url,
              reason=str(error) or type(error).__name__),
            hint=t("Check that the server there runs."),
        )  # fmt: skip

    def broken(self, reason: object) -> Unavailable:
        """The upstream did not speak as agreed."""
        self._failed("protocol")
        return Unavailable(
            t("{name} answered in a way that cannot be read: {reason}", name=self.name, reason=reason),
            hint=t("It must be OpenAI-compatible, and its address end with the version, such as /v1."),
        )

    async def _refusal(self, response: httpx.Response) -> LLMasOSError:
        try:
            raw = (await response.aread()).decode("utf-8", "replace")
        except httpx.HTTPError as error:
            return self._unreachable(error)
        finally:
            await response.aclose()
        reason = _reason(raw)
        status = response.status_code
        message = t("{name}: {reason}", name=self.name, reason=reason or f"HTTP {status}")
        match status:
            case 401 | 403:  # the client's own key is good; the one for the upstream is not
                return Unavailable(message, hint=t("Check the key in api_key_variable of the upstream {name}.",
                                                   name=self.name))  # fmt: skip
            case 404:
                return NotFound(message)
            case 429:
                header = response.headers.get("retry-after", "")
                return TooManyRequests(message, retry_after=float(header) if header.isdigit() else 1.0)
            case _ if status < 500:
                return InvalidRequest(message)
            case _:
                return Unavailable(message)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _reason(raw: str) -> str:
    """The message of an error body, in whatever form it is."""
    try:
        document = json.loads(raw)
    except ValueError:
        return raw.strip()[:_LONGEST_REASON]
    error = document.get("error", document) if isinstance(document, dict) else document
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or error
    return str(error)[:_LONGEST_REASON]


class UpstreamGeneration:
    """See :class:`~llmasos.server.serving.job.Generation`."""

    def __init__(self, model: UpstreamModel, response: httpx.Response, *, chat: bool, end: float | None) -> None:
        self.id = f"upstream-{secrets.token_hex(8)}"
        self.load_seconds = 0.0
        self.prompt_ids: Sequence[int] | None = None
        self._model, self._response, self._chat, self._end = model, response, chat, end
        self._started = time.monotonic()
        self._first: float | None = None
        self._outputs = 0
        self._usage: Usage | None = None
        self._pending: list[Piece] = []  # held back: the last piece of all carries the usage, which comes later
        self._events = self._read_events()
        self._closing: asyncio.Task[None] | None = None

    async def read(self) -> list[Piece]:
        """See :class:`Generation`."""
        try:
            async with asyncio.timeout(None if self._end is None else max(0.0, self._end - time.monotonic())):
                return await self._read()
        except TimeoutError as error:
            raise DeadlineExceeded(
                t("the request was not finished within its time"),
                hint=t("Ask for fewer tokens, or give it more time."),
            ) from error
        except httpx.HTTPError as error:
            raise self._model.broken(str(error) or type(error).__name__) from error

    async def _read(self) -> list[Piece]:
        async for chunk in self._events:
            usage = usage_of_chunk(chunk)
            if usage is not None:
                self._usage = usage
            pieces = pieces_of_chunk(chunk, chat=self._chat)
            if pieces and self._first is None:
                self._first = time.monotonic() - self._started
            self._outputs += sum(bool(piece.text or piece.reasoning or piece.tool_calls) for piece in pieces)
            if pieces:
                ready, self._pending = self._pending, []
                if any(piece.finish_reason for piece in pieces):
                    self._pending = pieces
                else:
                    ready += pieces
                if ready:
                    return ready
        last = self._pending
        if not last:
            raise self._model.broken(t("the stream ended before the answer did"))
        usage = self._usage or Usage(0, self._outputs)  # some servers do not count; pieces come close to tokens
        total = time.monotonic() - self._started
        last[-1].usage = Usage(
            usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, first_token_seconds=self._first,
            total_seconds=total,
        )  # fmt: skip
        return last

    async def _read_events(self) -> AsyncIterator[dict[str, Any]]:
        async with aclosing(self._response):
            async for line in self._response.aiter_lines():
                if not line.startswith("data:"):
                    continue
                text = line.removeprefix("data:").strip()
                if text == "[DONE]":
                    return
                try:
                    chunk = json.loads(text)
                except ValueError as error:
                    raise self._model.broken(error) from error
                if isinstance(chunk, dict) and "error" in chunk:
                    raise Unavailable(t("{name}: {reason}", name=self._model.name, reason=_reason(text)))
                if not isinstance(chunk, dict):
                    raise self._model.broken(text[:80])
                yield chunk

    def close(self) -> None:
        """See :class:`Generation`."""
        if self._closing is None and not self._response.is_closed:
            # The connection is closed, which tells the upstream to stop.
            self._closing = asyncio.ensure_future(self._response.aclose())
