// The cache in int8: one scale for each token's key and one for its value, in each kv head.
//   keys:   [dim / 4][16 tokens][4] uint8, key + 128, then 16 fp32 scales    scores by VPDPBUSD
//   values: [8 token pairs][dim][2] int8, then 16 fp32 scales                weighted sums by VPDPWSSD
// Queries are int8 with a scale of their own. Softmax weights times the values' scales become 16-bit fixed point, since a
// text has many small ones beside a few large; a chunk's sum of products fits 32 bits exactly: 256 * 32767 * 127 < 2^31.
// Sums of integers do not depend on their order, so neither does a row's result on how it is computed.
//
// Some channels of keys are far above the rest. Queries and keys are therefore Hadamard-transformed before they are
// quantised, which leaves their products as they are (see hadamard.h).
#pragma once
#include "cache.h"
#include "hadamard.h"

namespace llmasos {

struct Int8Cache {
  static constexpr float kTiny = 1e-30f;  // its inverse is still finite

  struct QueryTail {  // after the int8 values of a query
    float scale;
    int32_t offset;  // what the 128 added to every key adds to its product
  };

  static size_t head_bytes(int dim) { return (size_t)kBlock * (dim + sizeof(float)); }
  static size_t query_bytes(int dim) { return (size_t)dim + sizeof(QueryTail); }
  static float* scales(uint8_t* block, int dim) { return (float*)(block + (size_t)kBlock * dim); }
  static const float* scales(const uint8_t* block, int dim) { return (const float*)(block + (size_t)kBlock * dim); }

