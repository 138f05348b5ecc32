// Rotary embedding, cache writes and attention over the paged KV cache, for each format of the cache.
#pragma once
#include "cache.h"
#include "cache_bf16.h"
#include "cache_int8.h"

namespace llmasos {

struct AttentionSpec {
  int32_t heads, kv_heads, head_dim, rotary_dim;
  int32_t window;  // keys a query may look back on, itself included; 0: all
  int32_t cache;   // CacheType
  float scale, epsilon;
  const float* cosine;  // (positions, rotary_dim / 2), null: no rotation
  const float* sine;
  const float* q_norm;  // (head_dim) or null
  const float* k_norm;
};

// Calls body(format) with the type that knows how this cache lies in memory.
template <typename Body>
inline auto with_format(int32_t cache, const Body& body) {
  return cache == kCacheInt8 ? body(Int8Cache()) : body(Bf16Cache());
}

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

// qkv: (rows, (heads + 2 kv_heads) * dim) fp32 -> queries (rows, heads) in the format's form, keys and values into the cache.
// Two rows of one token pair share a word of the value layout, so whole sequences' rows must not race: threads share the
// (row, kind of head) space by kv head instead.
template <typename Format>
inline void rotate_and_store(const float* qkv, const int64_t* positions, const Slice* slices, int slice_count, const AttentionSpec& s,
                             uint8_t* queries, const LayerCache& cache, const Team& team) {
  const int dim = s.head_dim, width = (s.heads + 2 * s.kv_heads) * dim;
  const size_t query_bytes = Format::query_bytes(dim);
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
        Format::store_query(rotated, queries + ((size_t)row * s.heads + h) * query_bytes, dim);
      }
      const int slot = slice.context + r;
      const size_t block = slice.blocks[slot / kBlock] * cache.block_bytes;
      for (int u = kv.begin; u < kv.end; ++u) {
        const int head = u % s.kv_heads;
        const size_t place = block + head * Format::head_bytes(dim);
        if (u < s.kv_heads) {
          rotate_head(source + (s.heads + head) * dim, rotated, s, s.k_norm, positions[row], 1.0f);
          Format::store_key(rotated, cache.keys + place, dim, slot % kBlock);
        } else {
          Format::store_value(source + (s.heads + s.kv_heads + head) * dim, cache.values + place, dim, slot % kBlock);
        }
      }
    }
  }
}

// Softmax weights of one query's scores of a chunk; its result so far is scaled down if a larger score has come.
template <typename Format>
inline void weigh_scores(typename Format::Weights weights, float* row, int chunk, int padded, const Query& query, int dim, float& peak,
                         float& total) {
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  __m512 largest = _mm512_set1_ps(-INFINITY);
  for (int k = 0; k < padded; k += 16) {
    const __m512i index = _mm512_add_epi32(lanes, _mm512_set1_epi32(chunk + k));
    const __mmask16 allowed = _mm512_cmpge_epi32_mask(index, _mm512_set1_epi32(query.first)) &
                              _mm512_cmplt_epi32_mask(index, _mm512_set1_epi32(query.last));
    const __m512 v = _mm512_mask_loadu_ps(_mm512_set1_ps(-INFINITY), allowed, row + k);
    _mm512_storeu_ps(row + k, v);
    largest = _mm512_max_ps(v, largest);
  }
  const float top = std::max(peak, _mm512_reduce_max_ps(largest));
  if (top == -INFINITY) {  // no key of this chunk is visible to this query
    for (int k = 0; k < padded; k += 16) weights.add(k, _mm512_setzero_ps(), 0);
    return weights.finish(padded);
  }
  const __m512 t = _mm512_set1_ps(top);
  __m512 sum = _mm512_setzero_ps();
  for (int k = 0; k < padded; k += 16) {
    const __m512 v = _mm512_loadu_ps(row + k);
    const __mmask16 visible = _mm512_cmp_ps_mask(v, _mm512_set1_ps(-INFINITY), _CMP_NEQ_UQ);
    const __m512 e = _mm512_maskz_mov_ps(visible, exp512(_mm512_sub_ps(v, t)));
    sum = _mm512_add_ps(sum, e);
    weights.add(k, e, visible);
  }
  weights.finish(padded);
  const float decay = peak == -INFINITY ? 0.0f : std::exp(peak - top);
  total = total * decay + _mm512_reduce_add_ps(sum);
  peak = top;
  if (decay != 1.0f) {
    const __m512 f = _mm512_set1_ps(decay);
    for (int d = 0; d < dim; d += 16) _mm512_storeu_ps(query.out + d, _mm512_mul_ps(f, _mm512_loadu_ps(query.out + d)));
  }
}

template <typename Format, int V>
inline void weigh_rows(const AttentionScratch& scratch, int n, int tokens, const Query* queries, int dim, int lane) {
  for (int first = 0; first < n; first += 6) {
    with_constant<6>(std::min(n - first, 6), [&](auto rows) {
      Format::template weigh<rows(), V>(scratch, first, tokens, queries + first, dim, lane);
    });
  }
}

