"""POST /api/create"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import Field

from llmasos.errors import InvalidReference
from llmasos.i18n import t
from llmasos.library.digest import is_digest
from llmasos.library.reference import Reference
from llmasos.server.ollama.building import Plan, build
from llmasos.server.ollama.fields import ChatMessage, StreamedWork, messages_of
from llmasos.server.ollama.options import OptionFields
from llmasos.server.ollama.work import told
from llmasos.server.web.body import InvalidField
from llmasos.server.web.context import RequestContext
from llmasos.server.web.documentation import documented

if TYPE_CHECKING:
    from llmasos.library.store import Library

router = APIRouter(tags=["Ollama"])


class CreateRequest(StreamedWork):
    """A model to make from another or from files, with what a Modelfile adds."""

    from_: str | None = Field(None, alias="from", min_length=1, description="The base; pulled if it is not here.")
    files: dict[str, str] | None = Field(None, description="Files that were sent: name -> digest.")
    adapters: dict[str, str] | None = Field(
        None, description="Files of an adapter that were sent: name -> digest. The base stays shared."
    )
    template: str | None = Field(None, description="A chat template in Jinja.")
    license: str | list[str] | None = Field(None, description="Texts, or names such as Apache-2.0.")
    system: str | None = Field(None, description="Stands first where a conversation has no system message.")
    parameters: OptionFields | None = Field(None, description="Options that hold where a request says nothing.")
    messages: list[ChatMessage] | None = Field(None, description="Go before the messages of every conversation.")

    NOT_SUPPORTED: ClassVar[Mapping[str, str]] = {
        "quantize": "the number format is chosen when a model is loaded: see `llmasos serve --dtype`",
        "modelfile": "send its lines as fields: from, system, parameters, ...",
        "path": "send the files to /api/blobs",
        "renderer": "templates here are in Jinja",
        "parser": "the form of tool calls is found in the template",
        "draft": "speculation needs no second model here",
        "requires": "a version of Ollama means nothing here",
        "info": "what is known of a model is read from its files",
    }


def plan_of(fields: CreateRequest) -> Plan:
    """What a request wants made.

    Raises:
        InvalidField: a value is not allowed.
        InvalidReference: the new name is none.
    """
    name = Reference.parse(fields.target)
    if name.digest is not None:
        raise InvalidReference(
            t("{text!r} has a digest; a new name must not have one", text=fields.target), hint=t("Write name:tag.")
        )
    licenses = [fields.license] if isinstance(fields.license, str) else fields.license or []
    return Plan(
        name,
        base=fields.from_,
        files=_digests("files", fields.files),
        adapters=_digests("adapters", fields.adapters),
        template=fields.template or None,
        licenses=[text for text in licenses if text],
        system=fields.system,
        messages=None if fields.messages is None else messages_of(fields.messages),
        options=fields.parameters.sampling("parameters") if fields.parameters is not None else {},
        context_limit=fields.parameters.num_ctx if fields.parameters is not None else None,
    )


def _digests(place: str, files: Mapping[str, str] | None) -> dict[str, str]:
    for name, digest in (files or {}).items():
        if not is_digest(digest):
            raise InvalidField(
                t("{where} = {value!r}: allowed is a digest, sha256: and 64 hexadecimal digits",
                  where=f"{place}.{name}", value=digest[:80]),
                param=f"{place}.{name}",
            )  # fmt: skip
    return dict(files or {})


@router.post("/api/create", **documented(CreateRequest, "Lines of progress, the last with status success."))
async def create(context: RequestContext) -> Response:
    """Make a model."""
    received = await context.body(CreateRequest)
    plan, library = plan_of(received.fields), context.service.library
    work = context.request.app.state.workshop.begin(
        f"create {context.request_id}", lambda: _build(library, plan), t("creating {name}", name=plan.name)
    )
    return await told(
        context, work, stream=received.fields.streams, headers=received.headers, after=context.service.names.forget
    )


def _build(library: Library, plan: Plan) -> None:
    build(library, plan)
