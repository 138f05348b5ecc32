"""Getting the models of the configuration ready while the Studio is in use."""

from __future__ import annotations

import asyncio

from llmasos.errors import LLMasOSError
from llmasos.studio.context import Platform
from llmasos.studio.first_steps import is_here
from llmasos.studio.transfers import Transfer

_LOOK = 0.2


async def ready_models(platform: Platform) -> None:
    """Fetch what is missing, as a download that the pages show, and load it. The service answers whatever comes of it.

    Raises:
        LLMasOSError: a model cannot be had; the service works without it.
    """
    service = platform.service
    try:
        for reference in service.configuration.models:
            if not reference.startswith((".", "/", "~", "file:")) and not is_here(platform.library, reference):
                await ended(platform.transfers.start(reference))
        await service.start()
    except LLMasOSError:
        await service.start(())
        raise


async def ended(transfer: Transfer) -> None:
    """Wait for a transfer.

    Raises:
        LLMasOSError: it failed.
    """
    while transfer.outcome == "running":
        await asyncio.sleep(_LOOK)
    if transfer.error is not None:
        raise transfer.error
