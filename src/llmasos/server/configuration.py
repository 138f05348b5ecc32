"""What a server is told: models, limits, guard rails. One strict document, from a file and options of the command."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from llmasos.errors import InvalidRecipe
from llmasos.i18n import t
from llmasos.settings import validation_lines


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class UpstreamConfiguration(_Section):
    """A model that another OpenAI-compatible server computes."""

    url: str = Field(description="Address of its API with version, such as http://127.0.0.1:8080/v1.")
    model: str | None = Field(None, description="Its name there; default: the name here.")
    api_key_variable: str | None = Field(None, description="Environment variable that holds the key for it.")
    retries: int = Field(2, ge=0, le=10, description="Further attempts when it cannot be reached or is overloaded.")
    connect_timeout: float = Field(5.0, gt=0, description="Seconds to establish a connection.")
    read_timeout: float = Field(300.0, gt=0, description="Seconds without a byte.")
    failures_to_open: int = Field(5, ge=1, description="Failures in a row after which it is left alone for a while.")
    open_seconds: float = Field(10.0, gt=0, description="How long it is left alone.")

    @field_validator("url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError(t("an address begins with http:// or https://"))
        return value.rstrip("/")


class ServerConfiguration(_Section):
    """Everything about a server. Unknown keys are refused."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    models: tuple[str, ...] = Field((), description="Models loaded at start and never unloaded for being idle.")
    only: bool = Field(False, description="Serve nothing but the models, adapters and upstreams named here.")
    adapters: dict[str, str] = Field(
        default_factory=dict, description="Names for adapters of the library: {NAME: REFERENCE}."
    )
    upstreams: dict[str, UpstreamConfiguration] = Field(
        default_factory=dict, description="Models that other servers compute, by the name they have here."
    )
    dtype: str | None = Field(None, description="Number format: int8, int4, bfloat16, float32; default: what suits.")
    device: str | None = Field(None, description="cpu, cuda, cuda:N or mps; default: a GPU if there is one.")
    threads: int | None = Field(None, ge=1, description="Threads for computing; default: the usable cores.")
    max_sequences: int = Field(64, ge=1, description="Outputs that a model computes at the same time.")
    max_batch_tokens: int = Field(512, ge=1, description="Tokens of one pass; fewer shorten the pauses of streams.")
    cache_bytes: int | None = Field(
        None, ge=1, description="Key-value cache of each model; default: a share of the memory budget that is left."
    )
    memory_budget: int | None = Field(
        None, ge=1, description="Bytes that all loaded models may take; default: 80 % of the memory free at start."
    )
    keep_alive: float = Field(300.0, ge=0, description="Seconds after its last request that a model stays loaded.")
    max_queue: int = Field(64, ge=0, description="Outputs that may wait for each model; more are answered with 429.")
    deadline: float | None = Field(
        600.0, gt=0, description="Seconds after which a request ends; a request may ask for less. null: never."
    )
    max_body_bytes: int = Field(16 * 2**20, ge=1024, description="Largest body of a request.")
    responses_kept: int = Field(
        1000, ge=0, description="Answers of /v1/responses kept in memory for a later look; 0: none."
    )
    responses_bytes: int = Field(256 * 2**20, ge=0, description="Memory that they may take; the oldest go first.")
    drain_seconds: int | None = Field(
        None, ge=0, description="How long running requests may go on after SIGTERM; null: until they end."
    )
    lenient: bool = Field(False, description="Ignore unknown and unsupported fields, and name them in a header.")
    authentication: Literal["auto", "required", "off"] = Field(
        "auto", description="Whether a key is needed; auto: as soon as one exists, and always beyond this machine."
    )
    insecure: bool = Field(False, description="Allow listening beyond this machine without keys.")
    cors_origins: tuple[str, ...] = Field((), description="Web origins whose pages may call this server; * for all.")
    access_log: Literal["off", "requests", "prompts"] = Field(
        "requests",
        description="One JSON line for each request; with its fields, prompts among them, only if asked for.",
    )
    management: bool = Field(
        True, description="Allow pulling, pushing, creating, copying and deleting models through the API."
    )

    @field_validator("models", "cors_origins", mode="before")
    @classmethod
    def _as_tuple(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _names_are_distinct(self) -> ServerConfiguration:
        twice = set(self.adapters) & set(self.upstreams)
        if twice:
            raise ValueError(t("adapters and upstreams share the names {names}", names=", ".join(sorted(twice))))
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False


def read_configuration(path: Path | None, overrides: Mapping[str, Any]) -> ServerConfiguration:
    """The configuration of a YAML file (``kind: serve``) with options of the command on top.

    Raises:
        InvalidRecipe: the file cannot be read, or keys and values are not allowed; all problems at once.
    """
    document: dict[str, Any] = {}
    if path is not None:
        document = _read_yaml(path)
        kind = document.pop("kind", "serve")
        if kind != "serve":
            raise InvalidRecipe(
                t("{path}: kind = {kind!r}: a server's configuration has kind: serve", path=path, kind=kind)
            )
    values = {**document, **{key: value for key, value in overrides.items() if value is not None}}
    for name in ("adapters", "upstreams"):
        if isinstance(document.get(name), dict) and overrides.get(name):
            values[name] = {**document[name], **overrides[name]}
    try:
        return ServerConfiguration.model_validate(values)
    except ValidationError as error:
        lines = validation_lines(error, sorted(ServerConfiguration.model_fields))
        raise InvalidRecipe(
            t("the server's configuration has {count} problem(s):", count=len(lines)) + "\n  " + "\n  ".join(lines),
            hint=t("See docs/server.md for all keys."),
        ) from error


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidRecipe(t("{path} cannot be read: {error}", path=path, error=error.strerror or error)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidRecipe(t("{path} is not valid YAML: {error}", path=path, error=error)) from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InvalidRecipe(t("{path}: a mapping of keys and values is needed", path=path))
    return document
