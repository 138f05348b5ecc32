from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from llmasos.cli.terminal import LineSink, Rate, amount, final_line
from llmasos.progress import Event

pytestmark = pytest.mark.integration  # by its time: seconds, not milliseconds


def event(kind: str, time: float, done: float | None = None, total: float | None = 100, **more: object) -> Event:
    return Event(kind, "copy", 1, done, total, "B", time=time, **more)  # type: ignore[arg-type]


def lines(*events: Event) -> list[str]:
    stream = io.StringIO()
    sink = LineSink(stream, interval=10)
    for item in events:
        sink(item)
    return stream.getvalue().splitlines()


def test_a_brief_task_writes_nothing() -> None:
    assert lines(event("started", 0), event("progress", 0.5, 50), event("finished", 0.9, 100)) == []


def test_a_long_task_tells_after_a_second_then_now_and_then_and_at_the_end() -> None:
    written = lines(
        event("started", 0, 0),
        event("progress", 0.9, 9),
        event("progress", 1.1, 11),
        event("progress", 5, 50),
        event("progress", 11.2, 90),
        event("finished", 12, 100),
    )
    assert len(written) == 3
    assert written[0].startswith("copy 11% (11 B, 10 B/s")
    assert written[1].startswith("copy 90% (90 B")
    assert written[2] == "✓ copy · 100 B in 12.0 s · 8 B/s"


def test_a_failure_is_always_told() -> None:
    assert lines(event("started", 0, 0), event("failed", 0.1, 3)) == ["✗ copy · 3 B in 100 ms · 30 B/s"]


def test_an_unknown_total() -> None:
    written = lines(event("started", 0, 0, None), event("progress", 2, 2048, None))
    assert written == ["copy (2.0 KiB, 1.0 KiB/s)"]


def test_log_messages_but_not_debug_ones() -> None:
    assert lines(
        Event("log", "attention", values={"level": "warning"}), Event("log", "detail", values={"level": "debug"})
    ) == ["attention"]


def test_events_of_a_task_that_began_elsewhere_are_left_alone() -> None:
    assert lines(event("progress", 5, 50), event("finished", 9, 100)) == []


def test_the_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate(0.0, 0.0)
    for second in range(1, 11):
        rate.add(second, second * 10)
    for second in range(11, 21):
        rate.add(second, 100 + (second - 10) * 100)
    assert rate.per_second == pytest.approx(100)
    assert rate.overall() == (1100, 20)


def test_a_resumed_task_counts_what_it_did_itself() -> None:
    rate = Rate(0.0, 900.0)
    rate.add(2.0, 1000.0)
    assert final_line(event("finished", 2, 1000), rate) == "✓ copy · 1000 B in 2.0 s · 50 B/s"


def test_amounts() -> None:
    assert amount(1536, "B") == "1.5 KiB"
    assert amount(1234567, "rows") == "1,234,567 rows"
    assert amount(0.5, None) == "0.5"


SHOW = """
import sys, time
from llmasos import progress
from llmasos.cli.output import Output
out = Output()
with out.progress(), progress.current().task("fetch [x]", total=2**20, unit="B") as task:
    for step in range(8):
        time.sleep(0.16)
        task.advance(2**17)
out.table(["Name", "Size"], [["a[b]", "1"], ["中文", "22"]])
"""


def test_plain_lines_when_nobody_watches() -> None:
    done = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, check=True)
    assert "\x1b" not in done.stdout + done.stderr
    assert "✓ fetch [x] · 1.0 MiB in 1." in done.stderr
    assert done.stdout == "Name   Size\na[b]   1\n中文   22\n"


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("colours", [True, False])
def test_a_bar_with_speed_and_time_left_on_a_terminal(colours: bool) -> None:
    pexpect = pytest.importorskip("pexpect")
    environment = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    environment.update({"TERM": "xterm-256color"} if colours else {"TERM": "xterm-256color", "NO_COLOR": "1"})
    written = pexpect.run(
        f"{sys.executable} -c '{SHOW}'", env=environment, encoding="utf-8", withexitstatus=False, timeout=30
    )
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    assert "fetch [x]" in plain, "labels are no markup"
    assert "512 KiB / 1.0 MiB" in plain
    assert "KiB/s" in plain
    assert "✓ fetch [x] · 1.0 MiB in 1." in plain
    assert "a[b]" in plain
    colour_codes = re.findall(r"\x1b\[[0-9;]*3[0-9][0-9;]*m", written)
    assert bool(colour_codes) == colours


def test_no_progress_goes_to_standard_output(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, check=True)
    assert "fetch" not in done.stdout
