"""The native kernels for training: as near to exact results as torch is in bfloat16, whatever the shapes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from llmasos.training.kernels import native
from llmasos.training.kernels.native import TrainingKernels, kernels_for

KERNELS = kernels_for()
pytestmark = pytest.mark.skipif(KERNELS is None, reason="the native kernels do not run here")


def kernels() -> TrainingKernels:
    assert KERNELS is not None
    return KERNELS


def near(found: Tensor, exact: Tensor, share: float = 0.01) -> bool:
    """Whether the distance is at most a share of the length; one rounding to bfloat16 is off by 0.4 % at most."""
    assert found.shape == exact.shape and bool(found.isfinite().all())
    return bool((found.double() - exact).norm() <= share * exact.norm() + 1e-6)


def attention(query: Tensor, key: Tensor, value: Tensor, lengths: tuple[int, ...], causal: bool) -> Tensor:
    """Each document alone, in float64."""
    outputs = []
    for q, k, v in zip(*(tensor.split(lengths) for tensor in (query, key, value)), strict=True):
        parts = (tensor.transpose(0, 1)[None] for tensor in (q, k, v))
        found = functional.scaled_dot_product_attention(*parts, is_causal=causal, scale=0.2, enable_gqa=True)
        outputs.append(found[0].transpose(0, 1))
    return torch.cat(outputs)


@given(
    lengths=st.lists(st.integers(1, 130), min_size=1, max_size=5),
    dim=st.sampled_from([16, 32, 48, 64, 80, 128]),
    kv_heads=st.integers(1, 3),
    group=st.integers(1, 3),
    causal=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_attention(lengths: list[int], dim: int, kv_heads: int, group: int, causal: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tokens, heads = sum(lengths), kv_heads * group
    query, key, value, slope = (
        torch.randn(tokens, count, dim, generator=generator).bfloat16() for count in (heads, kv_heads, kv_heads, heads)
    )
    exact = [tensor.double().requires_grad_() for tensor in (query, key, value)]
    wanted = attention(*exact, tuple(lengths), causal)
    output, log_sums = kernels().attention(query, key, value, tuple(lengths), 0.2, causal)
    assert near(output, wanted.detach())
    grads = kernels().attention_backward(slope, query, key, value, output, log_sums, tuple(lengths), 0.2, causal)
    for found, right in zip(grads, torch.autograd.grad(wanted, exact, slope.double()), strict=True):
        # Queries and keys of documents of one token have no slope, and rounding leaves something: compare with ones.
        few = max(lengths) == 1
        assert float((found.double() - right).abs().max()) < 0.02 if few else near(found, right, 0.02)


@pytest.mark.parametrize("causal", [True, False])
def test_attention_in_long_documents(causal: bool) -> None:
    lengths = (700, 3, 515)
    torch.manual_seed(0)
    query, key, value, slope = (torch.randn(sum(lengths), count, 64).bfloat16() for count in (6, 2, 2, 6))
    exact = [tensor.double().requires_grad_() for tensor in (query, key, value)]
    wanted = attention(*exact, lengths, causal)
    output, log_sums = kernels().attention(query, key, value, lengths, 0.2, causal)
    assert near(output, wanted.detach())
    found = kernels().attention_backward(slope, query, key, value, output, log_sums, lengths, 0.2, causal)
    for first, second in zip(found, torch.autograd.grad(wanted, exact, slope.double()), strict=True):
        assert near(first, second, 0.02)


def test_scores_beyond_the_range_of_the_exponential() -> None:
    query = torch.full((40, 1, 16), 30.0).bfloat16()
    key = torch.linspace(1, 8, 40)[:, None, None].expand(40, 1, 16).bfloat16().contiguous()
    value = torch.randn(40, 1, 16).bfloat16()
    output, log_sums = kernels().attention(query, key, value, (40,), 1.0, True)
    found = kernels().attention_backward(torch.ones_like(query), query, key, value, output, log_sums, (40,), 1.0, True)
    assert all(bool(tensor.isfinite().all()) for tensor in (output, log_sums, *found))


@given(rows=st.integers(1, 40), width=st.integers(1, 130), seed=st.integers(0, 1000))
def test_normalisation(rows: int, width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, slope, beside = (torch.randn(rows, width, generator=generator).bfloat16() for _ in range(3))
    weight = (1 + torch.randn(width, generator=generator) / 4).bfloat16()
    exact = [tensor.double().requires_grad_() for tensor in (x, weight)]
    wanted = functional.rms_norm(exact[0], (width,), exact[1], 1e-5)
    assert near(kernels().normalized(x, weight, 1e-5), wanted.detach())
    right = torch.autograd.grad(wanted, exact, slope.double())
    found, of_weight = kernels().normalized_backward(slope, x, weight, 1e-5, beside, True)
    assert near(found, right[0] + beside.double(), 0.02)
    assert of_weight is not None and near(of_weight, right[1], 0.02)
    again, nothing = kernels().normalized_backward(slope, x, weight, 1e-5, beside, False)
    assert torch.equal(again, found) and nothing is None


@given(count=st.integers(1, 9000), seed=st.integers(0, 1000))
def test_swiglu(count: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    gate, up, slope = (3 * torch.randn(count, generator=generator).bfloat16() for _ in range(3))
    exact = [tensor.double().requires_grad_() for tensor in (gate, up)]
    wanted = functional.silu(exact[0]) * exact[1]
    assert near(kernels().swiglu(gate, up), wanted.detach())
    right = torch.autograd.grad(wanted, exact, slope.double())
    for found, expected in zip(kernels().swiglu_backward(slope.clone(), gate, up), right, strict=True):
        assert near(found, expected)


@pytest.mark.parametrize("dim", [16, 32, 64, 80])
def test_rotation_and_back(dim: int) -> None:
    torch.manual_seed(dim)
    states = torch.randn(7, 3, dim).bfloat16()
    angles = torch.randn(7, dim // 2)
    cos, sin = angles.cos().bfloat16(), angles.sin().bfloat16()
    first, second = states.double().chunk(2, -1)
    c, s = cos.double()[:, None], sin.double()[:, None]
    turned = kernels().rotate(states.clone(), cos, sin, 1.0)
    assert near(turned, torch.cat([first * c - second * s, second * c + first * s], -1))
    assert near(kernels().rotate(turned, cos, sin, -1.0), states.double(), 0.02)


@given(rows=st.integers(1, 9), vocabulary=st.integers(1, 300), seed=st.integers(0, 1000))
def test_cross_entropy(rows: int, vocabulary: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = (4 * torch.randn(rows, vocabulary, generator=generator)).bfloat16()
    targets = torch.randint(vocabulary, (rows,), generator=generator)
    exact = logits.double().requires_grad_()
    wanted = functional.cross_entropy(exact, targets, reduction="sum")
    (right,) = torch.autograd.grad(wanted, exact)
    grad = logits.clone()
    found = kernels().cross_entropy(grad, targets, differentiate=False)
    assert float(found) == pytest.approx(float(wanted.detach()), rel=1e-5, abs=1e-5)
    assert torch.equal(grad, logits), "nobody asked for the gradient"
    assert torch.equal(kernels().cross_entropy(grad, targets), found)
    assert near(grad, right)


@pytest.mark.parametrize("target", [-100, -1, 9])
def test_targets_outside_the_vocabulary(target: int) -> None:
    logits = torch.zeros(2, 9).bfloat16()
    with pytest.raises(IndexError, match="of 9 logits"):
        kernels().cross_entropy(logits, torch.tensor([3, target]))
    assert not logits.any()


def test_nothing_at_all() -> None:
    none = torch.zeros(0, 32).bfloat16()
    assert float(kernels().cross_entropy(none, torch.zeros(0, dtype=torch.int64))) == 0.0
    assert kernels().normalized(none, torch.ones(32).bfloat16(), 1e-5).shape == (0, 32)
    states = torch.zeros(0, 2, 16).bfloat16()
    output, sums = kernels().attention(states, states, states, (), 1.0, True)
    assert output.shape == (0, 2, 16)
    assert len(kernels().attention_backward(output, states, states, states, output, sums, (), 1.0, True)) == 3


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_hidden(value: float) -> None:
    """The gate that names a batch must see it."""
    logits = torch.zeros(2, 40).bfloat16()
    logits[1, 7] = value
    assert not math.isfinite(float(kernels().cross_entropy(logits, torch.tensor([3, 3]))))
    assert bool(logits[0].isfinite().all()) and bool(logits[1].isnan().any())
    for place in range(3):
        given = [torch.ones(20, 1, 16).bfloat16() for _ in range(3)]
        given[place][4] = value
        query, key, value_states = given
        output, sums = kernels().attention(query, key, value_states, (20,), 1.0, True)
        assert not bool(output[4:].isfinite().all())
        slope = torch.ones_like(output)
        grads = kernels().attention_backward(slope, query, key, value_states, output, sums, (20,), 1.0, True)
        assert not all(bool(grad.isfinite().all()) for grad in grads)
    gate, up = torch.ones(2, 20).bfloat16()
    gate[3] = value
    assert not bool(kernels().swiglu(gate, up)[3].isfinite())
    row = torch.ones(2, 20).bfloat16()
    row[1, 3] = value
    found = kernels().normalized(row, torch.ones(20).bfloat16(), 1e-5)
    assert bool(found[0].isfinite().all()) and bool(found[1].isnan().any())
    ones = torch.ones(2, 20).bfloat16()
    found, of_weight = kernels().normalized_backward(ones, row, ones[0], 1e-5, ones, True)
    assert bool(found[0].isfinite().all()) and bool(found[1].isnan().any())
    assert of_weight is not None and not bool(of_weight[3].isfinite())
    for index in range(3):
        gradient, gate, up = torch.ones(3, 20).bfloat16()
        (gradient, gate, up)[index][3] = value
        assert not all(bool(part[3].isfinite()) for part in kernels().swiglu_backward(gradient, gate, up))


def test_results_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    lengths = (90, 20, 33)
    query, key, value, slope = (torch.randn(143, count, 32).bfloat16() for count in (4, 2, 2, 4))
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(native, "_threads", lambda threads=threads: threads)
        output, sums = kernels().attention(query, key, value, lengths, 0.2, True)
        grads = kernels().attention_backward(slope, query, key, value, output, sums, lengths, 0.2, True)
        found.append((output, sums, *grads))
    assert all(torch.equal(first, second) for first, second in zip(*found, strict=True))


def test_what_they_cannot_do_is_left_to_torch() -> None:
    fits = torch.zeros(4, 32, dtype=torch.bfloat16)
    assert kernels_for(fits) is KERNELS
    assert kernels_for(fits, fits.float()) is None
    assert kernels_for(fits.T) is None
    assert kernels_for(fits, head_dim=24) is None
    assert kernels_for(fits.to("meta")) is None
