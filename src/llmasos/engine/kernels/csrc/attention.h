// Rotary embedding, cache writes and attention over the paged KV cache.
//
// Cache layout of one layer, blocks of 16 tokens, bfloat16, chosen so that both products are plain VDPBF16PS streams:
//   keys:   [block][kv head][dim / 2][16 tokens][2]   scores of 16 tokens at once
//   values: [block][kv head][8 token pairs][dim][2]   weighted sums over pairs of tokens
#pragma once
#include "common.h"

namespace llmasos {

constexpr int kBlock = 16;
constexpr int kChunk = 256;        // keys per online-softmax step
constexpr int kMaxQueries = 12;    // query vectors that share one pass over the keys
constexpr int kMaxHeadDim = 256;

struct Slice {  // rows of one sequence in the batch
  int32_t start, length, context;
  const int32_t* blocks;
};

struct AttentionSpec {
  int32_t heads, kv_heads, head_dim, rotary_dim;
  int32_t window;  // keys a query may look back on, itself included; 0: all
  float scale, epsilon;
  const float* cosine;  // (positions, rotary_dim / 2), null: no rotation
  const float* sine;
  const float* q_norm;  // (head_dim) or null
  const float* k_norm;
};

inline size_t head_block(const AttentionSpec& s) { return (size_t)kBlock * s.head_dim; }
inline size_t block_stride(const AttentionSpec& s) { return head_block(s) * s.kv_heads; }

// One head of one row: optional RMS norm, rotation of the first rotary_dim (halves convention), then a factor.
inline void rotate_head(const float* x, float* out, const AttentionSpec& s, const float* norm, int64_t position, float factor) {
  const int dim = s.head_dim;
  float local[kMaxHeadDim];
  const float* source = x;
  if (norm) {
    __m512 squares = _mm512_setzero_ps();
    for (int i = 0; i < dim; i += 16) {
      const __m512 v = _mm512_maskz_loadu_ps(tail_mask(dim - i), x + i);
      squares = _mm512_fmadd_ps(v, v, squares);
    }
    const __m512 f = _mm512_set1_ps(1.0f / std::sqrt(_mm512_reduce_add_ps(squares) / dim + s.epsilon));
    for (int i = 0; i < dim; i += 16) {
      const __mmask16 m = tail_mask(dim - i);
      _mm512_mask_storeu_ps(local + i, m,
                            _mm512_mul_ps(_mm512_mul_ps(_mm512_maskz_loadu_ps(m, x + i), f), _mm512_maskz_loadu_ps(m, norm + i)));
    }
    source = local;
  }
  const __m512 f = _mm512_set1_ps(factor);
  int done = 0;
  if (s.cosine) {
    const int half = s.rotary_dim / 2;
    const float* cosine = s.cosine + position * half;
    const float* sine = s.sine + position * half;
    for (int i = 0; i < half; i += 16) {
      const __mmask16 m = tail_mask(half - i);
      const __m512 a = _mm512_maskz_loadu_ps(m, source + i), b = _mm512_maskz_loadu_ps(m, source + half + i);
      const __m512 c = _mm512_maskz_loadu_ps(m, cosine + i), d = _mm512_maskz_loadu_ps(m, sine + i);
      _mm512_mask_storeu_ps(out + i, m, _mm512_mul_ps(f, _mm512_fmsub_ps(a, c, _mm512_mul_ps(b, d))));
      _mm512_mask_storeu_ps(out + half + i, m, _mm512_mul_ps(f, _mm512_fmadd_ps(b, c, _mm512_mul_ps(a, d))));
    }
    done = s.rotary_dim;
  }
  for (int i = done; i < dim; i += 16) {
    const __mmask16 m = tail_mask(dim - i);
    _mm512_mask_storeu_ps(out + i, m, _mm512_mul_ps(f, _mm512_maskz_loadu_ps(m, source + i)));
  }
}

inline void store_key(const float* key, bf16* block, int dim, int offset) {
  alignas(64) bf16 packed[kMaxHeadDim];
  for (int i = 0; i < dim; i += 16) _mm256_storeu_si256((__m256i*)(packed + i), to_bf16(_mm512_loadu_ps(key + i)));
  uint32_t* target = (uint32_t*)block + offset;
  for (int d = 0; d < dim / 2; ++d) {
    uint32_t pair;
    std::memcpy(&pair, packed + 2 * d, 4);
    target[(size_t)d * kBlock] = pair;
  }
}

inline void store_value(const float* value, bf16* block, int dim, int offset) {
  bf16* target = block + (size_t)(offset / 2) * dim * 2;
  for (int i = 0; i < dim; i += 16) {
    const __m512i fresh = _mm512_cvtepu16_epi32(to_bf16(_mm512_loadu_ps(value + i)));
    __m512i pairs = _mm512_loadu_si512(target + 2 * i);
    pairs = offset % 2 ? _mm512_or_si512(_mm512_and_si512(pairs, _mm512_set1_epi32(0xFFFF)), _mm512_slli_epi32(fresh, 16))
                       : _mm512_or_si512(_mm512_andnot_si512(_mm512_set1_epi32(0xFFFF), pairs), fresh);
    _mm512_storeu_si512(target + 2 * i, pairs);
  }
}

// qkv: (rows, (heads + 2 kv_heads) * dim) fp32 -> queries (rows, heads, dim) bf16, keys and values into the cache.
// Two rows of one token pair share a word of the value layout, so whole sequences' rows must not race: threads share the
// (row, kind of head) space by kv head instead.
inline void rotate_and_store(const float* qkv, const int64_t* positions, const Slice* slices, int slice_count, const AttentionSpec& s,
                             bf16* queries, bf16* keys, bf16* values, const Team& team) {
  const int dim = s.head_dim, width = (s.heads + 2 * s.kv_heads) * dim;
  float rotated[kMaxHeadDim];
  const Range q_heads = share(s.heads, team);
  const int units = s.kv_heads * 2;  // key and value of each kv head
  const Range kv = share(units, team);
  for (int i = 0; i < slice_count; ++i) {
    const Slice& slice = slices[i];
    for (int r = 0; r < slice.length; ++r) {
      const int row = slice.start + r;
      const float* source = qkv + (size_t)row * width;
      for (int h = q_heads.begin; h < q_heads.end; ++h) {
        rotate_head(source + h * dim, rotated, s, s.q_norm, positions[row], s.scale);
        bf16* target = queries + ((size_t)row * s.heads + h) * dim;
        for (int d = 0; d < dim; d += 16) _mm256_storeu_si256((__m256i*)(target + d), to_bf16(_mm512_loadu_ps(rotated + d)));
      }
      const int slot = slice.context + r;
      const size_t block = slice.blocks[slot / kBlock];
      for (int u = kv.begin; u < kv.end; ++u) {
        const int head = u % s.kv_heads;
        const size_t place = block * block_stride(s) + head * head_block(s);
        if (u < s.kv_heads) {
          rotate_head(source + (s.heads + head) * dim, rotated, s, s.k_norm, positions[row], 1.0f);
          store_key(rotated, keys + place, dim, slot % kBlock);
        } else {
          store_value(source + (s.heads + s.kv_heads + head) * dim, values + place, dim, slot % kBlock);
        }
      }
    }
  }
}

struct Query {
  const bf16* vector;
  float* out;
  int first, last;  // keys [first, last)
};

// While the scores of one block are computed, the keys of the next block and the values of this one are on their way.
struct BlockAhead {
  const bf16 *keys, *values;
};

template <int N>
inline void scores_of_block(const bf16* key_block, const Query* queries, int dim, float* scores, int stride, const BlockAhead& ahead) {
  __m512 acc[N];
#pragma GCC unroll 12
  for (int i = 0; i < N; ++i) acc[i] = _mm512_setzero_ps();
  for (int d = 0; d < dim / 2; ++d) {
    const __m512bh k = (__m512bh)_mm512_loadu_si512(key_block + (size_t)d * kBlock * 2);
    _mm_prefetch((const char*)(ahead.keys + (size_t)d * kBlock * 2), _MM_HINT_T0);
    _mm_prefetch((const char*)(ahead.values + (size_t)d * kBlock * 2), _MM_HINT_T0);
#pragma GCC unroll 12
    for (int i = 0; i < N; ++i) {
      int32_t pair;
      std::memcpy(&pair, queries[i].vector + 2 * d, 4);
      acc[i] = _mm512_dpbf16_ps(acc[i], k, (__m512bh)_mm512_set1_epi32(pair));
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < N; ++i) _mm512_storeu_ps(scores + (size_t)i * stride, acc[i]);
}

// out[i] (16 * V lanes at `lane`) += sum over token pairs of weights * values, for N queries.
template <int N, int V>
inline void weigh(const bf16* const* value_blocks, int pairs, const bf16* const* weights, float* const* outs, int dim, int lane) {
  __m512 acc[N][V];
#pragma GCC unroll 12
  for (int i = 0; i < N; ++i)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) acc[i][v] = _mm512_loadu_ps(outs[i] + lane + v * 16);
  for (int p = 0; p < pairs; ++p) {
    const bf16* source = value_blocks[p / 8] + (size_t)(p % 8) * dim * 2 + lane * 2;
    __m512bh value[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) value[v] = (__m512bh)_mm512_loadu_si512(source + v * 32);
#pragma GCC unroll 12
    for (int i = 0; i < N; ++i) {
      int32_t pair;
      std::memcpy(&pair, weights[i] + 2 * p, 4);
      const __m512bh w = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) acc[i][v] = _mm512_dpbf16_ps(acc[i][v], value[v], w);
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < N; ++i)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) _mm512_storeu_ps(outs[i] + lane + v * 16, acc[i][v]);
}

