// Whole decoder layers over a mixed batch.
#pragma once
#include <omp.h>

#include "attention.h"
#include "common.h"
#include "linear.h"

namespace llmasos {

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
  LayerCache cache;
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

struct Workspace {
  Rows rows;
  float *normed, *qkv, *attended, *gated, *branch;
  uint8_t* queries;
  size_t bytes;
  void* memory;
};

// Offsets of every buffer, once to size the workspace and once to place it.
inline size_t place(Workspace& w, uint8_t* base, const Model& model) {
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
  const size_t query_bytes = with_format(widest->cache, [&](auto format) { return format.query_bytes(widest->head_dim); });
  w.queries = take(rows * widest->heads * query_bytes + 64);
  return offset;
}

inline void rms_norm_row(const float* x, const float* weight, float epsilon, int depth, float* out, bool add) {
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
inline void add_lora(const LoraFactor& f, const float* x, int depth, float* out, bool interleaved) {
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

inline void add_loras(const Batch& batch, int layer, const LoraTarget* targets, int count, const float* x, int x_stride, int depth, float* out,
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

inline void layer_forward(const Model& model, int index, const Batch& batch, Workspace& w, const Team& team, AttentionScratch& scratch) {
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
  self_attention(w.qkv, batch.positions, batch.slices, batch.slice_count, spec, layer.cache, w.queries, w.attended, team, scratch);
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
inline void run_team(int threads, Body body) {
  Barrier barrier(threads);
  std::atomic<int> counter(0);
#pragma omp parallel num_threads(threads)
  {
    body(Team{omp_get_thread_num(), threads, &barrier, &counter});
  }
}

}  // namespace llmasos
