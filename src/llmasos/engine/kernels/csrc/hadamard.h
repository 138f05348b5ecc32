// Hadamard transform: turns vectors so that a few large values are spread over their block, before a scale is shared.
//
// Activations and keys of language models have a few channels far above the rest, which ruin a scale that a whole row shares.
// Applied to both sides of a product it changes nothing but a factor, the length of the block (the idea of QuIP#, Tseng et
// al. 2024, and QuaRot, Ashkboos et al. 2024, applied to each product alone).
#pragma once
#include "common.h"

namespace llmasos {

// Hadamard transform of 16 lanes, unnormalised: stage s adds the lane at distance s, with a minus on its upper half.
inline __m512 hadamard16(__m512 x) {
  auto signs = [](int mask) { return _mm512_mask_mov_ps(_mm512_set1_ps(1.0f), (__mmask16)mask, _mm512_set1_ps(-1.0f)); };
  x = _mm512_fmadd_ps(x, signs(0xAAAA), _mm512_permute_ps(x, 0xB1));
  x = _mm512_fmadd_ps(x, signs(0xCCCC), _mm512_permute_ps(x, 0x4E));
  x = _mm512_fmadd_ps(x, signs(0xF0F0), _mm512_shuffle_f32x4(x, x, 0xB1));
  return _mm512_fmadd_ps(x, signs(0xFF00), _mm512_shuffle_f32x4(x, x, 0x4E));
}

template <int V>
inline void hadamard_blocks(float* x, int depth) {
  for (int begin = 0; begin < depth; begin += V * 16) {
    __m512 v[V];
#pragma GCC unroll 8
    for (int i = 0; i < V; ++i) v[i] = hadamard16(_mm512_loadu_ps(x + begin + i * 16));
#pragma GCC unroll 3
    for (int distance = 1; distance < V; distance *= 2) {
#pragma GCC unroll 8
      for (int i = 0; i < V; ++i) {
        if (i & distance) continue;
        const __m512 a = v[i], b = v[i + distance];
        v[i] = _mm512_add_ps(a, b), v[i + distance] = _mm512_sub_ps(a, b);
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < V; ++i) _mm512_storeu_ps(x + begin + i * 16, v[i]);
  }
}

// The same over blocks of `block` values (a power of two from 16 to 128 that divides depth), in place.
inline void hadamard(float* x, int depth, int block) {
  switch (block) {
    case 16: return hadamard_blocks<1>(x, depth);
    case 32: return hadamard_blocks<2>(x, depth);
    case 64: return hadamard_blocks<4>(x, depth);
    default: return hadamard_blocks<8>(x, depth);
  }
}

// The block for a depth: the longest that divides it; 0 if none does. It costs a per cent of the product it precedes.
inline int hadamard_block(int depth) {
  for (int block = 128; block >= 16; block /= 2)
    if (depth % block == 0) return block;
  return 0;
}

}  // namespace llmasos