template <int V>
inline void weigh_rows(int n, const bf16* const* blocks, int pairs, const bf16* const* weights, float* const* outs, int dim, int lane) {
  while (n > 0) {
    const int now = std::min(n, 6);
    switch (now) {
      case 1: weigh<1, V>(blocks, pairs, weights, outs, dim, lane); break;
      case 2: weigh<2, V>(blocks, pairs, weights, outs, dim, lane); break;
      case 3: weigh<3, V>(blocks, pairs, weights, outs, dim, lane); break;
      case 4: weigh<4, V>(blocks, pairs, weights, outs, dim, lane); break;
      case 5: weigh<5, V>(blocks, pairs, weights, outs, dim, lane); break;
      default: weigh<6, V>(blocks, pairs, weights, outs, dim, lane); break;
    }
    n -= now, weights += now, outs += now;
  }
}

inline void scores_rows(int n, const bf16* block, const Query* queries, int dim, float* scores, int stride, const BlockAhead& ahead) {
  switch (n) {
    case 1: return scores_of_block<1>(block, queries, dim, scores, stride, ahead);
    case 2: return scores_of_block<2>(block, queries, dim, scores, stride, ahead);
    case 3: return scores_of_block<3>(block, queries, dim, scores, stride, ahead);
    case 4: return scores_of_block<4>(block, queries, dim, scores, stride, ahead);
    case 5: return scores_of_block<5>(block, queries, dim, scores, stride, ahead);
    case 6: return scores_of_block<6>(block, queries, dim, scores, stride, ahead);
    case 7: return scores_of_block<7>(block, queries, dim, scores, stride, ahead);
    case 8: return scores_of_block<8>(block, queries, dim, scores, stride, ahead);
    case 9: return scores_of_block<9>(block, queries, dim, scores, stride, ahead);
    case 10: return scores_of_block<10>(block, queries, dim, scores, stride, ahead);
    case 11: return scores_of_block<11>(block, queries, dim, scores, stride, ahead);
    default: return scores_of_block<12>(block, queries, dim, scores, stride, ahead);
  }
}

