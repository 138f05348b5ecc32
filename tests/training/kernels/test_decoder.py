"""Layers computed by our own functions give what the layers of transformers give, forward and backward."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model

import training_batches as batches
from llmasos.training.kernels import attention, pointwise
from llmasos.training.kernels.decoder import fast_states
from llmasos.training.kernels.documents import use_document_attention
from llmasos.training.kernels.native import kernels_for
from llmasos.training.objectives.flat import Flat, flatten
from llmasos.training.objectives.network import body_of, document_arguments, states_at


def mistral() -> Any:
    config = transformers.MistralConfig(**batches.SIZES, num_key_value_heads=2, sliding_window=30)
    return batches.loud(transformers.MistralForCausalLM(config))


def with_updates(model: Any) -> Any:
    """Low-rank updates on all layers but one, which do something."""
    options = LoraConfig(
        r=3, lora_alpha=5, target_modules=["q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        init_lora_weights=False,
    )  # fmt: skip
    return get_peft_model(model, options, autocast_adapter_dtype=False).double().get_base_model()


def with_some_trained(model: Any) -> Any:
    model.requires_grad_(False)
    for name in ("layers.1.self_attn.k_proj.weight", "layers.0.post_attention_layernorm.weight"):
        model.get_parameter(f"model.{name}").requires_grad_()
    return model


def with_late_feed_forward(model: Any) -> Any:
    model.requires_grad_(False)
    model.model.layers[-1].mlp.requires_grad_(True)
    return model


def with_checkpointing(model: Any) -> Any:
    model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


CHANGES = {
    "all": lambda model: model,
    "updates": with_updates,
    "some": with_some_trained,
    "late": with_late_feed_forward,
    "checkpointing": with_checkpointing,
}


def states(model: Any, flat: Flat, places: NDArray[np.int64]) -> torch.Tensor:
    """By the module's own forward."""
    positions = torch.from_numpy(flat.positions)[None]
    output = body_of(model)(
        input_ids=torch.from_numpy(flat.ids)[None],
        use_cache=False,
        **document_arguments(model, positions, flat.lengths),
    )
    found: torch.Tensor = output.last_hidden_state[0, torch.from_numpy(places)]
    return found


def is_fast(model: Any, flat: Flat) -> bool:
    ids, positions = (torch.from_numpy(values)[None] for values in (flat.ids, flat.positions))
    return fast_states(body_of(model), ids, positions, flat.lengths) is not None


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("build", [batches.llama, batches.qwen2, mistral], ids=lambda build: build.__name__)
def test_equals_the_layers_of_transformers(build: Any, change: str) -> None:
    model = CHANGES[change](build())
    assert use_document_attention(model)
    flat = flatten(batches.packed(batches.documents()))
    places = np.arange(0, len(flat.ids), 2)
    assert is_fast(model, flat)
    ours, theirs = states_at(model, flat, places), states(model, flat, places)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    slope = torch.randn(ours.shape, dtype=ours.dtype, generator=torch.Generator().manual_seed(3))
    ours.backward(slope)
    found = batches.gradients(model)
    theirs.backward(slope)
    batches.assert_alike(found, batches.gradients(model), tolerance=1e-4)


@pytest.fixture(params=["native", "torch"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the native kernels where they run, and with what stands for them elsewhere."""
    if request.param == "torch":
        for module in (attention, pointwise):
            monkeypatch.setattr(module, "kernels_for", lambda *_, **__: None)
    elif kernels_for() is None:
        pytest.skip("the native kernels do not run here")
    return str(request.param)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("width", [32, 64], ids=["heads-of-8", "heads-of-16"])  # attention is native from 16 on
@pytest.mark.parametrize("build", [batches.llama, batches.qwen2], ids=lambda build: build.__name__)
def test_bfloat16_is_as_near_to_the_exact_result_as_transformers(
    build: Any, width: int, change: str, kernels: str
) -> None:
    flat = flatten(batches.packed(batches.documents()))
    places = np.arange(len(flat.ids))

    def run(forward: Any, dtype: torch.dtype) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        model = CHANGES[change](build(hidden_size=width)).to(dtype)
        assert use_document_attention(model)
        found = forward(model, flat, places)
        found.backward(torch.randn(found.shape, generator=torch.Generator().manual_seed(3)).to(dtype))
        return found.detach().double(), {name: grad.double() for name, grad in batches.gradients(model).items()}

    (exact, exact_grads), (ours, our_grads), (theirs, their_grads) = (
        run(states, torch.float64), run(states_at, torch.bfloat16), run(states, torch.bfloat16)
    )  # fmt: skip
    assert (ours - exact).norm() < 1.3 * (theirs - exact).norm()
    assert our_grads.keys() == exact_grads.keys()
    off, their_off = (
        sum(float((grads[name] - right).norm() ** 2) for name, right in exact_grads.items()) ** 0.5
        for grads in (our_grads, their_grads)
    )
    assert off < 1.3 * their_off


def hooked(model: Any) -> Any:
    model.model.layers[0].mlp.down_proj.register_forward_hook(lambda *_: None)
    return model


def with_dropout(model: Any) -> Any:
    return get_peft_model(model, LoraConfig(r=2, lora_dropout=0.5, target_modules=["q_proj"])).get_base_model()


def with_magnitudes(model: Any) -> Any:
    return get_peft_model(model, LoraConfig(r=2, use_dora=True, target_modules=["q_proj"])).get_base_model()


def with_another_activation(model: Any) -> Any:
    model.config.hidden_act = "gelu"
    return model


def with_two_formats(model: Any) -> Any:
    model.model.layers[1].mlp.float()
    return model


@pytest.mark.parametrize(
    "change",
    [hooked, with_dropout, with_magnitudes, with_another_activation, with_two_formats],
    ids=lambda change: change.__name__,
)
def test_leaves_what_it_does_not_know_to_transformers(change: Any) -> None:
    flat = flatten(batches.packed(batches.documents()))
    assert is_fast(batches.llama(), flat)
    assert not is_fast(change(batches.llama()), flat)


def test_leaves_short_windows_and_other_architectures_to_transformers() -> None:
    long = flatten(batches.packed(batches.documents((31, 4))))
    assert not is_fast(mistral(), long)
    assert not is_fast(batches.gemma3(), flatten(batches.packed(batches.documents())))