  // x (dim) -> codes (dim); returns the scale, NaN if x is not finite: the codes cannot carry that.
  static float quantize(const float* x, int8_t* codes, int dim) {
    __m512 largest = _mm512_setzero_ps();
    __mmask16 bad = 0;
    for (int i = 0; i < dim; i += 16) {
      const __m512 v = _mm512_loadu_ps(x + i);
      largest = _mm512_max_ps(largest, _mm512_abs_ps(v));
      bad |= _mm512_fpclass_ps_mask(v, 0x99);  // quiet or signalling NaN, positive or negative infinity
    }
    const float peak = _mm512_reduce_max_ps(largest);
    const __m512 inverse = _mm512_set1_ps(peak > kTiny ? 127.0f / peak : 0.0f);
    for (int i = 0; i < dim; i += 16) {
      const __m512 v = bad ? _mm512_setzero_ps() : _mm512_loadu_ps(x + i);
      _mm_storeu_si128((__m128i*)(codes + i), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(v, inverse))));
    }
    return bad ? NAN : peak / 127.0f;
  }

  static float quantize_transformed(const float* x, int8_t* codes, int dim) {
    alignas(64) float transformed[kMaxHeadDim];
    const int block = hadamard_block(dim);
    std::memcpy(transformed, x, dim * sizeof(float));
    hadamard(transformed, dim, block);
    return quantize(transformed, codes, dim);
  }

  static void store_query(const float* query, uint8_t* target, int dim) {
    int8_t* codes = (int8_t*)target;
    // Both transforms together multiply a product by the length of their blocks.
    const float scale = quantize_transformed(query, codes, dim) / hadamard_block(dim);
    int32_t sum = 0;
    for (int d = 0; d < dim; ++d) sum += codes[d];
    const QueryTail tail = {scale, sum * 128};
    std::memcpy(target + dim, &tail, sizeof tail);
  }

  // As it was multiplied with the keys of load_key: still transformed.
  static void load_query(const uint8_t* source, float* query, int dim) {
    for (int d = 0; d < dim; ++d) query[d] = ((const int8_t*)source)[d] * tail_of(source, dim).scale;
  }

  static void store_key(const float* key, uint8_t* block, int dim, int offset) {
    alignas(64) int8_t codes[kMaxHeadDim];
    scales(block, dim)[offset] = quantize_transformed(key, codes, dim);
    uint32_t* target = (uint32_t*)block + offset;
    for (int d = 0; d < dim / 4; ++d) {
      uint32_t four;
      std::memcpy(&four, codes + 4 * d, 4);
      target[(size_t)d * kBlock] = four ^ 0x80808080u;
    }
  }

  static void load_key(const uint8_t* block, float* key, int dim, int offset) {
    const float scale = scales(block, dim)[offset];
    for (int d = 0; d < dim; ++d) key[d] = (block[((size_t)(d / 4) * kBlock + offset) * 4 + d % 4] - 128) * scale;
  }

  static void store_value(const float* value, uint8_t* block, int dim, int offset) {
    alignas(64) int8_t codes[kMaxHeadDim];
    scales(block, dim)[offset] = quantize(value, codes, dim);
    uint8_t* target = block + (size_t)(offset / 2) * dim * 2;
    const __m256i low = _mm256_set1_epi16(0xFF);
    for (int i = 0; i < dim; i += 16) {
      const __m256i fresh = _mm256_cvtepu8_epi16(_mm_load_si128((const __m128i*)(codes + i)));
      __m256i pairs = _mm256_loadu_si256((const __m256i*)(target + 2 * i));
      pairs = offset % 2 ? _mm256_or_si256(_mm256_and_si256(pairs, low), _mm256_slli_epi16(fresh, 8))
                         : _mm256_or_si256(_mm256_andnot_si256(low, pairs), fresh);
      _mm256_storeu_si256((__m256i*)(target + 2 * i), pairs);
    }
  }

  // scores[i * kChunk + token] of the 16 tokens of a block.
  template <int N>
  static void scores(const uint8_t* block, const Query* queries, int dim, float* scores, const BlockAhead& ahead) {
    __m512i acc[N];
#pragma GCC unroll 12
    for (int i = 0; i < N; ++i) acc[i] = _mm512_setzero_si512();
    for (int d = 0; d < dim / 4; ++d) {
      const __m512i k = _mm512_loadu_si512(block + (size_t)d * 64);
      _mm_prefetch((const char*)ahead.keys + (size_t)d * 64, _MM_HINT_T0);
      _mm_prefetch((const char*)ahead.values + (size_t)d * 64, _MM_HINT_T0);
#pragma GCC unroll 12
      for (int i = 0; i < N; ++i) {
        int32_t four;
        std::memcpy(&four, queries[i].vector + 4 * d, 4);
        acc[i] = _mm512_dpbusd_epi32(acc[i], k, _mm512_set1_epi32(four));
      }
    }
    _mm_prefetch((const char*)scales(ahead.keys, dim), _MM_HINT_T0);
    _mm_prefetch((const char*)scales(ahead.values, dim), _MM_HINT_T0);
    const __m512 scale = _mm512_loadu_ps(scales(block, dim));
#pragma GCC unroll 12
    for (int i = 0; i < N; ++i) {
      const QueryTail tail = tail_of(queries[i].vector, dim);
      const __m512 product = _mm512_cvtepi32_ps(_mm512_sub_epi32(acc[i], _mm512_set1_epi32(tail.offset)));
      _mm512_storeu_ps(scores + (size_t)i * kChunk, _mm512_mul_ps(product, _mm512_mul_ps(scale, _mm512_set1_ps(tail.scale))));
    }
  }

  // Softmax weights of 16 tokens at a time, and what has to be done when those of the whole chunk are there.
  struct Weights {
    AttentionScratch& scratch;
    int query, dim;
    __m512 largest = _mm512_setzero_ps();
    __mmask16 bad = 0;

    void add(int token, __m512 weight, __mmask16 visible) {
      const float* scale = scales(scratch.value_blocks[token / kBlock], dim);
      const __m512 scaled = _mm512_mul_ps(weight, _mm512_maskz_loadu_ps(visible, scale));
      bad |= _mm512_cmp_ps_mask(scaled, scaled, _CMP_UNORD_Q);
      largest = _mm512_max_ps(largest, scaled);
      _mm512_store_ps(scratch.scores[query] + token, scaled);
    }

    void finish(int tokens) {
      const float peak = _mm512_reduce_max_ps(largest);
      const __m512 inverse = _mm512_set1_ps(peak > kTiny && !bad ? 32767.0f / peak : 0.0f);
      for (int k = 0; k < tokens; k += 16) {
        const __m512 scaled = bad ? _mm512_setzero_ps() : _mm512_load_ps(scratch.scores[query] + k);
        const __m512i fixed = _mm512_cvtps_epi32(_mm512_mul_ps(scaled, inverse));
        _mm256_store_si256((__m256i*)(scratch.weights[query] + k), _mm512_cvtsepi32_epi16(fixed));
      }
      scratch.factors[query] = bad ? NAN : peak / 32767.0f;
    }
  };
  static Weights weights(AttentionScratch& scratch, int query, int dim) { return {scratch, query, dim}; }

  static void hide_unwritten(AttentionScratch&, int, int) {}  // weights of zero hide every integer

  // out[i] (16 * V lanes at `lane`) += factor * sum over token pairs of weights * values, for N queries.
  template <int N, int V>
  static void weigh(const AttentionScratch& scratch, int first, int tokens, const Query* queries, int dim, int lane) {
    __m512i acc[N][V];
#pragma GCC unroll 12
    for (int i = 0; i < N; ++i)
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) acc[i][v] = _mm512_setzero_si512();
    for (int p = 0; p < (tokens + 1) / 2; ++p) {
      const uint8_t* source = scratch.value_blocks[p / 8] + (size_t)(p % 8) * dim * 2 + lane * 2;
      __m512i value[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) value[v] = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i*)(source + v * 32)));
#pragma GCC unroll 12
      for (int i = 0; i < N; ++i) {
        int32_t pair;
        std::memcpy(&pair, scratch.weights[first + i] + 2 * p, 4);
        const __m512i w = _mm512_set1_epi32(pair);
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) acc[i][v] = _mm512_dpwssd_epi32(acc[i][v], value[v], w);
      }
    }
#pragma GCC unroll 12
    for (int i = 0; i < N; ++i) {
      const __m512 factor = _mm512_set1_ps(scratch.factors[first + i]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) {
        float* out = queries[i].out + lane + v * 16;
        _mm512_storeu_ps(out, _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[i][v]), factor, _mm512_loadu_ps(out)));
      }
    }
  }

 private:
  static QueryTail tail_of(const uint8_t* query, int dim) {
    QueryTail tail;
    std::memcpy(&tail, query + dim, sizeof tail);
    return tail;
  }
};

}  // namespace llmasos
