from __future__ import annotations

import base64
import json
import resource
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from standin_http import Handler
from standin_registry import RegistryStandIn

from llmasos.errors import IntegrityError, InvalidRecipe, NotFound, Unauthorised, Unavailable, Unsupported
from llmasos.library.digest import digest_of, digest_of_file
from llmasos.library.manifest import CONFIG_MEDIA_TYPE, Descriptor, Manifest
from llmasos.library.sources import oci_upload
from llmasos.library.sources.oci import (
    check_sign_in,
    fetch_blobs,
    list_repositories,
    list_tags,
    locate_artefact,
    push_artefact,
)
from llmasos.library.sources.oci_credentials import (
    credentials_path,
    forget_credentials,
    store_credentials,
    stored_credentials,
)
from llmasos.library.sources.reference import OCISource

WEIGHTS = bytes(range(256)) * 1000


@pytest.fixture
def artefact(tmp_path: Path) -> tuple[Manifest, dict[str, Path]]:
    """A small artefact: its manifest, and its blobs by digest."""
    paths = {}
    descriptors = []
    for name, data in (("model.safetensors", WEIGHTS), ("config.json", b'{"a": "\xc3\xa9"}'), ("empty.txt", b"")):
        digest = digest_of(data)
        paths[digest] = tmp_path / name
        paths[digest].write_bytes(data)
        descriptors.append(Descriptor("application/octet-stream", digest, len(data)).with_path(name))
    config = b"{}"
    paths[digest_of(config)] = tmp_path / "config"
    paths[digest_of(config)].write_bytes(config)
    return Manifest(Descriptor(CONFIG_MEDIA_TYPE, digest_of(config), 2), tuple(descriptors), {"a": "b"}), paths


def place(registry: RegistryStandIn, repository: str = "models/tiny") -> OCISource:
    return OCISource(registry.host, repository, "v1")


def test_push_and_pull_keep_every_byte(
    registry: RegistryStandIn, artefact: tuple[Manifest, dict[str, Path]], tmp_path: Path
) -> None:
    manifest, paths = artefact
    report = push_artefact(manifest, paths, place(registry))
    assert report.target.digest == manifest.digest
    assert report.uploaded == sum(path.stat().st_size for path in paths.values())
    found = locate_artefact(place(registry))
    assert found.manifest.to_bytes() == manifest.to_bytes()
    assert str(found.pinned) == f"oci:{registry.host}/models/tiny:v1@{manifest.digest}"
    files = fetch_blobs(found, list(manifest.blobs), tmp_path / "pull")
    assert {digest: path.read_bytes() for digest, path in files.items()} == {
        digest: path.read_bytes() for digest, path in paths.items()
    }


def test_a_second_push_sends_nothing(registry: RegistryStandIn, artefact: tuple[Manifest, dict[str, Path]]) -> None:
    manifest, paths = artefact
    push_artefact(manifest, paths, place(registry))
    report = push_artefact(manifest, paths, place(registry))
    assert (report.uploaded, report.mounted) == (0, 0)
    assert len(registry.requests("POST", "/uploads/")) == len(paths)


def test_blobs_of_a_neighbour_are_mounted(
    registry: RegistryStandIn, artefact: tuple[Manifest, dict[str, Path]]
) -> None:
    manifest, paths = artefact
    push_artefact(manifest, paths, place(registry))
    report = push_artefact(manifest, paths, place(registry, "other/copy"), neighbour="models/tiny")
    assert report.uploaded == 0
    assert report.mounted == sum(path.stat().st_size for path in paths.values())
    report = push_artefact(manifest, paths, place(registry, "third"), neighbour="none/there")
    assert report.mounted == 0


def test_an_upload_in_chunks_continues_after_a_cut(
    registry: RegistryStandIn,
    artefact: tuple[Manifest, dict[str, Path]],
    monkeypatch: pytest.MonkeyPatch,
    configure: Callable[..., None],
) -> None:
    configure(parallel_downloads=1)
    monkeypatch.setattr(oci_upload, "CHUNK", 100_000)
    registry.cut_uploads = [60_000]
    manifest, paths = artefact
    push_artefact(manifest, paths, place(registry))
    ranges = [request.headers["content-range"] for request in registry.log if request.method == "PATCH"]
    assert ranges[0] == "0-1"  # the configuration
    assert "60000-159999" in ranges or "0-99999" in ranges
    assert registry.blobs["models/tiny"][digest_of(WEIGHTS)] == WEIGHTS


