"""In which number format keys and values are kept."""

from __future__ import annotations

from typing import Literal

from llmasos.errors import InvalidRequest, did_you_mean
from llmasos.i18n import t

CacheDtype = Literal["float32", "float16", "bfloat16", "int8"]
"""int8 has a scale for each token and kv head. The wider ones only where the model computes in them."""
CACHE_DTYPES: tuple[CacheDtype, ...] = ("bfloat16", "int8")
"""Those that can be asked for."""


def choose_cache_dtype(requested: str | None, *, exact: CacheDtype) -> CacheDtype:
    """The format asked for, else ``exact``, that of the model's own arithmetic.

    Raises:
        InvalidRequest: not the name of a format.
    """
    if requested is None or requested == "auto":
        return exact
    for dtype in CACHE_DTYPES:
        if requested == dtype:
            return dtype
    raise InvalidRequest(
        t(
            "{dtype!r} is not a format of the key-value cache; allowed: auto, {allowed}",
            dtype=requested,
            allowed=", ".join(CACHE_DTYPES),
        ),
        hint=did_you_mean(requested, ("auto", *CACHE_DTYPES)),
    )
