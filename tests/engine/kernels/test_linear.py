"""Products of the native kernels against float64."""

from __future__ import annotations

import pytest
import torch

from llmasos.engine.kernels import native

LIBRARY = native.load()
pytestmark = pytest.mark.skipif(LIBRARY is None, reason="this processor or machine cannot run the native kernels")

# Relative error of random normal data: int8 rounds both sides to 1/127 of their peak, int4 the weights to 1/15.
TOLERANCE = {"int8": 0.015, "int4": 0.12, "bf16": 0.005}


def packed(weight: torch.Tensor, bias: torch.Tensor | None, precision: str) -> native.PackedLinear:
    assert LIBRARY is not None
    return native.PackedLinear(LIBRARY, weight, bias, precision, 2)


def product(matrix: native.PackedLinear, x: torch.Tensor, threads: int = 2) -> torch.Tensor:
    assert LIBRARY is not None
    return native.linear(LIBRARY, matrix, x, threads)


@pytest.mark.parametrize("precision", ["int8", "int4", "bf16"])
@pytest.mark.parametrize(("columns", "depth"), [(1, 1), (33, 100), (64, 64), (577, 96), (40, 1000), (1000, 128)])
def test_products_are_right_for_every_shape(precision: str, columns: int, depth: int) -> None:
    torch.manual_seed(columns * depth)
    weight, bias = torch.randn(columns, depth), torch.randn(columns)
    matrix = packed(weight, bias, precision)
    for rows in (1, 2, 7, 8, 9, 17, 40):
        x = torch.randn(rows, depth)
        expected = (x.double() @ weight.double().T + bias.double()).float()
        error = (product(matrix, x) - expected).norm() / expected.norm()
        assert error < TOLERANCE[precision], (rows, error)


@pytest.mark.parametrize("precision", ["int8", "int4", "bf16"])
def test_a_row_does_not_depend_on_its_neighbours_or_the_threads(precision: str) -> None:
    torch.manual_seed(1)
    matrix = packed(torch.randn(96, 160), None, precision)
    x = torch.randn(23, 160)
    together = product(matrix, x)
    x_with_outlier = x.clone()
    x_with_outlier[5] *= 1e6
    beside_outlier = product(matrix, x_with_outlier)
    for row in range(23):
        assert torch.equal(product(matrix, x[row : row + 1], threads=1)[0], together[row])
        if row != 5:
            assert torch.equal(beside_outlier[row], together[row])


@pytest.mark.parametrize("precision", ["int8", "int4", "bf16"])
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), float("-inf")])
def test_a_poisoned_row_shows_it_and_spares_the_others(precision: str, poison: float) -> None:
    matrix = packed(torch.randn(64, 64), None, precision)
    x = torch.randn(9, 64)
    clean = product(matrix, x)
    x[4, 17] = poison
    out = product(matrix, x)
    assert not out[4].isfinite().all()
    assert torch.equal(out[:4], clean[:4])
    assert torch.equal(out[5:], clean[5:])


@pytest.mark.parametrize("precision", ["int8", "int4", "bf16"])
def test_zeros_stay_zeros(precision: str) -> None:
    assert not product(packed(torch.zeros(50, 70), None, precision), torch.randn(3, 70)).any()
    assert not product(packed(torch.randn(50, 70), None, precision), torch.zeros(3, 70)).any()


def test_int8_survives_outlier_channels() -> None:
    """What breaks one scale a row: a few channels a hundred times above the rest."""
    torch.manual_seed(2)
    weight, x = torch.randn(64, 256), torch.randn(8, 256)
    x[:, 3] *= 100
    expected = (x.double() @ weight.double().T).float()
    naive = (x / (scale := x.abs().amax(1, keepdim=True) / 127)).round() * scale
    naive_error = (naive @ weight.T - expected).norm()
    assert (product(packed(weight, None, "int8"), x) - expected).norm() < naive_error / 3


def test_int4_keeps_weights_that_are_on_a_grid_of_sixteen() -> None:
    """GGUF's Q4_1 weights come through unchanged but for the rounding of step and minimum."""
    torch.manual_seed(3)
    codes = torch.randint(0, 16, (32, 64)).float()
    codes[:, 0], codes[:, 1], codes[:, 32], codes[:, 33] = 0, 15, 0, 15
    weight = codes * 0.03125 - 0.25
    x = torch.eye(64)
    assert torch.allclose(product(packed(weight, None, "int4"), x).T, weight, atol=1e-6)


@pytest.mark.parametrize("precision", ["int8", "int4", "bf16"])
def test_packing_by_pieces_changes_nothing(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(4)
    weight = torch.randn(150, 96).half()
    whole = packed(weight, None, precision)
    monkeypatch.setattr(native, "PIECE_BYTES", 4 * 96 * 70)  # 64 columns at a time
    pieces = packed(weight, None, precision)
    assert torch.equal(whole.memory, pieces.memory)
    assert torch.equal(whole.scale, pieces.scale)
