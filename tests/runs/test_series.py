"""Curves and where a run stands, from events."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos.errors import InvalidRequest
from llmasos.progress import Event
from llmasos.runs.digest import Digest
from llmasos.runs.plots.figure import panels, tick_text, ticks
from llmasos.runs.series import Curves, Point, curves, finite, thinned


def metric(step: int, label: str = "train", **values: float) -> Event:
    return Event("metric", label, values={"step": step, **values})


def test_curves_keep_steps_tokens_and_order() -> None:
    found = curves([metric(1, loss=3.0, tokens=10, epoch=0.1), metric(2, loss=2.0), metric(2, eval_loss=2.5),
                    metric(2, "gsm8k", accuracy=0.5)])  # fmt: skip
    assert found == {
        "loss": [Point(1, 3.0, 10.0), Point(2, 2.0, None)],
        "eval_loss": [Point(2, 2.5)],
        "gsm8k/accuracy": [Point(2, 0.5)],
    }


def test_steps_that_are_done_again_count_once() -> None:
    before = [metric(step, loss=float(step)) for step in range(1, 8)]
    after = [metric(step, loss=-float(step)) for step in range(5, 10)]
    found = curves([*before, *after])["loss"]
    assert [point.step for point in found] == list(range(1, 10))
    assert [point.value for point in found] == [1, 2, 3, 4, -5, -6, -7, -8, -9]


def test_a_run_that_goes_on_is_kept_in_bounds() -> None:
    values = [math.nan if step == 700 else math.sin(step) + 50 * (step == 400) for step in range(1000)]
    found = Curves(most=20)
    for step, value in enumerate(values):
        found.feed([metric(step, loss=value)])
        assert len(found.points["loss"]) <= 40
    kept = found.points["loss"]
    assert kept[0] == Point(0, 0.0) and kept[-1].step == 999
    assert max(point.value for point in finite(kept)) > 49 and any(math.isnan(point.value) for point in kept)
    found.feed([metric(900, loss=1.0)])
    assert found.points["loss"][-1] == Point(900, 1.0), "steps that are done again count once"


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400), st.integers(1, 60))
def test_thinning_keeps_what_can_be_seen(values: list[float], most: int) -> None:
    points = [Point(number, value) for number, value in enumerate(values)]
    kept = thinned(points, most)
    assert len(kept) <= max(most, 2) + 2
    assert kept[0] == points[0] and kept[-1] == points[-1]
    assert min(point.value for point in kept) == min(values) and max(point.value for point in kept) == max(values)
    assert [point.step for point in kept] == sorted({point.step for point in kept})


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(2, 9))
def test_ticks_are_round_and_inside(low: float, width: float, count: int) -> None:
    found = ticks(low, low + width, count)
    assert len(found) <= count + 1
    slack = width * 1e-6 + 4 * math.ulp(abs(low) + width)
    assert all(low - slack <= value <= low + width + slack for value in found)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (2.5, "2.5"), (12345, "12.35K"), (3_200_000, "3.2M"), (7e9, "7B"), (0.0002, "2e-4"),
     (0.000175, "1.75e-4"), (-1.5, "-1.5"), (150, "150")],
)  # fmt: skip
def test_numbers_on_axes_are_short(value: float, text: str) -> None:
    assert tick_text(value) == text


def test_losses_share_a_panel_and_runs_have_colours() -> None:
    one = curves([metric(1, loss=3.0, memory_bytes=3 * 2**30), metric(2, loss=math.nan), metric(2, eval_loss=2.0)])
    two = curves([metric(1, loss=4.0)])
    loss, memory = panels([("a", one), ("b", two)])
    assert loss.title == "Loss"
    assert [(line.label, line.run, line.dashed, line.skipped) for line in loss.lines] == [
        ("a · Training loss", 0, False, 1), ("a · Validation loss", 0, True, 0), ("b · Training loss", 1, False, 0),
    ]  # fmt: skip
    assert (memory.title, memory.unit, memory.lines[0].points) == ("Memory", "GiB", ((1.0, 3.0),))


def test_panels_refuse_what_they_cannot_draw() -> None:
    with pytest.raises(InvalidRequest, match="no measure has been reported"):
        panels([("a", {})])
    found = curves([metric(1, loss=1.0)])
    with pytest.raises(InvalidRequest, match="lozz") as caught:
        panels([("a", found)], metrics=["lozz"])
    assert "loss" in str(caught.value.hint)
    with pytest.raises(InvalidRequest, match="no value is a number"):
        panels([("a", curves([metric(1, loss=math.inf)]))])
    with pytest.raises(InvalidRequest, match="nothing to draw"):
        panels([("a", found)], x="tokens")


def test_where_a_run_stands() -> None:
    events = [
        Event("state", "running", values={"attempt": 2}, time=0.0),
        Event("started", "load the model", 1, 0.0, None, None, time=1.0),
        Event("finished", "load the model", 1, 0.0, None, None, time=2.0),
        Event("started", "训练", 2, 0.0, 100.0, "步", time=10.0),
        Event("progress", "训练", 2, 10.0, 100.0, "步", time=20.0),
        metric(10, loss=2.0, tokens_per_second=500.0),
        Event("started", "evaluate", 3, 0.0, 5.0, "batches", time=21.0),
        Event("progress", "evaluate", 3, 5.0, 5.0, "batches", time=22.0),
        metric(10, eval_loss=2.5),
        Event("progress", "训练", 2, 20.0, 100.0, "步", time=30.0),
        metric(20, eval_loss=2.7),
        Event("checkpoint", "checkpoints/20", values={"step": 20, "best": 0}),
        Event("log", "look out", values={"level": "warning"}),
    ]
    digest = Digest().feed(events)
    assert digest.task is not None and digest.task.label == "训练"
    assert (digest.share, digest.per_second, digest.attempt) == (0.2, 1.0, 2)
    assert digest.seconds_left(now=30.0) == 80.0 and digest.seconds_left(now=40.0) == 70.0
    assert digest.best == (2.5, 10) and digest.measure("eval_loss") == 2.7 and digest.measure("mfu") is None
    assert digest.checkpoint == ("checkpoints/20", 20) and digest.warnings == ["look out"]
    digest.add(Event("finished", "train", 2, 100.0, 100.0, "steps", time=130.0))
    assert digest.seconds_left(now=130.0) is None and digest.share == 1.0


def test_a_new_attempt_begins_anew() -> None:
    digest = Digest().feed(
        [
            Event("started", "train", 1, 0.0, 100.0, "steps", time=0.0),
            Event("progress", "train", 1, 50.0, 100.0, "steps", time=10.0),
            Event("state", "running", values={"attempt": 2}, time=1000.0),
        ]
    )
    assert digest.task is None
    digest.add(Event("started", "train", 1, 40.0, 100.0, "steps", time=1001.0))
    digest.add(Event("progress", "train", 1, 50.0, 100.0, "steps", time=1011.0))
    assert digest.per_second == 1.0 and digest.share == 0.5
