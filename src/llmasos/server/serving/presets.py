"""What a model brings to every request: a system prompt, messages that go before, options.

They lie in ``presets.json`` of the version, so they travel with it, and all APIs honour them. A version that differs
from its base in nothing else runs on the base's weights: many such models cost the memory of one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator

from llmasos.errors import IntegrityError, NotFound
from llmasos.i18n import t
from llmasos.library.manifest import DOC, Manifest, canonical_json, media_type_for
from llmasos.server.serving.job import Job, Message

if TYPE_CHECKING:
    from llmasos.library.store import Library

PRESETS_PATH = "presets.json"
OPTIONS = frozenset({
    "temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty", "presence_penalty",
    "frequency_penalty", "seed", "stop", "max_tokens",
})  # fmt: skip
_LARGEST = 2**20


class Presets(BaseModel):
    """The content of ``presets.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    base: str | None = Field(None, description="Digest of the version with the same weights, tokenizer and template.")
    system: str | None = Field(None, description="Stands first where a conversation has no system message.")
    messages: list[dict[str, JsonValue]] = Field(
        default_factory=list, description="Go before the messages of every conversation."
    )
    options: dict[str, JsonValue] = Field(
        default_factory=dict, description="Hold where a request says nothing; by the engine's names."
    )
    context_limit: int | None = Field(None, ge=1, description="Most tokens of prompt and output together.")

    @field_validator("options")
    @classmethod
    def _are_presettable(cls, options: dict[str, JsonValue]) -> dict[str, JsonValue]:
        unknown = sorted(set(options) - OPTIONS)
        if unknown:
            raise ValueError(t("options that cannot be preset: {names}", names=", ".join(unknown)))
        return options

    @field_validator("messages")
    @classmethod
    def _are_messages(cls, messages: list[dict[str, JsonValue]]) -> list[dict[str, JsonValue]]:
        if not all(isinstance(item.get("role"), str) and isinstance(item.get("content"), str) for item in messages):
            raise ValueError(t("a message needs a role and a content"))
        return messages

    def applied(self, job: Job) -> Job:
        """The job with everything that it does not say itself."""
        given = {name: value for name, value in job.options.items() if value is not None}
        talks = self.system is not None or bool(self.messages)
        return replace(
            job,
            messages=None if job.messages is None else self.conversation(list(job.messages)),
            # Without a template there is no place for what goes before; that is an error, not a prompt alone.
            prompt=None if talks and job.messages is not None else job.prompt,
            options={**self.options, **given},
            context_limit=job.context_limit or self.context_limit,
        )

    def conversation(self, messages: list[Message]) -> list[Message]:
        """The messages with the system prompt and the messages that go before."""
        head: list[Message] = []
        if messages and messages[0].get("role") == "system":
            head, messages = messages[:1], messages[1:]
        elif self.system is not None:
            head = [{"role": "system", "content": self.system}]
        return [*head, *self.messages, *messages]

    def to_bytes(self) -> bytes:
        """The file."""
        return canonical_json(self.model_dump(mode="json", exclude_defaults=True))


def read_presets(library: Library, digest: str) -> Presets | None:
    """The presets of a version; ``None`` if it has none.

    Raises:
        NotFound: there is no such version.
        IntegrityError: the file is damaged.
    """
    manifest, _ = library.read_manifest(digest)
    file = manifest.files.get(PRESETS_PATH)
    if file is None:
        return None
    try:
        if file.size > _LARGEST:
            raise ValueError(t("it is larger than {limit} bytes", limit=_LARGEST))
        # Strict checks are made for JSON's types, so the text goes through its own reader.
        return Presets.model_validate_json(library.blobs.read(file.digest))
    except (ValidationError, ValueError, json.JSONDecodeError) as error:
        raise IntegrityError(
            t("{path} of {digest} cannot be read: {problem}", path=PRESETS_PATH, digest=digest, problem=error),
            hint=t("Create the model again."),
        ) from error


def weights_of(library: Library, digest: str, presets: Presets) -> str:
    """The version to load for this one: its base, if that is here and differs in presets and documents alone."""
    if presets.base is None:
        return digest
    try:
        base, _ = library.read_manifest(library.digest_of(presets.base))
    except (NotFound, IntegrityError):
        return digest
    return presets.base if _essential(base) == _essential(library.read_manifest(digest)[0]) else digest


def _essential(manifest: Manifest) -> Mapping[str, str]:
    """What decides how a model computes: every file but presets and documents."""
    return {
        path: file.digest
        for path, file in manifest.files.items()
        if path != PRESETS_PATH and media_type_for(path) != DOC
    }
