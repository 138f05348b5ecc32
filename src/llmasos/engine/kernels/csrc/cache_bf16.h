// The cache in bfloat16, laid out so that both products of attention are plain VDPBF16PS streams:
//   keys:   [dim / 2][16 tokens][2]      scores of 16 tokens at once
//   values: [8 token pairs][dim][2]      weighted sums over pairs of tokens
#pragma once
#include "cache.h"

namespace llmasos {

struct Bf16Cache {
  static size_t head_bytes(int dim) { return (size_t)kBlock * dim * sizeof(bf16); }
  static size_t query_bytes(int dim) { return (size_t)dim * sizeof(bf16); }

  static void store_query(const float* query, uint8_t* target, int dim) {
    for (int d = 0; d < dim; d += 16) _mm256_storeu_si256((__m256i*)(target + 2 * d), to_bf16(_mm512_loadu_ps(query + d)));
  }

  static void load_query(const uint8_t* source, float* query, int dim) {
    for (int d = 0; d < dim; d += 16) _mm512_storeu_ps(query + d, load_bf16((const bf16*)source + d));
  }

  static void store_key(const float* key, uint8_t* block, int dim, int offset) {
    alignas(64) bf16 packed[kMaxHeadDim];
    store_query(key, (uint8_t*)packed, dim);
    uint32_t* target = (uint32_t*)block + offset;
    for (int d = 0; d < dim / 2; ++d) std::memcpy(target + (size_t)d * kBlock, packed + 2 * d, 4);
  }

  static void load_key(const uint8_t* block, float* key, int dim, int offset) {
    alignas(64) bf16 packed[kMaxHeadDim];
    const uint32_t* source = (const uint32_t*)block + offset;
    for (int d = 0; d < dim / 2; ++d) std::memcpy(packed + 2 * d, source + (size_t)d * kBlock, 4);
    load_query((const uint8_t*)packed, key, dim);
  }

  static void store_value(const float* value, uint8_t* block, int dim, int offset) {
    bf16* target = (bf16*)block + (size_t)(offset / 2) * dim * 2;
    for (int i = 0; i < dim; i += 16) {
      const __m512i fresh = _mm512_cvtepu16_epi32(to_bf16(_mm512_loadu_ps(value + i)));
      __m512i pairs = _mm512_loadu_si512(target + 2 * i);
      pairs = offset % 2 ? _mm512_or_si512(_mm512_and_si512(pairs, _mm512_set1_epi32(0xFFFF)), _mm512_slli_epi32(fresh, 16))
                         : _mm512_or_si512(_mm512_andnot_si512(_mm512_set1_epi32(0xFFFF), pairs), fresh);
      _mm512_storeu_si512(target + 2 * i, pairs);
    }
  }

  // scores[i * kChunk + token] of the 16 tokens of a block.
  template <int N>
  static void scores(const uint8_t* block, const Query* queries, int dim, float* scores, const BlockAhead& ahead) {
    __m512 acc[N];
#pragma GCC unroll 12
    for (int i = 0; i < N; ++i) acc[i] = _mm512_setzero_ps();
    for (int d = 0; d < dim / 2; ++d) {
      const __m512bh k = (__m512bh)_mm512_loadu_si512(block + (size_t)d * 64);
      _mm_prefetch((const char*)ahead.keys + (size_t)d * 64, _MM_HINT_T0);
      _mm_prefetch((const char*)ahead.values + (size_t)d * 64, _MM_HINT_T0);
#pragma GCC unroll 12
      for (int i = 0; i < N; ++i) {
        int32_t pair;
        std::memcpy(&pair, queries[i].vector + 4 * d, 4);
        acc[i] = _mm512_dpbf16_ps(acc[i], k, (__m512bh)_mm512_set1_epi32(pair));
      }
    }
#pragma GCC unroll 12
    for (int i = 0; i < N; ++i) _mm512_storeu_ps(scores + (size_t)i * kChunk, acc[i]);
  }

  // Softmax weights of 16 tokens at a time, and what has to be done when those of the whole chunk are there.
  struct Weights {
    AttentionScratch& scratch;
    int query;
    void add(int token, __m512 weight, __mmask16) { _mm256_store_si256((__m256i*)(scratch.weights[query] + token), to_bf16(weight)); }
    void finish(int) {}
  };
  static Weights weights(AttentionScratch& scratch, int query, int) { return {scratch, query}; }

  // The second token of the last pair may not be written yet: whatever lies there must not enter, not even times zero (NaN).
  static void hide_unwritten(AttentionScratch& scratch, int tokens, int dim) {
    if (tokens % 2 == 0) return;
    bf16* copy = (bf16*)scratch.masked;
    const uint8_t*& last = scratch.value_blocks[(tokens - 1) / kBlock];
    const int pair = tokens % kBlock / 2;
    std::memcpy(copy, last, (size_t)pair * dim * 2 * sizeof(bf16));
    for (int d = 0; d < dim; d += 16) {
      const size_t at = (size_t)pair * dim * 2 + d * 2;
      _mm512_storeu_si512(copy + at, _mm512_and_si512(_mm512_loadu_si512((const bf16*)last + at), _mm512_set1_epi32(0xFFFF)));
    }
    last = scratch.masked;
  }

  // out[i] (16 * V lanes at `lane`) += sum over token pairs of weights * values, for N queries.
  template <int N, int V>
  static void weigh(const AttentionScratch& scratch, int first, int tokens, const Query* queries, int dim, int lane) {
    __m512 acc[N][V];
#pragma GCC unroll 12
    for (int i = 0; i < N; ++i)
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) acc[i][v] = _mm512_loadu_ps(queries[i].out + lane + v * 16);
    for (int p = 0; p < (tokens + 1) / 2; ++p) {
      const bf16* source = (const bf16*)scratch.value_blocks[p / 8] + (size_t)(p % 8) * dim * 2 + lane * 2;
      __m512bh value[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) value[v] = (__m512bh)_mm512_loadu_si512(source + v * 32);
#pragma GCC unroll 12
      for (int i = 0; i < N; ++i) {
        int32_t pair;
        std::memcpy(&pair, scratch.weights[first + i] + 2 * p, 4);
        const __m512bh w = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) acc[i][v] = _mm512_dpbf16_ps(acc[i][v], value[v], w);
      }
    }
#pragma GCC unroll 12
    for (int i = 0; i < N; ++i)
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) _mm512_storeu_ps(queries[i].out + lane + v * 16, acc[i][v]);
  }
};

}  // namespace llmasos
