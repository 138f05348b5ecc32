"""What cannot be combined with divided weights is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tiny_runs
from llmasos.errors import InvalidRecipe
from llmasos.training.distributed.processes import Processes, join_processes, threads_for
from llmasos.training.distributed.sharding import check_sharding

pytestmark = pytest.mark.integration  # many processes

TWO = Processes(0, 2, 2, "cpu")


@pytest.mark.parametrize(("changes", "problem"), [
    ({"optimizer": {"kind": "muon"}}, "optimizer muon needs whole weights"),
    ({"optimizer": {"kind": "adamw-8bit"}}, "optimizer adamw-8bit needs whole weights"),
    ({"method": {"kind": "ia3"}}, "method ia3 cannot"),
    ({"method": {"kind": "freeze", "unfreeze_every": 2}}, r"method freeze\.unfreeze_every cannot"),
])  # fmt: skip
def test_what_needs_whole_weights_is_refused(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidRecipe, match=problem):
        check_sharding(tiny_runs.recipe(tmp_path, **changes), TWO)


def test_one_process_has_nobody_to_share_with(tmp_path: Path) -> None:
    recipe = tiny_runs.recipe(tmp_path, trainer={"distribution": {"kind": "fsdp"}})
    check_sharding(recipe, TWO)
    with pytest.raises(InvalidRecipe, match="there is one"):
        tiny_runs.open_loop(recipe, tiny_runs.context(tmp_path / "run"))


def test_one_process_alone_needs_no_launcher() -> None:
    alone = join_processes("cpu")
    assert alone == Processes(0, 1, 1, "cpu")
    assert alone.main
    assert alone.sum_numbers([1, 2.5]) == [1, 2.5]
    assert alone.gather("x") == ["x"]
    assert alone.first_does(lambda: 3) == 3


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmasos.training.distributed.processes.choose_threads", lambda requested=None: requested or 8)
    assert threads_for(None, Processes(0, 2, 2, "cpu")) == 4
    assert threads_for(None, Processes(0, 16, 16, "cpu")) == 1
    assert threads_for(3, Processes(0, 2, 2, "cpu")) == 3
