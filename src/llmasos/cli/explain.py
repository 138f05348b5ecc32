"""What a model makes of a text: `llmasos explain`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from llmasos.cli import explain_text as shown
from llmasos.cli.inference import Json, ModelName
from llmasos.cli.model_options import AcceptLicense, CacheDType, Device, DType, Threads
from llmasos.cli.output import Output
from llmasos.errors import InvalidRequest
from llmasos.i18n import t

app = typer.Typer()


@app.command("explain")
def explain(
    model: ModelName,
    text: Annotated[str, typer.Argument(metavar="TEXT", help=t("The text; `-` reads standard input."))],
    prompt: Annotated[
        str | None, typer.Option(help=t("What the text answers; the model's chat template stands around it."))
    ] = None,
    top: Annotated[int, typer.Option(help=t("Likeliest tokens that are told for each place."))] = 3,
    attention: Annotated[
        str | None,
        typer.Option(
            metavar="LAYER[:HEAD]",
            help=t(
                "Tell what each token attended to in a layer, in one head of it or in the mean; `mean` is the "
                "mean over all layers."
            ),
        ),
    ] = None,
    lens: Annotated[
        int | None, typer.Option(metavar="POSITION", help=t("Tell what each layer would say after this token."))
    ] = None,
    dtype: DType = None,
    device: Device = None,
    threads: Threads = None,
    cache_dtype: CacheDType = None,
    accept_license: AcceptLicense = False,
    json: Json = False,
) -> None:
    """Show how likely a model finds each token of a text: probability, rank, entropy and what it expected instead.

    Positions are counted from 0. Entropy is in bits: 0 if the model was certain, one more each time its choice doubles.
    """
    from llmasos.cli.loading import open_model
    from llmasos.explain.explanation import explain_text

    out = Output(json=json)
    place = None if attention is None else _place(attention)
    text = sys.stdin.read() if text == "-" else text
    with open_model(
        model, out, accept_license=accept_license, dtype=dtype, device=device, threads=threads, cache_dtype=cache_dtype
    ) as loaded:
        found = explain_text(loaded, text, prompt=prompt, top=top, attention=place is not None)
        layers = None if lens is None else found.lens(loaded, lens, top=top)
        weights = None
        if place is not None and found.attention is not None:
            weights = found.attention.map(*place)
        data = {"model": loaded.reference, **shown.record(found)}
        if weights is not None and place is not None:
            data["attention"] = {"layer": place[0], "head": place[1], "weights": weights.tolist()}
        if layers is not None:
            data["lens"] = {"position": lens, "layers": [shown.lens_record(layer) for layer in layers]}

        def view() -> None:
            shown.print_tokens(out, found)
            if weights is not None:
                shown.print_attention(out, found, weights)
            if layers is not None:
                shown.print_lens(out, layers)

        out.result(data, view)


def _place(written: str) -> tuple[int | None, int | None]:
    """Layer and head of ``LAYER[:HEAD]``; ``None`` is the mean."""
    layer, colon, head = written.partition(":")
    try:
        return None if layer == "mean" else int(layer), int(head) if colon else None
    except ValueError as error:
        raise InvalidRequest(
            t("{name} = {value}: allowed is {allowed}", name="--attention", value=repr(written),
              allowed="LAYER, LAYER:HEAD, mean"),
            hint=t("`--attention 5` is the mean over the heads of layer 5, `--attention 5:2` its head 2."),
        ) from error  # fmt: skip
