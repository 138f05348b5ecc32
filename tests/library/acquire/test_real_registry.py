"""Push to and pull from a real OCI registry: Debian's docker-registry on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from standin_fixtures import tiny_model

from llmasos.errors import NotFound, Unauthorised
from llmasos.library.acquire import import_path, pull, push
from llmasos.library.sources.oci import check_sign_in, list_repositories, list_tags
from llmasos.library.sources.oci_credentials import store_credentials
from llmasos.library.sources.reference import OCISource
from llmasos.library.store import Library

BINARY = shutil.which("docker-registry") or shutil.which("registry")
NEEDED = "docker-registry is not installed (Debian and Ubuntu: apt-get install docker-registry)"

# name me, password secret
HTPASSWD = "me:$2b$04$BcKPUMjc5eUN4TK4DsOUsO4.fZc877cMzAWdRTqoi7Iw9rFkduOYa\n"


@dataclass
class RealRegistry:
    host: str
    storage: Path


@pytest.fixture(params=["open", "password"])
def real(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RealRegistry]:
    if BINARY is None:
        if os.environ.get("CI"):
            pytest.fail(NEEDED)
        pytest.skip(NEEDED)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    storage = tmp_path / "registry"
    configuration = f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {storage}}}}}\n"
    configuration += f"http: {{addr: {host}}}\n"
    if request.param == "password":
        (tmp_path / "htpasswd").write_text(HTPASSWD)
        configuration += f"auth: {{htpasswd: {{realm: test, path: {tmp_path / 'htpasswd'}}}}}\n"
    (tmp_path / "registry.yml").write_text(configuration)
    with (tmp_path / "registry.log").open("wb") as log:
        process = subprocess.Popen([BINARY, "serve", str(tmp_path / "registry.yml")], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while not _answers(host):
            assert process.poll() is None, (tmp_path / "registry.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        if request.param == "password":
            with pytest.raises(Unauthorised):
                list_repositories(host)
            with pytest.raises(Unauthorised):
                check_sign_in(host, "me", "wrong")
            check_sign_in(host, "me", "secret")
            store_credentials(host, "me", "secret")
        yield RealRegistry(host, storage)
    finally:
        process.terminate()
        process.wait(20)


def _answers(host: str) -> bool:
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://{host}/v2/", timeout=5)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@pytest.mark.integration
def test_the_digest_is_the_same_everywhere(real: RealRegistry, library: Library, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name, data in tiny_model(70_000_000).items():  # more than one chunk of an upload
        (folder / name).write_bytes(data)
    version = import_path(folder, name="mine/m:v1", library=library)
    target = f"oci:{real.host}/models/mine:v1"
    report = push("mine/m:v1", target, library=library)
    assert report.target.digest == version.digest
    assert report.uploaded == sum(blob.size for blob in version.manifest.blobs)
    assert push("mine/m:v1", target, library=library).uploaded == 0

    other = Library(tmp_path / "other")
    received = pull(target, library=other)
    assert received.digest == version.digest
    assert received.manifest.to_bytes() == version.manifest.to_bytes()
    assert other.verify().ok
    exact = pull(f"oci:{real.host}/models/mine@{version.digest}", library=other, name="by/digest:v1")
    assert exact.digest == version.digest

    copied = push("models/mine:v1", f"oci:{real.host}/copies/mine:v2", library=other)
    assert (copied.uploaded, copied.target.digest) == (0, version.digest)
    assert copied.mounted == report.uploaded
    assert list_repositories(real.host) == ["copies/mine", "models/mine"]
    assert list_tags(OCISource(real.host, "copies/mine")) == ["v2"]
    with pytest.raises(NotFound, match="v9"):
        pull(f"oci:{real.host}/models/mine:v9", library=other)
    other.close()
