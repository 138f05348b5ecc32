"""Keys and values through a cache in int8: what is lost, and that nothing else is."""

from __future__ import annotations

import ctypes
from array import array

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos.engine.batch import SequenceSlice
from llmasos.engine.kernels import native
from llmasos.engine.kernels.cache_store import dequantize, hadamard, quantize
from llmasos.engine.kernels.paged_attention import AttentionRule, PagedAttention

LIBRARY = native.load()
needs_native = pytest.mark.skipif(LIBRARY is None, reason="this processor or machine cannot run the native kernels")


@given(
    dim=st.sampled_from([1, 16, 64, 80, 128]),
    size=st.floats(-30, 30),
    outlier=st.floats(1, 1e4),
    seed=st.integers(0, 1 << 30),
)
@settings(max_examples=60, deadline=None)
def test_a_vector_is_off_by_half_a_step_at_most(dim: int, size: float, outlier: float, seed: int) -> None:
    torch.manual_seed(seed)
    vectors = torch.randn(3, 2, dim) * 10.0**size
    vectors[0, 0, 0] *= outlier
    codes, scales = quantize(vectors)
    assert codes.dtype is torch.int8 and scales.shape == (3, 2) and int(codes.abs().amax()) <= 127
    bound = vectors.abs().amax(-1, keepdim=True) / 127 / 2
    assert bool(((dequantize(codes, scales) - vectors).abs() <= bound * 1.001).all())
    again, scales_again = quantize(dequantize(codes, scales))
    assert torch.equal(again, codes) and torch.allclose(scales_again, scales)


def test_zeros_stay_zeros_and_poison_shows() -> None:
    assert not dequantize(*quantize(torch.zeros(2, 16))).any()
    vectors = torch.randn(3, 16)
    vectors[1, 4] = float("nan")
    back = dequantize(*quantize(vectors))
    assert back[1].isnan().all() and back[[0, 2]].isfinite().all()


@pytest.mark.parametrize("dim", [16, 40, 64, 80, 96, 128, 256, 7])
def test_the_transform_keeps_products(dim: int) -> None:
    matrix = hadamard(dim, "cpu")
    assert torch.allclose(matrix @ matrix.T, torch.eye(dim), atol=1e-5)


def test_the_transform_saves_keys_with_outlier_channels() -> None:
    torch.manual_seed(1)
    queries, keys = torch.randn(20, 64), torch.randn(200, 64)
    keys[:, 5] *= 40
    queries[:, 5] *= 0.02  # what is large in keys is small in queries, or the scores would be all of one channel
    exact, matrix = queries @ keys.T, hadamard(64, "cpu")
    naive = queries @ dequantize(*quantize(keys)).T
    turned = (queries @ matrix) @ dequantize(*quantize(keys @ matrix)).T
    assert (turned - exact).norm() < (naive - exact).norm() / 2


