// Weights into the layouts of linear.h.
#pragma once
#include "decoder.h"

namespace llmasos {

// source: (columns, depth) fp32 row-major -> packed, scale (columns padded to 32; int8 only). Changes the source: integer
// weights are Hadamard-transformed first, in the blocks of transform_block().
// int8: symmetric, one scale a column. int4: 16 steps from the least to the greatest of each 32 weights.
inline void pack(float* source, int columns, int depth, int type, uint8_t* packed, float* scale, int threads) {
  const int block = transform_block(depth, type);
  Linear w{packed, scale, nullptr, columns, depth, type, block};
  const int padded = depth_padded(depth, type);
  run_team(threads, [&](const Team& team) {
    const Range mine = share(panels(w), team);
    for (int p = mine.begin; p < mine.end; ++p) {
      uint8_t* panel = packed + p * panel_bytes(w);
      for (int c = 0; c < kPanel; ++c) {
        const int column = p * kPanel + c;
        float* x = column < columns ? source + (size_t)column * depth : nullptr;
        if (x && block) {  // (x H)(w H / block)' = x w', the transform being symmetric with H H = block
          hadamard(x, depth, block);
          for (int k = 0; k < depth; ++k) x[k] /= block;
        }
        auto at = [&](int k) { return x && k < depth ? x[k] : 0.0f; };
        const int lane = (c / 16) * 64 + (c % 16) * 4;
        if (type == kInt8) {
          __m512 largest = _mm512_setzero_ps();
          for (int k = 0; x && k < depth; k += 16) {
            largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_maskz_loadu_ps(tail_mask(depth - k), x + k)));
          }
          const float peak = _mm512_reduce_max_ps(largest);
          scale[column] = peak / 127.0f;
          const __m512 inverse = _mm512_set1_ps(peak > 0 ? 127.0f / peak : 0);
          for (int k = 0; k < padded; k += 16) {
            const __m512 v = x && k < depth ? _mm512_maskz_loadu_ps(tail_mask(depth - k), x + k) : _mm512_setzero_ps();
            const __m128i codes = _mm_xor_si128(_mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(v, inverse))), _mm_set1_epi8(-128));
            alignas(16) uint8_t bytes[16];
            _mm_store_si128((__m128i*)bytes, codes);
            for (int s = 0; s < 4 && k + s * 4 < padded; ++s) std::memcpy(panel + (k / 4 + s) * 128 + lane, bytes + s * 4, 4);
          }
        } else if (type == kBf16) {
          bf16* words = (bf16*)panel;
          for (int k = 0; k < padded; ++k) {
            const float v = at(k);
            uint32_t bits;
            std::memcpy(&bits, &v, 4);
            words[(k / 2) * 64 + (c / 16) * 32 + (c % 16) * 2 + k % 2] = (bf16)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
          }
        } else {
          for (int g = 0; g < padded / kGroup; ++g) {
            uint8_t* group = panel + (size_t)g * (kPanel * 4 + kPanel * kGroup / 2);
            float low = at(g * kGroup), high = low;
            for (int k = 1; k < kGroup; ++k) low = std::min(low, at(g * kGroup + k)), high = std::max(high, at(g * kGroup + k));
            uint16_t* head = (uint16_t*)group;
            head[c] = _cvtss_sh((high - low) / 15.0f, _MM_FROUND_TO_NEAREST_INT);
            head[kPanel + c] = _cvtss_sh(low, _MM_FROUND_TO_NEAREST_INT);
            // Codes for the step and minimum as they are stored, not as they were before rounding.
            const float step = _cvtsh_ss(head[c]), minimum = _cvtsh_ss(head[kPanel + c]);
            const float inverse = step > 0 ? 1.0f / step : 0;
            uint8_t* bytes = group + kPanel * 4;
            for (int k = 0; k < kGroup; ++k) {
              const int code = std::min(15, std::max(0, (int)std::lrint((at(g * kGroup + k) - minimum) * inverse)));
              uint8_t& target = bytes[((k / 4) % 4) * 128 + lane + k % 4];
              target = k < kGroup / 2 ? (uint8_t)code : (uint8_t)(target | code << 4);
            }
          }
        }
      }
    }
  });
}

}  // namespace llmasos
