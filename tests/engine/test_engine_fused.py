"""The whole engine over real runners: greedy outputs never depend on how they were computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import peft
import pytest
import torch
import transformers

from llmasos.engine.adapters import AdapterPool
from llmasos.engine.engine import Engine
from llmasos.engine.kernels import native
from llmasos.engine.options import EngineOptions
from llmasos.engine.request import Request, SamplingParameters
from llmasos.engine.runners.fused import FusedRunner
from llmasos.errors import InUse, NotFound

VOCABULARY = 320
GREEDY = SamplingParameters(temperature=0, max_tokens=24, ignore_eos=True)
KERNELS = [("fp32", "torch", "auto"), ("fp32", "torch", "int8")]
if native.load() is not None:
    KERNELS += [("int8", "native", "auto"), ("int8", "native", "int8"), ("int4", "native", "auto")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path], transformers.PreTrainedModel]:
    """A base model, two adapters of it, and the base for reference."""
    torch.manual_seed(0)
    config = transformers.MistralConfig(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=256, sliding_window=48,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data *= 4
    base = tmp_path_factory.mktemp("base")
    model.save_pretrained(base)
    adapters = {}
    for name, modules in (("red", ["q_proj", "v_proj", "down_proj"]), ("blue", ["k_proj", "o_proj", "gate_proj"])):
        adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=modules, task_type="CAUSAL_LM"))
        for key, parameter in adapted.named_parameters():
            if "lora_" in key:
                parameter.data = torch.randn_like(parameter) * 0.3
        adapters[name] = tmp_path_factory.mktemp(name)
        adapted.save_pretrained(adapters[name])
        model = adapted.unload()
    return base, adapters, transformers.AutoModelForCausalLM.from_pretrained(base).float().eval()


def prompts() -> list[list[int]]:
    """Prompts that share beginnings, repeat themselves and differ in length."""
    torch.manual_seed(1)
    draw = lambda length: torch.randint(3, VOCABULARY, (length,)).tolist()  # noqa: E731
    shared = draw(40)
    phrase = draw(6)
    return [draw(1), draw(17), shared + draw(3), shared + draw(20), shared[:25] + draw(4), phrase * 6, draw(90)]


def start(
    folder: Path, precision: str, kernels: str, cache_dtype: str = "auto", **options: object
) -> tuple[Engine, AdapterPool]:
    runner = FusedRunner(folder, precision=precision, kernels=kernels, cache_dtype=cache_dtype)
    pool = AdapterPool(runner.spec)
    settings = {"cache_bytes": 64 * runner.bytes_per_block, "prompt_lookup": False, **options}
    engine = Engine(runner, options=EngineOptions(**settings), adapters=pool.names)  # type: ignore[arg-type]
    pool.attach(engine)
    return engine, pool


@pytest.fixture(scope="module", params=KERNELS, ids="-".join)
def expected(request: pytest.FixtureRequest, folders) -> Iterator[tuple[tuple[str, str, str], list[list[int]]]]:
    """One request after the other on an empty cache, without any speed-up: what all else must equal."""
    engine, _ = start(folders[0], *request.param, max_sequences=1)
    outputs = []
    for prompt in prompts():
        engine.clear_cache()
        outputs.append(engine.generate([Request(prompt, GREEDY)])[0].token_ids)
    engine.close()
    yield request.param, outputs


VARIANTS = {
    "together": {},
    "small-chunks": {"max_batch_tokens": 9},
    "prompt-lookup": {"prompt_lookup": True},
    "preemption": {"blocks": 10},
    "preemption-chunks-lookup": {"blocks": 10, "max_batch_tokens": 50, "prompt_lookup": True},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_greedy_outputs_do_not_depend_on_the_schedule(expected, folders, variant: str) -> None:
    kind, outputs = expected
    options = dict(VARIANTS[variant])
    blocks = options.pop("blocks", None)
    if blocks is not None:
        runner = FusedRunner(folders[0], precision=kind[0], kernels=kind[1], cache_dtype=kind[2])
        options["cache_bytes"] = blocks * runner.bytes_per_block
        runner.close()
    engine, _ = start(folders[0], *kind, **options)
    # The second time every prompt is found in the cache. Who meets whom in a pass depends on when requests arrive and
    # on which guesses pay, so that a small cache may happen to suffice: more rounds, until somebody had to step back.
    lookup = bool(options.get("prompt_lookup"))
    for round_number in range(20):
        results = engine.generate([Request(prompt, GREEDY) for prompt in prompts()])
        assert [result.token_ids for result in results] == outputs
        stats = engine.stats()
        happened = (blocks is None or stats.preemptions > 0) and (not lookup or stats.speculative_proposed > 0)
        if round_number > 0 and happened:
            break
    engine.close()
    assert stats.cached_tokens > 0
    if lookup and not happened:  # guesses are made where measured time says that they pay; a busy machine may say no
        pytest.skip("outputs are right, but on this machine no guess paid, or none left the cache too small")
    assert happened


def test_fp32_equals_transformers(folders) -> None:
    base, _, reference = folders
    engine, _ = start(base, "fp32", "torch")
    results = engine.generate([Request(prompt, GREEDY) for prompt in prompts()])
    for prompt, result in zip(prompts(), results, strict=True):
        with torch.no_grad():
            out = reference.generate(
                torch.tensor([prompt]), max_new_tokens=24, min_new_tokens=24, do_sample=False, pad_token_id=0
            )
        assert result.token_ids == out[0, len(prompt) :].tolist()
    engine.close()


@pytest.mark.parametrize("kind", KERNELS, ids="-".join)
def test_adapters_share_a_batch_but_nothing_else(folders, kind: tuple[str, str, str]) -> None:
    base, adapters, _ = folders
    engine, pool = start(base, *kind)
    for name, folder in adapters.items():
        pool.load(name, folder)
    prompt = prompts()[2]
    requests = [Request(prompt, GREEDY, adapter=name) for name in (None, "red", "blue", "red", None)]
    alone = []
    for request in requests[:3]:
        engine.clear_cache()
        alone.append(engine.generate([request])[0].token_ids)
    assert len({tuple(tokens) for tokens in alone}) == 3
    for _ in range(2):
        together = [result.token_ids for result in engine.generate(requests)]
        assert together == [*alone, alone[1], alone[0]]
    stream = engine.submit(Request(prompt, replace(GREEDY, max_tokens=200), adapter="red"))
    next(stream)
    with pytest.raises(InUse):
        pool.unload("red")
    stream.cancel()
    stream.result()
    pool.unload("red")
    with pytest.raises(NotFound, match="red"):
        engine.submit(Request(prompt, GREEDY, adapter="red"))
    pool.load("red", adapters["blue"])  # another adapter under the same name: no prefix of the old one may be found
    assert engine.generate([Request(prompt, GREEDY, adapter="red")])[0].token_ids == alone[2]
    engine.close()
