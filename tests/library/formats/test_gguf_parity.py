"""Imported GGUF models against the models they were made from, and against transformers' own reading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers
from gguf import GGMLQuantizationType as Type
from safetensors.torch import load_file

import gguf_files
from gguf_files import ARCHITECTURES, TYPES, byte_level_vocab, gguf_tensors, tiny_model, write_gguf
from llmasos.library.formats.gguf import convert_gguf

IDS = torch.tensor([[5, 100, 7, 33, 250, 511, 8, 9, 10, 11, 12, 300, 301, 302, 303, 304, 305, 306, 307, 308, 309, 310]])
# transformers does not read Gemma 1 from GGUF.
READ_BY_TRANSFORMERS = [name for name in ARCHITECTURES if name != "gemma"]


def convert(source: Path, folder: Path) -> Any:
    folder.mkdir()
    convert_gguf(source, folder)
    return load(folder)


def load(folder: Path) -> Any:
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    problems = {key: value for key, value in report.items() if value}
    assert not problems, problems
    return model.eval()


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model(IDS).logits


def assert_same_model(ours: Any, theirs: Any, *, rounding: float) -> None:
    """Weights and logits agree; ``rounding`` is the relative error of the stored type."""
    mine, wanted = ours.state_dict(), theirs.state_dict()
    assert mine.keys() == wanted.keys()
    for name, value in wanted.items():
        # Below float16's normal range the error is absolute.
        torch.testing.assert_close(mine[name], value.float(), rtol=rounding, atol=3e-8 if rounding else 0, msg=name)
    mine_logits, wanted_logits = logits(ours), logits(theirs)
    scale = wanted_logits.max() - wanted_logits.min()
    assert (mine_logits - wanted_logits).abs().max() <= max(rounding * 10, 2e-6) * scale


@pytest.mark.parametrize(
    ("architecture", "tie"), [*((name, True) for name in ARCHITECTURES), ("llama", False), ("phi3", False)]
)
def test_float32_file_gives_the_original_model(architecture: str, tie: bool, tmp_path: Path) -> None:
    model = tiny_model(architecture, tie=tie)
    ours = convert(write_gguf(tmp_path / "m.gguf", model, byte_level_vocab()), tmp_path / "out")
    # The one step that is not exact in float32 is Gemma's norm: (weight + 1) - 1.
    for name, value in model.state_dict().items():
        tolerance = 2e-7 if "norm" in name and architecture.startswith("gemma") else 0
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=0, atol=tolerance, msg=name)
    torch.testing.assert_close(logits(ours), logits(model), rtol=1e-4, atol=1e-5)
    assert ours.config.tie_word_embeddings is tie
    assert ours.config.dtype == torch.float32


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("llama", {"attention_bias": True, "mlp_bias": True}),
        ("llama", {"head_dim": 32}),
        ("qwen3", {"attention_bias": True}),
        ("llama", {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, "factor": 32.0, "low_freq_factor": 1.0,
                                       "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}}),
        ("llama", {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 4.0, "low_freq_factor": 2.0,
                                       "high_freq_factor": 9.0, "original_max_position_embeddings": 8192}}),
        ("qwen2", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0,
                                       "original_max_position_embeddings": 512}}),
        ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}}),
        ("gemma3", {"rope_parameters": {
            "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}}),
        ("phi3", {"original_max_position_embeddings": 512, "rope_parameters": {
            "rope_type": "longrope", "rope_theta": 1e4, "partial_rotary_factor": 0.5,
            "long_factor": [1.0 + i / 4 for i in range(16)], "short_factor": [1.0 + i / 9 for i in range(16)]}}),
        ("phi3", {"sliding_window": 8}),
    ],
    ids=["biases", "head-size", "qwen3-biases", "llama3-rope", "other-llama3-rope", "yarn", "linear", "gemma3-linear",
         "longrope", "window"],
)  # fmt: skip
def test_variants_give_the_original_model(architecture: str, config: dict[str, Any], tmp_path: Path) -> None:
    model = tiny_model(architecture, **config)
    ours = convert(write_gguf(tmp_path / "m.gguf", model, byte_level_vocab()), tmp_path / "out")
    torch.testing.assert_close(logits(ours), logits(model), rtol=1e-4, atol=1e-5)
    rotary, wanted = ours.model.rotary_emb, model.model.rotary_emb
    for name, buffer in wanted.named_buffers():
        torch.testing.assert_close(dict(rotary.named_buffers())[name], buffer, rtol=2e-4, atol=0, msg=name)


def test_llama3_scaling_is_recovered_as_its_numbers(tmp_path: Path) -> None:
    rope = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192}  # fmt: skip
    write_gguf(tmp_path / "m.gguf", tiny_model("llama", rope_parameters=rope), byte_level_vocab())
    convert(tmp_path / "m.gguf", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["rope_parameters"] == rope


def test_factors_of_no_known_scaling_are_kept_exactly(tmp_path: Path) -> None:
    model = tiny_model("llama")
    factors = np.array([1.0 + (i * 7 % 5) / 3 for i in range(32)], dtype=np.float32)
    tensors = {**gguf_tensors(model, "llama"), "rope_freqs.weight": factors}
    ours = convert(write_gguf(tmp_path / "m.gguf", model, byte_level_vocab(), tensors=tensors), tmp_path / "out")
    plain = 1 / (10_000 ** (torch.arange(0, 64, 2).float() / 64))
    torch.testing.assert_close(ours.model.rotary_emb.inv_freq, plain / torch.from_numpy(factors))
    assert ours.model.rotary_emb.attention_scaling == 1


def mixed_file(architecture: str, path: Path) -> Any:
    """A file whose matrices have all supported types in turn."""
    # The values that transformers takes where the file could say otherwise.
    own: dict[str, dict[str, Any]] = {
        "gemma2": {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
        "phi3": {"num_hidden_layers": 4},
    }
    if architecture in ("gemma2", "gemma3"):
        own.setdefault(architecture, {}).update(head_dim=256, query_pre_attn_scalar=256)
    model = tiny_model(architecture, **own.get(architecture, {}))
    matrices = [name for name, data in gguf_tensors(model, architecture).items() if data.ndim == 2]
    types = {name: TYPES[index % len(TYPES)] for index, name in enumerate(matrices)}
    assert set(types.values()) == set(TYPES)
    write_gguf(path, model, byte_level_vocab(), kind=lambda name: types.get(name, Type.F32))
    return model


@pytest.mark.parametrize("architecture", READ_BY_TRANSFORMERS)
def test_same_as_transformers_reads_it(architecture: str, tmp_path: Path) -> None:
    mixed_file(architecture, tmp_path / "m.gguf")
    ours = convert(tmp_path / "m.gguf", tmp_path / "out")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="m.gguf", dtype=torch.float32)
    assert_same_model(ours, theirs.eval(), rounding=2**-11)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_type_in_every_architecture(architecture: str, tmp_path: Path) -> None:
    """Against the gguf package alone, with the converter's formulas read backwards."""
    model = mixed_file(architecture, tmp_path / "m.gguf")
    (tmp_path / "out").mkdir()
    convert_gguf(tmp_path / "m.gguf", tmp_path / "out")
    weights = load_file(tmp_path / "out" / "model.safetensors")
    names = gguf.get_tensor_name_map(
        next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == architecture),
        model.config.num_hidden_layers,
    )
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    assert len(stored) == len(weights)
    for target, value in weights.items():
        stem, suffix = target.rsplit(".", 1)
        tensor = stored[f"{names.get_name(stem)}.{suffix}"]
        wanted = torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type).copy())
        if architecture == "llama" and stem.endswith(("q_proj", "k_proj")):
            heads = 4 if stem.endswith("q_proj") else 2
            wanted = wanted.reshape(heads, -1, 2, wanted.shape[-1]).transpose(1, 2).reshape(wanted.shape)
        if architecture.startswith("gemma") and stem.endswith("norm"):
            wanted = wanted - 1
        kept = {Type.F32: torch.float32, Type.BF16: torch.bfloat16, Type.F16: torch.float16}.get(tensor.tensor_type)
        assert value.dtype == (kept or torch.float16), target
        tolerance = {"rtol": 0, "atol": 0} if kept else {"rtol": 2**-11, "atol": 3e-8}
        torch.testing.assert_close(value.float(), wanted, msg=f"{target} {tensor.tensor_type.name}", **tolerance)


