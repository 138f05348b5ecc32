"""OCI registries: ``oci:host/repository:tag[@digest]``. A version is an OCI artefact, so push and pull are copies."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from llmasos import progress
from llmasos.errors import IntegrityError, Unavailable, Unsupported
from llmasos.i18n import t
from llmasos.library.digest import digest_of
from llmasos.library.manifest import MANIFEST_MEDIA_TYPE, MAX_MANIFEST_BYTES, Descriptor, Manifest
from llmasos.library.sources.download import Checksum, Download, fetch
from llmasos.library.sources.oci_client import RegistryClient, RegistryTransport, patiently
from llmasos.library.sources.oci_upload import Outcome, StoppedError, Upload
from llmasos.library.sources.reference import OCISource
from llmasos.progress import Task
from llmasos.settings import get_settings

_OTHER_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)


@dataclass(frozen=True)
class RemoteArtefact:
    """A manifest in a registry, its bytes as received."""

    source: OCISource
    manifest: Manifest

    @property
    def pinned(self) -> OCISource:
        """The reference with the digest of the manifest."""
        return OCISource(self.source.host, self.source.repository, self.source.tag, self.manifest.digest)


def locate_artefact(source: OCISource) -> RemoteArtefact:
    """Fetch and check a manifest.

    Raises:
        NotFound: the registry has no such repository, tag or digest.
        IntegrityError: the manifest has another digest than asked for, or is not valid.
        Unsupported: it is a container image or an index, not an artefact of files.
        Unauthorised, Unavailable: as they say.
    """
    accept = {"Accept": ", ".join((MANIFEST_MEDIA_TYPE, *_OTHER_MANIFESTS))}
    with _client(source) as client:
        url = client.url("manifests", source.digest or source.tag or "latest")
        response = patiently(lambda: client.request("GET", url, headers=accept, stream=True))
        if response.status_code != 200:
            raise client.failure(response, f"{source.repository}:{source.digest or source.tag}")
        data = client.read(response, MAX_MANIFEST_BYTES)
        media_type = response.headers.get("Content-Type", "").split(";")[0].strip()
    wanted = source.digest or response.headers.get("Docker-Content-Digest")
    if wanted and digest_of(data) != wanted:
        raise IntegrityError(
            t(
                "{source}: the manifest has the digest {actual} instead of {wanted}",
                source=source,
                actual=digest_of(data),
                wanted=wanted,
            ),
            hint=t("The registry or something on the way to it altered the manifest; do not use it."),
        )
    if media_type in _OTHER_MANIFESTS:
        raise Unsupported(
            t(
                "{source} is a container image or an index ({media_type}), not a model",
                source=source,
                media_type=media_type,
            ),
            hint=t("Name an artefact that was pushed by `llmasos push` or another ModelPack tool."),
        )
    return RemoteArtefact(source, Manifest.from_bytes(data))


def fetch_blobs(artefact: RemoteArtefact, blobs: list[Descriptor], folder: Path) -> Mapping[str, Path]:
    """Download blobs of an artefact to ``folder``; by digest. Called again after a kill it continues.

    Raises:
        IntegrityError: a blob does not have its digest or size.
        NotFound, Unauthorised, Unavailable, OutOfDisk: as they say.
    """
    source = artefact.source
    with _client(source) as client:
        downloads = {
            blob.digest: Download(
                client.url("blobs", blob.digest),
                folder / blob.digest.removeprefix("sha256:"),
                blob.size,
                Checksum("sha256", blob.digest.removeprefix("sha256:")),
            )
            for blob in blobs
        }
        transport = RegistryTransport(client)
        fetch(list(downloads.values()), transport, label=t("download {name}", name=source.repository))
    return {digest: item.target for digest, item in downloads.items()}


@dataclass(frozen=True)
class PushReport:
    """What a push did: the target with its digest, and bytes sent, already there, and mounted from a neighbour."""

    target: OCISource
    uploaded: int
    present: int
    mounted: int


def push_artefact(
    manifest: Manifest, paths: Mapping[str, Path], target: OCISource, *, neighbour: str | None = None
) -> PushReport:
    """Copy an artefact to a registry: its blobs (``paths`` by digest), then its manifest, byte for byte.

    Blobs that the registry has are not sent; ``neighbour`` is another repository there that may have them. A push
    that was interrupted continues with the blobs that are missing.

    Raises:
        IntegrityError: the registry says that bytes do not have their digest, or the manifest got another one.
        Unauthorised, Unavailable: as they say.
    """
    blobs = list({blob.digest: blob for blob in manifest.blobs}.values())
    with _client(target) as client:
        total = sum(blob.size for blob in blobs)
        with progress.current().task(t("push {name}", name=target.repository), total=total, unit="B") as task:
            outcomes = _send_all(client, blobs, paths, neighbour, task)
        reference = target.tag or manifest.digest
        response = patiently(
            lambda: client.request(
                "PUT",
                client.url("manifests", reference),
                body=manifest.to_bytes(),
                headers={"Content-Type": MANIFEST_MEDIA_TYPE},
            )
        )
        if response.status_code not in (200, 201):
            raise client.failure(response, t("the manifest of {name}", name=target.repository))
        received = response.headers.get("Docker-Content-Digest")
        if received and received != manifest.digest:
            raise IntegrityError(
                t(
                    "{target}: the registry gave the manifest the digest {received} instead of {digest}",
                    target=target,
                    received=received,
                    digest=manifest.digest,
                )
            )
    sizes = {
        kind: sum(blob.size for blob, outcome in zip(blobs, outcomes, strict=True) if outcome == kind)
        for kind in ("uploaded", "present", "mounted")
    }
    pushed = OCISource(target.host, target.repository, target.tag, manifest.digest)
    return PushReport(pushed, sizes["uploaded"], sizes["present"], sizes["mounted"])


def list_repositories(host: str, namespace: str | None = None, *, limit: int = 1000) -> list[str]:
    """The repositories of a registry, if it tells.

    Raises:
        Unavailable: it does not offer a catalogue, or cannot be reached.
        Unauthorised: it wants a sign-in.
    """
    client = RegistryClient(host)
    try:
        names: list[str] = []
        url = client.url("_catalog") + f"?n={min(limit, 100)}"
        while len(names) < limit:
            response = patiently(partial(client.request, "GET", url), attempts=1)
            if response.status_code != 200:
                raise Unavailable(
                    t(
                        "{host} does not list its repositories (it answered {status})",
                        host=host,
                        status=response.status_code,
                    ),
                    hint=t("Pull by name: oci:{host}/repository:tag.", host=host),
                )
            names.extend(_texts(client, response, "repositories"))
            following = response.links.get("next", {}).get("url")
            if not following:
                break
            url = urljoin(response.url, following)
        return [name for name in names if namespace is None or name.startswith(f"{namespace}/")][:limit]
    finally:
        client.close()


def list_tags(source: OCISource) -> list[str]:
    """The tags of a repository; errors as :func:`locate_artefact`."""
    with _client(source) as client:
        response = patiently(lambda: client.request("GET", client.url("tags", "list")), attempts=1)
        if response.status_code != 200:
            raise client.failure(response, source.repository)
        return sorted(_texts(client, response, "tags"))


def _texts(client: RegistryClient, response: Any, key: str) -> list[str]:
    """A list of texts in an answer."""
    try:
        return [str(item) for item in response.json().get(key) or []]
    except (ValueError, AttributeError, TypeError) as error:
        raise Unavailable(
            t("{host} gave an answer that is not a registry's: {error}", host=client.host, error=error)
        ) from error


def check_sign_in(host: str, name: str, password: str) -> None:
    """Ask a registry whether it accepts a name and password.

    Raises:
        Unauthorised: it does not.
        Unavailable: it cannot be reached or is no registry.
    """
    client = RegistryClient(host, credentials=(name, password))
    try:
        response = patiently(lambda: client.request("GET", client.base), attempts=1)
        if response.status_code != 200:
            raise client.failure(response, t("the registry API"))
    finally:
        client.close()


@contextmanager
def _client(source: OCISource) -> Iterator[RegistryClient]:
    client = RegistryClient(source.host, source.repository)
    try:
        yield client
    finally:
        client.close()


def _send_all(
    client: RegistryClient, blobs: Sequence[Descriptor], paths: Mapping[str, Path], neighbour: str | None, task: Task
) -> list[Outcome]:
    """Send several blobs at a time; the first failure stops the others."""
    lock, stop = threading.Lock(), threading.Event()

    def advance(amount: int) -> None:
        with lock:
            task.advance(amount)

    with ThreadPoolExecutor(get_settings().parallel_downloads, thread_name_prefix="push") as pool:
        futures = [
            pool.submit(copy_context().run, Upload(client, blob, paths[blob.digest], neighbour, advance, stop).run)
            for blob in blobs
        ]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            if not all(future.done() and future.exception() is None for future in futures):
                stop.set()
                for future in futures:
                    future.cancel()
    # The failure that came first is the cause; those that were stopped after it are not.
    done = [future for future in futures if not future.cancelled()]
    for future in sorted(done, key=lambda future: isinstance(future.exception(), StoppedError)):
        future.result()
    return [future.result() for future in futures]
