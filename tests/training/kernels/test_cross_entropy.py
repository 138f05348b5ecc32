"""The chunked cross entropy of a head gives the loss and the gradients that torch gives."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from llmasos.training.kernels import cross_entropy
from llmasos.training.kernels.cross_entropy import LogitTransform, linear_cross_entropy
from llmasos.training.kernels.native import kernels_for

TRANSFORMS = [LogitTransform(), LogitTransform(0.25), LogitTransform(cap=3.0), LogitTransform(2.0, 5.0)]


def inputs(*, bias: bool = True) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor]:
    torch.manual_seed(1)
    hidden = torch.randn(23, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(31, 8, dtype=torch.float64, requires_grad=True)
    offset = torch.randn(31, dtype=torch.float64, requires_grad=True) if bias else None
    return hidden, weight, offset, torch.randint(0, 31, (23,))


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("chunk", [1, 5, 23, 100])
def test_equals_the_cross_entropy_of_all_logits(transform: LogitTransform, smoothing: float, chunk: int) -> None:
    hidden, weight, bias, targets = inputs()
    ours = linear_cross_entropy(
        hidden, weight, bias, targets, chunk=chunk, label_smoothing=smoothing, transform=transform
    )
    logits = functional.linear(hidden, weight, bias) * transform.scale
    if transform.cap is not None:
        logits = transform.cap * torch.tanh(logits / transform.cap)
    theirs = functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
    assert bias is not None
    expected = torch.autograd.grad(theirs / 7, (hidden, weight, bias))
    found = torch.autograd.grad(ours / 7, (hidden, weight, bias))
    for first, second in zip(found, expected, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-10, atol=1e-12)


def test_computes_no_gradient_that_nobody_wants() -> None:
    hidden, weight, _, targets = inputs(bias=False)
    weight.requires_grad_(False)
    linear_cross_entropy(hidden, weight, None, targets, chunk=4).backward()
    assert weight.grad is None
    assert hidden.grad is not None
    with torch.no_grad():
        assert not linear_cross_entropy(hidden, weight, None, targets, chunk=4).requires_grad


@pytest.mark.parametrize("native", [True, False], ids=["native", "torch"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("chunk", [6, 23])
@pytest.mark.parametrize("frozen", [True, False])
def test_bfloat16_products_and_a_float32_softmax(
    native: bool, smoothing: float, chunk: int, frozen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not native:
        monkeypatch.setattr(cross_entropy, "kernels_for", lambda *_: None)
    elif kernels_for() is None:
        pytest.skip("the native kernels do not run here")
    hidden, weight, bias, targets = inputs()
    assert bias is not None
    narrow = [tensor.detach().bfloat16() for tensor in (hidden, weight, bias)]
    exact = [tensor.double() for tensor in narrow]
    wanted = [0] if frozen else [0, 1, 2]
    for tensors in (narrow, exact):
        for index in wanted:
            tensors[index].requires_grad_()
    ours, right = (
        linear_cross_entropy(*tensors, targets, chunk=chunk, label_smoothing=smoothing) for tensors in (narrow, exact)
    )
    assert ours.dtype == torch.float32
    assert float(ours.detach()) == pytest.approx(float(right.detach()), rel=5e-3)
    found = torch.autograd.grad(ours, [narrow[index] for index in wanted])
    expected = torch.autograd.grad(right, [exact[index] for index in wanted])
    for first, second in zip(found, expected, strict=True):
        assert first.dtype == torch.bfloat16
        assert (first.double() - second).norm() < 0.02 * second.norm()


def test_the_second_derivative_is_refused() -> None:
    hidden, weight, _, targets = inputs(bias=False)
    (slope,) = torch.autograd.grad(
        linear_cross_entropy(hidden, weight, None, targets, chunk=4), hidden, create_graph=True
    )
    with pytest.raises(RuntimeError, match=r"once_differentiable|does not require grad"):
        slope.sum().backward()
