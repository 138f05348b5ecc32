"""Reading files beside the event loop, on threads of its own: files may be large, and others must not wait for them."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")
_threads = ThreadPoolExecutor(4, thread_name_prefix="data")


async def reading(function: Callable[_P, _R], *arguments: _P.args, **named: _P.kwargs) -> _R:
    """What the function returns; it speaks the language in force here."""
    work = partial(contextvars.copy_context().run, function, *arguments, **named)
    return await asyncio.get_running_loop().run_in_executor(_threads, work)
