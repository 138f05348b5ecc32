"""Our optimisers against other implementations, closed forms, and each other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers.optimization import Adafactor as ReferenceAdafactor

from llmasos.training.optimizers.adafactor import Adafactor
from llmasos.training.optimizers.adamw_8bit import AdamW8bit
from llmasos.training.optimizers.blockwise import BLOCK, code, dequantize, quantize
from llmasos.training.optimizers.lion import Lion
from llmasos.training.optimizers.sgd import Sgd

Make = Callable[[list[torch.Tensor]], torch.optim.Optimizer]


def tensors(seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in ((6, 4), (5,), (2, 3, 4), (80, 64))]


def follow(make: Make, *, steps: int = 5) -> list[torch.Tensor]:
    """The weights after some steps with gradients that are the same for all optimisers."""
    weights = [weight.requires_grad_() for weight in tensors()]
    optimizer = make(weights)
    for step in range(steps):
        for weight, gradient in zip(weights, tensors(step + 1), strict=True):
            weight.grad = gradient * 0.1 ** (step % 3)
        optimizer.step()
    return [weight.detach() for weight in weights]


def assert_same(first: list[torch.Tensor], second: list[torch.Tensor], **tolerance: float) -> None:
    for left, right in zip(first, second, strict=True):
        torch.testing.assert_close(left, right, rtol=tolerance.get("rtol", 1e-6), atol=tolerance.get("atol", 1e-7))


def test_adafactor_equals_the_one_of_transformers_with_absolute_rates() -> None:
    ours = follow(lambda weights: Adafactor(weights, 0.01, clip_threshold=0.7, weight_decay=0.1))
    theirs = follow(
        lambda weights: ReferenceAdafactor(
            weights, 0.01, clip_threshold=0.7, weight_decay=0.1, scale_parameter=False, relative_step=False
        )
    )
    assert_same(ours, theirs, rtol=1e-5, atol=1e-6)


def test_lion_follows_its_paper() -> None:
    def by_hand() -> list[torch.Tensor]:
        found = []
        for index, weight in enumerate(tensors()):
            momentum = torch.zeros_like(weight)
            for step in range(5):
                gradient = tensors(step + 1)[index] * 0.1 ** (step % 3)
                update = torch.sign(0.9 * momentum + 0.1 * gradient)
                weight = weight - 0.01 * (update + 0.2 * weight)
                momentum = 0.99 * momentum + 0.01 * gradient
            found.append(weight)
        return found

    assert_same(follow(lambda weights: Lion(weights, 0.01, weight_decay=0.2)), by_hand(), atol=1e-6)


def test_sgd_decays_weights_apart_from_the_gradient() -> None:
    plain = follow(lambda weights: torch.optim.SGD(weights, 0.1, momentum=0.9, nesterov=True))
    assert_same(follow(lambda weights: Sgd(weights, 0.1, momentum=0.9, nesterov=True)), plain)
    weight = torch.ones(3, requires_grad=True)
    weight.grad = torch.zeros(3)
    Sgd([weight], 0.1, decay=0.5).step()
    torch.testing.assert_close(weight.detach(), torch.full((3,), 0.95))


def test_small_tensors_of_8_bit_adamw_equal_adamw() -> None:
    ours = follow(lambda weights: AdamW8bit(weights, 0.01, betas=(0.8, 0.95), weight_decay=0.1))
    theirs = follow(lambda weights: torch.optim.AdamW(weights, 0.01, betas=(0.8, 0.95), weight_decay=0.1))
    assert_same(ours[:3], theirs[:3])


def test_large_tensors_of_8_bit_adamw_are_near_adamw_in_a_quarter_of_the_memory() -> None:
    ours = follow(lambda weights: AdamW8bit(weights, 0.01), steps=20)[3]
    theirs = follow(lambda weights: torch.optim.AdamW(weights, 0.01, weight_decay=0), steps=20)[3]
    start = tensors()[3]
    moved = (theirs - start).norm()
    assert 0 < (ours - theirs).norm() < 0.05 * moved
    optimizer = AdamW8bit([weight := torch.zeros(64, 64, requires_grad=True)])
    weight.grad = torch.ones(64, 64)
    optimizer.step()
    state = optimizer.state[weight]
    size = sum(value.nbytes for value in state.values() if isinstance(value, torch.Tensor))
    assert size == 2 * (64 * 64 + 64 * 64 // BLOCK * 4)


@pytest.mark.parametrize("make", [
    lambda weights: AdamW8bit(weights, 0.05),
    lambda weights: Adafactor(weights, 0.05),
    lambda weights: Lion(weights, 0.02),
    lambda weights: Sgd(weights, 0.5),
])  # fmt: skip
def test_every_optimiser_finds_a_minimum(make: Make) -> None:
    target = torch.randn(70, 70, generator=torch.Generator().manual_seed(3))
    weight = torch.zeros(70, 70, requires_grad=True)
    optimizer = make([weight])
    for _ in range(200):
        loss = (weight - target).square().mean() * 50
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.05 * float(target.square().mean() * 50)


@pytest.mark.parametrize("signed", [True, False])
def test_codes_have_256_values_in_order(signed: bool) -> None:
    values = code(signed)
    assert len(set(values.tolist())) == 256
    assert torch.equal(values, values.sort().values)
    assert values[-1] == 1
    assert 0.0 in values
    assert (float(values.min()) < 0) == signed


@pytest.mark.parametrize("shape", [(1,), (256,), (257,), (3, 100), (0,)])
@pytest.mark.parametrize("signed", [True, False])
def test_quantising_keeps_shape_zeros_largest_values_and_small_errors(shape: tuple[int, ...], signed: bool) -> None:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    values = values if signed else values.abs()
    numbers, scales = quantize(values, signed=signed)
    assert numbers.dtype == torch.uint8
    assert numbers.shape == values.shape
    assert len(scales) == -(-values.numel() // BLOCK)
    back = dequantize(numbers, scales, signed=signed)
    largest = values.abs().max() if values.numel() else torch.tensor(0.0)
    assert float((back - values).abs().max() if values.numel() else 0.0) <= 0.01 * float(largest)
    zeros = torch.zeros(shape)
    assert torch.equal(dequantize(*quantize(zeros, signed=signed), signed=signed), zeros)