struct AttentionScratch {
  alignas(64) float scores[kMaxQueries][kChunk];
  alignas(64) bf16 weights[kMaxQueries][kChunk];
  alignas(64) bf16 masked[2 * kMaxHeadDim * 8];
  const bf16* value_blocks[kChunk / kBlock];
};

// Up to kMaxQueries query vectors of one sequence and kv head against its cached keys: softmax(q k) v, online over chunks
// (Milakov and Gimelshein 2018; Dao 2022).
inline void attend(const Query* queries, int n, const bf16* keys, const bf16* values, const int32_t* blocks, const AttentionSpec& s,
                   AttentionScratch& scratch) {
  const int dim = s.head_dim;
  float peak[kMaxQueries], total[kMaxQueries];
  int first = queries[0].first, last = queries[0].last;
  for (int i = 0; i < n; ++i) {
    peak[i] = -INFINITY, total[i] = 0;
    first = std::min(first, queries[i].first), last = std::max(last, queries[i].last);
    std::memset(queries[i].out, 0, dim * sizeof(float));
  }
  for (int chunk = first / kBlock * kBlock; chunk < last; chunk += kChunk) {
    const int end = std::min(last, chunk + kChunk);
    const int block_count = (end - chunk + kBlock - 1) / kBlock;
    for (int b = 0; b < block_count; ++b) {
      const size_t place = (size_t)blocks[chunk / kBlock + b] * block_stride(s);
      const int next = chunk / kBlock + std::min(b + 1, block_count - 1);
      const BlockAhead ahead = {keys + (size_t)blocks[next] * block_stride(s), values + place};
      scores_rows(n, keys + place, queries, dim, &scratch.scores[0][b * kBlock], kChunk, ahead);
      scratch.value_blocks[b] = values + place;
    }
    const int padded = block_count * kBlock;
    for (int i = 0; i < n; ++i) {
      float* row = scratch.scores[i];
      const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
      __m512 largest = _mm512_set1_ps(-INFINITY);
      for (int k = 0; k < padded; k += 16) {
        const __m512i index = _mm512_add_epi32(lanes, _mm512_set1_epi32(chunk + k));
        const __mmask16 allowed = _mm512_cmpge_epi32_mask(index, _mm512_set1_epi32(queries[i].first)) &
                                  _mm512_cmplt_epi32_mask(index, _mm512_set1_epi32(queries[i].last));
        const __m512 v = _mm512_mask_loadu_ps(_mm512_set1_ps(-INFINITY), allowed, row + k);
        _mm512_storeu_ps(row + k, v);
        largest = _mm512_max_ps(v, largest);
      }
      const float top = std::max(peak[i], _mm512_reduce_max_ps(largest));
      if (top == -INFINITY) {  // no key of this chunk is visible to this query
        std::memset(scratch.weights[i], 0, padded * sizeof(bf16));
        continue;
      }
      const __m512 t = _mm512_set1_ps(top);
      __m512 sum = _mm512_setzero_ps();
      for (int k = 0; k < padded; k += 16) {
        const __m512 v = _mm512_loadu_ps(row + k);
        const __mmask16 hidden = _mm512_cmp_ps_mask(v, _mm512_set1_ps(-INFINITY), _CMP_EQ_OQ);
        const __m512 e = _mm512_mask_mov_ps(exp512(_mm512_sub_ps(v, t)), hidden, _mm512_setzero_ps());
        sum = _mm512_add_ps(sum, e);
        _mm256_store_si256((__m256i*)(scratch.weights[i] + k), to_bf16(e));
      }
      const float decay = peak[i] == -INFINITY ? 0.0f : std::exp(peak[i] - top);
      total[i] = total[i] * decay + _mm512_reduce_add_ps(sum);
      peak[i] = top;
      if (decay != 1.0f) {
        const __m512 f = _mm512_set1_ps(decay);
        for (int d = 0; d < dim; d += 16) _mm512_storeu_ps(queries[i].out + d, _mm512_mul_ps(f, _mm512_loadu_ps(queries[i].out + d)));
      }
    }
    int pairs = (end - chunk + 1) / 2;
    if ((end - chunk) % 2) {
      // The second token of the last pair is not written yet: whatever lies there must not enter, not even times zero (NaN).
      bf16* copy = scratch.masked;
      const bf16* block = scratch.value_blocks[block_count - 1];
      const int pair = (pairs - 1) % 8;
      std::memcpy(copy, block, (size_t)pair * dim * 2 * sizeof(bf16));
      for (int d = 0; d < dim; d += 16) {
        const size_t at = (size_t)pair * dim * 2 + d * 2;
        _mm512_storeu_si512(copy + at, _mm512_and_si512(_mm512_loadu_si512(block + at), _mm512_set1_epi32(0xFFFF)));
      }
      scratch.value_blocks[block_count - 1] = copy;
    }
    const bf16* weights[kMaxQueries];
    float* outs[kMaxQueries];
    for (int i = 0; i < n; ++i) weights[i] = scratch.weights[i], outs[i] = queries[i].out;
    int lane = 0;
    for (; lane + 64 <= dim; lane += 64) weigh_rows<4>(n, scratch.value_blocks, pairs, weights, outs, dim, lane);
    for (; lane + 32 <= dim; lane += 32) weigh_rows<2>(n, scratch.value_blocks, pairs, weights, outs, dim, lane);
    for (; lane + 16 <= dim; lane += 16) weigh_rows<1>(n, scratch.value_blocks, pairs, weights, outs, dim, lane);
  }
  for (int i = 0; i < n; ++i) {
    const __m512 f = _mm512_set1_ps(total[i] > 0 ? 1.0f / total[i] : NAN);
    for (int d = 0; d < dim; d += 16) _mm512_storeu_ps(queries[i].out + d, _mm512_mul_ps(f, _mm512_loadu_ps(queries[i].out + d)));
  }
}

