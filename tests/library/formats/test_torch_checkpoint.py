"""Pickled checkpoints become safetensors with the same numbers, whatever way torch wrote them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file

from llmasos.errors import IntegrityError, UnsafeContent
from llmasos.library.formats.torch_checkpoint import convert_checkpoint
from torch_files import save

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
          torch.int8, torch.uint8, torch.bool]  # fmt: skip


def tensors() -> dict[str, torch.Tensor]:
    """Every type and every kind of view."""
    torch.manual_seed(1)
    base = torch.randn(6, 8)
    wide = torch.randn(3, 4, 5, 6)
    found: dict[str, Any] = {f"type.{dtype}": (torch.randn(3, 5) * 50).to(dtype) for dtype in DTYPES}
    found |= {
        "view.transposed": base.t(),
        "view.slice": base[1:4, 2:6],
        "view.step": base[::2, ::3],
        "view.offset": base.flatten()[17:],
        "view.channels_last": wide.to(memory_format=torch.channels_last),
        "view.expanded_one": torch.arange(7).expand((1, -1)),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
        "parameter": torch.nn.Parameter(torch.randn(2, 2)),
        "ünïcode.名": torch.ones(1),
    }
    return found


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("container", [dict, OrderedDict])
def test_all_types_and_views_survive(container: type, legacy: bool, tmp_path: Path) -> None:
    wanted = container(tensors())
    result = convert_checkpoint(save(wanted, tmp_path / "w.bin", legacy=legacy), tmp_path)
    found = load_file(tmp_path / "model.safetensors")
    assert found.keys() == wanted.keys()
    assert result.tensors == len(wanted)
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype, name
        assert torch.equal(found[name], value.detach()), name


def test_types_without_a_class_of_storages(tmp_path: Path) -> None:
    wanted = {"f8": torch.randn(4, 4).to(torch.float8_e4m3fn), "u16": torch.arange(9).to(torch.uint16),
              "u32": torch.arange(5).to(torch.uint32)}  # fmt: skip
    convert_checkpoint(save(wanted, tmp_path / "w.bin"), tmp_path)
    found = load_file(tmp_path / "model.safetensors")
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name].view(torch.uint8), value.view(torch.uint8)), name


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_shared_tensors_are_written_once(legacy: bool, tmp_path: Path) -> None:
    embedding = torch.randn(10, 4)
    content = {"lm_head.weight": embedding, "model.embed_tokens.weight": embedding, "other": embedding[2:5],
               "bias": torch.ones(3)}  # fmt: skip
    result = convert_checkpoint(save(content, tmp_path / "w.bin", legacy=legacy), tmp_path)
    found = load_file(tmp_path / "model.safetensors")
    assert found.keys() == {"model.embed_tokens.weight", "other", "bias"}
    assert result.shared == {"lm_head.weight": "model.embed_tokens.weight"}
    assert torch.equal(found["other"], embedding[2:5])
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "lm_head.weight": "model.embed_tokens.weight"}


def test_shared_tensors_are_kept_apart_on_request(tmp_path: Path) -> None:
    embedding = torch.randn(10, 4)
    path = save({"lm_head.weight": embedding, "shared.weight": embedding}, tmp_path / "w.bin")
    convert_checkpoint(path, tmp_path, keep_shared=True)
    assert load_file(tmp_path / "model.safetensors").keys() == {"lm_head.weight", "shared.weight"}


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict", "module"])
def test_weights_are_found_inside_a_training_checkpoint(wrapper: str, tmp_path: Path) -> None:
    content = {"epoch": 3, "loss": 0.5, "note": "x", wrapper: {"a": torch.ones(2), "step": 7}}
    result = convert_checkpoint(save(content, tmp_path / "w.ckpt"), tmp_path)
    assert load_file(tmp_path / "model.safetensors").keys() == {"a"}
    assert result.left_out == ("step",)


def test_metadata_of_a_state_dict_is_harmless(tmp_path: Path) -> None:
    """``Module.state_dict`` hangs an attribute on its OrderedDict, which the pickle carries as state."""
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    convert_checkpoint(save(module.state_dict(), tmp_path / "w.bin"), tmp_path)
    assert load_file(tmp_path / "model.safetensors").keys() == module.state_dict().keys()


def test_checkpoint_in_several_files(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    save({"a": torch.ones(2), "b": torch.zeros(3)}, source / "pytorch_model-00001-of-00002.bin")
    save({"c": torch.full((4,), 2.0)}, source / "pytorch_model-00002-of-00002.bin")
    index = {"a": 1, "b": 1, "c": 2}
    weight_map = {name: f"pytorch_model-0000{number}-of-00002.bin" for name, number in index.items()}
    (source / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    convert_checkpoint(source / "pytorch_model.bin.index.json", tmp_path)
    assert load_file(tmp_path / "model.safetensors").keys() == {"a", "b", "c"}


@pytest.mark.parametrize("name", ["../evil.bin", "/etc/passwd", "sub/x.bin", "..", "", 3, "a\0b", "C:\\x.bin"])
def test_index_cannot_name_files_elsewhere(name: Any, tmp_path: Path) -> None:
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(UnsafeContent, match="not beside it"):
        convert_checkpoint(index, tmp_path)


@pytest.mark.parametrize(
    ("weight_map", "words"),
    [
        ({"a": "gone.bin"}, "missing"),
        ({"z": "w.bin"}, "'z', which the index promises"),
        ([], "weight_map"),
        ({}, "weight_map"),
    ],
)
def test_index_that_does_not_fit_its_files(weight_map: Any, words: str, tmp_path: Path) -> None:
    save({"a": torch.ones(2)}, tmp_path / "w.bin")
    index = tmp_path / "w.bin.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(IntegrityError, match=words):
        convert_checkpoint(index, tmp_path)


@pytest.mark.parametrize("family", ["t5", "bert", "gpt2", "marian"])
def test_tied_models_load_completely(family: str, tmp_path: Path) -> None:
    model = TIED[family]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.config.save_pretrained(tmp_path)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(tmp_path)
    save(model.state_dict(), tmp_path / "pytorch_model.bin")
    result = convert_checkpoint(tmp_path / "pytorch_model.bin", tmp_path)
    assert result.shared
    (tmp_path / "pytorch_model.bin").unlink()
    found, report = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    for name, value in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name


TIED = {
    "t5": lambda: transformers.T5ForConditionalGeneration(
        transformers.T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    ),
    "bert": lambda: transformers.BertForMaskedLM(
        transformers.BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                                intermediate_size=32)
    ),
    "gpt2": lambda: transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2)
    ),
    "marian": lambda: transformers.MarianMTModel(
        transformers.MarianConfig(vocab_size=50, d_model=16, encoder_layers=1, decoder_layers=1,
                                  encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32,
                                  decoder_ffn_dim=32, pad_token_id=49, eos_token_id=0, decoder_start_token_id=49)
    ),
}  # fmt: skip


def test_nothing_of_torch_is_imported(tmp_path: Path) -> None:
    save(tensors(), tmp_path / "w.bin")
    code = (
        "import sys; from pathlib import Path; from llmasos.library.formats.torch_checkpoint import convert_checkpoint;"
        "convert_checkpoint(Path(sys.argv[1]), Path(sys.argv[2])); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "w.bin", tmp_path], check=True)
