// Matrix products of the decoder: rows of activations times packed weights.
//
// Weight layouts (columns are output features, padded to a multiple of 32; a panel is 32 columns = 2 vectors):
//   int8: [panel][k/4][2 vectors][16 columns][4 k] uint8, weight + 128, one scale per column.
//   int4: [panel][k/32 groups] { 32 fp16 steps, 32 fp16 minima, then [4 steps][2 vectors][16 columns][4 k] bytes }; the low
//         nibble belongs to k step s, the high nibble to step s + 4 of the group; weight = minimum + step * nibble.
//   bf16: [panel][k/2][2 vectors][16 columns][2 k] bfloat16.
// Activations for int8 weights are int8 with one scale per row (token), for int4 weights one per row and group of 32: no row
// can spoil its neighbours. The unsigned operand of VPDPBUSD is the weight; its offset is undone with sums of activations.
#pragma once
#include "common.h"
#include "hadamard.h"

namespace llmasos {

enum WeightType : int { kInt8 = 0, kInt4 = 1, kBf16 = 2 };
constexpr int kPanel = 32;
constexpr int kGroup = 32;
constexpr int kMaxRows = 8;  // 16 accumulators: with more, compilers spill and VPDPBUSD runs at half its rate

struct Linear {
  const void* weight;
  const float* scale;  // (columns_padded) for int8, null otherwise
  const float* bias;   // (columns_padded) or null
  int32_t columns, depth;
  int32_t type;
  int32_t block;  // inputs are Hadamard-transformed in blocks of this many (the weights are already); 0: not
};

inline int panels(const Linear& w) { return (w.columns + kPanel - 1) / kPanel; }
inline int depth_padded(int depth, int type) { return round_up(depth, type == kBf16 ? 2 : type == kInt4 ? kGroup : 4); }
inline size_t panel_bytes(const Linear& w) {
  const size_t k = depth_padded(w.depth, w.type);
  if (w.type == kInt8) return k * kPanel;
  if (w.type == kBf16) return k * kPanel * 2;
  return k / kGroup * (kPanel * 4 + kPanel * kGroup / 2);
}

// Activations of one matrix product. `stride` is in elements (int8 or bf16).
struct Rows {
  int8_t* q;         // (rows, stride) int8
  float* scale;      // (rows)
  int32_t* sum;      // (rows) sum of q
  float* group_scale;  // (rows, stride / 32) and
  float* group_sum;    // (rows, stride / 32) scaled sums, for int4
  bf16* h;           // (rows, stride) bf16
  float* scratch;    // (threads, stride) fp32
  int stride;
};

enum Epilogue { kStore, kAdd, kGated };

struct Output {
  float* data;  // (rows, stride) fp32
  int stride;
  Epilogue mode;
  int activation;
};

template <int V>
inline void finish(const __m512* values, const Output& out, int row, int column, int columns) {
  if (out.mode == kGated) {
    // A panel holds 16 gate columns, then the matching 16 up columns.
    float* target = out.data + (size_t)row * out.stride + column / 2;
    const __mmask16 mask = tail_mask((columns - column) / 2);
    _mm512_mask_storeu_ps(target, mask, _mm512_mul_ps(activate(values[0], out.activation), values[1]));
    return;
  }
  for (int v = 0; v < V; ++v) {
    const int start = column + v * 16;
    if (start >= columns) return;
    const __mmask16 mask = tail_mask(columns - start);
    float* target = out.data + (size_t)row * out.stride + start;
    __m512 value = values[v];
    if (out.mode == kAdd) value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, target));
    _mm512_mask_storeu_ps(target, mask, value);
  }
}

// Weights stream from memory once a step; a product of many rows computes longer on a panel than its bytes take to arrive.
// Every tile therefore asks for its part of the next panel while it computes, so that memory and arithmetic overlap.
struct Ahead {
  const uint8_t* next;  // first byte that this tile asks for
  int stride;           // bytes per 128 bytes of its own panel: 128, 64 or 0
};

inline void ask(const Ahead& ahead, int step) {
  if (ahead.stride == 64) {
    _mm_prefetch((const char*)ahead.next + (size_t)step * 64, _MM_HINT_T1);  // used a panel later: L2 is near enough
  } else if (ahead.stride == 128) {
    _mm_prefetch((const char*)ahead.next + (size_t)step * 128, _MM_HINT_T0);
    _mm_prefetch((const char*)ahead.next + (size_t)step * 128 + 64, _MM_HINT_T0);
  }
}