def attend(
    qkv: torch.Tensor,
    heads: int,
    kv_heads: int,
    dim: int,
    *,
    cache: str,
    pieces: list[int],
    window: int = 0,
    threads: int = 2,
) -> torch.Tensor:
    """Native attention of one sequence given in pieces: (tokens, heads, dim). Keys lie in blocks in a mixed order."""
    assert LIBRARY is not None
    kind = native.CACHE_TYPES[cache]
    blocks = -(-len(qkv) // 16)
    half = kv_heads * LIBRARY.cache_head_bytes(kind, dim)
    memory = torch.full((blocks, 2 * half), 0xFF, dtype=torch.uint8)  # NaN, whatever it is read as
    spec = native.Attention(heads=heads, kv_heads=kv_heads, head_dim=dim, rotary_dim=dim, window=window, cache=kind)
    spec.scale = dim**-0.5
    layer = native.LayerCache(memory.data_ptr(), memory.data_ptr() + half, 2 * half)
    table = array("i", [(number * 7 + 3) % blocks if blocks % 7 else number for number in range(blocks)])
    out, done = torch.empty(len(qkv), heads, dim), 0
    for length in pieces:
        rows = qkv[done : done + length].contiguous()
        positions = torch.arange(done, done + length)
        piece = native.Slice(0, len(rows), done, table.buffer_info()[0])
        target = out[done : done + length]
        assert not LIBRARY.attention(
            ctypes.byref(spec), ctypes.byref(layer), rows.data_ptr(), positions.data_ptr(), ctypes.byref(piece), 1,
            len(rows), target.data_ptr(), threads,
        )  # fmt: skip
        done += len(rows)
    assert done == len(qkv)
    return out


def reference(qkv: torch.Tensor, heads: int, kv_heads: int, dim: int, window: int = 0) -> torch.Tensor:
    tokens = len(qkv)
    q, k, v = qkv.double().view(tokens, -1, dim).split([heads, kv_heads, kv_heads], 1)
    k, v = (item.repeat_interleave(heads // kv_heads, 1) for item in (k, v))
    scores = torch.einsum("qhd,khd->hqk", q, k) * dim**-0.5
    age = torch.arange(tokens)[:, None] - torch.arange(tokens)[None]
    hidden = (age < 0) | (age >= window if window else torch.zeros_like(age, dtype=torch.bool))
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(hidden, float("-inf")).softmax(-1), v).float()


SHAPES = [(4, 2, 64, 700, 0), (3, 1, 80, 300, 0), (2, 2, 16, 65, 0), (9, 3, 64, 600, 300), (2, 1, 256, 40, 20)]
# Largest difference of an output over the largest output; int8 rounds queries, keys and values to 1/127 of their peak.
TOLERANCE = {"bfloat16": 0.02, "int8": 0.03}


@needs_native
@pytest.mark.parametrize("cache", ["bfloat16", "int8"])
@pytest.mark.parametrize(("heads", "kv_heads", "dim", "tokens", "window"), SHAPES)
def test_native_attention_however_it_is_cut(
    cache: str, heads: int, kv_heads: int, dim: int, tokens: int, window: int
) -> None:
    torch.manual_seed(dim + tokens)
    qkv = torch.randn(tokens, (heads + 2 * kv_heads) * dim)
    expected = reference(qkv, heads, kv_heads, dim, window)
    whole = attend(qkv, heads, kv_heads, dim, cache=cache, window=window, pieces=[tokens])
    assert float((whole - expected).abs().max()) < TOLERANCE[cache] * float(expected.abs().max())
    for pieces in ([1] * tokens, [7, 1, tokens - 21, 13], [tokens - 1, 1]):
        cut = attend(qkv, heads, kv_heads, dim, cache=cache, window=window, pieces=pieces, threads=1)
        assert torch.equal(cut, whole), "a row depends on the rows beside it"


@needs_native
@given(size=st.floats(-20, 20), outlier=st.floats(1, 1e4), dim=st.sampled_from([16, 64, 96]), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_native_values_are_off_by_half_a_step_at_most(size: float, outlier: float, dim: int, seed: int) -> None:
    """A query that sees one token gives its value back: once as it was quantised, once as a weight of 1 rounds it."""
    torch.manual_seed(seed)
    qkv = torch.randn(1, 4 * dim) * 10.0**size
    qkv[0, 3 * dim] *= outlier
    value = qkv[0, 3 * dim :]
    got = attend(qkv, 2, 1, dim, cache="int8", pieces=[1])
    bound = float(value.abs().max()) / 127 * (0.5 + 1e-3)
    assert float((got[0] - value).abs().max()) <= bound


@needs_native
def test_small_weights_count_beside_a_large_one() -> None:
    """One key takes almost all the weight; what a thousand others add must not be rounded away."""
    dim, tokens = 64, 1001
    qkv = torch.zeros(tokens, 3 * dim)
    qkv[-1, 0] = 8.0  # the last query
    qkv[0, dim] = 8.0  # meets the first key: a score of 8, e^8 times the weight of each other
    qkv[1:, 2 * dim :] = 1.0
    exact = reference(qkv, 1, 1, dim)[-1, 0]
    got = attend(qkv, 1, 1, dim, cache="int8", pieces=[tokens])[-1, 0]
    assert float(exact[0]) == pytest.approx(0.25, abs=0.1)
    assert torch.allclose(got, exact, rtol=0.02)


@needs_native
def test_a_poisoned_token_shows_in_the_rows_that_see_it() -> None:
    torch.manual_seed(3)
    qkv = torch.randn(40, 3 * 64)
    qkv[20] = float("nan")
    got = attend(qkv, 1, 1, 64, cache="int8", pieces=[20, 1, 19])
    assert got[:20].isfinite().all() and got[20:].isnan().all()


def test_torch_and_native_caches_have_the_same_size() -> None:
    paged = PagedAttention(5, 3, 64, 64, torch.int8, "cpu")
    assert paged.bytes_per_block == 5 * 3 * 2 * 16 * (64 + 4)
    if LIBRARY is not None:
        assert 5 * 3 * 2 * LIBRARY.cache_head_bytes(native.CACHE_TYPES["int8"], 64) == paged.bytes_per_block


def test_the_torch_cache_attends_like_an_exact_one() -> None:
    torch.manual_seed(2)
    tokens, heads, kv_heads, dim = 50, 4, 2, 32
    keys, values = torch.randn(tokens, kv_heads, dim), torch.randn(tokens, kv_heads, dim)
    query = torch.randn(tokens, heads, dim)
    outs = []
    for dtype in (torch.float32, torch.int8):
        paged = PagedAttention(1, kv_heads, dim, dim, dtype, "cpu")
        paged.allocate(8)
        paged.start(tokens, [SequenceSlice(0, tokens, 0, [6, 1, 3, 2], None, 0)])
        paged.write(0, keys, values)
        outs.append(paged.attend(0, query, AttentionRule(dim**-0.5)))
    difference = float((outs[0] - outs[1]).abs().max()) / float(outs[0].abs().max())
    assert 0 < difference < TOLERANCE["int8"]
