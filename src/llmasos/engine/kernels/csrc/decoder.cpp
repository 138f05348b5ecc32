// The C interface: whole decoder layers over a mixed batch, and the single operations for tests and special paths.
#include <omp.h>

#include <cstdlib>

#include "attention.h"
#include "common.h"
#include "linear.h"

using namespace llmasos;

extern "C" {

struct LoraFactor {  // delta(x) = (x @ a.T) @ b, the scaling folded into b
  const bf16* a;     // (rank, depth)
  const bf16* b;     // (rank, columns)
  int32_t rank;
  int32_t columns;
};

enum Module : int { kQ, kK, kV, kO, kGate, kUp, kDown, kModules };

struct Layer {
  Linear qkv, output, gate_up, down;
  const float *input_norm, *post_attention_norm;    // norms before attention and before the MLP
  const float *attention_out_norm, *mlp_out_norm;   // norms of the branches' results (Gemma), or null
  AttentionSpec attention;
  bf16 *keys, *values;
};

struct Model {
  const Layer* layers;
  int32_t hidden, intermediate, activation, max_rows;
  float epsilon;
  int32_t threads;
  void* workspace;
};

struct Batch {
  float* hidden;  // (rows, hidden) fp32, changed in place
  const int64_t* positions;
  const Slice* slices;
  int32_t rows, slice_count;
  const LoraFactor* const* lora;  // by slice: null or (layers, kModules) factors
};

}  // extern "C"

namespace {

struct Workspace {
  Rows rows;
  float *normed, *qkv, *attended, *gated, *branch;
  bf16* queries;
  size_t bytes;
  void* memory;
};

// Offsets of every buffer, once to size the workspace and once to place it.
size_t place(Workspace& w, uint8_t* base, const Model& model) {
  const AttentionSpec* widest = &model.layers[0].attention;
  const size_t rows = model.max_rows;
  const size_t attention_width = (size_t)widest->heads * widest->head_dim;
  const size_t qkv_width = (size_t)(widest->heads + 2 * widest->kv_heads) * widest->head_dim;
  const size_t depth = round_up(std::max<size_t>({(size_t)model.hidden, (size_t)model.intermediate, attention_width}), 64);
  size_t offset = 0;
  auto take = [&](size_t bytes) {
    uint8_t* pointer = base + offset;
    offset += (bytes + 127) / 64 * 64;
    return pointer;
  };
  w.rows.stride = depth;
  w.rows.q = (int8_t*)take(rows * depth);
  w.rows.h = (bf16*)take(rows * depth * 2);
  w.rows.scale = (float*)take(rows * 4);
  w.rows.sum = (int32_t*)take(rows * 4);
  w.rows.group_scale = (float*)take(rows * depth / kGroup * 4);
  w.rows.group_sum = (float*)take(rows * depth / kGroup * 4);
  w.rows.scratch = (float*)take(model.threads * depth * 4);
  w.normed = (float*)take(rows * depth * 4);
  w.qkv = (float*)take(rows * (qkv_width + 16) * 4);
  w.attended = (float*)take(rows * (attention_width + 16) * 4);
  w.gated = (float*)take(rows * (size_t)(2 * model.intermediate + 32) * 4);
  w.branch = (float*)take(rows * (size_t)(model.hidden + 16) * 4);
  w.queries = (bf16*)take(rows * attention_width * 2 + 64);
  return offset;
}

void rms_norm_row(const float* x, const float* weight, float epsilon, int depth, float* out, bool add) {
  __m512 squares = _mm512_setzero_ps();
  for (int i = 0; i < depth; i += 16) {
    const __m512 v = _mm512_maskz_loadu_ps(tail_mask(depth - i), x + i);
    squares = _mm512_fmadd_ps(v, v, squares);
  }
  const __m512 f = _mm512_set1_ps(1.0f / std::sqrt(_mm512_reduce_add_ps(squares) / depth + epsilon));
  for (int i = 0; i < depth; i += 16) {
    const __mmask16 m = tail_mask(depth - i);
    __m512 v = _mm512_mul_ps(_mm512_mul_ps(_mm512_maskz_loadu_ps(m, x + i), f), _mm512_maskz_loadu_ps(m, weight + i));
    if (add) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(m, out + i));
    _mm512_mask_storeu_ps(out + i, m, v);
  }
}

