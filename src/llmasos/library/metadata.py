"""What is known of an artefact, and where its manifest keeps it.

The configuration blob is a plain ModelPack model configuration, which other tools read; its schema allows no further
fields. Everything that LLMasOS adds lies as JSON in annotations of the manifest, so it travels with every copy and is
covered by the version's digest.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from llmasos import __version__
from llmasos.errors import IntegrityError
from llmasos.i18n import t
from llmasos.library.kind import Kind

METADATA_ANNOTATION = "org.llmasos.metadata"
LINEAGE_ANNOTATION = "org.llmasos.lineage"

_log = logging.getLogger(__name__)


TaskFamily = Literal["causal", "seq2seq", "encoder", "classifier", "token-classifier", "embedder", "reward"]


def _to_utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


UtcTime = Annotated[datetime, AfterValidator(_to_utc)]


class _Document(BaseModel):
    """A document that is stored as JSON, so whatever it holds must be writable as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _is_writable(self) -> Self:
        self.model_dump_json()  # refuses lone surrogates, which Python strings may hold and UTF-8 may not
        return self


class Metadata(_Document):
    """What `llmasos show` tells. Unknown values are ``None`` or empty, never guessed."""

    kind: Kind = Field(Kind.MODEL, description="What the artefact is.")
    architecture: str | None = Field(None, description="Architecture as transformers names it, e.g. llama, t5, bert.")
    task_family: TaskFamily | None = Field(None, description="Which verbs the model can do.")
    parameters: int | None = Field(None, ge=0, description="Number of weights.")
    context_length: int | None = Field(None, ge=1, description="Longest input and output together, in tokens.")
    languages: list[str] = Field(default_factory=list, description="ISO 639 codes.")
    license: str | None = Field(None, description="SPDX identifier, or the licence's own name.")
    license_url: str | None = Field(None, description="Where the text of the licence is.")
    format: str | None = Field(None, description="Layout of the files: transformers, gguf, adapter, ...")
    precision: str | None = Field(None, description="Type of the stored weights, e.g. bfloat16.")
    quantization: str | None = Field(None, description="How the weights were quantised, e.g. Q4_0.")
    chat_template: bool = Field(False, description="Whether the tokenizer has a template for conversations.")
    base: str | None = Field(None, description="Digest or reference of the model that this one builds on.")
    labels: list[str] = Field(default_factory=list, description="Classes of a classifier, in the order of its outputs.")
    metrics: dict[str, JsonValue] = Field(default_factory=dict, description="Measured figures by name.")
    data: list[str] = Field(default_factory=list, description="Data sets that went in.")
    description: str | None = Field(None, description="One or two sentences for people.")
    created: UtcTime | None = Field(
        None,
        description="When it was made, UTC. Left out where making it again should give the same digest (a pull).",
    )


class LineageInput(_Document):
    """One thing that a step used."""

    role: str = Field(description="What it was used as: base, data, teacher, adapter, source, ...")
    digest: str | None = Field(None, description="Digest of the version, or of the bytes that came from outside.")
    reference: str | None = Field(None, description="The name under which it was known then.")


class Lineage(_Document):
    """How a version came to be."""

    step: str = Field(description="pull, import, train, quantize, merge, ...")
    inputs: list[LineageInput] = Field(default_factory=list, description="What the step used.")
    source: str | None = Field(None, description="Where it came from, e.g. hf:org/repo@revision.")
    recipe: dict[str, JsonValue] | None = Field(None, description="The resolved recipe of the step.")
    code_version: str = Field(__version__, description="Version of LLMasOS that ran the step.")
    metrics: dict[str, JsonValue] = Field(default_factory=dict, description="What the step measured.")


def config_document(metadata: Metadata, digests: Iterable[str]) -> dict[str, Any]:
    """The ModelPack model configuration of an artefact whose files have these ``digests``."""
    descriptor: dict[str, Any] = {}
    if metadata.created is not None:
        descriptor["createdAt"] = metadata.created.isoformat().replace("+00:00", "Z")
    if metadata.architecture is not None:
        descriptor["family"] = metadata.architecture
    if metadata.license is not None:
        descriptor["licenses"] = [metadata.license]
    if metadata.description is not None:
        descriptor["description"] = metadata.description
    config: dict[str, Any] = {}
    if metadata.kind is Kind.MODEL:
        config["architecture"] = "transformer"
    technical = {
        "format": metadata.format,
        "precision": metadata.precision,
        "quantization": metadata.quantization,
        "paramSize": parameter_size(metadata.parameters),
    }
    config |= {key: value for key, value in technical.items() if value is not None}
    languages = [code for code in metadata.languages if len(code) == 2 and code.isascii() and code.islower()]
    if languages:
        config["capabilities"] = {"languages": languages}
    return {
        "descriptor": descriptor,
        "config": config,
        "modelfs": {"type": "layers", "diffIds": list(digests)},
    }


def parameter_size(parameters: int | None) -> str | None:
    """A parameter count the way ModelPack writes it: ``134.5M``, ``1.5B``."""
    if parameters is None:
        return None
    for factor, letter in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K")):
        if parameters >= factor:
            return f"{parameters / factor:.1f}{letter}".replace(".0", "")
    return None  # ModelPack has no notation for fewer than a thousand


def metadata_from_config(document: Any) -> Metadata:
    """What a ModelPack configuration made by another tool tells of an artefact.

    Raises:
        IntegrityError: the document is not a ModelPack configuration.
    """
    descriptor = document.get("descriptor") if isinstance(document, dict) else None
    config = document.get("config") if isinstance(document, dict) else None
    if not isinstance(descriptor, dict) or not isinstance(config, dict):
        raise IntegrityError(
            t("the configuration is not a ModelPack model configuration"),
            hint=t("Only artefacts in the CNCF ModelPack layout can be taken into the library."),
        )
    capabilities = config.get("capabilities")
    languages = capabilities.get("languages") if isinstance(capabilities, dict) else None
    licenses = _texts(descriptor.get("licenses"))
    return Metadata(
        architecture=_text(descriptor.get("family")),
        format=_text(config.get("format")),
        precision=_text(config.get("precision")),
        quantization=_text(config.get("quantization")),
        languages=_texts(languages),
        license=" AND ".join(licenses) or None,
        description=_text(descriptor.get("description")),
        created=_time(descriptor.get("createdAt")),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _time(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


_Model = TypeVar("_Model", Metadata, Lineage)


def decode(model: type[_Model], annotations: Mapping[str, str], key: str) -> _Model | None:
    """Read one of our annotations; ``None`` if it is not there.

    Fields that this version does not know come from a newer one: they are left out, with a note in the log, because
    an artefact must stay readable.

    Raises:
        IntegrityError: a field has a value that is not allowed.
    """
    text = annotations.get(key)
    if text is None:
        return None
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        unknown = [problem["loc"] for problem in error.errors() if problem["type"] == "extra_forbidden"]
        if len(unknown) != error.error_count():
            details = "; ".join(
                f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
                for problem in error.errors()
                if problem["type"] != "extra_forbidden"
            )
            raise IntegrityError(
                t("the annotation {key} of the manifest is not valid: {details}", key=key, details=details),
                hint=t("The artefact is damaged or was made by a newer LLMasOS; upgrade, or pull it again."),
            ) from error
        _log.warning("%s has fields of a newer version, left out: %s", key, unknown)
        return model.model_validate_json(text, extra="ignore")
