"""What of a run's events a terminal shows."""

from __future__ import annotations

import errno

from llmasos.cli.follow import RunSink, WhileWatched
from llmasos.progress import Event


def shown(events: list[Event]) -> list[Event]:
    seen: list[Event] = []
    sink = RunSink(seen.append)
    for event in events:
        sink(event)
    return seen


def metric(step: int, label: str = "train", **values: float) -> Event:
    return Event("metric", label, values={"step": step, **values})


def test_the_newest_measures_stand_beside_the_bar() -> None:
    seen = shown(
        [
            Event("started", "train", 1, 0.0, 10.0, "steps"),
            metric(1, loss=2.5, tokens_per_second=560.0, mfu=0.41, memory_bytes=2 * 2**30),
            Event("progress", "train", 1, 1.0, 10.0, "steps"),
            Event("started", "evaluate", 2, 0.0, 5.0, None),
        ]
    )
    assert [event.label for event in seen] == [
        "train", "train · loss 2.5 · 560 tokens/s · MFU 41% · 2.0 GiB", "evaluate",
    ]  # fmt: skip


def test_evaluations_samples_and_warnings_get_lines() -> None:
    seen = shown(
        [
            metric(1, loss=2.5),
            metric(2, eval_loss=2.0, eval_accuracy=0.5),
            metric(2, "gsm8k", accuracy=0.25),
            Event("sample", "train", values={"step": 2, "prompt": "a\nb", "output": "c" * 500}),
            Event("checkpoint", "checkpoints/2", values={"step": 2}),
            Event("log", "look out", values={"level": "warning"}),
        ]
    )
    lines = [event.label for event in seen]
    assert lines[:2] == ["step 2: eval_loss 2  eval_accuracy 0.5", "step 2: accuracy 0.25"]
    assert lines[2].startswith("step 2: a ⏎ b → ccc") and lines[2].endswith("…") and lines[3:] == ["look out"]


def test_tasks_of_a_killed_attempt_are_ended() -> None:
    seen = shown(
        [
            Event("started", "train", 1, 0.0, 10.0, "steps"),
            Event("state", "running", values={"attempt": 2}),
            Event("started", "train", 1, 0.0, 10.0, "steps"),
        ]
    )
    assert [(event.kind, event.task) for event in seen] == [("started", 1), ("failed", 1), ("started", 1)]


def test_nobody_watching_is_no_error() -> None:
    seen: list[Event] = []

    def terminal(event: Event) -> None:
        seen.append(event)
        raise OSError(errno.EIO, "Input/output error")

    sink = WhileWatched(terminal)
    sink(Event("log", "1"))
    sink(Event("log", "2"))
    assert len(seen) == 1
