"""The whole engine over static shapes: the same tokens as with eager passes, whoever comes, goes or asks for more."""

from __future__ import annotations

import random
from pathlib import Path

import peft
import pytest
import torch
import transformers

from llmasos.engine.adapters import AdapterPool
from llmasos.engine.engine import Engine
from llmasos.engine.graphs.options import DecodeOptions
from llmasos.engine.hooks import Intervention, Recorder, SteeringVector
from llmasos.engine.options import EngineOptions
from llmasos.engine.request import Request, SamplingParameters
from llmasos.engine.runners.fused import FusedRunner
from recorded_graphs import RecordedGraphs

VOCABULARY = 320
GREEDY = SamplingParameters(temperature=0, max_tokens=20, ignore_eos=True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model with a sliding window and an adapter of it."""
    torch.manual_seed(0)
    config = transformers.MistralConfig(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=256, sliding_window=24,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data *= 4
    base, folder = tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("adapter")
    model.save_pretrained(base)
    adapted = peft.get_peft_model(
        model, peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    )
    for key, parameter in adapted.named_parameters():
        if "lora_" in key:
            parameter.data = torch.randn_like(parameter) * 0.3
    adapted.save_pretrained(folder)
    return base, folder


def start(folder: Path, decode: DecodeOptions, *, blocks: int = 64, **options: object) -> tuple[Engine, FusedRunner]:
    sequences = 8
    runner = FusedRunner(
        folder, precision="fp32", decode=decode, max_sequences=sequences,
        capture=RecordedGraphs() if decode.mode == "static" else None,
    )  # fmt: skip
    settings = {"prompt_lookup": False, **options}
    engine = Engine(
        runner,
        options=EngineOptions(cache_bytes=blocks * runner.bytes_per_block, max_sequences=sequences, **settings),  # type: ignore[arg-type]
    )
    return engine, runner


def prompts(count: int = 12) -> list[list[int]]:
    numbers = random.Random(4)

    def draw(length: int) -> list[int]:
        return [numbers.randrange(3, VOCABULARY) for _ in range(length)]

    shared = draw(40)
    return [shared[: numbers.choice((0, 0, 25, 40))] + draw(numbers.randint(1, 30)) for _ in range(count)]


@pytest.fixture(scope="module")
def expected(folders: tuple[Path, Path]) -> list[list[int]]:
    """One request after the other, eagerly."""
    engine, runner = start(folders[0], DecodeOptions("eager"))
    outputs = []
    for prompt in prompts():
        engine.clear_cache()
        outputs.append(engine.generate([Request(prompt, GREEDY)])[0].token_ids)
    assert runner.decode_counts is None
    engine.close()
    return outputs


VARIANTS = {
    "together": {},
    "small-chunks": {"max_batch_tokens": 9},
    "speculation": {"prompt_lookup": True},
    "small-cache": {"blocks": 12},
    "captured-at-the-start": {"decode": DecodeOptions("static", "start")},
    "few-graphs": {"decode": DecodeOptions("static", max_graphs=1)},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_greedy_outputs_equal_those_of_eager_passes(folders, expected: list[list[int]], variant: str) -> None:
    options = {"decode": DecodeOptions("static"), **VARIANTS[variant]}
    engine, runner = start(folders[0], **options)
    for _ in range(2):  # the second time every prompt is found in the cache
        results = engine.generate([Request(prompt, GREEDY) for prompt in prompts()])
        assert [result.token_ids for result in results] == expected
    counts = runner.decode_counts
    assert counts is not None and counts.static_passes > 10 and counts.refused == 0
    if variant == "few-graphs":
        assert counts.graphs == 1 and counts.forgotten > 2
    if variant == "captured-at-the-start":
        assert counts.captured == counts.graphs == len(runner._static.buckets.shapes())  # type: ignore[union-attr]
    engine.close()


def test_arrivals_and_cancellations_in_between(folders, expected: list[list[int]]) -> None:
    engine, runner = start(folders[0], DecodeOptions("static"))
    numbers = random.Random(9)
    for _ in range(4):
        running = []
        for index in numbers.sample(range(12), 12):
            stream = engine.submit(Request(prompts()[index], GREEDY))
            if numbers.random() < 0.4:
                for _ in range(numbers.randint(0, 6)):
                    next(stream)
                stream.cancel()
                partial = stream.result()
                assert partial.token_ids == expected[index][: len(partial.token_ids)]
            else:
                running.append((index, stream))
        for index, stream in running:
            assert stream.result().token_ids == expected[index]
    stats = engine.stats()
    assert stats.running == 0 and stats.blocks == 64
    assert runner.decode_counts is not None and runner.decode_counts.static_passes > 50
    engine.close()


def test_adapters_and_interventions_are_computed_eagerly_beside_others(folders) -> None:
    """Passes without them run over static shapes before and after; a neighbour's tokens do not change."""
    prompt = prompts()[0]
    vector = torch.linspace(-2, 2, 64)

    def requests(recorder: Recorder) -> list[Request]:
        return [
            Request(prompt, GREEDY),
            Request(prompt, SamplingParameters(temperature=0, max_tokens=8, ignore_eos=True), adapter="red"),
            Request(
                prompt,
                SamplingParameters(temperature=0, max_tokens=8, ignore_eos=True),
                steering=Intervention([SteeringVector(0, vector, 1.5)], recorder),
            ),
        ]

    found = {}
    for mode in ("eager", "static"):
        engine, runner = start(folders[0], DecodeOptions(mode))  # type: ignore[arg-type]
        pool = AdapterPool(runner.spec, dtype=torch.float32)
        pool.attach(engine)
        pool.load("red", folders[1])
        recorder = Recorder(hidden_layers=(1,), attention_layers=(0,))
        alone = [engine.generate([request])[0].token_ids for request in requests(Recorder(hidden_layers=(1,)))]
        engine.clear_cache()
        assert [result.token_ids for result in engine.generate(requests(recorder))] == alone
        found[mode] = alone, recorder.hidden_states(1)
        if mode == "static":
            counts = runner.decode_counts
            # The first one's 20 tokens when it is alone, and what is left of them when the others have ended.
            assert counts is not None and counts.static_passes >= 19 + 11 and counts.eager_passes >= 3 * 7
        engine.close()
    assert found["eager"][0] == found["static"][0]
    assert len({tuple(tokens[:8]) for tokens in found["static"][0]}) == 3
    assert torch.allclose(found["eager"][1], found["static"][1], atol=1e-4)


def test_sampling_is_not_disturbed_by_shared_logits(folders) -> None:
    """The sampler edits logits in place, in a buffer that the next pass uses again."""
    drawn = {}
    for mode in ("eager", "static"):
        engine, _ = start(folders[0], DecodeOptions(mode))  # type: ignore[arg-type]
        parameters = SamplingParameters(
            temperature=0.8, seed=3, max_tokens=12, ignore_eos=True, repetition_penalty=1.3, logit_bias={7: 5.0},
            n=3, logprobs=2,
        )  # fmt: skip
        results = engine.generate([Request(prompt, parameters) for prompt in prompts(3)])
        drawn[mode] = [[output.token_ids for output in result.outputs] for result in results]
        engine.close()
    assert drawn["eager"] == drawn["static"]
