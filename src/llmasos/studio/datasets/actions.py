"""What can be done with data wherever they are shown: prepare, train on them, remove."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nicegui import ui

from llmasos.i18n import t
from llmasos.studio import address, uploads
from llmasos.studio.components.confirm import confirm
from llmasos.studio.components.labelled import labelled
from llmasos.studio.context import Context


def prepare_button(data: str, title: str, layout: Callable[[], str | None] = lambda: None) -> None:
    """Leads to a recipe for preparing the data; ``layout`` tells, as JSON, what the columns mean."""
    button = ui.button(
        t("Prepare"), icon="auto_fix_high", on_click=lambda: ui.navigate.to(address.data_prepare(data, layout()))
    ).props("flat no-caps")
    labelled(button, t("Prepare {name}", name=title))


def train_button(data: str, title: str) -> None:
    """Leads to training on the data."""
    button = ui.button(
        t("Train on this"), icon="model_training", on_click=lambda: ui.navigate.to(address.train_on(data))
    ).props("flat no-caps")
    labelled(button, t("Train on {name}", name=title))


def remove_button(
    context: Context, title: str, explanation: str, do: Callable[[], None], *, admin: bool = False
) -> None:
    """Asks, then removes; ``admin``: only admins may."""
    if admin and not context.visitor.is_admin:
        return
    button = ui.button(
        icon="delete",
        on_click=context.handle(
            lambda: confirm(context, t("Remove {name}?", name=title), explanation, t("Remove"), do, admin=admin)
        ),
    ).props("flat round dense")
    labelled(button, t("Remove {name}", name=title))


def remove_upload_button(context: Context, path: Path, after: Callable[[], None]) -> None:
    """Removes a file that somebody sent."""

    def remove() -> None:
        uploads.remove(context.platform.library, path.name)
        ui.notify(t("{name} is removed.", name=path.name))
        after()

    explanation = t(
        "The file goes from this machine. Data sets that were prepared from it stay. This cannot be undone."
    )
    remove_button(context, path.name, explanation, remove)


def remove_data_set_button(context: Context, name: str, after: Callable[[], None]) -> None:
    """Removes what the library has under a name, as only admins may."""

    def remove() -> None:
        context.platform.library.remove(name)
        ui.notify(t("{name} is removed.", name=name))
        after()

    explanation = t("Its files go from this machine if no other name has them. This cannot be undone.")
    remove_button(context, name, explanation, remove, admin=True)
