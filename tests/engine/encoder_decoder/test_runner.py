"""How the decoder of each family can be batched is found out at load; none is answered wrongly."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import llmasos
import tiny_models
from llmasos.engine.encoder_decoder.cache import CommonBatch, RaggedBatch
from llmasos.engine.encoder_decoder.runner import EncoderDecoderRunner
from llmasos.errors import Unsupported

SIZES: dict[str, Any] = {
    "vocab_size": 300, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 64,
    "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2, "init_std": 0.5,
}  # fmt: skip
T5: dict[str, Any] = {
    "vocab_size": 300, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "pad_token_id": 0,
    "decoder_start_token_id": 0, "eos_token_id": 1, "initializer_factor": 1.0,
}  # fmt: skip
JOINS: dict[str, tuple[str, Callable[[], transformers.PretrainedConfig]]] = {
    "t5": ("shared", lambda: transformers.T5Config(**T5)),
    "mt5-gated": ("shared", lambda: transformers.MT5Config(**T5, feed_forward_proj="gated-gelu")),
    "umt5": ("shared", lambda: transformers.UMT5Config(**T5)),
    "bart": ("rows", lambda: transformers.BartConfig(**SIZES)),
    "mbart": ("rows", lambda: transformers.MBartConfig(**SIZES)),
    "marian": ("rows", lambda: transformers.MarianConfig(**SIZES)),
    "m2m100": ("rows", lambda: transformers.M2M100Config(**SIZES)),
    "pegasus": ("rows", lambda: transformers.PegasusConfig(**SIZES)),
    "blenderbot": ("rows", lambda: transformers.BlenderbotConfig(**SIZES)),
}
TOGETHER: dict[str, Callable[[], transformers.PretrainedConfig]] = {
    "led": lambda: transformers.LEDConfig(
        **{
            **SIZES,
            "max_encoder_position_embeddings": 64,
            "max_decoder_position_embeddings": 64,
            "attention_window": 16,
        }
    ),
    "pegasus_x": lambda: transformers.PegasusXConfig(**SIZES),
}


def build(make: Callable[[], transformers.PretrainedConfig]) -> Any:
    torch.manual_seed(0)
    return transformers.AutoModelForSeq2SeqLM.from_config(make()).float().eval()


def runner_of(model: Any, limit: int | None = 64) -> EncoderDecoderRunner:
    config = model.config
    return EncoderDecoderRunner(
        model, name="tiny", start_id=config.decoder_start_token_id, pad_id=config.pad_token_id, limit=limit
    )


def own_logits(model: Any, prompt: list[int], tokens: list[int]) -> torch.Tensor:
    with torch.no_grad():
        start = model.config.decoder_start_token_id
        return model(  # type: ignore[no-any-return]
            input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([[start, *tokens]]), use_cache=False
        ).logits[0]


@pytest.mark.parametrize("name", JOINS)
def test_rows_of_any_length_get_the_models_own_logits(name: str) -> None:
    """Longer and in another order than the self-check: joins, leaves, growth of the memory in every direction."""
    positions, make = JOINS[name]
    model = build(make)
    runner = runner_of(model)
    assert isinstance(runner._batch, RaggedBatch) and runner._batch._positions == positions
    generator = torch.Generator().manual_seed(1)
    prompts = [torch.randint(5, 300, (length,), generator=generator).tolist() for length in (4, 30, 1, 12, 50, 7)]
    outputs = [torch.randint(5, 300, (40,), generator=generator).tolist() for _ in prompts]
    expected = [own_logits(model, prompt, tokens) for prompt, tokens in zip(prompts, outputs, strict=True)]
    taken = [0] * len(prompts)
    live: list[int] = []

    def check(row: int, logits: torch.Tensor) -> None:
        wanted = expected[row][taken[row]]
        assert float((logits - wanted).norm() / wanted.norm()) < 1e-4, (name, row, taken[row])

    def arrive(*rows: int) -> None:
        started = runner.start([prompts[row] for row in rows])
        for row, logits in zip(rows, started.logits, strict=True):
            taken[row] = 0
            check(row, logits)
        runner.join(started, range(len(rows)))
        live.extend(rows)

    def leave(row: int) -> None:
        order = list(range(len(live)))
        place = live.index(row)
        order[place] = order[-1]
        order.pop()
        runner.keep(order)
        live[:] = [live[index] for index in order]

    def advance(steps: int) -> None:
        for _ in range(steps):
            tokens = [outputs[row][taken[row]] for row in live]
            for row in live:
                taken[row] += 1
            for row, logits in zip(live, runner.step(tokens), strict=True):
                check(row, logits)

    arrive(0)
    advance(9)
    arrive(1, 2)
    advance(12)
    leave(0)
    arrive(3)
    advance(5)
    leave(1)
    arrive(4)
    leave(2)
    advance(11)
    arrive(0, 5)
    advance(8)
    leave(4)
    leave(3)
    advance(2)
    leave(5)
    leave(0)
    assert runner.rows == 0
    runner.close()


@pytest.mark.parametrize("name", TOGETHER)
def test_families_whose_requests_cannot_join_start_together(name: str, caplog: pytest.LogCaptureFixture) -> None:
    model = build(TOGETHER[name])
    with caplog.at_level(logging.WARNING):
        runner = runner_of(model)
    assert isinstance(runner._batch, CommonBatch) and not runner.joins
    assert "start together" in caplog.text
    prompts = [[5, 6, 7, 8], [9, 10]]
    started = runner.start(prompts)
    runner.join(started, [0, 1, 1])
    logits = runner.step([20, 21, 22])
    for prompt, token, found in zip((prompts[0], prompts[1], prompts[1]), (20, 21, 22), logits, strict=True):
        wanted = own_logits(model, prompt, [token])[-1]
        assert float((found - wanted).norm() / wanted.norm()) < 1e-4
    runner.keep([2])
    wanted = own_logits(model, prompts[1], [22, 30])[-1]
    found = runner.step([30])[0]
    assert float((found - wanted).norm() / wanted.norm()) < 1e-4


def test_models_that_fit_in_no_way_are_refused() -> None:
    config = transformers.ProphetNetConfig(
        vocab_size=300, hidden_size=32, encoder_ffn_dim=64, num_encoder_layers=2, num_encoder_attention_heads=4,
        decoder_ffn_dim=64, num_decoder_layers=2, num_decoder_attention_heads=4, max_position_embeddings=64,
        pad_token_id=1, eos_token_id=2, decoder_start_token_id=2,
    )  # fmt: skip
    with pytest.raises(Unsupported, match="does not fit the engine"):
        runner_of(build(lambda: config))


def test_a_broken_request_does_not_spoil_the_next_in_its_place() -> None:
    runner = runner_of(build(JOINS["bart"][1]))
    started = runner.start([[5, 6, 7, 8, 9]])
    runner.join(started, [0])
    with torch.inference_mode():
        for tensor in (*runner._batch._own, *runner._batch._cross):  # type: ignore[union-attr]
            tensor.fill_(float("nan"))
    runner.keep([])
    runner.join(runner.start([[5]]), [0])
    assert torch.isfinite(runner.step([7])).all()


def test_bfloat16() -> None:
    runner = runner_of(build(JOINS["bart"][1]).to(torch.bfloat16))
    assert runner.joins and runner.precision == "bfloat16"


def test_requests_that_cannot_join_wait_for_the_batch_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine on transformers' own cache: the same outputs, in rounds."""
    from llmasos.engine.encoder_decoder import runner as module

    folder = tiny_models.build("t5", tmp_path / "t5")
    with llmasos.load(folder, dtype="float32") as model:
        texts = ["This is a great", "a", "The quick brown fox jumps", "你好，世界"]
        expected = [model.generate(text, max_tokens=10 + place).token_ids for place, text in enumerate(texts)]
    monkeypatch.setattr(module, "RaggedBatch", _Unusable)
    with llmasos.load(folder, dtype="float32") as model:
        assert not model.engine._runner.joins
        streams = [model.stream(text, max_tokens=10 + place) for place, text in enumerate(texts)]
        found = [[token for delta in stream for token in delta.token_ids] for stream in streams]
        assert found == expected
        assert [item.token_ids for item in model.generate(texts, max_tokens=10)] == [ids[:10] for ids in expected]


class _Unusable(CommonBatch):
    def __init__(self, positions: str) -> None:
        super().__init__()

    def join(self, started: Any, picks: Any) -> None:
        raise RuntimeError("not today")