def test_values_beyond_float16_are_kept_in_float32(tmp_path: Path) -> None:
    model = tiny_model("llama", num_hidden_layers=1)
    tensors = gguf_tensors(model, "llama")
    tensors["blk.0.ffn_up.weight"] = tensors["blk.0.ffn_up.weight"] * 1e7
    write_gguf(tmp_path / "m.gguf", model, byte_level_vocab(), kind=Type.Q8_0, tensors=tensors)
    out = tmp_path / "out"
    out.mkdir()
    convert_gguf(tmp_path / "m.gguf", out)
    weights = load_file(out / "model.safetensors")
    assert weights["model.layers.0.mlp.up_proj.weight"].dtype == torch.float32
    assert weights["model.layers.0.mlp.down_proj.weight"].dtype == torch.float16
    wanted = torch.from_numpy(tensors["blk.0.ffn_up.weight"])
    torch.testing.assert_close(
        weights["model.layers.0.mlp.up_proj.weight"], wanted, rtol=0.02, atol=float(wanted.abs().max()) / 200
    )
    load(out)


def test_large_models_are_written_in_shards(tmp_path: Path) -> None:
    model = tiny_model("llama")
    write_gguf(tmp_path / "m.gguf", model, byte_level_vocab())
    out = tmp_path / "out"
    out.mkdir()
    convert_gguf(tmp_path / "m.gguf", out, shard_bytes=2_000_000)
    shards = sorted(path.name for path in out.glob("*.safetensors"))
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert len(shards) > 1
    assert set(index["weight_map"].values()) == set(shards)
    assert all((out / name).stat().st_size < 2_010_000 for name in shards)
    torch.testing.assert_close(logits(load(out)), logits(model), rtol=1e-4, atol=1e-5)


