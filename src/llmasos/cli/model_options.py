"""Options that several commands have: how a model is run, and its licence."""

from __future__ import annotations

from typing import Annotated

import typer

from llmasos.i18n import t

DType = Annotated[
    str | None,
    typer.Option(help=t("Number format: int8, int4, bfloat16, float16 or float32; default: what suits the machine.")),
]
CacheDType = Annotated[
    str | None,
    typer.Option(help=t("Number format of cached keys and values: auto, bfloat16, or int8 in about half the memory.")),
]
Device = Annotated[str | None, typer.Option(help=t("cpu, cuda, cuda:N or mps; default: a GPU if there is one."))]
Threads = Annotated[int | None, typer.Option(help=t("Threads for computing; default: the usable cores."))]
AcceptLicense = Annotated[
    bool, typer.Option("--accept-license", help=t("Accept the model's licence if it asks for that."))
]
