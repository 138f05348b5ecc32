"""The file of events: read as it grows, and readable when it is damaged."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos import progress
from llmasos.progress import Event, EventKind, JsonLinesSink
from llmasos.runs.context import RunContext
from llmasos.runs.events import EventFile, parse_event

NUMBERS = st.integers(-(2**53), 2**53) | st.floats()
EVENTS = st.builds(
    Event,
    kind=st.sampled_from(sorted(get_args(EventKind))),
    label=st.text(),
    task=st.none() | st.integers(1, 9),
    completed=st.none() | st.floats(0, 1e9),
    total=st.none() | st.floats(0, 1e9),
    unit=st.none() | st.sampled_from(["B", "steps"]),
    values=st.dictionaries(st.text(), NUMBERS | st.text(), max_size=4),
    time=st.floats(0, 2e9),
)


def numbers(event: Event) -> Event:
    """Texts for values that JSON has no numbers for; they are read back as numbers only in metrics."""
    if event.kind == "metric":
        return event
    texts = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    values = {
        name: texts.get(str(value), value) if isinstance(value, float) else value
        for name, value in event.values.items()
    }
    return replace(event, values=values)


@given(st.lists(EVENTS, max_size=5))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, events: list[Event]) -> None:
    path = tmp_path_factory.mktemp("events") / "events.jsonl"
    sink = JsonLinesSink(path)
    for event in events:
        sink(event)
    assert sink.close() == 0
    for line in path.read_bytes().split(b"\n")[:-1]:
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    file = EventFile(path)
    found = list(file.read())
    assert file.damaged == []
    special = {"NaN", "Infinity", "-Infinity"}
    for got, event in zip(found, events, strict=True):
        if event.kind == "metric" and special & {value for value in event.values.values() if isinstance(value, str)}:
            continue  # a text that spells a number in a metric is one
        assert repr(got) == repr(replace(numbers(event), values=dict(numbers(event).values)))


@given(st.binary(max_size=60))
def test_no_line_breaks_the_reader(line: bytes) -> None:
    event = parse_event(line)
    assert event is None or isinstance(event, Event)


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b"[]",
        b'{"kind": "metric"}',
        b'{"kind": "dance", "label": "a"}',
        b'{"kind": "log", "label": 3}',
        b'{"kind": "log", "label": "a", "surprise": 1}',
        b'{"kind": "log", "label": "a", "values": {"x": [1]}}',
        b'{"kind": "progress", "label": "a", "completed": "much"}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_what_is_no_event_is_none(line: bytes) -> None:
    assert parse_event(line) is None


def test_damaged_lines_are_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    good = b'{"kind": "log", "label": "%d", "time": 1}\n'
    path.write_bytes(good % 1 + b'{"kind": "metric", "la\n' + good % 2 + b"\0\0\0\0\n\n" + good % 3)
    file = EventFile(path)
    assert [event.label for event in file.read()] == ["1", "2", "3"]
    assert file.damaged == [2, 4]


def test_a_file_is_read_as_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    file = EventFile(path)
    assert list(file.read()) == []
    line = b'{"kind": "log", "label": "a", "time": 1}\n'
    with path.open("ab", buffering=0) as writer:
        writer.write(line + line[:10])
        assert len(list(file.read())) == 1
        writer.write(line[10:])
        assert len(list(file.read())) == 1
        assert list(file.read()) == []
    assert file.damaged == []


def test_what_work_reports(tmp_path: Path) -> None:
    context = RunContext("r", tmp_path)
    path = tmp_path / "events.jsonl"
    sink = JsonLinesSink(path)
    with progress.reporting(sink):
        context.report(step=3, loss=math.nan, mfu=None, **{"gsm8k.accuracy": 0.5})
        context.sample(step=3, prompt="a", output="b", reference="c")
        context.checkpoint(tmp_path / "checkpoints" / "3", step=3, best=True)
        context.artefact(kind="model", name="my/x:latest", digest="sha256:1")
        context.warn("look out")
        replace(context, main=False).report(step=4, loss=1.0)  # another of several processes
    sink.close()
    metric, sample, checkpoint, artefact, warning = EventFile(path).read()
    assert math.isnan(float(metric.values["loss"])) and "mfu" not in metric.values
    assert metric.values["gsm8k.accuracy"] == 0.5 and metric.label == "train"
    assert sample.values == {"step": 3, "prompt": "a", "output": "b", "reference": "c"}
    assert (checkpoint.label, checkpoint.values["best"]) == ("checkpoints/3", 1)
    assert artefact.values == {"kind": "model", "digest": "sha256:1"}
    assert warning.values["level"] == "warning"