template <int R>
inline void tile_int8(const Linear& w, const uint8_t* panel, int column, const Rows& a, int row, const Output& out, const Ahead& ahead) {
  __m512i acc[R][2];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) acc[r][0] = acc[r][1] = _mm512_setzero_si512();
  const int steps = depth_padded(w.depth, kInt8) / 4;
  const int8_t* base = a.q + (size_t)row * a.stride;
  for (int s = 0; s < steps; ++s) {
    const __m512i w0 = _mm512_loadu_si512(panel + s * 128);
    const __m512i w1 = _mm512_loadu_si512(panel + s * 128 + 64);
    ask(ahead, s);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      int32_t four;
      std::memcpy(&four, base + (size_t)r * a.stride + s * 4, 4);
      const __m512i x = _mm512_set1_epi32(four);
      acc[r][0] = _mm512_dpbusd_epi32(acc[r][0], w0, x);
      acc[r][1] = _mm512_dpbusd_epi32(acc[r][1], w1, x);
    }
  }
  const __m512 s0 = _mm512_loadu_ps(w.scale + column), s1 = _mm512_loadu_ps(w.scale + column + 16);
  const __m512 b0 = w.bias ? _mm512_loadu_ps(w.bias + column) : _mm512_setzero_ps();
  const __m512 b1 = w.bias ? _mm512_loadu_ps(w.bias + column + 16) : _mm512_setzero_ps();
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const __m512i offset = _mm512_set1_epi32(a.sum[row + r] * 128);
    const __m512 scale = _mm512_set1_ps(a.scale[row + r]);
    const __m512 values[2] = {
        _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(acc[r][0], offset)), scale), s0, b0),
        _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(acc[r][1], offset)), scale), s1, b1)};
    finish<2>(values, out, row + r, column, w.columns);
  }
}

template <int R>
inline void tile_int4(const Linear& w, const uint8_t* panel, int column, const Rows& a, int row, const Output& out, const Ahead& ahead) {
  __m512 total[R][2];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) total[r][0] = total[r][1] = _mm512_setzero_ps();
  const int groups = depth_padded(w.depth, kInt4) / kGroup;
  const __m512i low = _mm512_set1_epi8(0x0F);
  const int8_t* base = a.q + (size_t)row * a.stride;
  const int group_stride = a.stride / kGroup;
  for (int g = 0; g < groups; ++g) {
    const uint8_t* bytes = panel + kPanel * 4;
#pragma GCC unroll 5
    for (int line = 0; line < 5; ++line) ask(ahead, g * 5 + line);
    __m512i acc[R][2];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) acc[r][0] = acc[r][1] = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (int s = 0; s < 4; ++s) {
      const __m512i p0 = _mm512_loadu_si512(bytes + s * 128), p1 = _mm512_loadu_si512(bytes + s * 128 + 64);
      const __m512i l0 = _mm512_and_si512(p0, low), l1 = _mm512_and_si512(p1, low);
      const __m512i h0 = _mm512_and_si512(_mm512_srli_epi16(p0, 4), low), h1 = _mm512_and_si512(_mm512_srli_epi16(p1, 4), low);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        int32_t x_low, x_high;
        const int8_t* x = base + (size_t)r * a.stride + g * kGroup + s * 4;
        std::memcpy(&x_low, x, 4);
        std::memcpy(&x_high, x + 16, 4);
        acc[r][0] = _mm512_dpbusd_epi32(acc[r][0], l0, _mm512_set1_epi32(x_low));
        acc[r][1] = _mm512_dpbusd_epi32(acc[r][1], l1, _mm512_set1_epi32(x_low));
        acc[r][0] = _mm512_dpbusd_epi32(acc[r][0], h0, _mm512_set1_epi32(x_high));
        acc[r][1] = _mm512_dpbusd_epi32(acc[r][1], h1, _mm512_set1_epi32(x_high));
      }
    }
    const __m256i* steps = (const __m256i*)panel;
    const __m512 d0 = _mm512_cvtph_ps(_mm256_loadu_si256(steps)), d1 = _mm512_cvtph_ps(_mm256_loadu_si256(steps + 1));
    const __m512 m0 = _mm512_cvtph_ps(_mm256_loadu_si256(steps + 2)), m1 = _mm512_cvtph_ps(_mm256_loadu_si256(steps + 3));
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const size_t at = (size_t)(row + r) * group_stride + g;
      const __m512 scale = _mm512_set1_ps(a.group_scale[at]), sum = _mm512_set1_ps(a.group_sum[at]);
      total[r][0] = _mm512_fmadd_ps(m0, sum, _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(acc[r][0]), scale), d0, total[r][0]));
      total[r][1] = _mm512_fmadd_ps(m1, sum, _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(acc[r][1]), scale), d1, total[r][1]));
    }
    panel += kPanel * 4 + kPanel * kGroup / 2;
  }
  const __m512 b0 = w.bias ? _mm512_loadu_ps(w.bias + column) : _mm512_setzero_ps();
  const __m512 b1 = w.bias ? _mm512_loadu_ps(w.bias + column + 16) : _mm512_setzero_ps();
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const __m512 values[2] = {_mm512_add_ps(total[r][0], b0), _mm512_add_ps(total[r][1], b1)};
    finish<2>(values, out, row + r, column, w.columns);
  }
}

