"""The tables of `llmasos recipe show`: presets of new models, and methods with their learning rates."""

from __future__ import annotations

from llmasos.cli.output import Column, Output
from llmasos.errors import InvalidRecipe, did_you_mean
from llmasos.i18n import t
from llmasos.units import format_count

VOCABULARY = 8192
"""Entries for which parameters are counted: the default of new tokenizers."""


def presets(out: Output, name: str | None) -> None:
    """Write the presets, or one of them.

    Raises:
        InvalidRecipe: there is no preset of this name.
    """
    from llmasos.training.presets.shape import shape_of
    from llmasos.training.presets.table import KINDS_OF_FAMILY, PRESETS, find
    from llmasos.training.recipe.models import PresetModel

    chosen = list(PRESETS.values()) if name is None else [find(name)]
    shapes = [shape_of(PresetModel(preset=preset.name)) for preset in chosen]
    data = [
        {
            "preset": shape.preset.name,
            "family": shape.family,
            "kinds": KINDS_OF_FAMILY[shape.family],
            "layers": shape.layers,
            "hidden_size": shape.hidden_size,
            "heads": shape.heads,
            "kv_heads": shape.kv_heads,
            "intermediate_size": shape.intermediate_size,
            "context_length": shape.context_length,
            "body_parameters": shape.body_weights(),
            "parameters": shape.weights(VOCABULARY),
            "source": shape.preset.source,
        }
        for shape in shapes
    ]

    def human() -> None:
        right = ("layers", "hidden_size", "heads", "intermediate_size", "context_length")
        out.table(
            [
                Column(t("Preset"), style="bold"), t("Kinds"), *(Column(item, right=True) for item in right),
                Column(t("Parameters"), right=True), t("Source"),
            ],
            [
                (
                    row["preset"], ", ".join(KINDS_OF_FAMILY[shape.family]), *(row[item] for item in right),
                    format_count(shape.weights(VOCABULARY)), shape.preset.source,
                )
                for row, shape in zip(data, shapes, strict=True)
            ],
        )  # fmt: skip
        out.print()
        out.print(
            t("Parameters are those with a vocabulary of {count} entries; each further entry adds hidden_size of them.",
              count=f"{VOCABULARY:,}"),
            style="dim",
        )  # fmt: skip

    out.result(data, human)


def methods(out: Output, name: str | None) -> None:
    """Write the methods with their default learning rates and the sources of these, or those of one method.

    Raises:
        InvalidRecipe: there is no method of this name.
    """
    from llmasos.training.methods.defaults import DEFAULTS, METHODS

    if name is not None and name not in METHODS:
        raise InvalidRecipe(
            t("there is no method {name!r}", name=name),
            hint=did_you_mean(name, METHODS) or t("Methods are: {names}.", names=", ".join(METHODS)),
        )
    rows = [
        {"method": method, "kind": kind, "learning_rate": default.learning_rate, "source": default.source}
        for method in METHODS
        if name in (None, method)
        for kind, default in DEFAULTS[method].items()
    ]

    def human() -> None:
        out.table(
            [Column(t("Method"), style="bold"), t("Kind"), Column(t("Learning rate"), right=True), t("Source")],
            [(row["method"], row["kind"], f"{row['learning_rate']:g}", row["source"]) for row in rows],
        )

    out.result(rows, human)
