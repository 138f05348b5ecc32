"""A stand-in for the Hugging Face hub that speaks its real protocol: model info with files, resolve with a redirect
of large files to another host, X-Repo-Commit, X-Linked-ETag, gated and missing repositories, tokens, search."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

from standin_http import Handler, StandIn

LARGE = 10_000  # bytes from which a file counts as stored by LFS


def git_blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class HubRepo:
    files: dict[str, bytes]
    commit: str = "0123456789abcdef0123456789abcdef01234567"
    gated: bool = False
    private: bool = False
    card: dict[str, Any] = field(default_factory=dict)
    revisions: tuple[str, ...] = ("main",)
    without_sizes: bool = False  # as a mirror that does not pass on `blobs=true`


class HubStandIn(StandIn):
    def __init__(self) -> None:
        super().__init__()
        self.repos: dict[str, HubRepo] = {}
        self.token = "hf_right"  # the only token that is accepted
        self.members: set[str] = set()  # tokens that have accepted the terms of gated repositories
        self.leaked: list[str] = []  # credentials that reached the store of large files

    @property
    def store(self) -> str:
        """Large files lie on another host."""
        return f"http://localhost:{self.port}"

    def answer(self, handler: Handler) -> None:
        token = (handler.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        if handler.route.startswith("/store/"):
            self._large(handler)
        elif token is not None and token != self.token:
            handler.reply(
                401,
                b'{"error":"Invalid credentials in Authorization header"}',
                {"X-Error-Message": "Invalid credentials in Authorization header"},
            )
        elif handler.route == "/api/whoami-v2":
            handler.reply(200 if token else 401, json.dumps({"name": "tester", "type": "user", "auth": {}}).encode())
        elif handler.route == "/api/models":
            words = handler.query.get("search", "").lower()
            found = [
                {
                    "id": name,
                    "modelId": name,
                    "downloads": 5,
                    "pipeline_tag": "text-generation",
                    "tags": [],
                    "_id": "x",
                    "private": False,
                }
                for name in self.repos
                if words in name.lower()
            ]
            handler.reply(200, json.dumps(found).encode(), {"Content-Type": "application/json"})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+|[^/]+)(?:/revision/(.+))?", handler.route):
            self._info(handler, match.group(1), match.group(2), token)
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", handler.route):
            self._resolve(handler, *match.groups(), token)
        else:
            handler.reply(404, b"")

    def _repo(self, handler: Handler, name: str, revision: str | None, token: str | None) -> HubRepo | None:
        repo = self.repos.get(name)
        if repo is None or (repo.private and token is None):
            # The hub says 401 to strangers and 404 to accounts.
            handler.reply(
                404 if token else 401,
                b'{"error":"Repository not found"}',
                {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"},
            )
            return None
        if revision not in (None, repo.commit, *repo.revisions):
            handler.reply(
                404, b"", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": f"Invalid rev id: {revision}"}
            )
            return None
        return repo

    def _info(self, handler: Handler, name: str, revision: str | None, token: str | None) -> None:
        repo = self._repo(handler, name, revision, token)
        if repo is None:
            return
        siblings = []
        for path, data in repo.files.items():
            entry: dict[str, Any] = {"rfilename": path}
            if handler.query.get("blobs", "").lower() == "true" and not repo.without_sizes:
                entry |= {"size": len(data), "blobId": git_blob(data)}
                if len(data) >= LARGE:
                    entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
            siblings.append(entry)
        info = {
            "_id": "1",
            "id": name,
            "modelId": name,
            "sha": repo.commit,
            "private": repo.private,
            "tags": [],
            "gated": "manual" if repo.gated else False,
            "downloads": 1,
            "likes": 0,
            "cardData": repo.card,
            "siblings": siblings,
        }
        handler.reply(200, json.dumps(info).encode(), {"Content-Type": "application/json"})

    def _resolve(self, handler: Handler, name: str, revision: str, path: str, token: str | None) -> None:
        repo = self._repo(handler, name, revision, token)
        if repo is None:
            return
        if repo.gated and token not in self.members:
            handler.reply(
                403 if token else 401,
                b"Access to model is restricted.",
                {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model is restricted."},
            )
            return
        data = repo.files.get(path)
        if data is None:
            handler.reply(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repo.commit})
            return
        common = {"X-Repo-Commit": repo.commit}
        if len(data) < LARGE:
            handler.reply_file(data, f'"{git_blob(data)}"', common)
            return
        sha256 = hashlib.sha256(data).hexdigest()
        handler.reply(
            302,
            b"",
            common
            | {
                "Location": f"{self.store}/store/{sha256}/{path.rpartition('/')[2]}?signature=abc",
                "X-Linked-ETag": f'"{sha256}"',
                "X-Linked-Size": str(len(data)),
            },
        )

    def _large(self, handler: Handler) -> None:
        if handler.headers.get("Authorization"):
            self.leaked.append(handler.headers["Authorization"])
        sha256 = handler.route.split("/")[2]
        for repo in self.repos.values():
            for data in repo.files.values():
                if len(data) >= LARGE and hashlib.sha256(data).hexdigest() == sha256:
                    handler.reply_file(data, f'"store-{sha256[:16]}"')
                    return
        handler.reply(404, b"")