// Up to kMaxQueries query vectors of one sequence and kv head against its cached keys: softmax(q k) v, online over chunks
// (Milakov and Gimelshein 2018; Dao 2022). Chunks begin at multiples of kChunk, wherever the queries' windows do, so that a
// query's sums do not depend on the queries beside it.
template <typename Format>
inline void attend(const Query* queries, int n, const uint8_t* keys, const uint8_t* values, const int32_t* blocks, int64_t block_bytes,
                   int dim, AttentionScratch& scratch) {
  float peak[kMaxQueries], total[kMaxQueries];
  int first = queries[0].first, last = queries[0].last;
  for (int i = 0; i < n; ++i) {
    peak[i] = -INFINITY, total[i] = 0;
    first = std::min(first, queries[i].first), last = std::max(last, queries[i].last);
    std::memset(queries[i].out, 0, dim * sizeof(float));
  }
  for (int begin = first / kBlock * kBlock; begin < last; begin = (begin / kChunk + 1) * kChunk) {
    const int end = std::min(last, (begin / kChunk + 1) * kChunk);
    const int block_count = (end - begin + kBlock - 1) / kBlock;
    for (int b = 0; b < block_count; ++b) {
      const size_t place = blocks[begin / kBlock + b] * block_bytes;
      const int next = begin / kBlock + std::min(b + 1, block_count - 1);
      const BlockAhead ahead = {keys + blocks[next] * block_bytes, values + place};
      with_constant<kMaxQueries>(n, [&](auto rows) {
        Format::template scores<rows()>(keys + place, queries, dim, &scratch.scores[0][b * kBlock], ahead);
      });
      scratch.value_blocks[b] = values + place;
    }
    for (int i = 0; i < n; ++i) {
      weigh_scores<Format>(Format::weights(scratch, i, dim), scratch.scores[i], begin, block_count * kBlock, queries[i], dim, peak[i], total[i]);
    }
    Format::hide_unwritten(scratch, end - begin, dim);
    int lane = 0;
    for (; lane + 64 <= dim; lane += 64) weigh_rows<Format, 4>(scratch, n, end - begin, queries, dim, lane);
    for (; lane + 32 <= dim; lane += 32) weigh_rows<Format, 2>(scratch, n, end - begin, queries, dim, lane);
    for (; lane + 16 <= dim; lane += 16) weigh_rows<Format, 1>(scratch, n, end - begin, queries, dim, lane);
  }
  for (int i = 0; i < n; ++i) {
    const __m512 f = _mm512_set1_ps(total[i] > 0 ? 1.0f / total[i] : NAN);
    for (int d = 0; d < dim; d += 16) _mm512_storeu_ps(queries[i].out + d, _mm512_mul_ps(f, _mm512_loadu_ps(queries[i].out + d)));
  }
}

// out: (rows, heads, dim) fp32. Work items (sequence, kv head, tile of query vectors) are handed out one by one.
template <typename Format>
inline void attention(const uint8_t* queries, const LayerCache& cache, const Slice* slices, int slice_count, const AttentionSpec& s,
                      float* out, const Team& team, AttentionScratch& scratch) {
  const int group = s.heads / s.kv_heads;
  const size_t query_bytes = Format::query_bytes(s.head_dim);
  int item = 0, mine = team.counter->fetch_add(1, std::memory_order_relaxed);
  // Long prompts first in the hand-out order would balance best; decode slices come first and are small, which is enough.
  for (int i = slice_count - 1; i >= 0; --i) {
    const Slice& slice = slices[i];
    const int vectors = slice.length * group, tiles = (vectors + kMaxQueries - 1) / kMaxQueries;
    for (int h = 0; h < s.kv_heads; ++h) {
      const size_t place = h * Format::head_bytes(s.head_dim);
      for (int t = 0; t < tiles; ++t, ++item) {
        if (item != mine) continue;
        mine = team.counter->fetch_add(1, std::memory_order_relaxed);
        Query tile[kMaxQueries];
        const int begin = (int64_t)vectors * t / tiles, end = (int64_t)vectors * (t + 1) / tiles;
        for (int v = begin; v < end; ++v) {
          const size_t vector = (size_t)(slice.start + v / group) * s.heads + h * group + v % group;
          const int last = slice.context + v / group + 1;
          tile[v - begin] = {queries + vector * query_bytes, out + vector * s.head_dim,
                             s.window > 0 ? std::max(0, last - s.window) : 0, last};
        }
        attend<Format>(tile, end - begin, cache.keys + place, cache.values + place, slice.blocks, cache.block_bytes, s.head_dim, scratch);
      }
    }
  }
}

// Queries, keys and values of the batch's rows -> what they attend to; the cache holds their keys and values afterwards.
inline void self_attention(const float* qkv, const int64_t* positions, const Slice* slices, int slice_count, const AttentionSpec& s,
                           const LayerCache& cache, uint8_t* queries, float* out, const Team& team, AttentionScratch& scratch) {
  with_format(s.cache, [&](auto format) {
    using Format = decltype(format);
    rotate_and_store<Format>(qkv, positions, slices, slice_count, s, queries, cache, team);
    if (team.thread == 0) team.counter->store(0, std::memory_order_relaxed);
    team.barrier->wait();
    attention<Format>(queries, cache, slices, slice_count, s, out, team, scratch);
  });
}

}  // namespace llmasos