// out: (rows, heads, dim) fp32. Work items (sequence, kv head, tile of query vectors) are handed out one by one.
inline void attention(const bf16* queries, const bf16* keys, const bf16* values, const Slice* slices, int slice_count,
                      const AttentionSpec& s, float* out, const Team& team, AttentionScratch& scratch) {
  const int group = s.heads / s.kv_heads;
  int item = 0, mine = team.counter->fetch_add(1, std::memory_order_relaxed);
  // Long prompts first in the hand-out order would balance best; decode slices come first and are small, which is enough.
  for (int i = slice_count - 1; i >= 0; --i) {
    const Slice& slice = slices[i];
    const int vectors = slice.length * group, tiles = (vectors + kMaxQueries - 1) / kMaxQueries;
    for (int h = 0; h < s.kv_heads; ++h) {
      const size_t place = h * head_block(s);
      for (int t = 0; t < tiles; ++t, ++item) {
        if (item != mine) continue;
        mine = team.counter->fetch_add(1, std::memory_order_relaxed);
        Query tile[kMaxQueries];
        const int begin = (int64_t)vectors * t / tiles, end = (int64_t)vectors * (t + 1) / tiles;
        for (int v = begin; v < end; ++v) {
          const int row = slice.start + v / group, head = h * group + v % group;
          const int last = slice.context + v / group + 1;
          tile[v - begin] = {queries + ((size_t)row * s.heads + head) * s.head_dim, out + ((size_t)row * s.heads + head) * s.head_dim,
                             s.window > 0 ? std::max(0, last - s.window) : 0, last};
        }
        attend(tile, end - begin, keys + place, values + place, slice.blocks, s, scratch);
      }
    }
  }
}

}  // namespace llmasos
