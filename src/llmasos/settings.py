"""Typed settings: ``~/.llmasos/config.toml``, then ``LLMASOS_*`` variables, which win."""

from __future__ import annotations

import os
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from llmasos.errors import InvalidRecipe, did_you_mean
from llmasos.home import home_directory as home_directory
from llmasos.i18n import t


class Settings(BaseSettings):
    """All settings. Each is a key of ``config.toml`` and a variable ``LLMASOS_<KEY>``."""

    model_config = SettingsConfigDict(env_prefix="LLMASOS_", extra="forbid", frozen=True)

    home: Path = Field(default_factory=home_directory, description="Folder of the library, runs and configuration.")
    lang: Literal["en", "zh"] | None = Field(None, description="Language of messages; default: the locale's.")
    database: str | None = Field(
        None, description="SQLAlchemy URL of the catalogue; default: SQLite in the home folder."
    )
    default_model: str = Field(
        "smollm2:135m-instruct", description="Model that `llmasos run` takes when none is named."
    )
    registries: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="OCI registries (host or host/namespace) that `search` asks."
    )
    insecure_registries: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="OCI registries reached over plain HTTP. Loopback addresses always are."
    )
    parallel_downloads: int = Field(4, ge=1, le=32, description="Files of one artefact downloaded at the same time.")
    download_timeout: float = Field(60.0, gt=0, description="Seconds without a byte before a download is retried.")
    download_retries: int = Field(5, ge=0, le=100, description="Attempts after a network error, with growing pauses.")
    disk_reserve: int = Field(256 * 2**20, ge=0, description="Bytes that must stay free on the disk after a pull.")
    upload_limit: int = Field(
        2 * 2**30, ge=1, description="Most bytes of one file that somebody sends to the Studio from a browser."
    )
    verify_on_load: bool = Field(True, description="Check the SHA-256 of every blob of a model before it is loaded.")
    threads: int | None = Field(None, ge=1, description="Threads for computing; default: the physical cores.")
    concurrent_runs: int = Field(
        1, ge=1, description="Runs in the background at the same time on this machine; others wait in the queue."
    )
    evaluation_data: Path | None = Field(
        None, description="Folder in which `llmasos eval` looks for data first, if --data is not given."
    )
    studio_sign_in: Literal["elsewhere", "always"] = Field(
        "elsewhere",
        description="Who must sign in to the Studio. elsewhere: everybody, if other machines can reach it; always: "
        "also the browsers of this machine, once there are users.",
    )
    cuda_graphs: bool = Field(True, description="Decode on NVIDIA GPUs by replaying captured CUDA graphs.")

    @field_validator("registries", "insecure_registries", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """A variable holds a list with commas: ``LLMASOS_REGISTRIES=a.example,b.example/x``."""
        if isinstance(value, str):
            return tuple(item.strip() for item in value.split(",") if item.strip())
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, InitSettingsSource(settings_cls, read_configuration_file())


def read_configuration_file() -> dict[str, Any]:
    """The content of ``config.toml``, empty if there is none.

    Raises:
        InvalidRecipe: the file is not TOML.
    """
    path = home_directory() / "config.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRecipe(
            t("{path} is not valid TOML: {error}", path=path, error=error),
            hint=t("Correct the file or remove it to use the defaults."),
        ) from error


def origin_of(name: str) -> str:
    """Where the value of a setting comes from: the name of a variable, ``config.toml`` or ``default``.

    Raises:
        InvalidRecipe: config.toml is not TOML.
    """
    variable = f"LLMASOS_{name.upper()}"
    if variable in os.environ:
        return variable
    return "config.toml" if name in read_configuration_file() else "default"


def validation_lines(error: ValidationError, allowed: list[str]) -> list[str]:
    """One line per problem of a pydantic validation, with a suggestion for unknown keys."""
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"]) or "."
        if problem["type"] == "extra_forbidden":
            hint = did_you_mean(where, allowed)
            lines.append(t("{where}: unknown key", where=where) + (f" ({hint})" if hint else ""))
        else:
            lines.append(f"{where} = {problem['input']!r}: {problem['msg']}")
    return lines


@lru_cache
def get_settings() -> Settings:
    """The settings in force, read once per process.

    Raises:
        InvalidRecipe: a key is unknown or a value is not allowed; all problems are listed.
    """
    try:
        return Settings()
    except ValidationError as error:
        lines = validation_lines(error, sorted(Settings.model_fields))
        raise InvalidRecipe(
            t("the settings have {count} problem(s):", count=len(lines)) + "\n  " + "\n  ".join(lines),
            hint=t("See `llmasos doctor` and docs/settings.md for all keys."),
        ) from error
