"""POST /api/embed, and /api/embeddings, its forerunner"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from llmasos.errors import ContextLengthExceeded
from llmasos.i18n import t
from llmasos.server.ollama.answers import nanoseconds
from llmasos.server.ollama.chat import too_long
from llmasos.server.ollama.fields import seconds_of
from llmasos.server.ollama.options import OptionFields
from llmasos.server.web.body import Fields, InvalidField
from llmasos.server.web.context import Context, RequestContext
from llmasos.server.web.documentation import documented

if TYPE_CHECKING:
    from llmasos.modeling.results import Embedding

router = APIRouter(tags=["Ollama"])
_MOST_TEXTS = 2048
_NO_SAMPLING = "an embedding chooses no tokens"


class EmbedOptions(Fields):
    """Options of an embedding."""

    num_ctx: int | None = Field(None, ge=1, description="Most tokens of each text; a longer one is refused.")

    NOT_SUPPORTED: ClassVar[Mapping[str, str]] = {
        **OptionFields.NOT_SUPPORTED,
        **{name: _NO_SAMPLING for name in OptionFields.model_fields if name != "num_ctx"},
    }


class EmbedRequest(Fields):
    """Texts to turn into vectors of length 1."""

    model: str
    input: str | list[str] | None = Field(None, description="A text or several; without one the model is loaded.")
    truncate: bool | None = Field(None, description="true: cut a text that does not fit; without it it is refused.")
    dimensions: int | None = Field(None, ge=1, description="Keep the first ones, where the model was made for it.")
    options: EmbedOptions | None = None
    keep_alive: float | str | None = Field(None, description="How long the model stays loaded.")


class EmbeddingsRequest(Fields):
    """A text to turn into a vector of the model's own length."""

    model: str
    prompt: str | None = Field(None, description="The text; without one the model is loaded.")
    options: EmbedOptions | None = None
    keep_alive: float | str | None = Field(None, description="How long the model stays loaded.")


@router.post("/api/embed", **documented(EmbedRequest, "A vector for each text."))
async def embed(context: RequestContext) -> Response:
    """Turn texts into vectors."""
    started = time.perf_counter()
    received = await context.body(EmbedRequest)
    fields = received.fields
    context.note(model=fields.model)
    texts = [fields.input] if isinstance(fields.input, str) else fields.input or []
    if len(texts) > _MOST_TEXTS:
        raise InvalidField(
            t("input has {count} texts; allowed are {limit}", count=len(texts), limit=_MOST_TEXTS), param="input"
        )
    keep_alive = seconds_of(fields.keep_alive)
    load_seconds = await _load(context, fields.model, keep_alive if not texts else None)
    found: list[Embedding] = []
    if texts:
        found = await _embed(
            context, fields.model, texts, dimensions=fields.dimensions, truncate="end" if fields.truncate else None,
            keep_alive=keep_alive,
        )  # fmt: skip
        _check_lengths(found, fields.options)
    answer = {
        "model": fields.model,
        "embeddings": [_unit_length(item) for item in found],
        "total_duration": nanoseconds(time.perf_counter() - started),
        "load_duration": nanoseconds(load_seconds),
        "prompt_eval_count": sum(item.tokens for item in found),
    }
    return JSONResponse(answer, headers=received.headers)


@router.post("/api/embeddings", **documented(EmbeddingsRequest, "The vector of the text."))
async def embeddings(context: RequestContext) -> Response:
    """Turn a text into a vector."""
    received = await context.body(EmbeddingsRequest)
    fields = received.fields
    context.note(model=fields.model)
    keep_alive = seconds_of(fields.keep_alive)
    if not fields.prompt:
        await _load(context, fields.model, keep_alive)
        return JSONResponse({"embedding": []}, headers=received.headers)
    here = context.service.names.find(fields.model).upstream is None
    found = await _embed(
        context, fields.model, [fields.prompt], normalize=False if here else None, keep_alive=keep_alive
    )
    _check_lengths(found, fields.options)
    return JSONResponse({"embedding": found[0].vector.tolist()}, headers=received.headers)


async def _embed(context: Context, model: str, texts: list[str], **options: Any) -> list[Embedding]:
    try:
        return await context.embed(model, texts, **options)
    except ContextLengthExceeded as error:
        raise too_long(error) from error


async def _load(context: Context, model: str, keep_alive: float | None) -> float:
    """Load a model of this machine; the seconds that it took."""
    if context.service.names.find(model).upstream is not None:
        return 0.0
    return await context.while_connected(context.service.load(model, keep_alive))


def _unit_length(embedding: Embedding) -> list[float]:
    length = math.sqrt(sum(value * value for value in embedding))
    return [value / length for value in embedding] if length else list(embedding)


def _check_lengths(found: list[Embedding], options: EmbedOptions | None) -> None:
    """Hold ``num_ctx``, which the model itself does not know."""
    limit = options.num_ctx if options is not None else None
    if limit is None:
        return
    for index, item in enumerate(found):
        if item.tokens > limit:
            raise ContextLengthExceeded(
                t("input[{index}] has {count} tokens; options.num_ctx allows {limit}", index=index, count=item.tokens,
                  limit=limit),
                hint=t("Shorten the text, or allow more."),
            )  # fmt: skip
