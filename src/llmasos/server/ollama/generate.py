"""POST /api/generate"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import ClassVar

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import Field

from llmasos.i18n import t
from llmasos.server.ollama.chat import answer, level_of, load_or_unload, refuse_shift
from llmasos.server.ollama.description import chat_template_of
from llmasos.server.ollama.fields import InferenceFields, output_format, refuse_images, seconds_of
from llmasos.server.serving.job import Job, Message
from llmasos.server.web.body import InvalidField
from llmasos.server.web.context import Context, RequestContext
from llmasos.server.web.documentation import documented

router = APIRouter(tags=["Ollama"])


class GenerateRequest(InferenceFields):
    """A prompt to answer. Without one the model is loaded, or with ``keep_alive: 0`` unloaded."""

    prompt: str | None = Field(None, description="What the user says; a model without a chat template continues it.")
    system: str | None = Field(None, description="The system prompt, in place of the model's own.")
    raw: bool | None = Field(None, description="Give the prompt to the model as it is, without its chat template.")
    context: list[int] | None = Field(
        None, description="What the answer before gave as its context: those tokens stand before the prompt."
    )
    suffix: str | None = Field(None, description="Must be empty: the models here do not fill in the middle.")
    template: str | None = Field(None, description="Must be empty, or the model's own template.")
    images: list[str] | None = Field(None, description="Must be empty: the models here read text.")
    truncate: bool | None = Field(
        None, description="true: cut the beginning of a prompt that does not fit; without it such a one is refused."
    )
    shift: bool | None = Field(None, description="false: the output ends where the context does, as it always does.")

    NOT_SUPPORTED: ClassVar[Mapping[str, str]] = {
        "messages": "use /api/chat",
        "width": "the models here write text",
        "height": "the models here write text",
        "steps": "the models here write text",
    }


def job_of(fields: GenerateRequest) -> Job:
    """The job that a request describes.

    Raises:
        InvalidField: fields contradict each other, or a value is not allowed.
    """
    refuse_images(fields.images, "images")
    refuse_shift(fields.shift)
    if fields.suffix:
        raise InvalidField(
            t("suffix: the models here do not fill in the middle through this field"), param="suffix",
            hint=t("Write the model's own markers into the prompt, with raw: true."),
        )  # fmt: skip
    if fields.raw:
        for name in ("system", "template", "context"):
            if getattr(fields, name):
                raise InvalidField(t("{name} and raw: true exclude each other", name=name), param=name)
    prompt = fields.prompt or ""
    messages: list[Message] = [{"role": "system", "content": fields.system}] if fields.system else []
    messages.append({"role": "user", "content": prompt})
    return Job(
        fields.model,
        messages=None if fields.raw else messages,
        # A system prompt has no place where there is no template.
        prompt=None if fields.system else prompt,
        context_ids=tuple(fields.context or ()),
        options=fields.sampling(),
        output_format=output_format(fields.format),
        thinking=level_of(fields.think),
        truncate="left" if fields.truncate else None,
        context_limit=fields.context_limit,
        keep_alive=seconds_of(fields.keep_alive),
    )


@router.post("/api/generate", **documented(GenerateRequest, "The answer, or lines with parts of it."))
async def generate(context: RequestContext) -> Response:
    """Answer a prompt."""
    started = time.perf_counter()
    received = await context.body(GenerateRequest)
    fields = received.fields
    job = job_of(fields)
    if fields.template:
        await _require_same_template(context, fields.model, fields.template)
    if not fields.prompt:
        return await load_or_unload(context, received, "generate", job.keep_alive)
    return await answer(context, received, job, "generate", started, with_context=not fields.raw)


async def _require_same_template(context: Context, model: str, template: str) -> None:
    """Raise InvalidField unless the template is the model's own."""
    own = await chat_template_of(context.service, model)
    if template != own:
        raise InvalidField(
            t("template is not the one of {model}; a request cannot bring its own", model=model), param="template",
            hint=t("Leave it out, send raw: true with a finished prompt, or create a model with this template."),
        )  # fmt: skip