def test_an_upload_that_the_registry_forgot_starts_again(
    registry: RegistryStandIn,
    artefact: tuple[Manifest, dict[str, Path]],
    monkeypatch: pytest.MonkeyPatch,
    configure: Callable[..., None],
) -> None:
    configure(parallel_downloads=1)
    monkeypatch.setattr(oci_upload, "CHUNK", 100_000)
    answer = registry.answer
    seen: list[str] = []

    def forgetful(handler: Handler) -> None:
        if handler.command == "PATCH" and handler.headers["Content-Range"].startswith("100000-") and not seen:
            seen.append(handler.route)
            registry.uploads.clear()
        answer(handler)

    monkeypatch.setattr(registry, "answer", forgetful)
    manifest, paths = artefact
    push_artefact(manifest, paths, place(registry))
    assert seen
    assert registry.blobs["models/tiny"][digest_of(WEIGHTS)] == WEIGHTS


def test_blobs_are_streamed_and_not_held_in_memory(
    registry: RegistryStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 300 * 2**20
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(size)
    digest = digest_of_file(big)
    config = tmp_path / "c"
    config.write_bytes(b"{}")
    manifest = Manifest(
        Descriptor(CONFIG_MEDIA_TYPE, digest_of(b"{}"), 2),
        (Descriptor("application/octet-stream", digest, size).with_path("big.bin"),),
    )
    largest = 0
    original = registry._upload

    def discard(handler: Handler, repository: str, upload: str) -> None:
        nonlocal largest
        length = int(handler.headers.get("Content-Length") or 0)
        largest = max(largest, length)
        if length < 1000:
            original(handler, repository, upload)
            return
        while length:
            length -= len(handler.rfile.read(min(length, 1 << 20)))
        handler.reply(202, b"", {"Location": f"/v2/{repository}/blobs/uploads/{upload}"})

    monkeypatch.setattr(registry, "_upload", discard)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(IntegrityError, match="digest"):  # the stand-in kept nothing of the large blob
        push_artefact(manifest, {digest: big, digest_of(b"{}"): config}, place(registry))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert largest == oci_upload.CHUNK
    assert grown < 100 * 2**20


def test_a_pull_continues_and_checks(
    registry: RegistryStandIn,
    artefact: tuple[Manifest, dict[str, Path]],
    tmp_path: Path,
    configure: Callable[..., None],
) -> None:
    configure(download_retries=0)
    manifest, paths = artefact
    push_artefact(manifest, paths, place(registry))
    weights = digest_of(WEIGHTS)
    registry.faults.cut[weights] = [len(WEIGHTS) // 2]
    found = locate_artefact(place(registry))
    with pytest.raises(Unavailable):
        fetch_blobs(found, list(manifest.blobs), tmp_path / "pull")
    fetch_blobs(found, list(manifest.blobs), tmp_path / "pull")
    assert registry.sent(weights) == len(WEIGHTS)
    registry.blobs["models/tiny"][weights] = b"x" * len(WEIGHTS)
    with pytest.raises(IntegrityError):
        fetch_blobs(found, list(manifest.blobs), tmp_path / "other")


def test_an_altered_manifest(registry: RegistryStandIn, artefact: tuple[Manifest, dict[str, Path]]) -> None:
    manifest, paths = artefact
    push_artefact(manifest, paths, place(registry))
    kind, data = registry.manifests["models/tiny"][manifest.digest]
    registry.manifests["models/tiny"][manifest.digest] = (kind, data.replace(b'"b"', b'"c"'))
    with pytest.raises(IntegrityError, match="digest"):
        locate_artefact(place(registry))
    with pytest.raises(IntegrityError, match="digest"):
        locate_artefact(OCISource(registry.host, "models/tiny", None, manifest.digest))


def test_what_is_not_there_and_what_is_no_model(registry: RegistryStandIn) -> None:
    with pytest.raises(NotFound, match="models/tiny:v1"):
        locate_artefact(place(registry))
    data = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
    registry.manifests["x"] = {digest_of(data): ("application/vnd.oci.image.index.v1+json", data)}
    registry.tags["x"] = {"v1": digest_of(data)}
    with pytest.raises(Unsupported, match="index"):
        locate_artefact(place(registry, "x"))


@pytest.mark.parametrize("tokens", [False, True], ids=["basic", "token"])
def test_sign_in(
    registry: RegistryStandIn, artefact: tuple[Manifest, dict[str, Path]], tmp_path: Path, tokens: bool
) -> None:
    registry.credentials, registry.tokens = ("me", "secret:with:colons"), tokens
    manifest, paths = artefact
    with pytest.raises(Unauthorised) as caught:
        push_artefact(manifest, paths, place(registry))
    assert f"llmasos login {registry.host}" in str(caught.value.hint)
    with pytest.raises(Unauthorised):
        check_sign_in(registry.host, "me", "wrong")
    check_sign_in(registry.host, "me", "secret:with:colons")
    path = store_credentials(registry.host, "me", "secret:with:colons")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    push_artefact(manifest, paths, place(registry))
    fetch_blobs(locate_artefact(place(registry)), list(manifest.blobs), tmp_path / "pull")
    assert forget_credentials(registry.host)
    assert not forget_credentials(registry.host)
    with pytest.raises(Unauthorised):
        locate_artefact(place(registry))


def test_credentials_of_docker_are_used(
    registry: RegistryStandIn,
    artefact: tuple[Manifest, dict[str, Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry.credentials = ("me", "secret")
    folder = tmp_path / "docker"
    folder.mkdir()
    auth = base64.b64encode(b"me:secret").decode()
    (folder / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": auth}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    push_artefact(*artefact, place(registry))


def test_kept_credentials(home: Path) -> None:
    assert stored_credentials("h.io") is None
    store_credentials("h.io", "a", "b")
    store_credentials("i.io", "c", "d:e")
    assert stored_credentials("h.io") == ("a", "b")
    assert stored_credentials("i.io") == ("c", "d:e")
    assert [path.name for path in home.iterdir()] == ["registries.json"]
    credentials_path().write_text("{")
    with pytest.raises(InvalidRecipe, match=r"registries\.json"):
        stored_credentials("h.io")


def test_catalogue_and_tags(registry: RegistryStandIn, artefact: tuple[Manifest, dict[str, Path]]) -> None:
    for repository in ("models/tiny", "models/big", "other/x"):
        push_artefact(*artefact, place(registry, repository))
    assert list_repositories(registry.host) == ["models/big", "models/tiny", "other/x"]
    assert list_repositories(registry.host, "models") == ["models/big", "models/tiny"]
    assert list_tags(place(registry)) == ["v1"]
    registry.catalogue = False
    with pytest.raises(Unavailable, match="does not list"):
        list_repositories(registry.host)


def test_answers_that_are_no_registrys(registry: RegistryStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "answer", lambda handler: handler.reply(200, b"<html>Please sign in</html>"))
    with pytest.raises(Unavailable, match="registry"):
        list_repositories(registry.host)
    with pytest.raises(IntegrityError):
        locate_artefact(place(registry))
    monkeypatch.setattr(registry, "answer", lambda handler: handler.reply(200, b" " * 5_000_000))
    with pytest.raises(IntegrityError, match="small document"):
        locate_artefact(place(registry))


def test_nobody_answers(configure: Callable[..., None]) -> None:
    configure(download_retries=0)
    with pytest.raises(Unavailable) as caught:
        locate_artefact(OCISource("127.0.0.1:9", "x", "v1"))
    assert "insecure_registries" in str(caught.value.hint)


def test_a_refused_blob_stops_the_push(registry: RegistryStandIn, artefact: tuple[Manifest, dict[str, Path]]) -> None:
    manifest, paths = artefact
    paths[digest_of(WEIGHTS)].write_bytes(b"z" * len(WEIGHTS))
    with pytest.raises(IntegrityError, match="digest"):
        push_artefact(manifest, paths, place(registry))
    assert registry.tags == {}