template <int R>
inline void tile_bf16(const Linear& w, const uint8_t* panel, int column, const Rows& a, int row, const Output& out, const Ahead& ahead) {
  __m512 acc[R][2];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) acc[r][0] = acc[r][1] = _mm512_setzero_ps();
  const int steps = depth_padded(w.depth, kBf16) / 2;
  const bf16* base = a.h + (size_t)row * a.stride;
  for (int s = 0; s < steps; ++s) {
    const __m512bh w0 = (__m512bh)_mm512_loadu_si512(panel + s * 128);
    const __m512bh w1 = (__m512bh)_mm512_loadu_si512(panel + s * 128 + 64);
    ask(ahead, s);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      int32_t pair;
      std::memcpy(&pair, base + (size_t)r * a.stride + s * 2, 4);
      const __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
      acc[r][0] = _mm512_dpbf16_ps(acc[r][0], w0, x);
      acc[r][1] = _mm512_dpbf16_ps(acc[r][1], w1, x);
    }
  }
  const __m512 b0 = w.bias ? _mm512_loadu_ps(w.bias + column) : _mm512_setzero_ps();
  const __m512 b1 = w.bias ? _mm512_loadu_ps(w.bias + column + 16) : _mm512_setzero_ps();
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const __m512 values[2] = {_mm512_add_ps(acc[r][0], b0), _mm512_add_ps(acc[r][1], b1)};
    finish<2>(values, out, row + r, column, w.columns);
  }
}

template <int R>
inline void tile(const Linear& w, const uint8_t* panel, int column, const Rows& a, int row, const Output& out, const Ahead& ahead) {
  if (w.type == kInt8) {
    tile_int8<R>(w, panel, column, a, row, out, ahead);
  } else if (w.type == kBf16) {
    tile_bf16<R>(w, panel, column, a, row, out, ahead);
  } else {
    // Each int4 group needs float totals beside the integer sums: half the rows fit the registers.
    if constexpr (R <= 5) {
      tile_int4<R>(w, panel, column, a, row, out, ahead);
    } else {
      tile_int4<5>(w, panel, column, a, row, out, ahead);
      tile<R - 5>(w, panel, column, a, row + 5, out, {nullptr, 0});
    }
  }
}

inline void tile_rows(int rows, const Linear& w, const uint8_t* panel, int column, const Rows& a, int row, const Output& out,
                      const Ahead& ahead) {
  switch (rows) {
    case 1: return tile<1>(w, panel, column, a, row, out, ahead);
    case 2: return tile<2>(w, panel, column, a, row, out, ahead);
    case 3: return tile<3>(w, panel, column, a, row, out, ahead);
    case 4: return tile<4>(w, panel, column, a, row, out, ahead);
    case 5: return tile<5>(w, panel, column, a, row, out, ahead);
    case 6: return tile<6>(w, panel, column, a, row, out, ahead);
    case 7: return tile<7>(w, panel, column, a, row, out, ahead);
    default: return tile<8>(w, panel, column, a, row, out, ahead);
  }
}

// out = a @ w.T; threads share the panels. The caller waits on the barrier before the result is read.
inline void linear(const Linear& w, const Rows& a, int rows, const Output& out, const Team& team) {
  const Range mine = share(panels(w), team);
  const size_t bytes = panel_bytes(w);
  const int tiles = (rows + kMaxRows - 1) / kMaxRows;
  for (int p = mine.begin; p < mine.end; ++p) {
    const uint8_t* panel = (const uint8_t*)w.weight + p * bytes;
    for (int t = 0; t < tiles; ++t) {
      const int begin = (int64_t)rows * t / tiles, end = (int64_t)rows * (t + 1) / tiles;
      const uint8_t* next = panel + bytes;
      const Ahead ahead = tiles == 1 ? Ahead{panel + 4096, 128} : t < 2 ? Ahead{next + bytes / 2 / 64 * 64 * t, 64} : Ahead{nullptr, 0};
      tile_rows(end - begin, w, panel, p * kPanel, a, begin, out, ahead);
    }
  }
}

