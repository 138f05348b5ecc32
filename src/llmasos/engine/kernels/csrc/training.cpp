// C interface of the kernels for training: tensors are contiguous bfloat16 if nothing else is said.
#include <new>

#include "training_attention.h"
#include "training_rows.h"

using namespace llmasos;
using namespace llmasos::training;

namespace {

// Status of a function that may run out of memory: exceptions must not leave this library.
template <typename Body>
int guarded(const Body& body) {
  try {
    return body() ? 0 : 1;
  } catch (const std::bad_alloc&) {
    return 1;
  }
}

}  // namespace

extern "C" {

size_t llmasos_training_documents_size() { return sizeof(Documents); }

// output (tokens, heads, dim), log_sums (tokens, heads) float32; 1 if memory ran out.
int llmasos_training_attention(const Documents* docs, bf16* output, float* log_sums, int threads) {
  return guarded([&] {
    return for_items(items_of(*docs, docs->heads), forward_bytes(*docs), threads,
                     [&](const Item& item, Scratch scratch) { attend_forward(*docs, item, scratch, output, log_sums); });
  });
}

int llmasos_training_attention_backward(const Documents* docs, const bf16* grad, const bf16* output, const float* log_sums, bf16* query_grad,
                                        bf16* key_grad, bf16* value_grad, int threads) {
  const Backward given = {grad, output, log_sums, query_grad, key_grad, value_grad};
  return guarded([&] {
    return for_items(items_of(*docs, docs->kv_heads), backward_bytes(*docs), threads,
                     [&](const Item& item, Scratch scratch) { attend_backward(*docs, given, item, scratch); });
  });
}

void llmasos_training_rms_norm(const bf16* x, const bf16* weight, int rows, int width, float epsilon, bf16* out, int threads) {
  rms_norm(x, weight, rows, width, epsilon, out, threads);
}

void llmasos_training_rms_norm_backward(const bf16* grad, const bf16* x, const bf16* weight, const bf16* beside, int rows, int width,
                                        float epsilon, bf16* out, float* weight_grads, int threads) {
  rms_norm_backward(grad, x, weight, beside, rows, width, epsilon, out, weight_grads, threads);
}

void llmasos_training_swiglu(const bf16* gate, const bf16* up, int64_t count, bf16* out, int threads) { swiglu(gate, up, count, out, threads); }

void llmasos_training_swiglu_backward(const bf16* grad, const bf16* gate, const bf16* up, int64_t count, bf16* gate_grad, bf16* up_grad,
                                      int threads) {
  swiglu_backward(grad, gate, up, count, gate_grad, up_grad, threads);
}

void llmasos_training_rotate(bf16* x, const bf16* cosine, const bf16* sine, int rows, int heads, int dim, float direction, int threads) {
  rotate(x, cosine, sine, rows, heads, dim, direction, threads);
}

void llmasos_training_cross_entropy(bf16* logits, const int64_t* targets, int rows, int vocab, double* losses, int differentiate,
                                    int threads) {
  cross_entropy(logits, targets, rows, vocab, losses, differentiate, threads);
}

}  // extern "C"
