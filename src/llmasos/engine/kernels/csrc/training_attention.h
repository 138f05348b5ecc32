// Attention within documents for training in bfloat16, forward and backward, without a matrix of scores in memory beyond a
// block of queries (Dao 2023, "FlashAttention-2"). Products of matrices run on pairs of bfloat16 and are summed in float32.
#pragma once
#include <cstdlib>
#include <vector>

#include "common.h"

namespace llmasos::training {

constexpr int kTileRows = 6;
constexpr int kQueryBlock = 48;  // queries worked on together
static_assert(kQueryBlock % kTileRows == 0 && kQueryBlock % 2 == 0);

struct Documents {
  const bf16 *query, *key, *value;  // (tokens, heads, dim), (tokens, kv_heads, dim) twice
  const int32_t* lengths;
  int32_t count, heads, kv_heads, dim, causal;
  float scale;
};

// A matrix of pairs: element (m, k) stands at pairs[m * row + k * column].
struct Left {
  const uint32_t* pairs;
  int64_t row, column;
};

template <int M, int V, typename Finish>
inline void product_tile(const Left& a, int first, const uint32_t* b, int64_t stride, int depth, int column, const Finish& finish) {
  __m512 sums[M][V];
  for (int m = 0; m < M; ++m) {
    for (int v = 0; v < V; ++v) sums[m][v] = _mm512_setzero_ps();
  }
  const uint32_t* left = a.pairs + first * a.row;
  for (int k = 0; k < depth; ++k, left += a.column) {
    __m512i right[V];
    for (int v = 0; v < V; ++v) right[v] = _mm512_loadu_si512(b + k * stride + column + v * 16);
    for (int m = 0; m < M; ++m) {
      const __m512i x = _mm512_set1_epi32((int)left[m * a.row]);
      for (int v = 0; v < V; ++v) sums[m][v] = _mm512_dpbf16_ps(sums[m][v], (__m512bh)x, (__m512bh)right[v]);
    }
  }
  for (int m = 0; m < M; ++m) {
    for (int v = 0; v < V; ++v) finish(first + m, column + v * 16, sums[m][v]);
  }
}

template <int V, typename Finish>
inline void product_rows(const Left& a, int first, int rows, const uint32_t* b, int64_t stride, int depth, int column, const Finish& finish) {
  switch (rows) {
    case 1: return product_tile<1, V>(a, first, b, stride, depth, column, finish);
    case 2: return product_tile<2, V>(a, first, b, stride, depth, column, finish);
    case 3: return product_tile<3, V>(a, first, b, stride, depth, column, finish);
    case 4: return product_tile<4, V>(a, first, b, stride, depth, column, finish);
    case 5: return product_tile<5, V>(a, first, b, stride, depth, column, finish);
    default: return product_tile<6, V>(a, first, b, stride, depth, column, finish);
  }
}

// Rows [first, first + rows) of the product of ``a`` and ``b``, whose pairs (k, n) stand at b[k * stride + n]; ``columns`` is a
// multiple of 16. finish(row, column, sums) takes 16 columns at a time.
template <typename Finish>
inline void product(const Left& a, int first, int rows, const uint32_t* b, int64_t stride, int depth, int columns, const Finish& finish) {
  int column = 0;
  for (; column + 64 <= columns; column += 64) product_rows<4>(a, first, rows, b, stride, depth, column, finish);
  if (column + 32 <= columns) product_rows<2>(a, first, rows, b, stride, depth, column, finish), column += 32;
  if (column < columns) product_rows<1>(a, first, rows, b, stride, depth, column, finish);
}

// out (dim / 2, padded): pairs along the width of (length, dim), for products over the width. Padding becomes zero.
inline void pack_width(const bf16* x, int64_t stride, int length, int dim, int padded, uint32_t* out) {
  const __m512i lanes = _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                           _mm512_set1_epi32((int)(stride / 2)));
  for (int j = 0; j < padded; j += 16) {
    const __mmask16 m = j < length ? tail_mask(length - j) : (__mmask16)0;
    const uint32_t* source = (const uint32_t*)(x + (int64_t)j * stride);
    for (int d = 0; d < dim / 2; ++d) {
      _mm512_storeu_si512(out + (int64_t)d * padded + j, _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), m, lanes, source + d, 4));
    }
  }
}

// out (padded / 2, dim): pairs of rows of (length, dim), for products over the rows. Padding becomes zero.
inline void pack_rows(const bf16* x, int64_t stride, int length, int dim, int padded, uint32_t* out) {
  for (int j = 0; j < padded; j += 2) {
    for (int d = 0; d < dim; d += 16) {
      const __m512i zero = _mm512_setzero_si512();
      const __m512i low = j < length ? _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)(x + j * stride + d))) : zero;
      const __m512i high = j + 1 < length ? _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)(x + (j + 1) * stride + d))) : zero;
      _mm512_storeu_si512(out + (int64_t)(j / 2) * dim + d, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
    }
  }
}

