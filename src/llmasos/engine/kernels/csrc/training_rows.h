// Row-wise parts of training in bfloat16: RMS normalisation, SwiGLU, rotary positions, cross entropy. Each is one pass over
// memory where torch makes several. Sums and functions are computed in float32. Between two operations of a forward pass
// norms and SwiGLU round as torch does; the rotation and all derivatives round once, at the end.
#pragma once
#include <omp.h>

#include "common.h"

namespace llmasos::training {

inline __m512 rounded(__m512 value) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(to_bf16(value)), 16));
}
inline void store_bf16(bf16* target, __mmask16 mask, __m512 value) { _mm256_mask_storeu_epi16(target, mask, to_bf16(value)); }

// One over the root mean square of a row.
inline float norm_factor(const bf16* x, int width, float epsilon) {
  __m512 squares = _mm512_setzero_ps();
  for (int i = 0; i < width; i += 16) {
    const __m512 v = load_bf16(x + i, tail_mask(width - i));
    squares = _mm512_fmadd_ps(v, v, squares);
  }
  return 1.0f / std::sqrt(_mm512_reduce_add_ps(squares) / width + epsilon);
}

// out (rows, width) = x / rms(x) * weight.
inline void rms_norm(const bf16* x, const bf16* weight, int rows, int width, float epsilon, bf16* out, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int r = 0; r < rows; ++r) {
    const bf16* source = x + (size_t)r * width;
    const __m512 factor = _mm512_set1_ps(norm_factor(source, width, epsilon));
    for (int i = 0; i < width; i += 16) {
      const __mmask16 m = tail_mask(width - i);
      const __m512 normal = rounded(_mm512_mul_ps(load_bf16(source + i, m), factor));
      store_bf16(out + (size_t)r * width + i, m, _mm512_mul_ps(normal, load_bf16(weight + i, m)));
    }
  }
}

// out = gradient of x + beside, the gradient of the residual. weight_grads: (threads, width) float32 zeros, to which each
// thread adds its rows' gradient of the weight, or null.
inline void rms_norm_backward(const bf16* grad, const bf16* x, const bf16* weight, const bf16* beside, int rows, int width, float epsilon,
                              bf16* out, float* weight_grads, int threads) {
#pragma omp parallel num_threads(threads)
  {
    float* sums = weight_grads ? weight_grads + (size_t)omp_get_thread_num() * width : nullptr;
#pragma omp for schedule(static)
    for (int r = 0; r < rows; ++r) {
      const size_t place = (size_t)r * width;
      const float factor = norm_factor(x + place, width, epsilon);
      const __m512 f = _mm512_set1_ps(factor);
      __m512 product = _mm512_setzero_ps();
      for (int i = 0; i < width; i += 16) {
        const __mmask16 m = tail_mask(width - i);
        const __m512 inner = rounded(_mm512_mul_ps(load_bf16(grad + place + i, m), load_bf16(weight + i, m)));
        product = _mm512_fmadd_ps(inner, load_bf16(x + place + i, m), product);
      }
      const __m512 share = _mm512_set1_ps(_mm512_reduce_add_ps(product) * factor * factor * factor / width);
      for (int i = 0; i < width; i += 16) {
        const __mmask16 m = tail_mask(width - i);
        const __m512 g = load_bf16(grad + place + i, m), v = load_bf16(x + place + i, m);
        const __m512 inner = rounded(_mm512_mul_ps(g, load_bf16(weight + i, m)));
        const __m512 slope = _mm512_fnmadd_ps(v, share, _mm512_mul_ps(inner, f));
        store_bf16(out + place + i, m, _mm512_add_ps(slope, load_bf16(beside + place + i, m)));
        if (sums) {
          const __m512 part = _mm512_mul_ps(g, rounded(_mm512_mul_ps(v, f)));
          _mm512_mask_storeu_ps(sums + i, m, _mm512_add_ps(_mm512_maskz_loadu_ps(m, sums + i), part));
        }
      }
    }
  }
}

template <typename Body>
inline void blocks_of(int64_t count, int threads, const Body& body) {
  constexpr int64_t kBlockSize = 4096;
  const int64_t blocks = (count + kBlockSize - 1) / kBlockSize;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t end = std::min(count, (b + 1) * kBlockSize);
    for (int64_t i = b * kBlockSize; i < end; i += 16) body(i, tail_mask((int)std::min<int64_t>(end - i, 16)));
  }
}

