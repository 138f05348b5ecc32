"""GET /v1/models, and the tokenizer's routes"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from pydantic import Field, JsonValue

from llmasos.errors import NotFound, did_you_mean
from llmasos.i18n import t
from llmasos.modeling.chat_template import missing_template
from llmasos.server.anthropic.models import is_anthropic, model_info, page
from llmasos.server.openai.chat import ToolDefinition
from llmasos.server.openai.fields import ChatMessage, messages_of
from llmasos.server.serving.names import Listed
from llmasos.server.web.body import Fields, InvalidField
from llmasos.server.web.context import RequestContext
from llmasos.server.web.documentation import documented

router = APIRouter(tags=["OpenAI"])


@router.get("/v1/models", **documented(None, "All models that can be named."))
async def list_models(context: RequestContext) -> Response:
    """List the models."""
    if is_anthropic(context.request):
        return JSONResponse(page(context.request, context.service.names.listing()))
    return JSONResponse({"object": "list", "data": [_model(item) for item in context.service.names.listing()]})


@router.get("/v1/models/{model:path}", **documented(None, "The model of that name."))
async def show_model(model: str, context: RequestContext) -> Response:
    """Show one model."""
    listing = context.service.names.listing()
    for item in listing:
        if item.name == model:
            return JSONResponse(model_info(item) if is_anthropic(context.request) else _model(item))
    raise NotFound(
        t("there is no model {name!r} here", name=model), hint=did_you_mean(model, [item.name for item in listing])
    )


def _model(item: Listed) -> dict[str, Any]:
    row = item.row
    known: dict[str, Any] = {}
    if row is not None:
        known = {
            "digest": row.digest, "architecture": row.architecture, "task": row.task_family,
            "parameters": row.parameters, "max_model_len": row.context_length, "license": row.license,
        }  # fmt: skip
    return {
        "id": item.name, "object": "model", "created": int(item.created), "owned_by": "llmasos", "kind": item.kind,
        **known,
    }  # fmt: skip


class TokenizeRequest(Fields):
    """A text or a conversation to cut into tokens."""

    model: str = Field(description="Name of a model.")
    prompt: str | None = Field(None, description="A text.")
    messages: list[ChatMessage] | None = Field(None, min_length=1, description="The conversation, oldest first.")
    tools: list[ToolDefinition] | None = Field(None, description="Functions that the model may call.")
    add_special_tokens: bool = Field(True, description="Add what the model wants around a text.")
    add_generation_prompt: bool = Field(True, description="End with the opening of an answer.")
    chat_template_kwargs: dict[str, JsonValue] | None = Field(None, description="Variables of the chat template.")
    return_token_strs: bool = Field(False, description="Also return the tokens as texts.")


class DetokenizeRequest(Fields):
    """Token ids to turn into a text."""

    model: str = Field(description="Name of a model.")
    tokens: list[int] = Field(description="Token ids.")
    skip_special_tokens: bool = Field(False, description="Leave special tokens out of the text.")


@router.post("/tokenize", **documented(TokenizeRequest, "Token ids, their number, the longest input."))
async def tokenize(context: RequestContext) -> Response:
    """Cut a text, or a conversation as its template writes it, into tokens."""
    received = await context.body(TokenizeRequest)
    fields = received.fields
    context.note(model=fields.model)
    if (fields.prompt is None) == (fields.messages is None):
        raise InvalidField(t("give either prompt or messages"), param="prompt")
    messages = messages_of(fields.messages) if fields.messages is not None else None
    presets = context.service.names.find(fields.model).presets
    if presets is not None and messages is not None:
        messages = presets.conversation(messages)

    def work(model: Any) -> dict[str, Any]:
        if messages is not None:
            if model.chat_template is None:
                raise missing_template(model.reference)
            prompt = model.chat_template.render(
                messages, tools=[tool.model_dump(exclude_none=True) for tool in fields.tools or ()] or None,
                add_generation_prompt=fields.add_generation_prompt, variables=fields.chat_template_kwargs,
            )  # fmt: skip
            ids = model.tokenizer.encode_prompt(prompt)
        else:
            ids = model.tokenize(fields.prompt, add_special_tokens=fields.add_special_tokens).ids
        answer = {"count": len(ids), "max_model_len": model.context_length, "tokens": ids}
        if fields.return_token_strs:
            answer["token_strs"] = model.tokenizer.pieces(ids)
        return answer

    answer = await context.while_connected(context.service.with_model(fields.model, work))
    return JSONResponse(answer, headers=received.headers)


@router.post("/detokenize", **documented(DetokenizeRequest, "The text of the tokens."))
async def detokenize(context: RequestContext) -> Response:
    """Turn token ids into a text."""
    received = await context.body(DetokenizeRequest)
    fields = received.fields
    context.note(model=fields.model)
    text = await context.while_connected(
        context.service.with_model(
            fields.model,
            lambda model: model.detokenize(fields.tokens, skip_special_tokens=fields.skip_special_tokens),
        )
    )
    return JSONResponse({"prompt": text}, headers=received.headers)