// out[c] += delta of one row; interleaved: columns lie in groups of 16 with a gap of 16 (gate and up share panels).
void add_lora(const LoraFactor& f, const float* x, int depth, float* out, bool interleaved) {
  for (int j = 0; j < f.rank; ++j) {
    const bf16* a = f.a + (size_t)j * depth;
    __m512 acc = _mm512_setzero_ps();
    for (int i = 0; i < depth; i += 16) {
      const __mmask16 m = tail_mask(depth - i);
      acc = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(m, x + i), load_bf16(a + i, m), acc);
    }
    const __m512 t = _mm512_set1_ps(_mm512_reduce_add_ps(acc));
    const bf16* b = f.b + (size_t)j * f.columns;
    for (int c = 0; c < f.columns; c += 16) {
      const __mmask16 m = tail_mask(f.columns - c);
      float* target = out + (interleaved ? 2 * c : c);
      _mm512_mask_storeu_ps(target, m, _mm512_fmadd_ps(t, load_bf16(b + c, m), _mm512_maskz_loadu_ps(m, target)));
    }
  }
}

struct LoraTarget {
  Module module;
  int offset;  // first output column
  bool interleaved;
};

void add_loras(const Batch& batch, int layer, const LoraTarget* targets, int count, const float* x, int x_stride, int depth, float* out,
               int out_stride, const Team& team) {
  const Range mine = share(batch.rows, team);
  for (int i = 0; i < batch.slice_count; ++i) {
    if (!batch.lora[i]) continue;
    const Slice& slice = batch.slices[i];
    for (int row = std::max(mine.begin, slice.start); row < std::min(mine.end, slice.start + slice.length); ++row) {
      for (int t = 0; t < count; ++t) {
        const LoraFactor& factor = batch.lora[i][(size_t)layer * kModules + targets[t].module];
        if (factor.rank) add_lora(factor, x + (size_t)row * x_stride, depth, out + (size_t)row * out_stride + targets[t].offset, targets[t].interleaved);
      }
    }
  }
}

