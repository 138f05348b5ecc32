"""Groups, rates and states of the optimiser of a recipe."""

from __future__ import annotations

import pytest
import torch

from llmasos.errors import IntegrityError
from llmasos.training.optimizers.build import Group, build_optimizer, in_layers
from llmasos.training.optimizers.optimizer import NamedOptimizer
from llmasos.training.recipe import optimizers as options

ALL = [
    options.AdamW(weight_decay=0.1),
    options.AdamW8bit(weight_decay=0.1),
    options.Adafactor(weight_decay=0.1),
    options.Lion(weight_decay=0.1),
    options.Sgd(weight_decay=0.1),
    options.Muon(weight_decay=0.1),
]


def make_weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"embeddings.weight": (70, 64), "layers.0.up.weight": (64, 70), "layers.0.norm.weight": (64,)}
    return {name: torch.randn(shape, generator=generator).requires_grad_() for name, shape in shapes.items()}


def give_gradients(weights: dict[str, torch.Tensor], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for weight in weights.values():
        weight.grad = torch.randn(weight.shape, generator=generator)


def build(chosen: options.Optimizer, weights: dict[str, torch.Tensor], rate: float = 0.01) -> NamedOptimizer:
    return build_optimizer(chosen, [Group(weights)], rate=rate)


@pytest.mark.parametrize("chosen", ALL, ids=lambda chosen: chosen.kind)
def test_only_matrices_decay(chosen: options.Optimizer) -> None:
    weights = make_weights()
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    optimizer = build(chosen, weights)
    for weight in weights.values():
        weight.grad = torch.zeros_like(weight)
    optimizer.step(0.01)
    rates = {"embeddings.weight": 0.01, "layers.0.up.weight": 0.01}
    if isinstance(chosen, options.Muon):
        rates["embeddings.weight"] = 3e-4
    for name, rate in rates.items():
        torch.testing.assert_close(weights[name].detach(), before[name] * (1 - rate * 0.1))
    assert torch.equal(weights["layers.0.norm.weight"].detach(), before["layers.0.norm.weight"])


def test_groups_may_forbid_decay_and_multiply_the_rate() -> None:
    weights = make_weights()
    first = {"layers.0.up.weight": weights["layers.0.up.weight"]}
    second = {"embeddings.weight": weights["embeddings.weight"]}
    optimizer = build_optimizer(
        options.Lion(weight_decay=0.5), [Group(first, factor=16), Group(second, decay=False)], rate=0.001
    )
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    for weight in weights.values():
        weight.grad = torch.ones_like(weight)
    optimizer.step(0.001)
    up, embeddings = weights["layers.0.up.weight"].detach(), weights["embeddings.weight"].detach()
    torch.testing.assert_close(up, before["layers.0.up.weight"] * (1 - 0.016 * 0.5) - 0.016)
    torch.testing.assert_close(embeddings, before["embeddings.weight"] - 0.001)


@pytest.mark.parametrize("chosen", ALL, ids=lambda chosen: chosen.kind)
def test_going_on_from_saved_states_gives_the_same_weights(chosen: options.Optimizer) -> None:
    weights = make_weights()
    optimizer = build(chosen, weights)
    for step in range(3):
        give_gradients(weights, step)
        optimizer.step(0.01)
    copied = {name: weight.detach().clone().requires_grad_() for name, weight in weights.items()}
    again = build(chosen, copied)
    again.load({name: state.clone() for name, state in optimizer.tensors().items()}, optimizer.numbers())
    for step in range(3, 6):
        for each, changing in ((weights, optimizer), (copied, again)):
            give_gradients(each, step)
            changing.step(0.005)
    for name, weight in weights.items():
        assert torch.equal(weight, copied[name]), name


def test_a_weight_without_gradient_stays_and_has_no_state() -> None:
    weights = make_weights()
    before = weights["embeddings.weight"].detach().clone()
    optimizer = build(options.AdamW(weight_decay=0.1), weights)
    give_gradients({name: weight for name, weight in weights.items() if name != "embeddings.weight"}, 0)
    optimizer.step(0.01)
    assert torch.equal(weights["embeddings.weight"].detach(), before)
    assert not any(name.startswith("embeddings") for name in optimizer.tensors())


def test_states_of_weights_that_are_not_trained_are_refused() -> None:
    optimizer = build(options.AdamW(), make_weights())
    with pytest.raises(IntegrityError, match=r"other\.weight"):
        optimizer.load({"other.weight/exp_avg": torch.zeros(2)}, {})


def test_muon_orthogonalises_matrices_of_layers_only() -> None:
    weights = make_weights()
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    optimizer = build(options.Muon(adamw_learning_rate=0.002), weights)
    give_gradients(weights, 1)
    optimizer.step(0.01)
    moved = {name: weight.detach() - before[name] for name, weight in weights.items()}
    values = torch.linalg.svdvals(moved["layers.0.up.weight"])
    assert float(values.max() / values.min()) < 3  # the five iterations come near to equal singular values only
    torch.testing.assert_close(moved["embeddings.weight"].abs().mean(), torch.tensor(0.002), rtol=0.01, atol=0)
    assert {name.rpartition("/")[2] for name in optimizer.tensors() if "up" in name} == {"momentum_buffer"}


def test_layers_are_numbered() -> None:
    assert in_layers("model.layers.3.mlp.up_proj.weight")
    assert in_layers("encoder.block.0.layer.1.wi.weight")
    assert not in_layers("model.embed_tokens.weight")
    assert not in_layers("lm_head.weight")
