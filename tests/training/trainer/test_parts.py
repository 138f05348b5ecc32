"""The small parts of the trainer, each by its closed form."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from llmasos.errors import IntegrityError, InvalidRecipe, NotFinite
from llmasos.training.objectives.row import row_of_documents
from llmasos.training.recipe.methods import Full, Lora
from llmasos.training.recipe.trainer import EarlyStopping, Trainer
from llmasos.training.trainer.ema import MovingAverage
from llmasos.training.trainer.gate import Gate
from llmasos.training.trainer.loop import total_steps
from llmasos.training.trainer.meter import Arithmetic, Meter, measured_peak
from llmasos.training.trainer.neftune import noisy_embeddings
from llmasos.training.trainer.precision import choose_precision
from llmasos.training.trainer.randomness import keeping_generators, seed_all
from llmasos.training.trainer.step import StepResult
from llmasos.training.trainer.stopping import Best
from llmasos.training.trainer.weights import Weights


def trained(*shapes: tuple[int, ...]) -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return {f"w{number}": nn.Parameter(torch.randn(shape, generator=generator)) for number, shape in enumerate(shapes)}


class TestWeights:
    def test_parameters_are_their_own_masters_without_copies(self) -> None:
        parameters = trained((3, 2))
        weights = Weights(parameters)
        assert weights.masters()["w0"] is parameters["w0"]

    def test_gradients_of_copies_are_summed_in_float32(self) -> None:
        parameters = trained((4, 4), (4,))
        before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        weights = Weights(parameters, compute_dtype=torch.bfloat16)
        assert parameters["w0"].dtype == torch.bfloat16
        assert torch.equal(weights["w0"].master, before["w0"])
        inputs = [torch.randn(4, dtype=torch.bfloat16) for _ in range(3)]
        for vector in inputs:
            (parameters["w0"] @ vector).sum().backward()
        expected = torch.stack([vector.float() for vector in inputs]).sum(0).expand(4, 4)
        assert weights["w0"].master.grad is not None
        torch.testing.assert_close(weights["w0"].master.grad, expected)
        assert parameters["w0"].grad is None
        assert weights["w1"].master.grad is None
        assert len(weights.gradients()) == 1
        weights.zero_gradients()
        assert weights.gradients() == []

    def test_small_changes_of_masters_add_up(self) -> None:
        parameters = {"w": nn.Parameter(torch.ones(1))}
        weights = Weights(parameters, compute_dtype=torch.bfloat16)
        for _ in range(10):
            weights["w"].master.add_(0.001)  # bfloat16 has nothing between 1 and 1.0078
            weights.refresh()
        assert float(parameters["w"].detach()) == pytest.approx(1.0078125)

    def test_other_weights_are_refused(self) -> None:
        weights = Weights(trained((3, 2)))
        for other in ({}, {"w0": torch.zeros(2, 3)}, {"w1": torch.zeros(3, 2)}):
            with pytest.raises(IntegrityError, match="other weights"):
                weights.load(other)

    @pytest.mark.parametrize("dtype", [None, torch.bfloat16])
    def test_computing_with_other_values_and_back(self, dtype: torch.dtype | None) -> None:
        parameters = trained((3, 2))
        weights = Weights(parameters, compute_dtype=dtype)
        before, master = parameters["w0"].detach().clone(), weights["w0"].master.detach().clone()
        with weights.computing_with({"w0": torch.full((3, 2), 0.5)}):
            assert float(parameters["w0"].detach().mean()) == 0.5
        assert torch.equal(parameters["w0"].detach(), before)
        assert torch.equal(weights["w0"].master, master)

    def test_the_module_holds_masters_to_be_saved(self) -> None:
        parameters = trained((3, 2))
        before = parameters["w0"].detach().clone()
        weights = Weights(parameters, compute_dtype=torch.bfloat16)
        with weights.in_full_precision():
            assert torch.equal(parameters["w0"].detach(), before)
        assert parameters["w0"].dtype == torch.bfloat16
        parameters["w0"].sum().backward()
        assert weights["w0"].master.grad is not None


class TestMovingAverage:
    def test_it_follows_its_formula(self) -> None:
        weights = Weights({"w": nn.Parameter(torch.zeros(1))})
        average = MovingAverage(weights, 0.5)
        expected = 0.0
        for step in range(1, 12):
            with torch.no_grad():
                weights["w"].parameter.fill_(step)
            average.update(step)
            decay = min(0.5, (1 + step) / (10 + step))
            expected = decay * expected + (1 - decay) * step
        assert float(average.values["w"]) == pytest.approx(expected)


class TestGate:
    def test_it_stops_or_counts(self) -> None:
        with pytest.raises(NotFinite, match=r"step 4: loss nan, norm of the gradients 1\.0.*batch 9"):
            Gate("stop").passes(4, math.nan, 1.0, lambda: "batch 9")
        gate = Gate("skip", skipped=3)
        assert not gate.passes(1, 1.0, math.inf, lambda: "x")
        assert gate.passes(2, 1.0, 1.0, lambda: "x")
        assert gate.skipped == 4

    def test_ten_in_a_row_are_left_out_and_no_more(self) -> None:
        gate = Gate("skip")
        for step in range(10):
            assert not gate.passes(step, math.inf, 1.0, lambda: "x")
        with pytest.raises(NotFinite, match="11 steps in a row"):
            gate.passes(10, math.inf, 1.0, lambda: "x")


class TestBest:
    def test_patience_counts_evaluations_without_enough_improvement(self) -> None:
        best = Best(False, EarlyStopping(patience=2, minimum_change=0.1))
        found = [best.add(step, value) for step, value in enumerate([1.0, 0.95, 0.85, 0.84, 0.83], 1)]
        assert found == [True, True, True, True, True]
        assert best.step == 5
        assert best.should_stop

    def test_more_may_be_better_and_nan_never_is(self) -> None:
        best = Best(True)
        assert [best.add(step, value) for step, value in enumerate([math.nan, 0.5, 0.4, math.nan, 0.6])] == [
            False, True, False, False, True,
        ]  # fmt: skip
        assert best.step == 4
        assert not best.should_stop

    def test_a_saved_state_goes_on(self) -> None:
        best = Best(False, EarlyStopping(patience=3))
        for step, value in enumerate([3.0, 2.0, 2.5]):
            best.add(step, value)
        again = Best(False, EarlyStopping(patience=3))
        again.load(best.state())
        assert again == best
        with pytest.raises(IntegrityError):
            again.load({"step": 1})


class TestNoise:
    def test_it_has_the_size_of_the_paper_and_only_while_training(self) -> None:
        module = nn.Module()
        embeddings = nn.Embedding(10, 16)
        module.get_input_embeddings = lambda: embeddings  # type: ignore[assignment]
        ids = torch.zeros(2, 100, dtype=torch.long)
        plain = embeddings(ids)
        with noisy_embeddings(module, 5.0):
            noise = embeddings(ids) - plain
            embeddings.eval()
            assert torch.equal(embeddings(ids), plain)
            embeddings.train()
        most = 5 / math.sqrt(100 * 16)
        assert 0.95 * most < float(noise.detach().abs().max()) <= most + 1e-6
        assert abs(float(noise.mean().detach())) < 0.05 * most
        assert torch.equal(embeddings(ids), plain)

    def test_the_noise_of_a_document_does_not_depend_on_the_others_in_the_row(self) -> None:
        torch.manual_seed(0)
        embeddings = nn.Embedding(10, 16)
        module = nn.Module()
        module.get_input_embeddings = lambda: embeddings  # type: ignore[assignment]
        ids = torch.zeros(1, 300, dtype=torch.long)
        plain = embeddings(ids)
        with noisy_embeddings(module, 5.0), row_of_documents((100, 200)):
            noise = (embeddings(ids) - plain).detach().abs()[0]
        for part, length in ((noise[:100], 100), (noise[100:], 200)):
            most = 5 / math.sqrt(length * 16)
            assert 0.95 * most < float(part.max()) <= most + 1e-6

    def test_a_module_without_embeddings_is_refused(self) -> None:
        with pytest.raises(InvalidRecipe, match="no token embeddings"), noisy_embeddings(nn.Linear(2, 2), 5.0):
            pass


class TestChance:
    def test_it_depends_on_the_numbers_only(self) -> None:
        found = []
        for numbers in ((1, 2, 3), (1, 2, 4), (1, 2, 3)):
            seed_all(*numbers)
            found.append((random.random(), np.random.rand(), float(torch.rand(1))))
        assert found[0] == found[2] != found[1]

    def test_the_generators_of_a_program_are_left_alone(self) -> None:
        seed_all(1)
        expected = random.random(), np.random.rand(), float(torch.rand(1))
        seed_all(1)
        with keeping_generators():
            seed_all(9)
            random.random()
        assert (random.random(), np.random.rand(), float(torch.rand(1))) == expected


class TestPrecision:
    def test_formats_of_each_choice(self) -> None:
        half, single = torch.bfloat16, torch.float32
        own = choose_precision(Trainer(dtype="bfloat16"), Full(), "cpu")
        assert (own.opened, own.copies, own.frozen, own.autocast) == (single, half, half, False)
        adapter = choose_precision(Trainer(dtype="bfloat16"), Lora(), "cpu")
        assert (adapter.opened, adapter.copies, adapter.frozen, adapter.autocast) == (half, half, half, False)
        cast = choose_precision(Trainer(dtype="bfloat16", weights_dtype="float32"), Full(), "cpu")
        assert (cast.opened, cast.copies, cast.frozen, cast.autocast) == (single, None, None, True)
        pure = choose_precision(Trainer(dtype="bfloat16", weights_dtype="bfloat16"), Full(), "cpu")
        assert (pure.opened, pure.copies, pure.frozen, pure.autocast) == (half, None, None, False)
        plain = choose_precision(Trainer(dtype="float32"), Full(), "cpu")
        assert (plain.compute, plain.opened, plain.copies, plain.autocast) == (single, single, None, False)

    def test_float32_over_bfloat16_weights_is_refused(self) -> None:
        with pytest.raises(InvalidRecipe, match="weights_dtype"):
            choose_precision(Trainer(dtype="float32", weights_dtype="bfloat16"), Full(), "cpu")


class TestMeter:
    def test_operations_are_six_a_weight_and_four_where_it_is_frozen(self) -> None:
        class Network(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.embeddings = nn.Embedding(100, 8)
                self.first = nn.Linear(8, 8)
                self.second = nn.Linear(8, 8, bias=False)
                self.head = nn.Linear(8, 100, bias=False)

            def get_output_embeddings(self) -> nn.Linear:
                return self.head

        network = Network()
        network.second.requires_grad_(False)
        found = Arithmetic.of(network)
        assert found == Arithmetic(body=128, head=800, trained_body=64, trained_head=800)
        assert found.operations(10, 3) == 10 * (64 * 6 + 64 * 4) + 3 * 800 * 6

    def test_reports_are_sums_over_the_steps_since_the_last(self) -> None:
        times = iter([0.0, 2.0, 10.0, 12.0, 20.0, 21.0])
        meter = Meter(None, None, "cpu", tokens=100, seconds=5.0, clock=lambda: next(times))
        for total, count, changed in ((6.0, 3, True), (2.0, 1, True)):
            meter.start()
            step = StepResult(total, count, 50, 2.0, {"right": (1.0, 2.0)}, changed, False)
            meter.stop(step, supervised_are_tokens=True)
        found: dict[str, Any] = meter.report(left=3)
        assert found["loss"] == 2.0
        assert found["tokens"] == 200
        assert found["tokens_per_second"] == 25.0
        assert found["eta_seconds"] == 6.0
        assert found["gradient_norm"] == 2.0
        assert found["right"] == 0.5
        assert found["mfu"] is None
        assert found["memory_bytes"] > 1e6
        meter.start()
        meter.stop(StepResult(math.nan, 1, 7, math.nan, {}, False, False), supervised_are_tokens=True)
        found = meter.report(left=0)
        assert found["loss"] is None
        assert found["gradient_norm"] is None
        assert found["tokens_per_second"] == 7.0
        assert meter.seconds == 10.0

    def test_sums_that_were_saved_go_on(self) -> None:
        first, second = (Meter(None, None, "cpu", clock=lambda: 1.0) for _ in range(2))
        first.start()
        first.stop(StepResult(6.0, 3, 50, 2.0, {"right": (1.0, 2.0)}, True, False), supervised_are_tokens=True)
        second.load(json.loads(json.dumps(first.state())))
        found = second.report(left=0)
        assert (found["loss"], found["right"], found["gradient_norm"]) == (2.0, 0.5, 2.0)

    def test_the_peak_of_a_machine_is_measured_and_kept(self) -> None:
        first = measured_peak("cpu", torch.float32, seconds=0.02)
        assert first > 1e8
        assert measured_peak("cpu", torch.float32, seconds=0.0) >= first


@pytest.mark.parametrize(("trainer", "expected"), [
    ({}, 30), ({"steps": 7}, 7), ({"epochs": 0.25}, 3), ({"epochs": 0.3}, 3), ({"epochs": 0.001}, 1),
])  # fmt: skip
def test_steps_of_a_run(trainer: dict[str, Any], expected: int) -> None:
    class Recipe:
        pass

    recipe: Any = Recipe()
    recipe.trainer = Trainer(**trainer)
    assert total_steps(recipe, 10) == expected
