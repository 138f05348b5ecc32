"""POST /api/pull and /api/push"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import Field

from llmasos.errors import InvalidReference, LicenseNotAccepted
from llmasos.i18n import t
from llmasos.library import builtin
from llmasos.library.acquire import pull as acquire
from llmasos.library.delivery import push as deliver
from llmasos.library.reference import Reference
from llmasos.library.sources.reference import PathSource, parse_source
from llmasos.server.ollama.fields import StreamedWork
from llmasos.server.ollama.work import told
from llmasos.server.web.body import InvalidField
from llmasos.server.web.context import RequestContext
from llmasos.server.web.documentation import documented
from llmasos.settings import get_settings

if TYPE_CHECKING:
    from llmasos.library.store import Library
    from llmasos.library.version import Version

router = APIRouter(tags=["Ollama"])


class _Transfer(StreamedWork):
    insecure: bool | None = Field(
        None, description="Must be false: registries without TLS are named in the setting insecure_registries."
    )

    NOT_SUPPORTED: ClassVar[Mapping[str, str]] = {
        "username": "sign in on the server with `llmasos login`",
        "password": "sign in on the server with `llmasos login`",
    }

    def refuse_insecure(self) -> None:
        """Raise InvalidField if the request asks to do without TLS."""
        if self.insecure:
            raise InvalidField(
                t("insecure = true: a request cannot switch TLS off"), param="insecure",
                hint=t("Name the registry in the setting insecure_registries; loopback addresses need nothing."),
            )  # fmt: skip


class PullRequest(_Transfer):
    """What to fetch: a name of the catalogue, hf:org/repo, pypi:package==version/path or oci:host/repository:tag."""


class PushRequest(_Transfer):
    """What to send, and where to."""

    destination: str | None = Field(
        None, description="oci:host/repository:tag; by default the model's name in the first of the setting registries."
    )


@router.post("/api/pull", **documented(PullRequest, "Lines of progress, the last with status success."))
async def pull(context: RequestContext) -> Response:
    """Fetch a model into the library."""
    received = await context.body(PullRequest)
    fields = received.fields
    fields.refuse_insecure()
    reference, library = fields.target, context.service.library
    refuse_paths(reference)
    work = context.request.app.state.workshop.begin(
        f"pull {reference}", lambda: _pull(library, reference), t("looking for {name}", name=reference)
    )
    return await told(
        context, work, stream=fields.streams, headers=received.headers, after=context.service.names.forget
    )


def refuse_paths(reference: str) -> None:
    """Raise InvalidReference for a path: who may use the API may not look into the server's files."""
    if isinstance(parse_source(reference), PathSource):
        raise InvalidReference(
            t("{reference} is a path of the server's machine, which requests cannot name", reference=repr(reference)),
            hint=t("Send the files to /api/blobs, or run `llmasos import` there."),
        )


def _pull(library: Library, reference: str) -> None:
    fetch(library, reference)


def fetch(library: Library, reference: str) -> Version:
    """Pull, and give the version the name that was asked for, too: by it the client will call the model.

    Raises: as :func:`llmasos.library.acquire.pull`.
    """
    plain = parse_source(reference) is None
    if plain and builtin.find(reference) is None and library.has(reference):
        return library.resolve(reference)  # made here, or pulled from elsewhere
    try:
        version = acquire(reference, library=library)
    except LicenseNotAccepted as error:
        raise LicenseNotAccepted(
            error.message,
            hint=t("Read the licence, then run `llmasos pull {name} --accept-license` on the server.", name=reference),
        ) from error
    if plain:
        wanted = Reference.parse(reference)
        if wanted.digest is None and str(wanted) not in version.names:
            version = library.tag(version.digest, wanted)
    return version


@router.post("/api/push", **documented(PushRequest, "Lines of progress, the last with status success."))
async def push(context: RequestContext) -> Response:
    """Send a model to an OCI registry."""
    received = await context.body(PushRequest)
    fields = received.fields
    fields.refuse_insecure()
    name, library = fields.target, context.service.library
    destination = fields.destination or _default_destination(name)
    library.digest_of(name)
    work = context.request.app.state.workshop.begin(
        f"push {name} {destination}",
        lambda: _push(library, name, destination),
        t("sending {name} to {destination}", name=name, destination=destination),
    )
    return await told(context, work, stream=fields.streams, headers=received.headers, after=lambda: None)


def _push(library: Library, name: str, destination: str) -> None:
    deliver(name, destination, library=library)


def _default_destination(name: str) -> str:
    registries = get_settings().registries
    if not registries:
        raise InvalidField(
            t("it is not said where to send {name}", name=name), param="destination",
            hint=t("Give destination: oci:host/repository:tag, or set registries in config.toml."),
        )  # fmt: skip
    return f"oci:{registries[0]}/{Reference.parse(name).without_digest()}"