void layer_forward(const Model& model, int index, const Batch& batch, Workspace& w, const Team& team, AttentionScratch& scratch) {
  const Layer& layer = model.layers[index];
  const AttentionSpec& spec = layer.attention;
  const int rows = batch.rows, hidden = model.hidden, width = spec.heads * spec.head_dim;
  const int kv_width = spec.kv_heads * spec.head_dim, qkv_width = width + 2 * kv_width;
  const bool lora = batch.lora != nullptr;
  Barrier& barrier = *team.barrier;
  const Range mine = share(rows, team);

  auto normed_rows = [&](const float* norm, const Linear& weight) {
    if (lora) {  // the adapters need the norm's result itself
      for (int r = mine.begin; r < mine.end; ++r) {
        rms_norm_row(batch.hidden + (size_t)r * hidden, norm, model.epsilon, hidden, w.normed + (size_t)r * hidden, false);
      }
      prepare_rows(w.normed, hidden, nullptr, 0, weight, w.rows, rows, team);
    } else {
      prepare_rows(batch.hidden, hidden, norm, model.epsilon, weight, w.rows, rows, team);
    }
    barrier.wait();
  };
  // A branch's result goes straight into the residual stream, or through its own norm first.
  auto add_branch = [&](const Linear& weight, const float* norm, const LoraTarget& target, const float* x, int depth) {
    float* out = norm ? w.branch : batch.hidden;
    linear(weight, w.rows, rows, {out, hidden, norm ? kStore : kAdd, 0}, team);
    barrier.wait();
    if (lora) add_loras(batch, index, &target, 1, x, depth, depth, out, hidden, team);
    if (norm) {
      for (int r = mine.begin; r < mine.end; ++r) {
        rms_norm_row(w.branch + (size_t)r * hidden, norm, model.epsilon, hidden, batch.hidden + (size_t)r * hidden, true);
      }
    }
    // Rows are shared the same way in every row-wise phase, so the next norm needs no barrier here.
  };

  normed_rows(layer.input_norm, layer.qkv);
  linear(layer.qkv, w.rows, rows, {w.qkv, qkv_width, kStore, 0}, team);
  barrier.wait();
  if (lora) {
    const LoraTarget targets[3] = {{kQ, 0, false}, {kK, width, false}, {kV, width + kv_width, false}};
    add_loras(batch, index, targets, 3, w.normed, hidden, hidden, w.qkv, qkv_width, team);
    barrier.wait();
  }
  rotate_and_store(w.qkv, batch.positions, batch.slices, batch.slice_count, spec, w.queries, layer.keys, layer.values, team);
  if (team.thread == 0) team.counter->store(0, std::memory_order_relaxed);
  barrier.wait();
  attention(w.queries, layer.keys, layer.values, batch.slices, batch.slice_count, spec, w.attended, team, scratch);
  barrier.wait();
  prepare_rows(w.attended, width, nullptr, 0, layer.output, w.rows, rows, team);
  barrier.wait();
  add_branch(layer.output, layer.attention_out_norm, {kO, 0, false}, w.attended, width);

  normed_rows(layer.post_attention_norm, layer.gate_up);
  const int intermediate = model.intermediate;
  if (lora) {
    const LoraTarget targets[2] = {{kGate, 0, true}, {kUp, 16, true}};
    linear(layer.gate_up, w.rows, rows, {w.gated, 2 * intermediate, kStore, 0}, team);
    barrier.wait();
    add_loras(batch, index, targets, 2, w.normed, hidden, hidden, w.gated, 2 * intermediate, team);
    for (int r = mine.begin; r < mine.end; ++r) {
      float* row = w.gated + (size_t)r * 2 * intermediate;
      for (int c = 0; c < intermediate; c += 16) {
        const __m512 gate = activate(_mm512_loadu_ps(row + 2 * c), model.activation);
        _mm512_storeu_ps(row + c, _mm512_mul_ps(gate, _mm512_loadu_ps(row + 2 * c + 16)));
      }
    }
    prepare_rows(w.gated, 2 * intermediate, nullptr, 0, layer.down, w.rows, rows, team);
    barrier.wait();
    float* out = layer.mlp_out_norm ? w.branch : batch.hidden;
    linear(layer.down, w.rows, rows, {out, hidden, layer.mlp_out_norm ? kStore : kAdd, 0}, team);
    barrier.wait();
    const LoraTarget target = {kDown, 0, false};
    add_loras(batch, index, &target, 1, w.gated, 2 * intermediate, intermediate, out, hidden, team);
    if (layer.mlp_out_norm) {
      for (int r = mine.begin; r < mine.end; ++r) {
        rms_norm_row(w.branch + (size_t)r * hidden, layer.mlp_out_norm, model.epsilon, hidden, batch.hidden + (size_t)r * hidden, true);
      }
    }
    return;
  }
  linear(layer.gate_up, w.rows, rows, {w.gated, intermediate, kGated, model.activation}, team);
  barrier.wait();
  prepare_rows(w.gated, intermediate, nullptr, 0, layer.down, w.rows, rows, team);
  barrier.wait();
  add_branch(layer.down, layer.mlp_out_norm, {kDown, 0, false}, nullptr, 0);
}

template <typename Body>
void run_team(int threads, Body body) {
  Barrier barrier(threads);
  std::atomic<int> counter(0);
#pragma omp parallel num_threads(threads)
  {
    body(Team{omp_get_thread_num(), threads, &barrier, &counter});
  }
}

}  // namespace

