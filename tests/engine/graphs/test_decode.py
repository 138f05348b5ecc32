"""Which passes are run over static shapes, which shapes are kept, and what is said about it."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

from llmasos import progress
from llmasos.engine.batch import Batch, SequenceSlice
from llmasos.engine.graphs.buckets import Shape
from llmasos.engine.graphs.capture import Step
from llmasos.engine.graphs.decode import LONGEST_SLICE, StaticDecode
from recorded_graphs import RecordedGraphs


class Positions:
    """The logits of a row are its token, its position and its first block."""

    block_size = 16
    vocabulary_size = 3
    device = "cpu"

    def static_logits(self, tokens: torch.Tensor, positions: torch.Tensor, tables: torch.Tensor) -> torch.Tensor:
        return torch.stack([tokens, positions, tables[:, 0]], 1).float()


class Broken(Positions):
    """Asks for a value in the middle of a pass, as no step of a graph may."""

    def static_logits(self, tokens: torch.Tensor, positions: torch.Tensor, tables: torch.Tensor) -> torch.Tensor:
        return super().static_logits(tokens, positions, tables) * (1 + int(positions.max().item()))


def decode(model: Any = None, capture: RecordedGraphs | None = None, **values: Any) -> StaticDecode:
    settings = {"rows": 6, "columns": 40, "scratch": 99, "max_graphs": 50, "max_bytes": None} | values
    return StaticDecode(model or Positions(), capture or RecordedGraphs(), **settings)


def batch(*contexts: int, rows: int = 1, **values: Any) -> Batch:
    """A sequence of each context, ``rows`` rows each; ``values`` are those of the last slice."""
    slices = []
    positions: list[int] = []
    for number, context in enumerate(contexts):
        blocks = [10 * number + block for block in range(-(-(context + rows) // 16))]
        more = values if number == len(contexts) - 1 else {}
        slices.append(SequenceSlice(len(positions), rows, context, blocks, more.get("adapter"), number,
                                    more.get("steering")))  # fmt: skip
        positions += range(context, context + rows)
    return Batch(torch.arange(len(positions)) + 7, torch.tensor(positions), slices, torch.arange(len(positions)))


def test_rows_come_back_in_their_order() -> None:
    static = decode()
    for contexts in ((5,), (40, 3, 0), (1, 2, 3, 4, 5), (639,)):
        logits = static.forward(batch(*contexts))
        assert logits is not None
        wanted = [[number + 7, context, 10 * number] for number, context in enumerate(contexts)]
        assert logits.tolist() == wanted
    assert static.counts.static_passes == 4
    assert static.counts.captured == static.counts.graphs == 4


def test_only_wanted_rows() -> None:
    work = batch(30, 20, rows=3)
    work.logits_rows = torch.tensor([0, 2, 5])
    logits = decode().forward(work)
    assert logits is not None and logits[:, 1].tolist() == [30, 32, 22]


@pytest.mark.parametrize(
    "work",
    [
        batch(3, 4, adapter="red"),
        batch(3, 4, steering=object()),
        batch(3, 4, 5, 6, 7, 8, 9),  # more rows than the largest shape
        batch(640),  # longer than the widest shape
        batch(3, rows=LONGEST_SLICE + 1),  # a piece of a prompt
    ],
    ids=["adapter", "steering", "rows", "context", "prompt"],
)
def test_what_is_left_to_eager_passes(work: Batch) -> None:
    static = decode()
    assert static.forward(work) is None
    assert (static.counts.eager_passes, static.counts.static_passes, static.counts.captured) == (1, 0, 0)


def test_prompts_beside_decoding_are_left_to_eager_passes() -> None:
    mixed = batch(8)
    mixed.sequences.append(SequenceSlice(1, 20, 0, [50, 51], None, 9))
    mixed.tokens, mixed.positions = torch.arange(21), torch.tensor([8, *range(20)])
    assert decode().forward(mixed) is None


def test_shapes_are_captured_when_they_are_met_and_once() -> None:
    graphs = RecordedGraphs()
    static = decode(capture=graphs)
    for contexts in ((1,), (2,), (1, 2, 3), (1, 2, 3, 4), (200,), (100,)):
        static.forward(batch(*contexts))
    assert static.counts.captured == len(graphs.tapes) == 3  # 1 x 8, 4 x 8, 1 x 16 blocks


def test_the_shape_unused_for_longest_is_forgotten() -> None:
    graphs = RecordedGraphs()
    static = decode(capture=graphs, max_graphs=2)
    for contexts in ((1,), (1, 2), (1,), (1, 2, 3), (1,), (1, 2)):
        static.forward(batch(*contexts))
    assert static.counts.captured == 4  # the pair twice: three rows took its place
    assert (static.counts.forgotten, static.counts.graphs) == (2, 2)


def test_what_cannot_be_captured_runs_eagerly_and_is_said(caplog: pytest.LogCaptureFixture) -> None:
    static = decode(Broken())
    with caplog.at_level(logging.WARNING):
        for contexts in ((1,), (2,), (1, 2), (300, 2)):
            assert static.forward(batch(*contexts)) is None
    assert (static.counts.refused, static.counts.eager_passes) == (1, 4), "larger shapes are not tried"
    assert "from 1 rows and 128 tokens of context run eagerly: it cannot be captured" in caplog.text


class Growing(RecordedGraphs):
    """Memory as a shared pool takes it: the largest step decides."""

    def capture(self, step: Step) -> Step:
        recorded = super().capture(step)
        copied = next(args[0] for func, args, _, _ in reversed(self.tapes[-1].operations) if "copy_" in func.name())
        self._taken = max(self._taken, 1000 * copied.shape[0])
        return recorded


def test_graphs_stay_within_their_budget(caplog: pytest.LogCaptureFixture) -> None:
    graphs = Growing()
    static = decode(capture=graphs, max_bytes=4000)
    with caplog.at_level(logging.WARNING):
        assert static.forward(batch(1, 2, 3)) is not None
        assert static.forward(batch(1, 2, 3, 4, 5)) is None
        assert static.forward(batch(200, 2, 3, 4, 5)) is None
        assert graphs.released == 1, "what the refused shape took is given back"
        assert (static.counts.graphs, static.counts.graph_bytes, static.counts.forgotten) == (0, 0, 1)
        assert static.forward(batch(1, 2)) is not None
        assert static.forward(batch(1, 2, 3)) is not None
    assert (static.counts.refused, static.counts.captured) == (1, 3)
    assert (static.counts.graphs, static.counts.graph_bytes) == (2, 4000)
    assert "allowed are" in caplog.text
    static.release()
    assert (static.counts.graphs, static.counts.graph_bytes) == (0, 0)


def test_the_device_suggests_a_budget() -> None:
    static = decode(capture=Growing(budget=1000))
    assert static.forward(batch(1)) is not None
    assert static.forward(batch(1, 2)) is None


def test_all_shapes_before_the_first_request() -> None:
    events: list[progress.Event] = []
    graphs = Growing()
    static = decode(capture=graphs, rows=4, columns=20)
    with progress.reporting(events.append):
        static.prepare_all()
    assert static.counts.captured == 3 * 3
    assert [event.kind for event in events][0 :: len(events) - 1] == ["started", "finished"]
    assert events[-1].completed == events[-1].total == 9
    assert graphs.tapes[0].operations[-1][1][0].shape[0] == 4, "the largest first"
    static.forward(batch(1, 2, 3))
    assert static.counts.captured == 9


def test_no_more_shapes_are_prepared_than_are_kept() -> None:
    static = decode(max_graphs=2)
    static.prepare_all()
    assert (static.counts.captured, static.counts.forgotten) == (2, 0)
    assert static.forward(batch(1)) is not None
    assert static.counts.captured == 2


def test_capture_runs_on_padding_alone() -> None:
    seen: list[list[list[int]]] = []

    class Watching(Positions):
        def static_logits(self, tokens: torch.Tensor, positions: torch.Tensor, tables: torch.Tensor) -> torch.Tensor:
            seen.append([tokens.tolist(), positions.tolist(), sorted(set(tables.flatten().tolist()))])
            return super().static_logits(tokens, positions, tables)

    decode(Watching()).forward(batch(1, 2))
    assert seen == [[[0, 0], [0, 0], [99]]] * 2


def test_shape_of_the_tallest_and_widest() -> None:
    assert decode().buckets.shapes()[-1] == Shape(6, 40)
