// The C interface: whole decoder layers over a mixed batch, and the single operations for tests and special paths.
#include <cstdlib>

#include "decoder.h"
#include "pack.h"

using namespace llmasos;

extern "C" {

#ifndef LLMASOS_SOURCE_DIGEST
#define LLMASOS_SOURCE_DIGEST ""
#endif
const char* llmasos_source_digest() { return LLMASOS_SOURCE_DIGEST; }

size_t llmasos_struct_size(int which) {
  const size_t sizes[] = {sizeof(Linear), sizeof(AttentionSpec), sizeof(Layer), sizeof(Model), sizeof(Batch), sizeof(Slice), sizeof(LoraFactor),
                          sizeof(LayerCache)};
  return which >= 0 && which < 8 ? sizes[which] : 0;
}

size_t llmasos_packed_bytes(int columns, int depth, int type) {
  Linear w{nullptr, nullptr, nullptr, columns, depth, type, 0};
  return panels(w) * panel_bytes(w);
}

int llmasos_transform_block(int depth, int type) { return transform_block(depth, type); }

void llmasos_pack(float* source, int columns, int depth, int type, uint8_t* packed, float* scale, int threads) {
  pack(source, columns, depth, type, packed, scale, threads);
}

// Bytes of one kv head in one block, keys or values.
size_t llmasos_cache_head_bytes(int cache, int dim) {
  return with_format(cache, [&](auto format) { return format.head_bytes(dim); });
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

// Rotated and scaled queries of the last layer computed, rows [begin, end): (rows, heads, head_dim). For attention weights.
void llmasos_read_queries(const Model* model, int begin, int end, float* out) {
  const AttentionSpec& spec = model->layers[0].attention;
  const uint8_t* queries = ((const Workspace*)model->workspace)->queries;
  with_format(spec.cache, [&](auto format) {
    for (int v = begin * spec.heads; v < end * spec.heads; ++v, out += spec.head_dim) {
      format.load_query(queries + v * format.query_bytes(spec.head_dim), out, spec.head_dim);
    }
  });
}

// Cached keys of the first tokens of a block table, such that products with queries are scores: (kv_heads, tokens, head_dim).
void llmasos_read_keys(const AttentionSpec* spec, const LayerCache* cache, const int32_t* blocks, int tokens, float* out) {
  const int dim = spec->head_dim;
  with_format(spec->cache, [&](auto format) {
    for (int h = 0; h < spec->kv_heads; ++h) {
      for (int i = 0; i < tokens; ++i, out += dim) {
        format.load_key(cache->keys + blocks[i / kBlock] * cache->block_bytes + h * format.head_bytes(dim), out, dim, i % kBlock);
      }
    }
  });
}

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

// One attention on its own: qkv (rows, (heads + 2 kv_heads) * head_dim) -> out (rows, heads, head_dim); fills the cache.
int llmasos_attention(const AttentionSpec* spec, const LayerCache* cache, const float* qkv, const int64_t* positions, const Slice* slices,
                      int slice_count, int rows, float* out, int threads) {
  const size_t vectors = (size_t)rows * spec->heads;
  const size_t bytes = with_format(spec->cache, [&](auto format) { return vectors * format.query_bytes(spec->head_dim); });
  uint8_t* queries = (uint8_t*)std::aligned_alloc(64, (bytes + 127) / 64 * 64);
  if (!queries) return 1;
  run_team(threads, [&](const Team& team) {
    AttentionScratch scratch;
    self_attention(qkv, positions, slices, slice_count, *spec, *cache, queries, out, team, scratch);
  });
  std::free(queries);
  return 0;
}

}  // extern "C"
