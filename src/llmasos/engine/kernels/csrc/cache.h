// The paged KV cache: how keys and values of one layer lie in memory. Its formats are in cache_bf16.h and cache_int8.h.
//
// A block holds 16 tokens of all layers: [layer][keys, values][kv head][head block], so that the memory that is touched
// grows with the tokens that are kept. The order within a head block is the format's, and its size a multiple of 64 bytes.
#pragma once
#include <type_traits>

#include "common.h"

namespace llmasos {

constexpr int kBlock = 16;
constexpr int kChunk = 256;        // keys per online-softmax step
constexpr int kMaxQueries = 12;    // query vectors that share one pass over the keys
constexpr int kMaxHeadDim = 256;

enum CacheType : int { kCacheBf16 = 0, kCacheInt8 = 1 };

struct LayerCache {
  uint8_t *keys, *values;  // of block 0
  int64_t block_bytes;     // from one block to the next, all layers
};

struct Slice {  // rows of one sequence in the batch
  int32_t start, length, context;
  const int32_t* blocks;
};

struct Query {
  const uint8_t* vector;  // in the form that the cache's format takes
  float* out;
  int first, last;  // keys [first, last)
};

// While the scores of one block are computed, the keys of the next block and the values of this one are on their way.
struct BlockAhead {
  const uint8_t *keys, *values;
};

struct AttentionScratch {
  alignas(64) float scores[kMaxQueries][kChunk];
  alignas(64) int16_t weights[kMaxQueries][kChunk];  // bfloat16 or fixed point
  alignas(64) uint8_t masked[2 * kMaxHeadDim * kBlock];
  const uint8_t* value_blocks[kChunk / kBlock];
  float factors[kMaxQueries];  // of fixed-point weights
};

// Calls body(integral_constant<N>) for n in 1..kMost, so that kernels know their number of rows when they are compiled.
template <int kMost, typename Body>
inline void with_constant(int n, const Body& body) {
  if constexpr (kMost > 1) {
    if (n < kMost) return with_constant<kMost - 1>(n, body);
  }
  body(std::integral_constant<int, kMost>());
}

}  // namespace llmasos
