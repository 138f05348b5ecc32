"""What people train for: the kinds of recipes, the models that fit each, and the values to begin with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmasos.i18n import t
from llmasos.library.kind import Kind
from llmasos.library.store import Library
from llmasos.library.version import VersionRow
from llmasos.studio.datasets.origin import Origin
from llmasos.training.presets.table import KINDS_OF_FAMILY, PRESETS, Preset

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "sft": ("causal",),
    "classify": ("encoder", "classifier", "embedder", "causal"),
    "seq2seq": ("seq2seq",),
    "pretrain": ("causal",),
    "reward": ("causal", "reward"),
}
"""What kinds of models each kind of recipe can train, the most usual first; the kinds in the order of the page."""
LAYOUTS: Mapping[str, tuple[str, ...]] = {
    "sft": ("prompt_completion", "messages"),
    "classify": ("label",),
    "seq2seq": ("parallel",),
    "pretrain": ("text",),
    "reward": ("preference",),
}
"""What each kind of recipe learns from without further settings, the most usual first."""
_ENDINGS = {"sft": "assistant", "classify": "classifier", "seq2seq": "rewriter", "pretrain": "writer",
            "reward": "judge"}  # fmt: skip
_HELD_OUT = 0.1


@dataclass(frozen=True)
class Goal:
    """A kind of recipe as people know it."""

    kind: str
    icon: str
    title: str
    explanation: str


def goals() -> list[Goal]:
    """All, in the language in force."""
    return [
        Goal("sft", "forum", t("Chat and instructions"), t("A model answers as your examples do.")),
        Goal("classify", "label", t("Classify texts"), t("A class for each text: topic, sentiment, urgency.")),
        Goal("seq2seq", "translate", t("Translate or rewrite"), t("One text becomes another: translation, summary.")),
        Goal("pretrain", "auto_stories", t("From scratch"), t("A new model learns to write from plain texts.")),
        Goal("reward", "thumbs_up_down", t("Judge answers"), t("A model learns which of two answers people prefer.")),
    ]


def kind_for(task_family: str | None) -> str | None:
    """The kind of recipe that people mostly train a model with."""
    return {"causal": "sft", "seq2seq": "seq2seq", "encoder": "classify", "classifier": "classify",
            "embedder": "classify", "reward": "reward"}.get(task_family or "")  # fmt: skip


def fitting_models(library: Library, kind: str) -> list[VersionRow]:
    """The named models of the library that a kind of recipe can train, the most usual families first."""
    families = FAMILIES[kind]
    rows = [row for row in library.versions(kind=Kind.MODEL.value) if row.names and row.task_family in families]
    return sorted(rows, key=lambda row: (families.index(str(row.task_family)), row.parameters or 0, row.names[0]))


def fitting_presets(kind: str) -> list[Preset]:
    """The sizes of new models that a kind of recipe can train."""
    return [preset for preset in PRESETS.values() if kind in KINDS_OF_FAMILY[preset.family]]


def first_values(kind: str, *, model: Any, entry: Mapping[str, Any] | None, title: str) -> dict[str, Any]:
    """What a recipe begins with.

    Args:
        model: the value of its key ``model``; ``None``: none is chosen.
        entry: the entry of the list of training data.
        title: of the data, for the name of the result.
    """
    data: dict[str, Any] = {"train": [dict(entry)] if entry is not None else [], "validation_share": _HELD_OUT}
    values: dict[str, Any] = {} if model is None else {"model": model}
    values["data"] = data
    match kind:
        case "sft":
            values |= {"method": {"kind": "lora", "rank": 16}, "trainer": {"epochs": 3, "batch_size": 16},
                       "evaluation": {"samples": 2}}  # fmt: skip
        case "classify":
            data["rendering"] = {"overlong": {"kind": "truncate"}}
            values |= {"method": {"kind": "full"}, "trainer": {"epochs": 3, "batch_size": 16},
                       "evaluation": {"metric": "accuracy"}}  # fmt: skip
        case "seq2seq":
            values |= {"method": {"kind": "full"}, "trainer": {"epochs": 3, "batch_size": 16},
                       "evaluation": {"samples": 2}}  # fmt: skip
        case "pretrain":
            values |= {"trainer": {"epochs": 1, "batch_size": 16},
                       "optimizer": {"kind": "adamw", "weight_decay": 0.1, "beta2": 0.95},
                       "schedule": {"kind": "cosine", "warmup": 0.05, "final": 0.1}}  # fmt: skip
        case _:
            values |= {"method": {"kind": "lora", "rank": 16}, "trainer": {"epochs": 1, "batch_size": 16}}
    values["output"] = {"name": result_name(kind, title)}
    return values


def result_name(kind: str, title: str) -> str:
    """A name for the result in the library, from that of its data."""
    stem = title.split("/")[-1].split(".")[0].split(":")[0].lower()
    word = re.sub(r"[^a-z0-9]+", "-", stem).strip("-")
    return f"my/{word}-{_ENDINGS[kind]}" if word else f"my/{_ENDINGS[kind]}"


def origin_of(entry: Mapping[str, Any]) -> Origin | None:
    """The data that an entry of a recipe names, if the Studio can show them."""
    if entry.get("source", "files") == "files" and isinstance(entry.get("path"), str):
        return Origin(str(entry["path"]))
    if entry.get("source") == "library" and isinstance(entry.get("reference"), str):
        return Origin(str(entry["reference"]), str(entry.get("split", "train")))
    return None
