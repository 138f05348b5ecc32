"""Memory: what tensors take, what an optimiser keeps, what a change of the recipe saves."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_runs
from llmasos.errors import OutOfMemory
from llmasos.library.store import Library
from llmasos.training.assembly import make_loop, open_parts
from llmasos.training.distributed.processes import join_processes
from llmasos.training.preflight import start
from llmasos.training.preflight.allocations import Allocations
from llmasos.training.preflight.memory import TrainedNumbers, require_fit, savings, state_bytes
from llmasos.training.preflight.probe import probe
from llmasos.training.preflight.report import MemoryFacts
from llmasos.training.preflight.start import applied_shapes, shapes_of


def test_allocations_are_counted_until_they_are_freed() -> None:
    allocations = Allocations()
    with allocations:
        first = torch.zeros(1000)
        view = first.view(10, 100)
        view.add_(1)
        assert allocations.now == 4000
        second = first + 1
        del second
        assert (allocations.now, allocations.highest) == (4000, 8000)
        del first
        assert allocations.now == 4000  # the view keeps it
        del view
    assert (allocations.now, allocations.highest) == (0, 8000)


def test_what_the_backward_pass_needs_is_counted() -> None:
    weight = torch.randn(64, 64, requires_grad=True)
    given = torch.randn(256, 64)

    def step() -> None:
        hidden = given
        for _ in range(6):
            hidden = torch.sigmoid(hidden @ weight)
        hidden.sum().backward()

    step()
    allocations = Allocations()
    with allocations:
        step()
    kept = 6 * 256 * 64 * 4  # what each sigmoid gives
    assert kept <= allocations.highest <= 2 * kept


@pytest.mark.parametrize("kind", ["adamw", "adamw-8bit", "adafactor", "lion", "sgd", "muon"])
def test_states_are_as_large_as_they_become(kind: str, tmp_path: Path) -> None:
    recipe = tiny_runs.recipe(tmp_path, optimizer={"kind": kind}, trainer={"steps": 1}, evaluation={"at_start": False})
    loop, _ = tiny_runs.run_loop(recipe, tiny_runs.context(tmp_path / "run"))
    real = sum(tensor.nbytes for tensor in loop.optimizer.tensors().values())
    numbers = TrainedNumbers.of(loop.weights.masters().values())
    estimated = state_bytes(recipe.optimizer, numbers, 4)
    if kind == "muon":
        assert real <= estimated <= 2 * real
    else:
        assert estimated == pytest.approx(real, rel=0.02)


def parts_of(tmp_path: Path, **changes: Any) -> Any:
    recipe = tiny_runs.recipe(tmp_path, **changes)
    processes = join_processes("cpu")
    context = tiny_runs.context(tmp_path / "run")
    return recipe, context, processes, open_parts(recipe, context, processes, Library())


@pytest.mark.parametrize("method", [{"kind": "full"}, {"kind": "lora", "rank": 4}])
def test_few_layers_tell_what_all_of_them_take(
    tmp_path: Path, home: Path, method: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model of six layers: the probe looks at one and at three, and the truth is measured on all."""
    import transformers

    import tiny_models

    folder = tmp_path / "model"
    tiny_models.build("llama", folder)
    config = transformers.LlamaConfig.from_pretrained(folder, num_hidden_layers=6, hidden_size=64)
    config.head_dim = 32
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    recipe, context, processes, parts = parts_of(tmp_path, method={**method, "learning_rate": 0.01})
    from llmasos.training.opening import open_model

    shapes = open_model(recipe, rows=parts.feeds.rows.train.rows, device="cpu", library=Library(), meta=True)
    found = probe(recipe, shapes, parts.feeds, parts.precision, "cpu")
    loop = make_loop(recipe, context, processes, parts)
    from llmasos.training.preflight.probe import longest_micro_batch

    batch = longest_micro_batch(parts.feeds)

    def step() -> None:
        parts.objective.loss(parts.applied.module, batch).total.backward()

    step()
    allocations = Allocations()
    with allocations:
        step()
    assert loop.weights is not None
    assert found.working == pytest.approx(allocations.highest, rel=0.1)
    assert found.supervised == parts.objective.count(batch)


def test_shapes_leave_the_model_as_it_is(tmp_path: Path, home: Path) -> None:
    recipe, _, _, parts = parts_of(tmp_path, method={"kind": "full"})
    before = copy.deepcopy(parts.opened.module.state_dict())
    shapes = shapes_of(parts.opened)
    assert all(weight.is_meta for weight in shapes.module.parameters())
    lora = recipe.model_copy(update={"method": recipe.method.__class__()})
    applied = applied_shapes(lora, shapes, parts.precision)
    assert all(weight.is_meta for weight in applied.module.parameters())
    after = parts.opened.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_run_that_does_not_fit_is_refused(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, _, _, parts = parts_of(tmp_path)
    start.require_memory(recipe, parts.opened, parts.feeds, parts.precision, device="cpu")
    monkeypatch.setattr("llmasos.training.preflight.memory.available_memory", lambda device: -(1 << 30))
    with pytest.raises(OutOfMemory, match="training needs about"):
        start.require_memory(recipe, parts.opened, parts.feeds, parts.precision, device="cpu")


def test_the_hint_names_what_saves_most(tmp_path: Path) -> None:
    recipe = tiny_runs.recipe(tmp_path)
    parts = {"weights": 100 << 20, "masters": 200 << 20, "gradients": 200 << 20, "optimizer": 400 << 20,
             "activations": 1000 << 20, "logits": 64 << 20}  # fmt: skip
    changes = dict(savings(recipe, parts, micro_batch_size=4))
    assert changes["trainer.micro_batch_size: 1"] == 750 << 20
    assert changes["method: {kind: lora}"] == 720 << 20
    assert changes["optimizer: {kind: adamw-8bit}"] == 300 << 20
    assert list(changes.values()) == sorted(changes.values(), reverse=True)
    memory = MemoryFacts("cpu", parts, available=1 << 30)
    with pytest.raises(OutOfMemory, match=r"and 1\.0 GiB is available") as caught:
        require_fit(recipe, memory, micro_batch_size=4)
    assert caught.value.needed == memory.total
    assert "trainer.micro_batch_size: 1 saves 750 MiB" in (caught.value.hint or "")
    require_fit(recipe, MemoryFacts("cpu", parts, available=1 << 32), micro_batch_size=4)