// Memory of one thread, handed out in aligned pieces; a copy begins anew.
class Scratch {
 public:
  explicit Scratch(uint8_t* memory) : next_(memory) {}
  template <typename T>
  T* take(size_t count) {
    T* piece = (T*)next_;
    next_ += (count * sizeof(T) + 63) / 64 * 64;
    return piece;
  }

 private:
  uint8_t* next_;
};

struct Item {
  int start, length, head;
};

// One item for each document and head, the longest documents first.
inline std::vector<Item> items_of(const Documents& docs, int heads) {
  std::vector<Item> items;
  int start = 0;
  for (int i = 0; i < docs.count; ++i) {
    for (int h = 0; h < heads; ++h) items.push_back({start, docs.lengths[i], h});
    start += docs.lengths[i];
  }
  std::stable_sort(items.begin(), items.end(), [](const Item& a, const Item& b) { return a.length > b.length; });
  return items;
}

inline int longest_of(const Documents& docs) { return docs.count ? *std::max_element(docs.lengths, docs.lengths + docs.count) : 0; }

// Keys that a tile of queries ending before ``last`` may see, as a multiple of 16.
inline int seen_by(const Documents& docs, int last, int length) { return round_up(docs.causal ? std::min(last, length) : length, 16); }

inline void attend_forward(const Documents& docs, const Item& item, Scratch scratch, bf16* output, float* log_sums) {
  const int dim = docs.dim, padded = round_up(item.length, 32), group = docs.heads / docs.kv_heads;
  const int64_t width = (int64_t)docs.heads * dim, kv_width = (int64_t)docs.kv_heads * dim;
  const int64_t kv_place = item.start * kv_width + (item.head / group) * dim;
  uint32_t* keys = scratch.take<uint32_t>((size_t)padded * dim / 2);
  uint32_t* values = scratch.take<uint32_t>((size_t)padded * dim / 2);
  float* scores = scratch.take<float>((size_t)kTileRows * padded);
  bf16* weights = scratch.take<bf16>((size_t)kTileRows * padded);
  pack_width(docs.key + kv_place, kv_width, item.length, dim, padded, keys);
  pack_rows(docs.value + kv_place, kv_width, item.length, dim, padded, values);
  const bf16* query = docs.query + item.start * width + item.head * dim;
  bf16* out = output + item.start * width + item.head * dim;
  const __m512 scale = _mm512_set1_ps(docs.scale);
  for (int first = 0; first < item.length; first += kTileRows) {
    const int rows = std::min(kTileRows, item.length - first);
    const int seen = seen_by(docs, first + rows, item.length), even = round_up(seen, 32);
    product({(const uint32_t*)(query + first * width), width / 2, 1}, 0, rows, keys, padded, dim / 2, seen,
            [=](int row, int column, __m512 sum) { _mm512_storeu_ps(scores + (size_t)row * padded + column, _mm512_mul_ps(sum, scale)); });
    float inverse[kTileRows];
    for (int r = 0; r < rows; ++r) {
      const int visible = docs.causal ? first + r + 1 : item.length;
      float* row = scores + (size_t)r * padded;
      bf16* target = weights + (size_t)r * padded;
      __m512 largest = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps();
      for (int k = 0; k < visible; k += 16) largest = _mm512_mask_max_ps(largest, tail_mask(visible - k), largest, _mm512_loadu_ps(row + k));
      const float top = _mm512_reduce_max_ps(largest);
      for (int k = 0; k < even; k += 16) {
        const __mmask16 m = k < visible ? tail_mask(visible - k) : (__mmask16)0;
        const __m512 e = m ? _mm512_maskz_mov_ps(m, exp512(_mm512_sub_ps(_mm512_loadu_ps(row + k), _mm512_set1_ps(top)))) : _mm512_setzero_ps();
        sum = _mm512_add_ps(sum, e);
        _mm256_storeu_si256((__m256i*)(target + k), to_bf16(e));
      }
      const float total = _mm512_reduce_add_ps(sum);
      inverse[r] = 1.0f / total;
      log_sums[(int64_t)(item.start + first + r) * docs.heads + item.head] = top + std::log(total);
    }
    product({(const uint32_t*)weights, padded / 2, 1}, 0, rows, values, dim, even / 2, dim, [=, &inverse](int row, int column, __m512 sum) {
      _mm256_storeu_si256((__m256i*)(out + (first + row) * width + column), to_bf16(_mm512_mul_ps(sum, _mm512_set1_ps(inverse[row]))));
    });
  }
}

