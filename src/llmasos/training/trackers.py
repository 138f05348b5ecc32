"""Experiment trackers: TensorBoard, trackio, Weights & Biases and MLflow get the metrics of a run too.

They are those of accelerate, which know each service's own ways. A service that fails while training runs is told of
once and left alone: the run's own files have everything.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmasos import progress
from llmasos.errors import InvalidRecipe, MissingDependency
from llmasos.i18n import t
from llmasos.progress import Event
from llmasos.runs.events import METRIC_LABEL
from llmasos.training.recipe.trainer import Tracker

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

_log = logging.getLogger(__name__)

#: The packages of which one is needed, the one to install last.
_PACKAGES = {
    "tensorboard": ("tensorboard", "tensorboardX"),
    "trackio": ("trackio",),
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
}


class TrackerSink:
    """Hands the metrics among the events of a run to a tracker."""

    def __init__(self, name: str, tracker: GeneralTracker) -> None:
        self._name = name
        self._tracker = tracker
        self._working = True

    def __call__(self, event: Event) -> None:
        if event.kind != "metric" or not self._working:
            return
        values = {
            name if event.label == METRIC_LABEL else f"{event.label}/{name}": value
            for name, value in event.values.items()
            if name != "step" and isinstance(value, int | float)
        }
        step = event.values.get("step")
        try:
            self._tracker.log(values, step=int(step) if step is not None else None)
        except Exception as error:  # noqa: BLE001 - a service of others must not end a training
            self._fail(error)

    def close(self) -> None:
        """Tell the tracker that the run is over."""
        try:
            self._tracker.finish()
        except Exception as error:  # noqa: BLE001 - the training is done, whatever the service says
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if self._working:
            self._working = False  # first: the warning comes back here as an event
            _log.warning("tracker %s", self._name, exc_info=error)
            progress.current().log(
                t("the tracker {name} failed and gets nothing more: {error}", name=self._name, error=error),
                level="warning",
            )


def open_trackers(
    trackers: Sequence[Tracker], *, run: str, folder: Path, recipe: Mapping[str, Any]
) -> list[TrackerSink]:
    """Start the trackers of a recipe.

    Args:
        run: what the run is called there.
        folder: the run's folder, in which TensorBoard's files go.
        recipe: the resolved recipe, which the trackers show as the run's parameters.

    Raises:
        MissingDependency: a tracker's package is not installed.
        InvalidRecipe: ``options`` has something that a tracker does not take.
    """
    opened = []
    for tracker in trackers:
        check_installed(tracker)
        opened.append(TrackerSink(tracker.kind, _start(tracker, run, folder, recipe)))
    return opened


def check_installed(tracker: Tracker) -> None:
    """Refuse a tracker whose package is not installed.

    Raises:
        MissingDependency: it is not.
    """
    for package in ("accelerate", _PACKAGES[tracker.kind]):
        names = (package,) if isinstance(package, str) else package
        if not any(importlib.util.find_spec(name) for name in names):
            raise MissingDependency(
                t("the tracker {kind} needs the package {package}", kind=tracker.kind, package=names[-1]),
                hint=f"pip install {names[-1]}",
            )


def _start(tracker: Tracker, run: str, folder: Path, recipe: Mapping[str, Any]) -> GeneralTracker:
    from accelerate import tracking

    options = tracker.options
    try:
        opened: GeneralTracker
        match tracker.kind:
            case "tensorboard":
                opened = tracking.TensorBoardTracker(tracker.project, folder / "tensorboard", **options)
            case "wandb":
                opened = tracking.WandBTracker(tracker.project, **{"name": run, "dir": str(folder), **options})
            case "trackio":
                opened = tracking.TrackioTracker(tracker.project, **{"name": run, **options})
            case "mlflow":
                opened = tracking.MLflowTracker(tracker.project, **{"run_name": run, **options})
        opened.start()
    except TypeError as error:
        raise InvalidRecipe(
            t("the tracker {kind} does not take these options: {error}", kind=tracker.kind, error=error),
            hint=t("See the arguments of its own start function."),
        ) from error
    # TensorBoard shows parameters in a tab of their own that needs a second file; the others keep them with the run.
    if tracker.kind != "tensorboard":
        opened.store_init_configuration(flatten(recipe))
    return opened


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float | bool]:
    """Nested values under names with dots; what is not set is left out, and lists become text."""
    found: dict[str, str | int | float | bool] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flatten(value, f"{prefix}{key}.")
        elif isinstance(value, str | int | float | bool):
            found[f"{prefix}{key}"] = value
        elif value is not None and value != []:
            found[f"{prefix}{key}"] = str(value)
    return found