// int4 has a scale for every 32 values of a row instead of the transform.
inline int transform_block(int depth, int type) { return type == kInt8 ? hadamard_block(depth) : 0; }

// A row of fp32 -> the operand that `w` needs: normed (if `norm`), transformed, quantised.
inline void prepare_row(const float* x, const float* norm, float epsilon, const Linear& w, const Rows& out, int row, float* scratch) {
  const int depth = w.depth;
  if (norm) {
    __m512 squares = _mm512_setzero_ps();
    for (int i = 0; i < depth; i += 16) {
      const __m512 v = _mm512_maskz_loadu_ps(tail_mask(depth - i), x + i);
      squares = _mm512_fmadd_ps(v, v, squares);
    }
    const __m512 f = _mm512_set1_ps(1.0f / std::sqrt(_mm512_reduce_add_ps(squares) / depth + epsilon));
    for (int i = 0; i < depth; i += 16) {
      const __mmask16 mask = tail_mask(depth - i);
      const __m512 v = _mm512_mul_ps(_mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), f), _mm512_maskz_loadu_ps(mask, norm + i));
      _mm512_mask_storeu_ps(scratch + i, mask, v);
    }
    x = scratch;
  }
  if (w.type == kBf16) {
    bf16* target = out.h + (size_t)row * out.stride;
    for (int i = 0; i < depth; i += 16) {
      _mm256_storeu_si256((__m256i*)(target + i), to_bf16(_mm512_maskz_loadu_ps(tail_mask(depth - i), x + i)));
    }
    return;
  }
  if (w.block) {
    if (x != scratch) std::memcpy(scratch, x, depth * sizeof(float));
    hadamard(scratch, depth, w.block);
    x = scratch;
  }
  __m512 largest = _mm512_setzero_ps();
  __mmask16 bad = 0;
  for (int i = 0; i < depth; i += 16) {
    const __m512 v = _mm512_maskz_loadu_ps(tail_mask(depth - i), x + i);
    largest = _mm512_max_ps(largest, _mm512_abs_ps(v));
    bad |= _mm512_fpclass_ps_mask(v, 0x99);  // quiet or signalling NaN, positive or negative infinity
  }
  const float peak = _mm512_reduce_max_ps(largest);
  float inverse = peak > 0 && !bad ? 127.0f / peak : 0.0f;
  int8_t* target = out.q + (size_t)row * out.stride;
  __m512i total = _mm512_setzero_si512();
  for (int g = 0; g < depth; g += kGroup) {
    // A row with NaN or infinity shows it in its own result, through the scale; the integers cannot carry it.
    const __m512 a = bad ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(tail_mask(depth - g), x + g);
    const __m512 b = bad || depth - g <= 16 ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(tail_mask(depth - g - 16), x + g + 16);
    float group_peak = 0;
    if (w.type == kInt4) {
      group_peak = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(a), _mm512_abs_ps(b)));
      inverse = group_peak > 0 ? 127.0f / group_peak : 0.0f;
    }
    const __m512i p = _mm512_cvtps_epi32(_mm512_mul_ps(a, _mm512_set1_ps(inverse)));
    const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(b, _mm512_set1_ps(inverse)));
    _mm_storeu_si128((__m128i*)(target + g), _mm512_cvtsepi32_epi8(p));
    _mm_storeu_si128((__m128i*)(target + g + 16), _mm512_cvtsepi32_epi8(q));
    const __m512i sums = _mm512_add_epi32(p, q);
    total = _mm512_add_epi32(total, sums);
    if (w.type == kInt4) {
      const size_t at = (size_t)row * (out.stride / kGroup) + g / kGroup;
      out.group_scale[at] = bad ? NAN : group_peak / 127.0f;
      out.group_sum[at] = out.group_scale[at] * _mm512_reduce_add_epi32(sums);
    }
  }
  out.sum[row] = _mm512_reduce_add_epi32(total);
  out.scale[row] = bad ? NAN : peak / 127.0f;
}

inline void prepare_rows(const float* x, int x_stride, const float* norm, float epsilon, const Linear& w, const Rows& out, int rows,
                         const Team& team) {
  const Range mine = share(rows, team);
  float* scratch = out.scratch + (size_t)team.thread * out.stride;
  for (int r = mine.begin; r < mine.end; ++r) prepare_row(x + (size_t)r * x_stride, norm, epsilon, w, out, r, scratch);
}

}  // namespace llmasos