struct Backward {
  const bf16 *grad, *output;  // (tokens, heads, dim)
  const float* log_sums;      // (tokens, heads)
  bf16 *query_grad, *key_grad, *value_grad;
};

// Probabilities (P in Dao's paper) and slopes of the scores (dS) of a block of queries: as pairs of queries for the
// gradients of values and keys, and the slopes also row by row for that of the queries.
struct BlockWeights {
  float *scores, *reached;  // (kQueryBlock, padded): queries times keys (S), gradients times values (dP)
  uint32_t *weights, *slopes;
  bf16* slope_rows;
};

// offset: logarithm of the sum of exponents of each query (L in the paper); mean: its gradient times its output (D).
inline void weigh_block(const Documents& docs, const BlockWeights& block, int first, int rows, int even, int length, int padded,
                        const float* offset, const float* mean) {
  const __m512 scale = _mm512_set1_ps(docs.scale);
  for (int pair = 0; pair < rows; pair += 2) {
    for (int k = 0; k < even; k += 16) {
      __m256i w[2], s[2];
      for (int i = 0; i < 2; ++i) {
        const int r = pair + i;
        const int visible = r < rows ? (docs.causal ? first + r + 1 : length) : 0;
        const __mmask16 m = k < visible ? tail_mask(visible - k) : (__mmask16)0;
        if (!m) {
          w[i] = s[i] = _mm256_setzero_si256();
        } else {
          const size_t place = (size_t)r * padded + k;
          const __m512 p = _mm512_maskz_mov_ps(m, exp512(_mm512_fmsub_ps(_mm512_loadu_ps(block.scores + place), scale, _mm512_set1_ps(offset[r]))));
          const __m512 slope = _mm512_maskz_mul_ps(m, p, _mm512_sub_ps(_mm512_loadu_ps(block.reached + place), _mm512_set1_ps(mean[r])));
          w[i] = to_bf16(p);
          s[i] = to_bf16(_mm512_mul_ps(slope, scale));
        }
        if (r < rows) _mm256_storeu_si256((__m256i*)(block.slope_rows + (size_t)r * padded + k), s[i]);
      }
      const size_t place = (size_t)(pair / 2) * padded + k;
      const auto both = [](const __m256i* v) { return _mm512_or_si512(_mm512_cvtepu16_epi32(v[0]), _mm512_slli_epi32(_mm512_cvtepu16_epi32(v[1]), 16)); };
      _mm512_storeu_si512(block.weights + place, both(w));
      _mm512_storeu_si512(block.slopes + place, both(s));
    }
  }
}

