"""Hidden states, attention and steering of one request, against transformers and without touching the neighbours."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from llmasos.engine.batch import Batch, SequenceSlice
from llmasos.engine.hooks import Intervention, Recorder, SteeringVector
from llmasos.engine.kernels import native
from llmasos.engine.runners.fused import FusedRunner
from llmasos.errors import InvalidRequest

KERNELS = [("fp32", "torch", "auto"), ("fp32", "torch", "int8")]
if native.load() is not None:
    KERNELS += [("bf16", "native", "auto"), ("bf16", "native", "int8"), ("int8", "native", "auto")]
TOLERANCE = {"fp32": 1e-4, "bf16": 0.05, "int8": 0.12}
TOLERANCE_OF_INT8_CACHE = 0.05
LAYERS = 3


def tolerance(precision: str, cache: str) -> float:
    return max(TOLERANCE[precision], TOLERANCE_OF_INT8_CACHE if cache == "int8" else 0.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory):
    torch.manual_seed(0)
    config = transformers.Qwen3Config(
        vocab_size=300, hidden_size=64, intermediate_size=96, num_hidden_layers=LAYERS, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=128,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data *= 2
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    return model, folder, torch.randint(3, 300, (30,)).tolist()


def forward(
    runner: FusedRunner, prompt: list[int], interventions: list[Intervention | None], chunk: int = 1000
) -> list[torch.Tensor]:
    """Logits of the same prompt once for each intervention, in shared batches of chunks."""
    runner.allocate_cache(4 * len(interventions))
    out: list[list[torch.Tensor]] = [[] for _ in interventions]
    for begin in range(0, len(prompt), chunk):
        part = prompt[begin : begin + chunk]
        pieces = [
            SequenceSlice(i * len(part), len(part), begin, [i * 2, i * 2 + 1], None, i, steering)
            for i, steering in enumerate(interventions)
        ]
        positions = torch.arange(begin, begin + len(part)).repeat(len(pieces))
        rows = torch.arange(len(part) * len(pieces))
        logits = runner.forward(Batch(torch.tensor(part * len(pieces)), positions, pieces, rows))
        for i, piece in enumerate(pieces):
            out[i].append(logits[piece.start : piece.start + piece.length].clone())
    return [torch.cat(parts) for parts in out]


@pytest.mark.parametrize(("precision", "kernels", "cache"), KERNELS)
@pytest.mark.parametrize("chunk", [1000, 7])
def test_recorded_states_and_attention_equal_those_of_transformers(
    model, precision: str, kernels: str, cache: str, chunk: int
) -> None:
    reference, folder, prompt = model
    with torch.no_grad():
        expected = reference(torch.tensor([prompt]), output_hidden_states=True, output_attentions=True)
    recorder = Recorder(hidden_layers=(-1, 0, 1), attention_layers=(0, 2))
    runner = FusedRunner(folder, precision=precision, kernels=kernels, cache_dtype=cache)
    forward(runner, prompt, [None, Intervention(recorder=recorder), None], chunk)
    for layer in (-1, 0, 1):
        want = expected.hidden_states[layer + 1][0]
        assert float((recorder.hidden_states(layer) - want).norm() / want.norm()) < tolerance(precision, cache)
    for layer in (0, 2):
        position = 0
        for piece in recorder.attention(layer):
            heads, rows, keys = piece.shape
            want = expected.attentions[layer][0, :, position : position + rows, :keys]
            assert heads == 4 and float((piece - want).abs().max()) < tolerance(precision, cache)
            position += rows
        assert position == len(prompt)
    with pytest.raises(InvalidRequest, match="layer 2 was not recorded"):
        recorder.hidden_states(2)
    runner.close()


@pytest.mark.parametrize(("precision", "kernels", "cache"), KERNELS)
def test_steering_adds_the_vector_and_spares_the_neighbours(model, precision: str, kernels: str, cache: str) -> None:
    reference, folder, prompt = model
    torch.manual_seed(5)
    vector = torch.randn(64) * 3

    def add(module: object, inputs: object, output: torch.Tensor) -> torch.Tensor:
        return output + 2.0 * vector

    handle = reference.model.layers[1].register_forward_hook(add)
    with torch.no_grad():
        expected = reference(torch.tensor([prompt])).logits[0]
    handle.remove()
    runner = FusedRunner(folder, precision=precision, kernels=kernels, cache_dtype=cache)
    plain = forward(runner, prompt, [None, None])
    steered = forward(runner, prompt, [None, Intervention([SteeringVector(1, vector, 2.0)])])
    assert torch.equal(steered[0], plain[0]) if kernels == "native" else torch.allclose(steered[0], plain[0], atol=1e-4)
    assert float((steered[1] - expected).norm() / expected.norm()) < tolerance(precision, cache)
    assert float((plain[1] - expected).norm() / expected.norm()) > 0.2
    runner.close()


def test_misfits_are_all_named(model, tmp_path: Path) -> None:
    runner = FusedRunner(model[1], precision="fp32")
    with pytest.raises(InvalidRequest) as caught:
        runner.check_intervention(
            Intervention([SteeringVector(3, torch.zeros(64)), SteeringVector(0, torch.zeros(65))], Recorder((7,)))
        )
    assert "layer 3" in caught.value.message and "layer 7" in caught.value.message and "(65,)" in caught.value.message
    with pytest.raises(InvalidRequest, match="allowed is an Intervention"):
        runner.check_intervention("louder")
    runner.close()
