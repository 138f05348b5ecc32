"""Opening a model for a command: with progress on standard error, and the licence question where it is due."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from llmasos.cli.output import Output
from llmasos.errors import LicenseNotAccepted

if TYPE_CHECKING:
    from llmasos.modeling.model import Model

_Opened = TypeVar("_Opened")


def open_model(
    reference: str,
    out: Output,
    *,
    accept_license: bool = False,
    dtype: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    cache_dtype: str | None = None,
) -> Model:
    """Load a model, fetching it first if need be.

    Raises:
        LicenseNotAccepted: the person declines, or cannot be asked.
        LLMasOSError: whatever stands in the way of fetching or loading.
    """
    from llmasos.sdk import load

    return with_license(
        lambda accept: load(
            reference, dtype=dtype, device=device, threads=threads, cache_dtype=cache_dtype, accept_license=accept
        ),
        out,
        accept_license,
    )


def with_license(open_it: Callable[[bool], _Opened], out: Output, accept_license: bool) -> _Opened:
    """Call ``open_it`` with progress shown; where a licence must be accepted first, ask and call it again."""
    try:
        with out.progress():
            return open_it(accept_license)
    except LicenseNotAccepted as error:
        if not out.confirm(error.message, flag="--accept-license"):
            raise
    with out.progress():
        return open_it(True)
