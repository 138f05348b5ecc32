"""What pages work with: the models in service, the library, the runs, and who looks."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any

from nicegui import ui

from llmasos.errors import LLMasOSError
from llmasos.evaluation.finished import FinishedEvaluations
from llmasos.i18n import speaking, t
from llmasos.library.store import Library
from llmasos.runs.queue import Queue
from llmasos.runs.store import RunStore
from llmasos.server.serving.service import ModelService
from llmasos.settings import get_settings
from llmasos.studio.accounts.door import Door
from llmasos.studio.accounts.visitor import OWNER, Visitor
from llmasos.studio.preferences import Preferences
from llmasos.studio.transfers import Transfers

logger = logging.getLogger(__name__)

Handler = Callable[..., Any | Awaitable[Any]]


@dataclass
class Platform:
    """Everything that all browsers share."""

    service: ModelService
    address: str | None = None
    """Where the server answers, once it is known."""

    @property
    def library(self) -> Library:
        return self.service.library

    @cached_property
    def transfers(self) -> Transfers:
        """Downloads."""
        return Transfers(self.library)

    @cached_property
    def evaluations(self) -> FinishedEvaluations:
        """Scores and samples."""
        return FinishedEvaluations(self.library)

    @cached_property
    def door(self) -> Door:
        """Who may come in."""
        return Door(self.library.catalogue.database, self.service.configuration)

    @cached_property
    def queue(self) -> Queue:
        """The runs in the background."""
        return Queue(RunStore(self.library), limit=get_settings().concurrent_runs)


@dataclass(frozen=True)
class Context:
    """The platform as one browser sees it."""

    platform: Platform
    preferences: Preferences
    visitor: Visitor = OWNER

    def handle(self, handler: Handler, *, admin: bool = False) -> Handler:
        """A handler of an event, in the person's language; what goes wrong is told with what to do next.

        It does nothing for somebody whose session has ended, nor, if ``admin``, for somebody who is no admin: what a
        page does not show can be asked for all the same.

        NiceGUI calls handlers in tasks of its own, which know nothing of the page they come from.
        """

        @wraps(handler)  # NiceGUI looks at the signature to know whether a handler wants the event
        async def handled(*arguments: Any) -> None:
            with speaking(self.preferences.language):
                try:
                    await self.platform.door.require(self.visitor, admin=admin)
                    found = handler(*arguments)
                    if inspect.isawaitable(found):
                        await found
                except LLMasOSError as error:
                    tell(error)

        return handled


def tell(error: LLMasOSError) -> None:
    """Show an error with its hint until the person closes it."""
    ui.notification(
        error.message, caption=error.hint or "", type="negative", timeout=None, close_button=t("Close"),
        position="bottom", multi_line=True,
    )  # fmt: skip
