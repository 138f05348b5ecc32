"""Who we are at an OCI registry.

``llmasos login`` writes ``registries.json`` in the home folder (the format of docker's config.json, readable by its
owner only). Where that has nothing for a host, docker's own configuration and credential helpers are asked.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from llmasos.errors import InvalidRecipe
from llmasos.i18n import t
from llmasos.settings import get_settings

FILE = "registries.json"


def credentials_path() -> Path:
    """Our own file of credentials."""
    return get_settings().home / FILE


def stored_credentials(host: str) -> tuple[str, str] | None:
    """Name and password that ``login`` kept for a host.

    Raises:
        InvalidRecipe: the file of credentials is damaged.
    """
    entry = _read(credentials_path())["auths"].get(host)
    if not isinstance(entry, dict) or not isinstance(entry.get("auth"), str):
        return None
    try:
        name, colon, password = base64.b64decode(entry["auth"], validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise _damaged(credentials_path(), error) from error
    return (name, password) if colon else None


def stored_accounts() -> dict[str, str]:
    """Hosts that we have credentials for, with the name of the account; never the password.

    Raises:
        InvalidRecipe: the file of credentials is damaged.
    """
    found = {}
    for host in sorted(_read(credentials_path())["auths"]):
        credentials = stored_credentials(host)
        if credentials is not None:
            found[host] = credentials[0]
    return found


def store_credentials(host: str, name: str, password: str) -> Path:
    """Keep name and password for a host; returns the file, which only its owner can read."""
    path = credentials_path()
    document = _read(path)
    document["auths"][host] = {"auth": base64.b64encode(f"{name}:{password}".encode()).decode("ascii")}
    _write(path, document)
    return path


def forget_credentials(host: str) -> bool:
    """Forget what is kept for a host; ``False`` if there was nothing."""
    path = credentials_path()
    document = _read(path)
    if document["auths"].pop(host, None) is None:
        return False
    _write(path, document)
    return True


def docker_configuration() -> Path | None:
    """Docker's config.json, if there is one."""
    folder = os.environ.get("DOCKER_CONFIG")
    path = (Path(folder) if folder else Path("~/.docker").expanduser()) / "config.json"
    return path if path.is_file() else None


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"auths": {}}
    except ValueError as error:
        raise _damaged(path, error) from error
    if not isinstance(document, dict) or not isinstance(document.setdefault("auths", {}), dict):
        raise _damaged(path, t("it is not an object with 'auths'"))
    return document


def _write(path: Path, document: dict[str, Any]) -> None:
    """Replace the file at once; the new one is never readable by others, not even for a moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _damaged(path: Path, reason: object) -> InvalidRecipe:
    return InvalidRecipe(
        t("the credentials in {path} cannot be read: {reason}", path=path, reason=reason),
        hint=t("Remove the file and run `llmasos login` again."),
    )
