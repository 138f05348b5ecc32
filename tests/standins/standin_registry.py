"""A stand-in for an OCI registry: blobs, chunked uploads that can be continued, mounts, manifests, tags, catalogue,
basic and token authentication."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import uuid

from standin_http import Handler, StandIn


class RegistryStandIn(StandIn):
    def __init__(self) -> None:
        super().__init__()
        self.host = f"127.0.0.1:{self.port}"
        self.blobs: dict[str, dict[str, bytes]] = {}  # repository -> digest -> bytes
        self.manifests: dict[str, dict[str, tuple[str, bytes]]] = {}  # repository -> digest -> type, bytes
        self.tags: dict[str, dict[str, str]] = {}
        self.uploads: dict[str, bytearray] = {}
        self.credentials: tuple[str, str] | None = None
        self.tokens = False  # token authentication instead of basic
        self.issued: set[str] = set()
        self.catalogue = True
        self.cut_uploads: list[int] = []  # close the connection after so many bytes of a PATCH

    def answer(self, handler: Handler) -> None:
        if handler.route == "/token":
            self._token(handler)
            return
        if not self._allowed(handler):
            return
        route = handler.route
        if route == "/v2/":
            handler.reply(200, b"{}")
        elif route == "/v2/_catalog":
            if self.catalogue:
                handler.reply(200, json.dumps({"repositories": sorted(self.tags)}).encode())
            else:
                handler.reply(404, b"")
        elif match := re.fullmatch(r"/v2/(.+)/blobs/uploads/", route):
            self._start(handler, match.group(1))
        elif match := re.fullmatch(r"/v2/(.+)/blobs/uploads/([0-9a-f-]+)", route):
            self._upload(handler, *match.groups())
        elif match := re.fullmatch(r"/v2/(.+)/blobs/(sha256:[0-9a-f]{64})", route):
            data = self.blobs.get(match.group(1), {}).get(match.group(2))
            if data is None:
                self._error(handler, 404, "BLOB_UNKNOWN", "blob unknown to registry")
            else:
                handler.reply_file(data, f'"{match.group(2)}"', {"Docker-Content-Digest": match.group(2)})
        elif match := re.fullmatch(r"/v2/(.+)/manifests/(.+)", route):
            self._manifest(handler, *match.groups())
        elif match := re.fullmatch(r"/v2/(.+)/tags/list", route):
            tags = self.tags.get(match.group(1))
            if tags is None:
                self._error(handler, 404, "NAME_UNKNOWN", "repository name not known to registry")
            else:
                handler.reply(200, json.dumps({"name": match.group(1), "tags": sorted(tags)}).encode())
        else:
            handler.reply(404, b"")

    def _error(
        self, handler: Handler, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        document = {"errors": [{"code": code, "message": message}]}
        handler.reply(status, json.dumps(document).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _allowed(self, handler: Handler) -> bool:
        if self.credentials is None:
            return True
        given = handler.headers.get("Authorization", "")
        if self.tokens:
            scope = re.match(r"/v2/(.+)/(blobs|manifests|tags)/", handler.route)
            right = "pull" if handler.command in ("GET", "HEAD") else "push"
            wanted = f"{scope.group(1)}:{right}" if scope else "any"
            if given.removeprefix("Bearer ") in {f"t-{wanted}"} & self.issued:
                return True
            challenge = f'Bearer realm="{self.url}/token",service="test",scope="{wanted}"'
        else:
            if given == self._basic():
                return True
            challenge = 'Basic realm="Registry Realm"'
        if handler.command in ("PATCH", "PUT"):
            handler.body()
        self._error(handler, 401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": challenge})
        return False

    def _basic(self) -> str:
        assert self.credentials is not None
        return "Basic " + base64.b64encode(":".join(self.credentials).encode()).decode()

    def _token(self, handler: Handler) -> None:
        if self.credentials is not None and handler.headers.get("Authorization") != self._basic():
            handler.reply(401, b"")
            return
        token = f"t-{handler.query.get('scope', 'any')}"
        self.issued.add(token)
        handler.reply(200, json.dumps({"token": token}).encode(), {"Content-Type": "application/json"})

    def _start(self, handler: Handler, repository: str) -> None:
        handler.body()
        mount, origin = handler.query.get("mount"), handler.query.get("from")
        if mount and origin and mount in self.blobs.get(origin, {}):
            self.blobs.setdefault(repository, {})[mount] = self.blobs[origin][mount]
            handler.reply(201, b"", {"Location": f"/v2/{repository}/blobs/{mount}"})
            return
        upload = str(uuid.uuid4())
        self.uploads[upload] = bytearray()
        handler.reply(202, b"", {"Location": f"/v2/{repository}/blobs/uploads/{upload}?state=a", "Range": "0-0"})

    def _upload(self, handler: Handler, repository: str, upload: str) -> None:
        received = self.uploads.get(upload)
        location = {"Location": f"/v2/{repository}/blobs/uploads/{upload}?state=b"}
        if received is None:
            self._error(handler, 404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        elif handler.command == "GET":
            handler.reply(204, b"", location | {"Range": f"0-{max(0, len(received) - 1)}"})
        elif handler.command == "PATCH":
            start = int(handler.headers["Content-Range"].split("-")[0])
            if start != len(received):
                handler.body()
                handler.reply(416, b"", location | {"Range": f"0-{max(0, len(received) - 1)}"})
                return
            if self.cut_uploads and int(handler.headers["Content-Length"]) > self.cut_uploads[0]:
                received += handler.rfile.read(self.cut_uploads.pop(0))
                handler.close_connection = True
                handler.connection.close()
                return
            received += handler.body()
            handler.reply(202, b"", location | {"Range": f"0-{len(received) - 1}"})
        elif handler.command == "PUT":
            received += handler.body()
            digest = handler.query["digest"]
            if f"sha256:{hashlib.sha256(received).hexdigest()}" != digest:
                self._error(handler, 400, "DIGEST_INVALID", "provided digest did not match uploaded content")
                return
            self.blobs.setdefault(repository, {})[digest] = bytes(received)
            del self.uploads[upload]
            handler.reply(201, b"", {"Location": f"/v2/{repository}/blobs/{digest}", "Docker-Content-Digest": digest})

    def _manifest(self, handler: Handler, repository: str, reference: str) -> None:
        if handler.command == "PUT":
            data = handler.body()
            for blob in [json.loads(data)["config"], *json.loads(data)["layers"]]:
                if blob["digest"] not in self.blobs.get(repository, {}):
                    self._error(handler, 400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry")
                    return
            digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
            self.manifests.setdefault(repository, {})[digest] = (handler.headers["Content-Type"], data)
            if not reference.startswith("sha256:"):
                self.tags.setdefault(repository, {})[reference] = digest
            handler.reply(201, b"", {"Docker-Content-Digest": digest})
            return
        digest = reference if reference.startswith("sha256:") else self.tags.get(repository, {}).get(reference, "")
        found = self.manifests.get(repository, {}).get(digest)
        if found is None:
            self._error(handler, 404, "MANIFEST_UNKNOWN", "manifest unknown")
        else:
            handler.reply(200, found[1], {"Content-Type": found[0], "Docker-Content-Digest": digest})
