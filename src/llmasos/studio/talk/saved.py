"""A saved talk: what was said with each model, with all branches, and how answers were asked for."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from llmasos.errors import IntegrityError, Unsupported
from llmasos.i18n import t
from llmasos.server.serving.job import TokenInfo
from llmasos.studio.talk.settings import FORMS, TalkSettings
from llmasos.studio.talk.tree import Conversation, Said

VERSION = 1
"""Of the format; a file of a later one is refused rather than read wrongly."""
_NAME_LENGTH = 60


@dataclass(eq=False)
class Side:
    """The conversation with one model; ``model`` is its name as the APIs know it."""

    model: str
    conversation: Conversation = field(default_factory=Conversation)


@dataclass(eq=False)
class Talk:
    """Conversations beside each other, under one name.

    Attributes:
        id: of its file.
        name: "" as long as nothing was said and nobody gave it one.
        changed: when something was said last.
    """

    id: str
    sides: list[Side]
    name: str = ""
    settings: TalkSettings = field(default_factory=TalkSettings)
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    changed: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said."""
        return all(not list(side.conversation.path()) for side in self.sides)

    def name_itself(self) -> None:
        """Take the beginning of the first question as the name, if there is none yet."""
        first = next((said.text for side in self.sides for said in side.conversation.path()), "")
        if not self.name and first:
            line = " ".join(first.split())
            self.name = line if len(line) <= _NAME_LENGTH else line[: _NAME_LENGTH - 1].rstrip() + "…"


def to_json(talk: Talk) -> str:
    """The content of a file. What a list of talks shows stands first."""
    return json.dumps(
        {
            "version": VERSION, "id": talk.id, "name": talk.name, "created": talk.created.isoformat(),
            "changed": talk.changed.isoformat(), "settings": asdict(talk.settings),
            "sides": [{"model": side.model, "messages": _flat(side.conversation)} for side in talk.sides],
        },
        ensure_ascii=False, indent=1,
    )  # fmt: skip


def from_json(text: str, source: str) -> Talk:
    """The talk in a file.

    Raises:
        Unsupported: a later version wrote it.
        IntegrityError: it is damaged.
    """
    try:
        data = json.loads(text)
        version = data["version"]
        if isinstance(version, int) and version > VERSION:
            raise Unsupported(
                t("{path} was written by a later version of LLMasOS (format {version})", path=source, version=version),
                hint=t("Update LLMasOS to open it."),
            )
        if version != VERSION:
            raise ValueError(f"version {version!r}")
        return Talk(
            str(data["id"]), [_side(item) for item in data["sides"]], str(data["name"]), _settings(data["settings"]),
            datetime.fromisoformat(data["created"]), datetime.fromisoformat(data["changed"]),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        if isinstance(error, Unsupported):
            raise
        raise IntegrityError(
            t("{path} is damaged: {problem}", path=source, problem=repr(error)),
            hint=t("Delete the conversation, or put the file back from a copy."),
        ) from error


def to_markdown(talk: Talk) -> str:
    """What is shown of the conversations, for reading."""
    lines = [f"# {talk.name or talk.id}", ""]
    for side in talk.sides:
        if len(talk.sides) > 1:
            lines += [f"## {side.model}", ""]
        if talk.settings.system.strip():
            lines += [f"**{t('System prompt')}**", "", talk.settings.system.strip(), ""]
        for said in side.conversation.path():
            lines += [f"**{t('You') if said.role == 'user' else said.model or side.model}**", "", said.text, ""]
    return "\n".join(lines)


def _flat(conversation: Conversation) -> list[dict[str, Any]]:
    """All messages, each with the place of the one before it: a long conversation nests deeper than JSON is read."""
    places: dict[int, int | None] = {id(conversation.root): None}
    found: list[dict[str, Any]] = [{"chosen": conversation.root.chosen}]
    waiting = list(conversation.root.following)
    places[id(conversation.root)] = 0
    for said in waiting:  # it grows
        places[id(said)] = len(found)
        assert said.before is not None
        found.append({
            "before": places[id(said.before)], "role": said.role, "text": said.text, "thoughts": said.thoughts,
            "model": said.model, "note": said.note, "chosen": said.chosen,
            "tokens": [_token(item) for item in said.tokens],
        })  # fmt: skip
        waiting += said.following
    return found


def _side(data: dict[str, Any]) -> Side:
    conversation = Conversation()
    first, *others = data["messages"]
    messages: list[Said] = [conversation.root]
    chosen = [int(first["chosen"])]
    for item in others:
        before = item["before"]
        if item["role"] not in ("user", "assistant") or not 0 <= before < len(messages):
            raise ValueError(f"message {len(messages)}")
        said = messages[before].add(item["role"], str(item["text"]))
        said.thoughts, said.note, said.model = str(item["thoughts"]), str(item["note"]), str(item["model"])
        said.tokens = [_token_info(token) for token in item["tokens"]]
        messages.append(said)
        chosen.append(int(item["chosen"]))
    for said, place in zip(messages, chosen, strict=True):
        if not 0 <= place <= max(len(said.following) - 1, 0):
            raise ValueError(f"chosen {place}")
        said.chosen = place
    return Side(str(data["model"]), conversation)


def _token(item: TokenInfo) -> list[Any]:
    return [item.token_id, item.text, round(item.logprob, 4), [_token(other) for other in item.top]]


def _token_info(item: list[Any]) -> TokenInfo:
    number, text, logprob, top = item
    return TokenInfo(int(number), str(text), None, float(logprob), [_token_info(other) for other in top])


def _settings(data: dict[str, Any]) -> TalkSettings:
    known = {item.name: data[item.name] for item in fields(TalkSettings) if item.name in data}
    found = TalkSettings(**{**known, "stop": tuple(map(str, known.get("stop", ())))})
    if found.form not in FORMS or not isinstance(found.system, str) or not isinstance(found.source, str):
        raise ValueError("settings")
    return found
