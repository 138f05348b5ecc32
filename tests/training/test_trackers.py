"""Trackers: TensorBoard's files are really written and read back, the other services are stood in for."""

from __future__ import annotations

import struct
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llmasos import progress
from llmasos.errors import InvalidRecipe, MissingDependency
from llmasos.progress import Event
from llmasos.training import trackers
from llmasos.training.recipe.trainer import Tracker
from llmasos.training.trackers import TrackerSink, flatten, open_trackers

RECIPE = {"kind": "sft", "trainer": {"steps": 3, "epochs": None}, "labels": ["a", "b"], "trackers": []}


def metric(step: int, label: str = "train", **values: float | str) -> Event:
    return Event("metric", label, values={"step": step, **values})


def scalars(folder: Path) -> Iterator[tuple[str, int, float]]:
    """Tag, step and value of every scalar in TensorBoard's files (records of length, checksum, data, checksum)."""
    from tensorboardX.proto.event_pb2 import Event as Record

    for path in sorted(folder.rglob("events.out.*")):
        data = path.read_bytes()
        while data:
            [length] = struct.unpack("<Q", data[:8])
            record = Record.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            for value in record.summary.value:
                yield value.tag, record.step, value.simple_value


def test_tensorboard_gets_every_measure(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    [sink] = open_trackers([Tracker(kind="tensorboard", project="mine")], run="r", folder=tmp_path, recipe=RECIPE)
    with progress.reporting(sink):
        sink(metric(1, loss=3.0, learning_rate=0.5))
        sink(metric(2, loss=2.5))
        sink(metric(2, "gsm8k", accuracy=0.25))
        sink(Event("log", "not for trackers"))
    sink.close()
    assert list(scalars(tmp_path / "tensorboard" / "mine")) == [
        ("loss", 1, 3.0), ("learning_rate", 1, 0.5), ("loss", 2, 2.5), ("gsm8k/accuracy", 2, 0.25),
    ]  # fmt: skip


@dataclass
class Service:
    """Records what is called of the package of a service."""

    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    broken: bool = False

    def __call__(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            if self.broken:
                raise ConnectionError("the service is away")
            self.calls.append((name, {**options, **({"_": arguments} if arguments else {})}))
            return self.run

        return call

    @property
    def run(self) -> Any:
        finish, log = self("run.finish"), self("run.log")
        return types.SimpleNamespace(finish=finish, log=log, info=types.SimpleNamespace(run_id="1"))

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    service = Service()
    for name in ("wandb", "trackio"):
        config = types.SimpleNamespace(update=service("config"))
        module = types.SimpleNamespace(
            init=service("init"), config=config, finish=service("finish"), log=service("log")
        )
        monkeypatch.setitem(sys.modules, name, module)
    mlflow = types.SimpleNamespace(
        search_experiments=lambda **options: [],
        create_experiment=service("create_experiment"),
        start_run=service("init"),
        log_params=service("config"),
        log_metrics=service("run.log"),
        log_metric=service("run.log"),
        end_run=service("run.finish"),
        utils=types.SimpleNamespace(
            validation=types.SimpleNamespace(MAX_PARAM_VAL_LENGTH=500, MAX_PARAMS_TAGS_PER_BATCH=100)
        ),
    )
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.setattr(trackers, "check_installed", lambda tracker: None)
    return service


@pytest.mark.parametrize("kind", ["wandb", "trackio", "mlflow"])
def test_services_get_the_run_its_recipe_and_its_measures(service: Service, kind: Any, tmp_path: Path) -> None:
    [sink] = open_trackers([Tracker(kind=kind, project="mine")], run="sft-1", folder=tmp_path, recipe=RECIPE)
    sink(metric(1, loss=3.0))
    sink.close()
    assert service.names()[-2:] == ["run.log", "run.finish"], service.calls
    started = next(options for name, options in service.calls if name == "init")
    assert "sft-1" in started.values()
    assert "mine" in str(service.calls[:2])
    config = next(options for name, options in service.calls if name == "config")
    assert "trainer.steps" in str(config) and "epochs" not in str(config)
    log = next(options for name, options in service.calls if name == "run.log")
    assert "3.0" in str(log) and log["step"] == 1


def test_a_service_that_fails_is_told_of_once(service: Service, tmp_path: Path) -> None:
    [sink] = open_trackers([Tracker(kind="wandb")], run="r", folder=tmp_path, recipe=RECIPE)
    seen: list[Event] = []
    service.broken = True
    with progress.reporting(sink, seen.append) as reporter:
        reporter.emit(metric(1, loss=3.0))
        reporter.emit(metric(2, loss=2.0))
    sink.close()
    warnings = [event.label for event in seen if event.kind == "log"]
    assert len(warnings) == 1 and "wandb failed" in warnings[0] and "away" in warnings[0]
    assert len([event for event in seen if event.kind == "metric"]) == 2


@pytest.mark.parametrize("kind", ["tensorboard", "trackio", "wandb", "mlflow"])
def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, kind: Any, tmp_path: Path) -> None:
    find = trackers.importlib.util.find_spec
    hidden = ("tensorboard", "tensorboardX", "trackio", "wandb", "mlflow")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in hidden else find(name))
    with pytest.raises(MissingDependency, match=kind) as caught:
        open_trackers([Tracker(kind=kind)], run="r", folder=tmp_path, recipe=RECIPE)
    assert "pip install" in str(caught.value.hint)


def test_options_that_a_tracker_does_not_take(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    tracker = Tracker(kind="tensorboard", options={"no_such_option": 1})
    with pytest.raises(InvalidRecipe, match="no_such_option"):
        open_trackers([tracker], run="r", folder=tmp_path, recipe=RECIPE)


def test_recipes_are_flat_for_trackers() -> None:
    assert flatten(RECIPE) == {"kind": "sft", "trainer.steps": 3, "labels": "['a', 'b']"}


def test_a_sink_takes_metrics_alone() -> None:
    class Broken:
        def log(self, values: dict[str, float], step: int | None) -> None:
            raise AssertionError("not called")

    TrackerSink("x", Broken())(Event("progress", "train", 1, 1.0, 2.0))  # type: ignore[arg-type]
