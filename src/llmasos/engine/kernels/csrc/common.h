// Shared pieces of the native kernels: vector helpers, a spin barrier and work splitting.
// Target: x86-64 with AVX-512 (F, BW, VL, DQ), VNNI and BF16. Built without torch headers: plain C ABI, called by ctypes.
#pragma once
#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace llmasos {

using bf16 = uint16_t;

inline int round_up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

inline __m512 load_bf16(const bf16* source) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)source)), 16));
}
inline __m512 load_bf16(const bf16* source, __mmask16 mask) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, source)), 16));
}
inline __m256i to_bf16(__m512 value) { return (__m256i)_mm512_cvtneps_pbh(value); }

// exp with a relative error below 2e-7 on the range that softmax and SiLU use: 2^n * p(r), degree-5 minimax polynomial.
// NaN stays NaN: of two operands one of which is NaN, min and max give the second.
inline __m512 exp512(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-100.0f), _mm512_min_ps(_mm512_set1_ps(88.0f), x));
  const __m512 t = _mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896341f));
  const __m512 n = _mm512_roundscale_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  __m512 p = _mm512_set1_ps(1.9875691500e-4f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
  p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), _mm512_add_ps(r, _mm512_set1_ps(1.0f)));
  return _mm512_scalef_ps(p, n);
}

inline __m512 silu512(__m512 x) {
  return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), exp512(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

// tanh approximation of GELU: x * sigmoid(2 * sqrt(2/pi) * (x + 0.044715 x^3)).
inline __m512 gelu512(__m512 x) {
  const __m512 cubic = _mm512_mul_ps(_mm512_mul_ps(x, x), _mm512_mul_ps(x, _mm512_set1_ps(0.044715f)));
  const __m512 inner = _mm512_mul_ps(_mm512_add_ps(x, cubic), _mm512_set1_ps(-1.5957691216057308f));
  return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), exp512(inner)));
}

enum Activation : int { kSilu = 0, kGeluTanh = 1 };

inline __m512 activate(__m512 x, int activation) { return activation == kGeluTanh ? gelu512(x) : silu512(x); }

inline __mmask16 tail_mask(int remaining) { return remaining >= 16 ? 0xFFFF : (__mmask16)((1u << remaining) - 1); }

// One team of threads runs a whole forward pass inside a single parallel region; phases are separated by this barrier.
// Spinning is far cheaper than leaving and entering a region some 300 times a token. A thread that is late has probably
// lost its core to another program: then the others sleep instead of taking more of the machine from it.
class Barrier {
 public:
  explicit Barrier(int threads) : threads_(threads), waiting_(0), phase_(0) {}
  void wait() {
    if (threads_ == 1) return;
    const int phase = phase_.load(std::memory_order_relaxed);
    if (waiting_.fetch_add(1, std::memory_order_acq_rel) == threads_ - 1) {
      waiting_.store(0, std::memory_order_relaxed);
      phase_.store(phase + 1, std::memory_order_release);
      phase_.notify_all();
      return;
    }
    for (int spins = 0; spins < 4096; ++spins) {
      if (phase_.load(std::memory_order_acquire) != phase) return;
      _mm_pause();
    }
    phase_.wait(phase, std::memory_order_acquire);
  }

 private:
  const int threads_;
  alignas(64) std::atomic<int> waiting_;
  alignas(64) std::atomic<int> phase_;
};

struct Team {
  int thread;
  int threads;
  Barrier* barrier;
  std::atomic<int>* counter;  // next free work item of a dynamically shared phase
};

struct Range {
  int begin, end;
};
inline Range share(int items, const Team& team) {
  return {(int)((int64_t)items * team.thread / team.threads), (int)((int64_t)items * (team.thread + 1) / team.threads)};
}

}  // namespace llmasos
