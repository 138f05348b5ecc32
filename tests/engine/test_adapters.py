"""LoRA adapters against PEFT: each alone, several in one batch, loading, unloading and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import peft
import pytest
import torch
import transformers

from llmasos.engine.adapters import AdapterPool, read_adapter
from llmasos.engine.architecture import read_spec
from llmasos.engine.batch import Batch, SequenceSlice
from llmasos.engine.kernels import native
from llmasos.engine.runners.fused import FusedRunner
from llmasos.errors import AlreadyExists, IntegrityError, InvalidRequest, NotFound, OutOfMemory, Unsupported

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
VARIANTS = {
    "all": {"r": 4, "lora_alpha": 16, "target_modules": ALL},
    "attention-rslora": {"r": 3, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "use_rslora": True},
    "patterns": {
        "r": 2, "lora_alpha": 4, "target_modules": ["o_proj", "down_proj"],
        "rank_pattern": {"down_proj": 5}, "alpha_pattern": {"down_proj": 20},
    },
}  # fmt: skip
KERNELS = [("fp32", "torch")] + ([("bf16", "native"), ("int8", "native")] if native.load() is not None else [])
TOLERANCE = {"fp32": 1e-5, "bf16": 0.06, "int8": 0.07}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory):
    """A base model, adapters made by PEFT, prompts, and PEFT's logits by adapter."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=300, hidden_size=64, intermediate_size=100, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data *= 3
    folder = tmp_path_factory.mktemp("base")
    model.save_pretrained(folder)
    prompt = torch.randint(3, 300, (40,)).tolist()
    expected, folders = {}, {}
    with torch.no_grad():
        expected[None] = model(torch.tensor([prompt])).logits[0]
        for name, options in VARIANTS.items():
            adapted = peft.get_peft_model(model, peft.LoraConfig(**options, task_type="CAUSAL_LM")).eval()
            for key, parameter in adapted.named_parameters():
                if "lora_" in key:
                    parameter.data = torch.randn_like(parameter) * 0.2
            expected[name] = adapted(torch.tensor([prompt])).logits[0]
            folders[name] = tmp_path_factory.mktemp("adapter")
            adapted.save_pretrained(folders[name])
            model = adapted.unload()
    return folder, folders, prompt, expected


@pytest.mark.parametrize(("precision", "kernels"), KERNELS)
def test_different_adapters_in_one_batch_each_equal_peft(base, precision: str, kernels: str) -> None:
    folder, folders, prompt, expected = base
    runner = FusedRunner(folder, precision=precision, kernels=kernels)
    for name, path in folders.items():
        dtype = torch.float32 if precision == "fp32" else None
        runner.add_adapter(name, read_adapter(path, runner.spec, dtype=dtype))
    runner.allocate_cache(20)
    names = [None, *folders, "all"]
    length = len(prompt)
    pieces = [
        SequenceSlice(index * length, length, 0, [index * 3, index * 3 + 1, index * 3 + 2], name, index)
        for index, name in enumerate(names)
    ]
    rows = torch.arange(length * len(names))
    batch = Batch(torch.tensor(prompt * len(names)), torch.arange(length).repeat(len(names)), pieces, rows)
    out = runner.forward(batch).view(len(names), length, -1)
    for index, name in enumerate(names):
        want = expected[name]
        assert float((out[index] - want).norm() / want.norm()) < TOLERANCE[precision], name
        if name is not None:  # the adapters change the logits far beyond the tolerance
            assert float((want - expected[None]).norm() / want.norm()) > 0.2
    runner.close()


class Host:
    def __init__(self) -> None:
        self.names: list[str] = []

    def add_adapter(self, name: str, layers: object) -> None:
        self.names.append(name)

    def remove_adapter(self, name: str) -> None:
        self.names.remove(name)


def test_pool_loads_unloads_and_keeps_its_budget(base) -> None:
    folder, folders, _, _ = base
    spec = read_spec(folder)
    pool, host = AdapterPool(spec), Host()
    pool.attach(host)
    size = pool.load("one", folders["all"]).bytes
    assert pool.load("one", folders["all"]).name == "one"  # again: nothing to do
    with pytest.raises(AlreadyExists):
        pool.load("one", folders["patterns"])
    pool.unload("one")
    assert host.names == [] and pool.names() == []
    with pytest.raises(NotFound):
        pool.unload("one")
    small = AdapterPool(spec, budget=size + 10)
    small.attach(host)
    small.load("one", folders["all"])
    with pytest.raises(OutOfMemory) as caught:
        small.load("two", folders["patterns"])
    assert caught.value.available == 10 and "one" in (caught.value.hint or "")
    assert host.names == ["one"]


def changed(folder: Path, target: Path, **options: object) -> Path:
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    config = json.loads((target / "adapter_config.json").read_text())
    (target / "adapter_config.json").write_text(json.dumps({**config, **options}))
    return target


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_dora": True}, "use_dora = True"),
        ({"peft_type": "IA3"}, "peft_type = 'IA3'"),
        ({"bias": "all"}, "bias = 'all'"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
    ],
)
def test_what_cannot_be_applied_is_named(base, tmp_path: Path, options: dict[str, object], message: str) -> None:
    folder, folders, _, _ = base
    with pytest.raises(Unsupported, match=message):
        read_adapter(changed(folders["all"], tmp_path, **options), read_spec(folder))


def test_adapter_of_another_base_is_refused(base, tmp_path: Path) -> None:
    config = transformers.LlamaConfig(
        vocab_size=300, hidden_size=96, intermediate_size=100, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2,
    )  # fmt: skip
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(InvalidRequest, match="another base model"):
        read_adapter(base[1]["all"], read_spec(tmp_path))


def test_damaged_adapter_is_refused(base, tmp_path: Path) -> None:
    folder, folders, _, _ = base
    target = changed(folders["all"], tmp_path)
    content = (target / "adapter_model.safetensors").read_bytes()
    (target / "adapter_model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(IntegrityError):
        read_adapter(target, read_spec(folder))
