"""Recipes: a new one, a check, what the keys mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmasos.cli.output import Column, Output
from llmasos.errors import AlreadyExists, InvalidRecipe, did_you_mean
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.recipe.loading import Recipe

app = typer.Typer()
group = typer.Typer(help="Write, check and explain recipes.")
app.add_typer(group, name="recipe")

TRAINING_KINDS = ("pretrain", "sft", "classify", "seq2seq", "reward")
KINDS = ("data", *TRAINING_KINDS)
TABLES = ("presets", "methods")
"""What `recipe show` explains beside kinds."""

Kind = Annotated[
    str,
    typer.Argument(metavar="KIND", help=t("What the recipe is for: data, pretrain, sft, classify, seq2seq or reward.")),
]
File = Annotated[Path, typer.Argument(metavar="FILE", help=t("The recipe, a YAML file."))]
Json = Annotated[bool, typer.Option("--json", help=t("Write JSON."))]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help=t("Change a value of the recipe, such as seed=7; may be repeated.")
    ),
]


def recipe_model(kind: object) -> type[Recipe]:
    """The model of the recipes of a kind.

    Raises:
        InvalidRecipe: there is no such kind.
    """
    if kind == "data":
        from llmasos.data.recipe import DataRecipe

        return DataRecipe
    if kind in TRAINING_KINDS:
        from llmasos.training.recipe.kinds import KINDS as MODELS

        return MODELS[str(kind)]
    near = did_you_mean(str(kind), KINDS)
    raise InvalidRecipe(
        t("there is no kind of recipe {kind!r}", kind=kind),
        hint=near or t("Kinds are: {kinds}.", kinds=", ".join(KINDS)),
    )


@group.command("new")
def new(
    kind: Kind,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help=t("Write it into this file instead of standard output."))
    ] = None,
    json: Json = False,
) -> None:
    """Write a recipe to start from, with a comment for every line."""
    out = Output(json=json)
    recipe_model(kind)
    text = _template(kind)
    if output is not None:
        if output.exists():
            raise AlreadyExists(t("{path} exists", path=output), hint=t("Choose another name, or remove it."))
        output.write_text(text, encoding="utf-8")
        out.result({"path": str(output)}, lambda: out.print(t("written: {path}", path=output)))
    else:
        out.result({"recipe": text}, lambda: out.print(text.rstrip()))


def _template(kind: str) -> str:
    from importlib import resources

    from llmasos.i18n import language

    folder = resources.files("llmasos") / "recipe" / "templates"
    return (folder / f"{kind}.{language()}.yaml").read_text(encoding="utf-8")


@group.command("check")
def check(
    file: File,
    set_: Set = None,
    keys: Annotated[
        bool, typer.Option("--keys", help=t("Check the keys alone; look at no file, no model and no data."))
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help=t("For training: also render every row and measure a few steps."))
    ] = False,
    json: Json = False,
) -> None:
    """Check a recipe and report all problems with their lines.

    A training recipe is tried out as far as that is quick: files, columns, the first rows as tokens, labels, the
    shapes of the model, memory, disk and time. Nothing is trained. Of other recipes the keys are checked.
    """
    from llmasos.recipe import loading

    out = Output(json=json)
    document = loading.read(file)
    kind = document.values.get("kind")
    recipe = loading.check(document, recipe_model(kind), set_ or ())
    resolved = recipe.model_dump(mode="json", exclude_none=True)
    if keys or kind not in TRAINING_KINDS:
        out.result({"valid": True, "recipe": resolved}, lambda: out.print(t("{path} is a valid recipe", path=file)))
        return
    from llmasos.cli.preflight import check_training
    from llmasos.library.store import Library
    from llmasos.training.launch import read_recipe

    check_training(read_recipe(file, set_ or ()), file, out, full=full, library=Library())


@group.command("show")
def show(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND", help=t("A kind of recipe, or `presets` or `methods` for what training recipes can name.")
        ),
    ],
    key: Annotated[
        str | None, typer.Argument(metavar="KEY", help=t("Only the keys below this one, such as sources or steps."))
    ] = None,
    json: Json = False,
) -> None:
    """List every key of a kind of recipe with its meaning and default."""
    from llmasos.recipe.explain import explain

    out = Output(json=json)
    if kind in TABLES:
        from llmasos.cli import recipe_tables

        (recipe_tables.presets if kind == "presets" else recipe_tables.methods)(out, key)
        return
    rows = [row for row in explain(recipe_model(kind)) if key is None or row.path.split(".")[0].split("[")[0] == key]
    if not rows:
        raise InvalidRecipe(
            t("recipes of the kind {kind} have no key {key!r}", kind=kind, key=key),
            hint=t("`llmasos recipe show {kind}` lists all keys.", kind=kind),
        )

    def human() -> None:
        shown: list[tuple[Any, ...]] = [(row.path, row.default, row.description) for row in rows]
        out.table([Column(t("Key"), style="bold"), t("Default"), t("Meaning")], shown)

    out.result([{"key": row.path, "default": row.default, "description": row.description} for row in rows], human)
