"""What is trained by each method, in which groups, and what is refused or warned of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from llmasos.errors import InvalidRecipe, MissingDependency
from llmasos.modeling.folder import Family
from llmasos.training.methods import defaults
from llmasos.training.methods.apply import Applied, apply_method
from llmasos.training.methods.int8 import Int8Linear
from llmasos.training.methods.quantized import base_format
from llmasos.training.recipe import methods
from training.methods.models import MODELS, inputs, loader


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., Any]:
    return lambda name, dtype=torch.float32: loader(tmp_path / name, name, dtype)()


def apply(module: nn.Module, name: str, method: methods.Method, **more: Any) -> Applied:
    _, _, family, kind = MODELS[name]
    return apply_method(module, method, family=family, kind=kind, seed=0, **more)


def trained(applied: Applied) -> set[str]:
    return {name for name, weight in applied.module.named_parameters() if weight.requires_grad}


def test_full_trains_everything(model: Callable[..., Any]) -> None:
    applied = apply(model("llama"), "llama", methods.Full())
    assert applied.trainable == applied.total == sum(weight.numel() for weight in applied.module.parameters())
    assert (applied.artefact, applied.learning_rate, applied.warnings) == ("model", 2e-5, [])


def test_freeze_trains_the_last_layers_and_the_head(model: Callable[..., Any]) -> None:
    applied = apply(model("bert"), "bert", methods.Freeze(last_layers=1))
    names = trained(applied)
    assert {name.split(".")[0] if name.startswith("class") else name.split(".")[1] for name in names} == {
        "classifier", "encoder", "pooler"}  # fmt: skip
    assert {name.split(".")[3] for name in names if "encoder" in name} == {"1"}
    applied = apply(model("bert"), "bert", methods.Freeze(last_layers=0, head=False, patterns=("*.LayerNorm.*",)))
    assert all("LayerNorm" in name for name in trained(applied))
    assert len(trained(applied)) == 10


def test_freeze_leaves_a_tied_head_alone_and_says_so(model: Callable[..., Any]) -> None:
    applied = apply(model("llama"), "llama", methods.Freeze(last_layers=1))
    assert "model.embed_tokens.weight" not in trained(applied)
    assert "model.norm.weight" in trained(applied)
    assert "shares its weights" in applied.warnings[0]
    applied = apply(model("llama"), "llama", methods.Freeze(embeddings=True))
    assert trained(applied) == {"model.embed_tokens.weight", "model.norm.weight"}


def test_gradual_unfreezing_depends_on_the_step_alone(model: Callable[..., Any]) -> None:
    applied = apply(model("t5"), "t5", methods.Freeze(last_layers=0, unfreeze_every=10))
    unfreeze = applied.on_step
    assert unfreeze is not None

    def blocks() -> set[str]:
        return {".".join(name.split(".")[:3]) for name in trained(applied) if ".block." in name}

    assert not blocks()
    assert not unfreeze(9)
    assert unfreeze(10)
    assert blocks() == {"encoder.block.1", "decoder.block.1"}
    assert unfreeze(20)
    assert len(blocks()) == 4
    assert not unfreeze(1000)
    assert unfreeze(10)  # as after a resume
    assert len(blocks()) == 2
    assert {name for name, _ in applied.parameters()} >= trained(applied)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (methods.Freeze(last_layers=9), "the model has 2 layers"),
        (methods.Freeze(patterns=("*.mlq.*",)), "no weight matches"),
        (methods.Freeze(last_layers=0, head=False), "nothing is trained"),
        (methods.Lora(targets=("q_porj",)), "no layer 'q_porj'"),
        (methods.Lora(train_also=("lm_haed",)), "no layer 'lm_haed'"),
        (methods.Lora(targets=("q_proj", "lm_head"), train_also=("lm_head",)), "trained whole and get an update"),
        (methods.Lora(initialization="pissa", rank=200), "singular values"),
        (methods.Ia3(targets=("k_proj",), feedforward=("down_proj",)), "not in targets: model.layers"),
        (methods.PromptTuning(tokens=256), "the virtual ones included"),
        (methods.Qlora(dora=True), "dora and base int8"),
        (methods.Qlora(base="nf4"), "needs a CUDA device"),
    ],
)
def test_refused(model: Callable[..., Any], method: methods.Method, message: str) -> None:
    with pytest.raises(InvalidRecipe, match=message) as error:
        apply(model("llama"), "llama", method)
    assert error.value.hint


def test_near_names_are_offered(model: Callable[..., Any]) -> None:
    with pytest.raises(InvalidRecipe) as error:
        apply(model("llama"), "llama", methods.Lora(targets=("q_porj",)))
    assert "q_proj" in str(error.value.hint)
    assert "down_proj" in str(error.value.hint)


def test_nf4_needs_bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match="bitsandbytes"):
        base_format(methods.Qlora(), "cuda")


def test_lora_plus_has_a_group_for_b(model: Callable[..., Any]) -> None:
    applied = apply(model("bert"), "bert", methods.Lora(rank=2, b_ratio=16, targets=("query",)))
    first, second = applied.groups
    assert (first.factor, second.factor) == (1, 16)
    assert all(".lora_B." in name for name in second.parameters)
    assert {name.split(".")[0] for name in first.parameters if "lora" not in name} == {"classifier", "bert"}
    assert trained(applied) == {name for name, _ in applied.parameters()}
    assert applied.learning_rate == 5e-4


@pytest.mark.parametrize("method", [methods.Lora(rank=2), methods.Ia3(), methods.PromptTuning(tokens=2)])
def test_heads_of_classifiers_are_trained_and_saved(model: Callable[..., Any], method: methods.Method) -> None:
    for name, ending in (("bert", "classifier"), ("llama-classifier", "score")):
        applied = apply(model(name), name, method)
        assert any(part.startswith(ending) for part in trained(applied))


def test_new_weights_are_trained_by_every_method(model: Callable[..., Any]) -> None:
    new = ["bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"]
    for method in (methods.Lora(rank=2), methods.Freeze(head=False), methods.PTuning(tokens=2)):
        applied = apply(model("bert"), "bert", method, new_head=new)
        names = {name.replace(".modules_to_save.default", "") for name in trained(applied)}
        assert set(new) <= names


@pytest.mark.parametrize("name", ["llama", "bert", "t5", "marian"])
@pytest.mark.parametrize(
    "method",
    [methods.Lora(rank=2), methods.Qlora(rank=2), methods.Ia3(), methods.PromptTuning(tokens=2), methods.Full()],
)
def test_gradients_reach_what_is_trained_and_nothing_else(
    model: Callable[..., Any], name: str, method: methods.Method
) -> None:
    applied = apply(model(name), name, method)
    with torch.no_grad():
        for weight_name, weight in applied.parameters():
            if "lora_B" in weight_name:
                weight.add_(0.01)
    applied.module(**inputs(name)).logits.float().pow(2).mean().backward()
    for weight_name, weight in applied.module.named_parameters():
        assert (weight.grad is not None) == weight.requires_grad, weight_name
    assert "embed_positions" not in " ".join(weight_name for weight_name, _ in applied.parameters())


def test_int8_replaces_frozen_layers_and_leaves_heads(model: Callable[..., Any]) -> None:
    module = model("bert")
    exact = module(**inputs("bert")).logits
    applied = apply(module, "bert", methods.Qlora(rank=2))
    integers = [name for name, part in applied.module.named_modules() if isinstance(part, Int8Linear)]
    assert len(integers) == 12
    assert all("encoder" in name for name in integers)
    found = module(**inputs("bert")).logits
    assert 0 < float((found - exact).norm() / exact.norm()) < 0.05


def test_vectors_have_no_decay(model: Callable[..., Any]) -> None:
    for method in (methods.Ia3(), methods.PromptTuning(tokens=2)):
        vectors, heads = apply(model("bert"), "bert", method).groups
        assert (vectors.decay, heads.decay) == (False, True)


def test_virtual_tokens_tell_what_they_need(model: Callable[..., Any]) -> None:
    applied = apply(model("llama"), "llama", methods.PrefixTuning(tokens=4))
    assert (applied.requires_unpacked, applied.forbids_checkpointing, applied.virtual_tokens) == (True, True, 4)
    applied = apply(model("llama"), "llama", methods.PTuning(tokens=4))
    assert (applied.requires_unpacked, applied.forbids_checkpointing) == (True, False)
    assert not apply(model("llama"), "llama", methods.Lora()).requires_unpacked


def test_prompts_begin_at_embeddings(model: Callable[..., Any]) -> None:
    for name in ("llama", "marian"):
        module = model(name)
        applied = apply(module, name, methods.PromptTuning(tokens=3))
        vectors = applied.module.virtual_tokens().detach()
        scale = 32**0.5 if name == "marian" else 1
        table = module.get_input_embeddings().weight.detach() * scale
        assert (vectors[:, None] - table[None]).abs().amax(dim=2).min(dim=1).values.max() < 1e-6


def test_prompts_begin_at_a_text(model: Callable[..., Any], tmp_path: Path) -> None:
    from llmasos.modeling.folder import ModelFolder
    from llmasos.modeling.tokenizer_files import load_tokenizer

    module = model("llama")
    tokenizer = load_tokenizer(ModelFolder.open(tmp_path / "llama"))
    method = methods.PromptTuning(tokens=12, initialization="text", text="Say")
    applied = apply(module, "llama", method, tokenizer=tokenizer)
    own = tokenizer.encode("Say", add_special_tokens=False).ids
    expected = module.get_input_embeddings().weight[torch.tensor((own * 12)[:12])]
    assert torch.equal(applied.module.virtual_tokens(), expected)


def test_the_same_seed_gives_the_same_weights(model: Callable[..., Any]) -> None:
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    method = methods.Lora(rank=2, initialization="gaussian")
    one, two = (dict(apply(model("llama"), "llama", method).parameters()) for _ in range(2))
    assert all(torch.equal(weight, two[name]) for name, weight in one.items())
    torch.random.set_rng_state(before)
    apply_method(model("llama"), method, family=Family.CAUSAL, kind="sft", seed=5)
    other = dict(apply_method(model("llama"), method, family=Family.CAUSAL, kind="sft", seed=6).parameters())
    assert any(not torch.equal(weight, one[name]) for name, weight in other.items())


@pytest.mark.parametrize(
    "method",
    [
        methods.Full(), methods.Freeze(), methods.Lora(), methods.Lora(initialization="pissa", dora=True),
        methods.Qlora(), methods.PromptTuning(), methods.PTuning(), methods.PrefixTuning(), methods.Ia3(),
    ],
)  # fmt: skip
def test_shapes_alone_on_the_meta_device(model: Callable[..., Any], method: methods.Method, tmp_path: Path) -> None:
    import transformers

    real = apply(model("llama"), "llama", method)
    config = transformers.AutoConfig.from_pretrained(tmp_path / "llama")
    with torch.device("meta"):
        module = transformers.AutoModelForCausalLM.from_config(config)
    applied = apply(module, "llama", method)
    assert (applied.trainable, applied.total) == (real.trainable, real.total)
    assert all(weight.is_meta for weight in applied.module.parameters())


@pytest.mark.parametrize("method", defaults.METHODS)
def test_every_default_works_by_its_own_table(method: defaults.MethodName) -> None:
    limits = defaults.WORKING[method]
    for kind in defaults.KIND_NAMES:
        if (method, kind) == ("prefix-tuning", "seq2seq"):
            continue
        found = defaults.default(method, kind)
        assert limits.low <= found.learning_rate <= limits.high
        assert found.source


@pytest.mark.parametrize(
    ("method", "kind", "scratch", "word"),
    [
        (methods.Full(learning_rate=1e-3), "sft", False, "destroys"),
        (methods.Full(learning_rate=1e-3), "pretrain", True, None),
        (methods.Full(learning_rate=1e-7), "pretrain", True, "hardly"),
        (methods.Lora(learning_rate=5e-6), "sft", False, "hardly"),
        (methods.Lora(learning_rate=2e-4), "sft", False, None),
        (methods.Lora(rank=4, alpha=64), "sft", False, "times the rank"),
        (methods.Lora(b_ratio=100), "sft", False, "Hayou"),
        (methods.Lora(initialization="pissa", dropout=0.1), "sft", False, "dropout"),
        (methods.PromptTuning(learning_rate=5e-4), "sft", False, "hardly"),
        (methods.PromptTuning(initialization="random"), "sft", False, "Lester"),
        (methods.Ia3(learning_rate=1e-4), "sft", False, "hardly"),
    ],
)
def test_warnings(method: methods.Method, kind: str, scratch: bool, word: str | None) -> None:
    found = list(defaults.warnings(method, kind, scratch=scratch))
    assert len(found) == (word is not None)
    assert word is None or word in found[0]
