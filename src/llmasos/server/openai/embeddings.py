"""POST /v1/embeddings and /v1/classify"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from llmasos.i18n import t
from llmasos.server.web.body import Fields, InvalidField
from llmasos.server.web.context import Context, RequestContext
from llmasos.server.web.documentation import documented

router = APIRouter(tags=["OpenAI"])
_MOST_TEXTS = 2048
Text = Annotated[str, Field(min_length=1)]


class EmbeddingRequest(Fields):
    """Texts to turn into vectors."""

    model: str = Field(description="Name of a model.")
    input: Text | list[Text] | list[int] | list[list[int]] = Field(
        description="A text, token ids, or a list of either."
    )
    encoding_format: Literal["float", "base64"] | None = Field(None, description="How the numbers are written.")
    dimensions: int | None = Field(None, ge=1, description="Keep the first ones, where the model was made for it.")
    user: str | None = Field(None, description="Written to the access log.")
    prompt_name: str | None = Field(None, description="One of the model's own prompts, such as query or passage.")
    truncate: Literal["start", "end"] | None = Field(None, description="Cut a text that does not fit.")

    NOT_SUPPORTED: ClassVar[Mapping[str, str]] = {"input_type": "use prompt_name"}


class ClassifyRequest(Fields):
    """Texts to label."""

    model: str = Field(description="Name of a model.")
    input: Text | list[Text] = Field(description="A text or several.")
    pair: str | list[str] | None = Field(None, description="The second text of each, for models of pairs.")
    truncate: Literal["start", "end"] | None = Field(None, description="Cut a text that does not fit.")
    user: str | None = Field(None, description="Written to the access log.")


@router.post("/v1/embeddings", **documented(EmbeddingRequest, "A vector for each text."))
async def embeddings(context: RequestContext) -> Response:
    """Turn texts into vectors."""
    received = await context.body(EmbeddingRequest)
    fields = received.fields
    context.note(model=fields.model, user=fields.user)
    texts = await _texts(fields, context)
    found = await context.embed(
        fields.model, texts, dimensions=fields.dimensions, prompt_name=fields.prompt_name, truncate=fields.truncate
    )
    tokens = sum(item.tokens for item in found)
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(item.vector, fields.encoding_format)}
        for index, item in enumerate(found)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    answer = {"object": "list", "data": data, "model": fields.model, "usage": usage}
    return JSONResponse(answer, headers=received.headers)


async def _texts(fields: EmbeddingRequest, context: Context) -> list[str]:
    given = fields.input
    if isinstance(given, str):
        return [given]
    if not given:
        raise InvalidField(t("input is an empty list"), param="input")
    if len(given) > _MOST_TEXTS:
        raise InvalidField(
            t("input has {count} texts; allowed are {limit}", count=len(given), limit=_MOST_TEXTS), param="input"
        )
    if isinstance(given[0], str):
        return [text for text in given if isinstance(text, str)]
    rows = [given] if isinstance(given[0], int) else given
    return await context.service.with_model(  # type: ignore[no-any-return]
        fields.model, lambda model: [model.detokenize(row) for row in rows]
    )


def _vector(vector: Any, form: str | None) -> Any:
    values = vector.tolist()
    if form == "base64":
        return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode("ascii")
    return values


@router.post("/v1/classify", **documented(ClassifyRequest, "A label with its score for each text."))
async def classify(context: RequestContext) -> Response:
    """Label texts."""
    received = await context.body(ClassifyRequest)
    fields = received.fields
    context.note(model=fields.model, user=fields.user)
    texts = [fields.input] if isinstance(fields.input, str) else fields.input
    if not texts:
        raise InvalidField(t("input is an empty list"), param="input")
    pairs = [fields.pair] if isinstance(fields.pair, str) else fields.pair
    if pairs is not None and len(pairs) != len(texts):
        raise InvalidField(
            t("pair has {count} texts and input {wanted}", count=len(pairs), wanted=len(texts)), param="pair"
        )
    found = await context.classify(fields.model, texts, pair=pairs, truncate=fields.truncate)
    data = [
        {"index": index, "label": item.label, "score": item.score, "scores": dict(item.scores),
         "labels": list(item.labels)}
        for index, item in enumerate(found)
    ]  # fmt: skip
    return JSONResponse({"object": "list", "data": data, "model": fields.model}, headers=received.headers)
