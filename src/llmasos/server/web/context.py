"""What a route needs of the server, gathered for one request."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import Depends, Request

from llmasos import __version__
from llmasos.engine.request import Usage
from llmasos.errors import LLMasOSError
from llmasos.server.serving.job import Generation, Job
from llmasos.server.web import streaming
from llmasos.server.web.access import record_of
from llmasos.server.web.body import Fields, Received, parse_object, read_body, read_bytes

if TYPE_CHECKING:
    from llmasos.modeling.results import Classification, Embedding
    from llmasos.server.serving.service import ModelService
    from llmasos.server.web.gate import Caller

_Body = TypeVar("_Body", bound=Fields)
_Result = TypeVar("_Result")


class Context:
    """One request: its body, who sent it, and the models."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.service: ModelService = request.app.state.service
        self.request_id: str = request.scope["llmasos.request_id"]
        self.caller: Caller = request.scope["llmasos.caller"]
        self.fingerprint = f"llmasos-{__version__}"

    async def body(self, fields: type[_Body]) -> Received[_Body]:
        """The checked body; see :func:`~llmasos.server.web.body.read_body`."""
        configuration = self.service.configuration
        received = await read_body(
            self.request, fields, limit=configuration.max_body_bytes, lenient=configuration.lenient
        )
        if configuration.access_log == "prompts":
            record_of(self.request.scope).texts["request"] = received.fields.model_dump(mode="json", exclude_none=True)
        return received

    async def json_object(self) -> dict[str, object]:
        """The body as a JSON object without a check of its fields."""
        return parse_object(await read_bytes(self.request, self.service.configuration.max_body_bytes))

    async def generate(self, job: Job) -> Generation:
        """Accept a job for this caller; the generation must be closed.

        Raises:
            LLMasOSError: see :meth:`ModelService.generate`; TooManyRequests also for limits of the caller's key.
        """
        self.caller.check_tokens()
        return await self.while_connected(self.service.generate(job, self.caller.account))

    async def embed(self, model: str, texts: Sequence[str], **options: Any) -> list[Embedding]:
        """Vectors of texts, for this caller. Raises as :meth:`ModelService.embed`."""
        self.caller.check_tokens()
        found = await self.while_connected(self.service.embed(model, texts, **options))
        self._account_input(sum(item.tokens for item in found))
        return found

    async def classify(self, model: str, texts: Sequence[Any], **options: Any) -> list[Classification]:
        """Labels of texts, for this caller. Raises as :meth:`ModelService.classify`."""
        self.caller.check_tokens()
        found = await self.while_connected(self.service.classify(model, texts, **options))
        self._account_input(sum(item.tokens for item in found))
        return found

    def _account_input(self, tokens: int) -> None:
        usage = Usage(tokens, 0)
        self.caller.account(usage)
        self.usage(usage)

    async def while_connected(self, work: Awaitable[_Result]) -> _Result:
        """The result of ``work``, unless the client goes away first."""
        return await streaming.while_connected(self.request, work)

    def note(self, *, model: str | None = None, user: str | None = None, stream: bool = False) -> None:
        """For the access log."""
        record = record_of(self.request.scope)
        record.model, record.user, record.stream = model, user, stream

    def usage(self, usage: Usage) -> None:
        """For the access log."""
        record = record_of(self.request.scope)
        record.prompt_tokens, record.output_tokens = usage.prompt_tokens, usage.completion_tokens
        record.cached_tokens = usage.cached_tokens

    def failed(self, error: LLMasOSError) -> None:
        """For the access log: an error after the answer had begun."""
        record_of(self.request.scope).error = error.message


async def context_of(request: Request) -> Context:
    """The dependency of all routes."""
    return Context(request)


RequestContext = Annotated[Context, Depends(context_of)]
"""The type of a route's parameter that gets the context of its request."""
