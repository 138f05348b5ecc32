"""The built-in catalogue: well-known models under friendly names (``builtin.yaml``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from llmasos.errors import InvalidReference, NotFound, did_you_mean
from llmasos.i18n import language, t
from llmasos.library.reference import DEFAULT_TAG, Reference
from llmasos.library.sources.reference import Source, parse_source


@dataclass(frozen=True)
class BuiltinModel:
    """An entry of the catalogue.

    Attributes:
        name: ``family:tag``, the name it gets in the library.
        source: where it is pulled from.
        task: the task family, as in the metadata of versions.
        parameters: number of weights.
        download: bytes to download; rounded where the source does not fix its files.
        descriptions: one sentence by language.
        labels: names of a classifier's outputs, where its files do not give them.
        default: whether the family's bare name means this entry.
    """

    name: str
    title: str
    publisher: str
    source: str
    license: str | None
    task: str
    parameters: int
    download: int
    languages: tuple[str, ...]
    descriptions: Mapping[str, str]
    labels: tuple[str, ...] = ()
    default: bool = False

    @property
    def description(self) -> str:
        """The description in the language in force."""
        return self.descriptions[language()]

    @property
    def memory(self) -> int:
        """Recommended memory in bytes."""
        return recommended_memory(self.parameters, self.task)

    @property
    def parsed_source(self) -> Source:
        """The source, read."""
        source = parse_source(self.source)
        if source is None:
            raise InvalidReference(t("{source} in the built-in catalogue is not a source", source=self.source))
        return source


def recommended_memory(parameters: int, task: str | None) -> int:
    """Bytes of memory to have for a model: its weights as they are held (16 bits for generators, 32 for the smaller
    encoders), a quarter more for caches and activations, and half a GiB for the program."""
    width = 2 if task == "causal" else 4
    return parameters * width * 5 // 4 + 512 * 2**20


@lru_cache(maxsize=1)
def entries() -> tuple[BuiltinModel, ...]:
    """All models of the catalogue, in its order."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster where libyaml is there
    text = (resources.files("llmasos.library") / "builtin.yaml").read_text(encoding="utf-8")
    document: dict[str, dict[str, Any]] = yaml.load(text, Loader=loader)  # noqa: S506 - both are safe loaders
    found = []
    for family, common in document.items():
        for tag, own in common["models"].items():
            merged = {**common, **own}
            found.append(
                BuiltinModel(
                    name=f"{family}:{tag}",
                    title=merged["title"],
                    publisher=merged["publisher"],
                    source=merged["source"],
                    license=merged["license"],
                    task=merged["task"],
                    parameters=int(merged["parameters"]),
                    download=int(merged.get("download") or merged["parameters"] * merged["stored_bytes"]),
                    languages=tuple(merged["languages"]),
                    descriptions=merged["description"],
                    labels=tuple(merged.get("labels", ())),
                    default=common["default"] == tag,
                )
            )
    return tuple(found)


def names() -> list[str]:
    """The names of all models."""
    return [entry.name for entry in entries()]


def find(reference: str | Reference) -> BuiltinModel | None:
    """The entry of this name; a family's bare name means its default. ``None`` for anything else."""
    if isinstance(reference, str):
        try:
            reference = Reference.parse(reference)
        except InvalidReference:
            return None
    if reference.digest is not None or reference.namespace is not None:
        return None
    for entry in entries():
        family, _, tag = entry.name.partition(":")
        if family == reference.name and (tag == reference.tag or (entry.default and reference.tag == DEFAULT_TAG)):
            return entry
    return None


def from_source(source: Source) -> BuiltinModel | None:
    """The entry that is pulled from ``source``, whatever name the user asked for."""
    return next((entry for entry in entries() if entry.parsed_source == source), None)


def get(reference: str | Reference) -> BuiltinModel:
    """The entry of this name.

    Raises:
        NotFound: the catalogue has none; with suggestions.
    """
    entry = find(reference)
    if entry is None:
        raise NotFound(
            t("the catalogue has no model {name}", name=reference),
            hint=did_you_mean(str(reference), names()) or t("`llmasos search` lists the catalogue."),
        )
    return entry
