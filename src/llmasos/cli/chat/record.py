"""Saved conversations: one JSON file each, written whole or not at all, readable by its owner alone."""

from __future__ import annotations

import json
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmasos.cli.chat.session import Session
from llmasos.errors import InvalidRequest, NotFound, did_you_mean
from llmasos.i18n import t
from llmasos.settings import home_directory, validation_lines

FORMAT = "llmasos.conversation/1"


class SavedMessage(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["user", "assistant"]
    content: str


class SavedConversation(BaseModel):
    """The file's content. ``messages`` are complete, including those that no longer fit the context."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["llmasos.conversation/1"] = "llmasos.conversation/1"
    model: str
    system: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    created: datetime
    saved: datetime
    messages: list[SavedMessage]


def folder() -> Path:
    """Where conversations saved under a plain name lie."""
    return home_directory() / "conversations"


def saved_names() -> list[str]:
    """Plain names of saved conversations, in alphabetical order."""
    return sorted(path.stem for path in folder().glob("*.json"))


def path_of(name: str) -> Path:
    """A plain name lies in the home folder; text with a separator or ``.json`` is a path."""
    if name.endswith(".json") or "/" in name or os.sep in name or name.startswith("~"):
        return Path(name).expanduser().absolute()
    return folder() / f"{name}.json"


def save(session: Session, name: str) -> Path:
    """Write the conversation and return the file's path.

    Raises:
        InvalidRequest: there is nothing to save, or the name is empty.
    """
    if not name.strip() or name.strip(".") == "":
        raise InvalidRequest(t("a conversation needs a name to be saved under"), hint="/save my-notes")
    if not session.messages:
        raise InvalidRequest(t("there is nothing to save yet"), hint=t("Say something first."))
    path = path_of(name)
    content = SavedConversation(
        model=session.model.name,
        system=session.system,
        options=session.options,
        created=session.created,
        saved=datetime.now(UTC),
        messages=[SavedMessage.model_validate(message) for message in session.messages],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:64]}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(json.dumps(content.model_dump(mode="json"), ensure_ascii=False, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def load(name: str) -> SavedConversation:
    """Read a saved conversation.

    Raises:
        NotFound: there is no such file.
        InvalidRequest: the file is not a saved conversation; all problems are listed.
    """
    path = path_of(name)
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFound(
            t("there is no saved conversation {name!r} ({path})", name=name, path=path),
            hint=did_you_mean(name, saved_names()) or t("Saved: {names}.", names=", ".join(saved_names()) or "-"),
        ) from error
    except UnicodeDecodeError as error:
        raise _damaged(path, str(error)) from error
    try:
        return SavedConversation.model_validate_json(text)
    except ValidationError as error:
        raise _damaged(path, "\n  ".join(validation_lines(error, sorted(SavedConversation.model_fields)))) from error


def _damaged(path: Path, problems: str) -> InvalidRequest:
    return InvalidRequest(
        t("{path} is not a saved conversation:", path=path) + "\n  " + problems,
        hint=t("Conversations are written by /save, as {format}.", format=FORMAT),
    )


def restore(session: Session, saved: SavedConversation) -> None:
    """Continue ``saved`` in ``session``, with the model that the session has."""
    session.clear()
    session.system = saved.system
    session.options = dict(saved.options)
    session.created = saved.created
    session.messages = [message.model_dump() for message in saved.messages]
