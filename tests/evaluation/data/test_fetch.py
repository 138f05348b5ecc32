from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from standin_http import Handler, StandIn

from llmasos import settings
from llmasos.errors import IntegrityError, NotFound, Unauthorised, Unavailable
from llmasos.evaluation.data.fetch import Places, fetch
from llmasos.evaluation.data.options import HubFile, LocalFile, UrlFile

DATA = b'{"q": 1}\n'
SHA = hashlib.sha256(DATA).hexdigest()


class FileServer(StandIn):
    """Files at addresses, and files of data sets as the Hugging Face hub gives them."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, bytes] = {}
        self.refusal: tuple[int, dict[str, str]] | None = None

    def answer(self, handler: Handler) -> None:
        data = self.files.get(handler.route)
        if self.refusal is not None:
            handler.reply(self.refusal[0], b"", self.refusal[1])
        elif data is None:
            handler.reply(404, b"", {"X-Error-Code": "EntryNotFound"})
        elif handler.route.startswith("/datasets/"):
            etag = f'"{hashlib.sha256(data).hexdigest()}"'
            handler.reply_file(data, etag, {"X-Repo-Commit": "0" * 40})
        else:
            handler.reply_file(data, '"1"')


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FileServer]:
    monkeypatch.setenv("LLMASOS_DOWNLOAD_RETRIES", "0")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    settings.get_settings.cache_clear()
    server = FileServer()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    yield server
    server.close()


def places(folder: Path, **values: Any) -> Places:
    return Places("arc", folder, **values)


def test_a_file_beside_the_task(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(DATA)
    found = fetch(LocalFile(path="rows.jsonl", sha256=SHA), places(tmp_path))
    assert (found.path, found.digest, found.note) == (tmp_path / "rows.jsonl", f"sha256:{SHA}", None)


def test_a_file_without_checksum_is_used_and_noted(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(DATA)
    found = fetch(LocalFile(path="rows.jsonl"), places(tmp_path))
    assert found.note == f"rows.jsonl has no checksum in the task: sha256:{SHA}"


def test_a_file_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="the data of the task arc is not here") as caught:
        fetch(LocalFile(path="rows.jsonl"), places(tmp_path))
    assert "as arc/rows.jsonl" in str(caught.value.hint)
    assert "--data FOLDER" in str(caught.value.hint)


def test_an_address_is_fetched_once_and_checked(tmp_path: Path, server: FileServer) -> None:
    server.files["/files/rows a.jsonl"] = DATA
    file = UrlFile(url=f"{server.url}/files/rows%20a.jsonl", sha256=SHA)
    for _ in range(2):
        found = fetch(file, places(tmp_path))
        assert found.path.read_bytes() == DATA
        assert found.path.name == "rows a.jsonl"
    assert len(server.requests("GET", ".jsonl")) == 1


def test_a_download_that_is_another_file_is_refused(tmp_path: Path, server: FileServer) -> None:
    server.files["/rows.jsonl"] = b"other"
    with pytest.raises(IntegrityError):
        fetch(UrlFile(url=f"{server.url}/rows.jsonl", sha256=SHA), places(tmp_path))


def test_a_cached_file_that_has_changed_is_noticed(tmp_path: Path, server: FileServer) -> None:
    server.files["/rows.jsonl"] = DATA
    file = UrlFile(url=f"{server.url}/rows.jsonl", sha256=SHA)
    fetch(file, places(tmp_path)).path.write_bytes(b"changed")
    with pytest.raises(IntegrityError, match="is not the file of the task arc"):
        fetch(file, places(tmp_path))


def test_no_network(tmp_path: Path, server: FileServer) -> None:
    with pytest.raises(NotFound, match="cannot be fetched") as caught:
        fetch(UrlFile(url=f"{server.url}/none.jsonl"), places(tmp_path))
    assert "as arc/none.jsonl" in str(caught.value.hint)
    server.close()
    with pytest.raises(Unavailable, match="cannot be fetched") as away:
        fetch(UrlFile(url=f"{server.url}/rows.jsonl", name="rows/x.jsonl"), places(tmp_path))
    assert "put it into a folder as rows/x.jsonl" in str(away.value.hint)


def test_a_file_of_hugging_face(tmp_path: Path, server: FileServer) -> None:
    server.files["/datasets/org/set/resolve/main/data/test.jsonl"] = DATA
    file = HubFile(repository="org/set", path="data/test.jsonl", sha256=SHA)
    assert fetch(file, places(tmp_path)).path.read_bytes() == DATA


def test_hugging_face_without_file_access_or_network(
    tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = HubFile(repository="org/set", path="none.jsonl")
    with pytest.raises(NotFound, match="is not here"):
        fetch(file, places(tmp_path))
    server.refusal = (403, {"X-Error-Code": "GatedRepo"})
    with pytest.raises(Unauthorised, match="terms"):
        fetch(file, places(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda _: None)  # the client tries again with growing pauses
    with pytest.raises(Unavailable, match="cannot be fetched") as caught:
        fetch(file, places(tmp_path))
    assert "Get org/set/none.jsonl on a machine with network" in str(caught.value.hint)


@pytest.mark.parametrize("place", ["chosen/name.jsonl", "deep/test.jsonl", "arc/deep/test.jsonl", "arc/test.jsonl",
                                   "test.jsonl"])  # fmt: skip
def test_the_users_folder_comes_first(tmp_path: Path, place: str) -> None:
    path = tmp_path / "data" / place
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    for file in (
        HubFile(repository="o/s", path="deep/test.jsonl", sha256=SHA, name="chosen/name.jsonl"),
        UrlFile(url="http://127.0.0.1:9/deep/test.jsonl", sha256=SHA, name="chosen/name.jsonl"),
    ):
        assert fetch(file, places(tmp_path, data=tmp_path / "data")).path == path


def test_the_very_file_is_found_anywhere_below_the_users_folder(tmp_path: Path) -> None:
    for place, data in (("a/b/test.jsonl", b"other"), ("c/d/test.jsonl", DATA)):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).write_bytes(data)
    file = UrlFile(url="http://127.0.0.1:9/x/test.jsonl", sha256=SHA)
    assert fetch(file, places(tmp_path, data=tmp_path)).path == tmp_path / "c/d/test.jsonl"


def test_another_file_in_the_users_folder(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_bytes(b"mine")
    file = UrlFile(url="http://127.0.0.1:9/test.jsonl", sha256=SHA)
    with pytest.raises(IntegrityError, match=f"not {SHA}") as caught:
        fetch(file, places(tmp_path, data=tmp_path))
    assert "--unchecked-data" in str(caught.value.hint)
    found = fetch(file, places(tmp_path, data=tmp_path, unchecked=True))
    assert found.note is not None and "differs from the data of the task" in found.note


def test_one_file_of_an_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("in/rows.jsonl", DATA)
        archive.writestr("../evil", b"x")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        entry = tarfile.TarInfo("in/rows.jsonl")
        entry.size = len(DATA)
        tar.addfile(entry, io.BytesIO(DATA))
        tar.addfile(tarfile.TarInfo("in/folder"))
    for name in ("a.zip", "a.tar.gz"):
        for _ in range(2):
            found = fetch(LocalFile(path=name, member="in/rows.jsonl"), places(tmp_path))
            assert found.path.read_bytes() == DATA
        assert found.digest == f"sha256:{hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()}"
        with pytest.raises(NotFound, match=r"has no file in/row\.jsonl") as caught:
            fetch(LocalFile(path=name, member="in/row.jsonl"), places(tmp_path))
        assert caught.value.hint == "did you mean in/rows.jsonl?"
    assert not (tmp_path / "evil").exists()


def test_an_archive_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no archive")
    with pytest.raises(IntegrityError, match="is damaged"):
        fetch(LocalFile(path="a.zip", member="x"), places(tmp_path))
