"""Random LoRA adapters of rank 8 on all linear layers, in PEFT's format and as GGUF."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import save_file

# The same number twice, so that the scale is 1: OpenVINO takes its scale from the caller (1 by default) and reads
# neither PEFT's configuration nor an alpha in the file, while the others scale by alpha / rank.
RANK, ALPHA = 8, 8
_GGUF_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def make_adapters(config: dict[str, Any], folder: Path, count: int) -> list[Path]:
    """Folders with ``adapter_config.json``, ``adapter_model.safetensors`` and ``adapter.gguf``; made once."""
    made = []
    for number in range(count):
        target = folder / f"rank-{RANK}-alpha-{ALPHA}" / f"adapter-{number}"
        if not (target / "adapter.gguf").exists():
            target.mkdir(parents=True, exist_ok=True)
            _write(config, target, np.random.default_rng(number))
        made.append(target)
    return made


def _write(config: dict[str, Any], target: Path, draw: np.random.Generator) -> None:
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head = config.get("head_dim") or hidden // heads
    shapes = {
        "self_attn.q_proj": (heads * head, hidden),
        "self_attn.k_proj": (kv_heads * head, hidden),
        "self_attn.v_proj": (kv_heads * head, hidden),
        "self_attn.o_proj": (hidden, heads * head),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    partial = target / "adapter.gguf.partial"
    writer = gguf.GGUFWriter(partial, config["model_type"])
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(ALPHA))
    tensors: dict[str, np.ndarray] = {}
    for layer in range(config["num_hidden_layers"]):
        for name, (columns, depth) in shapes.items():
            a = draw.uniform(-1, 1, (RANK, depth)) / np.sqrt(depth)
            b = draw.normal(0, 0.06, (columns, RANK))
            place = f"base_model.model.model.layers.{layer}.{name}"
            tensors[f"{place}.lora_A.weight"] = a.astype(np.float16)
            tensors[f"{place}.lora_B.weight"] = b.astype(np.float16)
            if config["model_type"] == "llama" and _GGUF_NAMES[name] in ("attn_q", "attn_k"):
                b = _interleaved(b, heads if name.endswith("q_proj") else kv_heads)
            stem = f"blk.{layer}.{_GGUF_NAMES[name]}.weight"
            writer.add_tensor(f"{stem}.lora_a", a.astype(np.float16))
            writer.add_tensor(f"{stem}.lora_b", b.astype(np.float16))
    save_file(tensors, target / "adapter_model.safetensors")
    modules = sorted(name.split(".")[1] for name in shapes)
    (target / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": modules, "bias": "none",
                    "task_type": "CAUSAL_LM"}),
        encoding="utf-8",
    )  # fmt: skip
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.rename(target / "adapter.gguf")


def _interleaved(rows: np.ndarray, heads: int) -> np.ndarray:
    """The order of rows that GGUF files of the Llama architecture have: rotary pairs side by side."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)