inline void attend_backward(const Documents& docs, const Backward& given, const Item& item, Scratch scratch) {
  const int dim = docs.dim, length = item.length, padded = round_up(length, 32), group = docs.heads / docs.kv_heads;
  const int64_t width = (int64_t)docs.heads * dim, kv_width = (int64_t)docs.kv_heads * dim;
  const int64_t kv_place = item.start * kv_width + item.head * dim;
  const size_t packed = (size_t)padded * dim / 2, whole = (size_t)kQueryBlock * padded;
  uint32_t* keys = scratch.take<uint32_t>(packed);
  uint32_t* key_rows = scratch.take<uint32_t>(packed);
  uint32_t* values = scratch.take<uint32_t>(packed);
  float* key_sum = scratch.take<float>((size_t)padded * dim);
  float* value_sum = scratch.take<float>((size_t)padded * dim);
  uint32_t* queries = scratch.take<uint32_t>((size_t)kQueryBlock * dim / 2);
  uint32_t* grads = scratch.take<uint32_t>((size_t)kQueryBlock * dim / 2);
  const BlockWeights block = {scratch.take<float>(whole), scratch.take<float>(whole), scratch.take<uint32_t>(whole / 2),
                              scratch.take<uint32_t>(whole / 2), scratch.take<bf16>(whole)};
  pack_width(docs.key + kv_place, kv_width, length, dim, padded, keys);
  pack_rows(docs.key + kv_place, kv_width, length, dim, padded, key_rows);
  pack_width(docs.value + kv_place, kv_width, length, dim, padded, values);
  std::memset(key_sum, 0, (size_t)padded * dim * sizeof(float));
  std::memset(value_sum, 0, (size_t)padded * dim * sizeof(float));
  const auto add_to = [dim](float* sums) {
    return [=](int row, int column, __m512 sum) {
      float* target = sums + (size_t)row * dim + column;
      _mm512_storeu_ps(target, _mm512_add_ps(_mm512_loadu_ps(target), sum));
    };
  };
  for (int head = item.head * group; head < (item.head + 1) * group; ++head) {
    const int64_t place = item.start * width + head * dim;
    for (int first = 0; first < length; first += kQueryBlock) {
      const int rows = std::min(kQueryBlock, length - first);
      const bf16 *query = docs.query + place + first * width, *grad = given.grad + place + first * width;
      const bf16* output = given.output + place + first * width;
      float offset[kQueryBlock], mean[kQueryBlock];
      for (int r = 0; r < rows; ++r) {
        offset[r] = given.log_sums[(int64_t)(item.start + first + r) * docs.heads + head];
        __m512 sum = _mm512_setzero_ps();
        for (int d = 0; d < dim; d += 16) sum = _mm512_fmadd_ps(load_bf16(grad + r * width + d), load_bf16(output + r * width + d), sum);
        mean[r] = _mm512_reduce_add_ps(sum);
      }
      const auto store_to = [padded](float* target) {
        return [=](int row, int column, __m512 sum) { _mm512_storeu_ps(target + (size_t)row * padded + column, sum); };
      };
      for (int r = 0; r < rows; r += kTileRows) {
        const int tile = std::min(kTileRows, rows - r), seen = seen_by(docs, first + r + tile, length);
        product({(const uint32_t*)query, width / 2, 1}, r, tile, keys, padded, dim / 2, seen, store_to(block.scores));
        product({(const uint32_t*)grad, width / 2, 1}, r, tile, values, padded, dim / 2, seen, store_to(block.reached));
      }
      const int seen = seen_by(docs, first + rows, length), even = round_up(seen, 32);
      weigh_block(docs, block, first, rows, even, length, padded, offset, mean);
      bf16* query_grad = given.query_grad + place + first * width;
      for (int r = 0; r < rows; r += kTileRows) {
        const int tile = std::min(kTileRows, rows - r);
        const int depth = round_up(seen_by(docs, first + r + tile, length), 32) / 2;
        product({(const uint32_t*)block.slope_rows, padded / 2, 1}, r, tile, key_rows, dim, depth, dim, [=](int row, int column, __m512 sum) {
          _mm256_storeu_si256((__m256i*)(query_grad + row * width + column), to_bf16(sum));
        });
      }
      const int pairs = (rows + 1) / 2, visible = std::min(seen, length);
      pack_rows(query, width, rows, dim, 2 * pairs, queries);
      pack_rows(grad, width, rows, dim, 2 * pairs, grads);
      for (int k = 0; k < visible; k += kTileRows) {
        const int tile = std::min(kTileRows, visible - k);
        product({block.slopes, 1, padded}, k, tile, queries, dim, pairs, dim, add_to(key_sum));
        product({block.weights, 1, padded}, k, tile, grads, dim, pairs, dim, add_to(value_sum));
      }
    }
  }
  for (int r = 0; r < length; ++r) {
    for (int d = 0; d < dim; d += 16) {
      const size_t source = (size_t)r * dim + d, target = kv_place + r * kv_width + d;
      _mm256_storeu_si256((__m256i*)(given.key_grad + target), to_bf16(_mm512_loadu_ps(key_sum + source)));
      _mm256_storeu_si256((__m256i*)(given.value_grad + target), to_bf16(_mm512_loadu_ps(value_sum + source)));
    }
  }
}

// Bytes that attend_forward and attend_backward take of their scratch.
inline size_t forward_bytes(const Documents& docs) {
  const size_t padded = round_up(longest_of(docs), 32);
  return 2 * padded * docs.dim * 2 + kTileRows * padded * 6 + 1024;
}
inline size_t backward_bytes(const Documents& docs) {
  const size_t padded = round_up(longest_of(docs), 32), dim = docs.dim;
  return 3 * padded * dim * 2 + 2 * padded * dim * 4 + 2 * kQueryBlock * dim * 2 + kQueryBlock * padded * 14 + 2048;
}

// Runs body(item, scratch) for all items; false if there is no memory for the scratch.
template <typename Body>
inline bool for_items(const std::vector<Item>& items, size_t bytes, int threads, const Body& body) {
  std::atomic<bool> complete = true;
#pragma omp parallel num_threads(threads)
  {
    uint8_t* memory = (uint8_t*)std::aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!memory) complete = false;
#pragma omp for schedule(dynamic, 1)
    for (size_t i = 0; i < items.size(); ++i) {
      if (memory) body(items[i], Scratch(memory));
    }
    std::free(memory);
  }
  return complete;
}

}  // namespace llmasos::training