extern "C" {

#ifndef LLMASOS_SOURCE_DIGEST
#define LLMASOS_SOURCE_DIGEST ""
#endif
const char* llmasos_source_digest() { return LLMASOS_SOURCE_DIGEST; }

size_t llmasos_struct_size(int which) {
  const size_t sizes[] = {sizeof(Linear), sizeof(AttentionSpec), sizeof(Layer), sizeof(Model), sizeof(Batch), sizeof(Slice), sizeof(LoraFactor)};
  return which >= 0 && which < 7 ? sizes[which] : 0;
}

size_t llmasos_packed_bytes(int columns, int depth, int type) {
  Linear w{nullptr, nullptr, nullptr, columns, depth, type, 0};
  return panels(w) * panel_bytes(w);
}

int llmasos_hadamard_block(int depth, int type) { return hadamard_block(depth, type); }

// source: (columns, depth) fp32 row-major -> packed, scale (columns padded to 32; int8 only). Changes the source: integer
// weights are Hadamard-transformed first, in the blocks of hadamard_block().
// int8: symmetric, one scale a column. int4: 16 steps from the least to the greatest of each 32 weights.
void llmasos_pack(float* source, int columns, int depth, int type, uint8_t* packed, float* scale, int threads) {
  const int block = hadamard_block(depth, type);
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

void* llmasos_create_workspace(const Model* model) {
  Workspace* w = new Workspace();
  w->bytes = place(*w, nullptr, *model);
  w->memory = std::aligned_alloc(64, (w->bytes + 63) / 64 * 64);
  if (!w->memory) {
    delete w;
    return nullptr;
  }
  std::memset(w->memory, 0, w->bytes);
  place(*w, (uint8_t*)w->memory, *model);
  return w;
}

// The rotated and scaled queries of the last layer computed, (rows, heads, head_dim) bfloat16: for reading attention weights.
const bf16* llmasos_queries(void* workspace) { return ((Workspace*)workspace)->queries; }

void llmasos_free_workspace(void* workspace) {
  Workspace* w = (Workspace*)workspace;
  if (!w) return;
  std::free(w->memory);
  delete w;
}

void llmasos_forward_layers(const Model* model, int first, int last, const Batch* batch) {
  Workspace& w = *(Workspace*)model->workspace;
  run_team(model->threads, [&](const Team& team) {
    AttentionScratch scratch;
    for (int i = first; i < last; ++i) layer_forward(*model, i, *batch, w, team, scratch);
  });
}

// logits: (rows, columns) = rms_norm(x[rows]) @ weight.T; x: (rows, depth).
void llmasos_head(const Model* model, const Linear* weight, const float* norm, const float* x, int rows, float* logits) {
  Workspace& w = *(Workspace*)model->workspace;
  run_team(model->threads, [&](const Team& team) {
    for (int begin = 0; begin < rows; begin += model->max_rows) {
      const int now = std::min(model->max_rows, rows - begin);
      prepare_rows(x + (size_t)begin * weight->depth, weight->depth, norm, model->epsilon, *weight, w.rows, now, team);
      team.barrier->wait();
      linear(*weight, w.rows, now, {logits + (size_t)begin * weight->columns, weight->columns, kStore, 0}, team);
      team.barrier->wait();
    }
  });
}

// One product on its own: out (rows, columns) = x (rows, depth) @ weight.T + bias.
int llmasos_linear(const Linear* weight, const float* x, int rows, float* out, int threads) {
  const int stride = round_up(weight->depth, 64);
  const size_t n = (size_t)rows * stride;
  const size_t scratch = (size_t)threads * stride * 4;
  uint8_t* memory = (uint8_t*)std::aligned_alloc(64, (n * 3 + scratch + (size_t)rows * 8 + n / kGroup * 8 + 511) / 64 * 64);
  if (!memory) return 1;
  Rows a;
  a.stride = stride;
  a.h = (bf16*)memory;
  a.q = (int8_t*)(memory + n * 2);
  a.scratch = (float*)(memory + n * 3);
  a.group_scale = (float*)(memory + n * 3 + scratch);
  a.group_sum = a.group_scale + n / kGroup;
  a.scale = a.group_sum + n / kGroup;
  a.sum = (int32_t*)(a.scale + rows);
  std::memset(memory, 0, n * 3);
  run_team(threads, [&](const Team& team) {
    prepare_rows(x, weight->depth, nullptr, 0, *weight, a, rows, team);
    team.barrier->wait();
    linear(*weight, a, rows, {out, weight->columns, kStore, 0}, team);
  });
  std::free(memory);
  return 0;
}

}  // extern "C"