def test_a_model_in_several_files_is_one(tmp_path: Path) -> None:
    model = tiny_model("llama")
    whole = tmp_path / "whole.gguf"
    write_gguf(whole, model, byte_level_vocab())
    write_gguf(tmp_path / "part.gguf", model, byte_level_vocab(), split_max_tensors=8, kind=Type.F32)
    parts = sorted(tmp_path.glob("part-*.gguf"))
    assert len(parts) > 1
    out = tmp_path / "out"
    out.mkdir()
    info = convert_gguf(parts[1], out)
    assert [path.name for path in info.files] == [path.name for path in parts]
    torch.testing.assert_close(logits(load(out)), logits(model), rtol=1e-4, atol=1e-5)


def test_stored_model_asks_for_bfloat16(tmp_path: Path) -> None:
    """Gemma 3's activations overflow float16, so what the weights are stored in must not decide what is computed in."""
    write_gguf(tmp_path / "m.gguf", tiny_model("gemma3"), byte_level_vocab(), kind=Type.Q8_0)
    out = tmp_path / "out"
    out.mkdir()
    convert_gguf(tmp_path / "m.gguf", out)
    model = transformers.AutoModelForCausalLM.from_pretrained(out)
    assert model.dtype == torch.bfloat16


def test_types_are_those_of_the_gguf_package() -> None:
    from llmasos.library.formats.gguf.types import FILE_TYPES, SUPPORTED_TYPES, TENSOR_TYPES

    ours = {kind.number: (kind.name, kind.block, kind.size) for kind in TENSOR_TYPES.values()}
    theirs = {int(kind): (kind.name, *size) for kind, size in gguf.GGML_QUANT_SIZES.items()}
    assert ours == theirs
    assert {kind.name for kind in TYPES} == SUPPORTED_TYPES
    names = {int(kind): kind.name.removeprefix("MOSTLY_").removeprefix("ALL_") for kind in gguf.LlamaFileType}
    assert {number: names[number] for number in FILE_TYPES} == FILE_TYPES


def test_every_architecture_is_tested() -> None:
    from llmasos.library.formats.gguf.architectures import ARCHITECTURES as known

    assert set(known) == set(gguf_files.ARCHITECTURES)
