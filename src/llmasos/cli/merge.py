"""``llmasos merge``: an adapter and its base become one model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from llmasos.cli.completion import complete_library
from llmasos.cli.output import Output
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.training.result.merge import Merged

app = typer.Typer()


@app.command("merge")
def merge(
    adapter: Annotated[
        str,
        typer.Argument(
            metavar="ADAPTER", help=t("An adapter of the library, by name or digest."), autocompletion=complete_library
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help=t("Name of the merged model; default: the adapter's with -merged at its end."))
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help=t("Number format of its weights: bfloat16, float16 or float32; default: that of the base.")),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help=t("Write JSON."))] = False,
) -> None:
    """Merge an adapter into its base, verify the result, and put it into the library.

    The logits of the adapted model, of the merged one and of the one read again from its files are compared; if they
    differ by more than rounding explains, nothing is published.
    """
    from llmasos.library.store import Library
    from llmasos.sdk import merge as merge_adapter

    out = Output(json=json)
    with out.progress():
        merged = merge_adapter(adapter, name=name, dtype=dtype, library=Library())
    data = {
        "name": str(merged.name.without_digest()),
        "digest": merged.version.digest,
        "dtype": merged.report.dtype,
        **{key.removeprefix("merge."): value for key, value in merged.report.metrics().items()},
    }
    out.result(data, lambda: _print(out, merged))


def _print(out: Output, merged: Merged) -> None:
    for sentence in merged.report.sentences():
        out.print(sentence)
    out.print(t("{name} is in the library ({size}).", name=merged.name.without_digest(), size=_size(merged)))


def _size(merged: Merged) -> str:
    from llmasos.units import format_bytes

    return format_bytes(merged.version.size)