// out = silu(gate) * up.
inline void swiglu(const bf16* gate, const bf16* up, int64_t count, bf16* out, int threads) {
  blocks_of(count, threads, [=](int64_t i, __mmask16 m) {
    store_bf16(out + i, m, _mm512_mul_ps(rounded(silu512(load_bf16(gate + i, m))), load_bf16(up + i, m)));
  });
}

// Gradients of gate and up from that of their product; gate_grad may be grad itself.
inline void swiglu_backward(const bf16* grad, const bf16* gate, const bf16* up, int64_t count, bf16* gate_grad, bf16* up_grad,
                            int threads) {
  const __m512 one = _mm512_set1_ps(1.0f);
  blocks_of(count, threads, [=](int64_t i, __mmask16 m) {
    const __m512 g = load_bf16(grad + i, m), x = load_bf16(gate + i, m);
    const __m512 sigmoid = _mm512_div_ps(one, _mm512_add_ps(one, exp512(_mm512_sub_ps(_mm512_setzero_ps(), x))));
    const __m512 active = _mm512_mul_ps(x, sigmoid);
    // (x s)' = s + x s (1 - s)
    const __m512 slope = _mm512_fmadd_ps(active, _mm512_sub_ps(one, sigmoid), sigmoid);
    const __m512 through = rounded(_mm512_mul_ps(g, load_bf16(up + i, m)));
    store_bf16(up_grad + i, m, _mm512_mul_ps(g, rounded(active)));
    store_bf16(gate_grad + i, m, _mm512_mul_ps(through, slope));
  });
}

// x (rows, heads, dim) turned in place by the angles of its rows, cosine and sine (rows, dim / 2); direction -1 turns back.
inline void rotate(bf16* x, const bf16* cosine, const bf16* sine, int rows, int heads, int dim, float direction, int threads) {
  const int half = dim / 2;
  const __m512 sign = _mm512_set1_ps(direction);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int r = 0; r < rows; ++r) {
    for (int h = 0; h < heads; ++h) {
      bf16* head = x + ((size_t)r * heads + h) * dim;
      for (int i = 0; i < half; i += 16) {
        const __mmask16 m = tail_mask(half - i);
        const __m512 c = load_bf16(cosine + (size_t)r * half + i, m);
        const __m512 s = _mm512_mul_ps(sign, load_bf16(sine + (size_t)r * half + i, m));
        const __m512 a = load_bf16(head + i, m), b = load_bf16(head + half + i, m);
        store_bf16(head + i, m, _mm512_fmsub_ps(a, c, _mm512_mul_ps(b, s)));
        store_bf16(head + half + i, m, _mm512_fmadd_ps(b, c, _mm512_mul_ps(a, s)));
      }
    }
  }
}

// losses (rows): the cross entropy of logits (rows, vocab). With ``differentiate`` logits become its gradient:
// probabilities, less one at the target.
inline void cross_entropy(bf16* logits, const int64_t* targets, int rows, int vocab, double* losses, bool differentiate, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int r = 0; r < rows; ++r) {
    bf16* row = logits + (size_t)r * vocab;
    __m512 largest = _mm512_set1_ps(-INFINITY);
    for (int i = 0; i < vocab; i += 16) {
      const __mmask16 m = tail_mask(vocab - i);
      largest = _mm512_mask_max_ps(largest, m, largest, load_bf16(row + i, m));
    }
    const __m512 top = _mm512_set1_ps(_mm512_reduce_max_ps(largest));
    __m512 sum = _mm512_setzero_ps();
    for (int i = 0; i < vocab; i += 16) {
      const __mmask16 m = tail_mask(vocab - i);
      sum = _mm512_mask_add_ps(sum, m, sum, exp512(_mm512_sub_ps(load_bf16(row + i, m), top)));
    }
    const float total = _mm512_reduce_add_ps(sum);
    const float target = _mm512_cvtss_f32(load_bf16(row + targets[r], 1));
    losses[r] = (double)_mm512_cvtss_f32(top) + std::log((double)total) - target;
    if (!differentiate) continue;
    const __m512 inverse = _mm512_set1_ps(1.0f / total);
    const float right = std::exp(target - _mm512_cvtss_f32(top)) / total;
    for (int i = 0; i < vocab; i += 16) {
      const __mmask16 m = tail_mask(vocab - i);
      store_bf16(row + i, m, _mm512_mul_ps(inverse, exp512(_mm512_sub_ps(load_bf16(row + i, m), top))));
    }
    store_bf16(row + targets[r], 1, _mm512_set1_ps(right - 1.0f));
  }
}

}  // namespace llmasos::training
