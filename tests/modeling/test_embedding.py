from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import BertModel, PreTrainedTokenizerFast

import tiny_models
from llmasos import load
from llmasos.errors import ContextLengthExceeded, IntegrityError, InvalidRequest, Unsupported
from llmasos.modeling.model import Model
from llmasos.modeling.pooling import pool

Get = Callable[[str], Model]
TEXTS = ["The quick brown fox", "你好，世界。", "a", "pack my box with five dozen liquor jugs"]


@pytest.fixture(params=["transformers", "engine"])
def backend(request: pytest.FixtureRequest) -> str:
    """Alone, and through the engine in which callers share batches."""
    return str(request.param)


def hidden(folder: Path, text: str) -> torch.Tensor:
    """Token vectors of one text by transformers, (tokens, width)."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    ids = tokenizer(text, truncation=False, padding=False)["input_ids"]
    model = BertModel.from_pretrained(folder, add_pooling_layer=False, dtype=torch.float32).eval()
    with torch.no_grad():
        return model(torch.tensor([ids])).last_hidden_state[0]  # type: ignore[no-any-return]


def test_vectors_are_those_of_pooling_by_hand(tiny: Callable[[str], Path], model: Get) -> None:
    folder = tiny("sentence_transformer")
    dense = load_file(folder / "2_Dense/model.safetensors")
    for text, result in zip(TEXTS, model("sentence_transformer").embed(TEXTS), strict=True):
        mean = hidden(folder, text).mean(0)
        expected = torch.tanh(mean @ dense["linear.weight"].T + dense["linear.bias"])
        expected = expected / expected.norm()
        np.testing.assert_allclose(np.asarray(result), expected.numpy(), atol=2e-6)
        assert len(result) == 16
        assert float(np.linalg.norm(result.vector)) == pytest.approx(1.0, abs=1e-6)


def test_a_batch_gives_what_single_calls_give(model: Get) -> None:
    embedder = model("sentence_transformer")
    together = embedder.embed(TEXTS * 4, batch_size=3)
    for text, result in zip(TEXTS * 4, together, strict=True):
        np.testing.assert_allclose(result.vector, embedder.embed(text).vector, atol=2e-6)


def test_vectors_behave_like_arrays(model: Get) -> None:
    result = model("sentence_transformer").embed("fox")
    assert np.asarray(result).shape == (16,)
    assert np.asarray(result, dtype=np.float64).dtype == np.float64
    assert list(result) == result.vector.tolist()
    assert result[0] == result.vector[0]
    assert np.array(model("sentence_transformer").embed(TEXTS)).shape == (4, 16)


def test_options(model: Get) -> None:
    embedder = model("sentence_transformer")
    raw = embedder.embed("fox", normalize=False).vector
    assert np.linalg.norm(raw) != pytest.approx(1.0, abs=1e-3)
    np.testing.assert_allclose(raw / np.linalg.norm(raw), embedder.embed("fox").vector, atol=2e-6)
    short = embedder.embed("fox", dimensions=4).vector
    np.testing.assert_allclose(short, raw[:4] / np.linalg.norm(raw[:4]), atol=2e-6)
    asked = embedder.embed("fox", prompt_name="query").vector
    np.testing.assert_allclose(asked, embedder.embed("search: fox").vector, atol=2e-6)
    np.testing.assert_allclose(embedder.embed("  fox \n").vector, embedder.embed("fox").vector, atol=2e-6)
    with pytest.raises(InvalidRequest, match="qery") as caught:
        embedder.embed("fox", prompt_name="qery")
    assert "query" in str(caught.value.hint)
    for dimensions in (0, 17, True):
        with pytest.raises(InvalidRequest, match="dimensions"):
            embedder.embed("fox", dimensions=dimensions)
    with pytest.raises(InvalidRequest, match="normalize"):
        embedder.embed("fox", normalise=True)  # type: ignore[call-overload]
    assert embedder.embed([]) == []


def test_the_files_length_limit_holds(model: Get) -> None:
    long = "fox " * 40
    with pytest.raises(ContextLengthExceeded, match="32"):
        model("sentence_transformer").embed(long)
    result = model("sentence_transformer").embed(long, truncate="end")
    assert result.tokens == 32
    assert result.truncated_tokens > 0


def test_prompts_that_do_not_count(own: Callable[[str], Path]) -> None:
    path = own("sentence_transformer")
    (path / "modules.json").write_text(
        '[{"type": "sentence_transformers.models.Transformer", "path": ""},'
        ' {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]',
        encoding="utf-8",
    )
    tiny_models.change_json(path / "1_Pooling/config.json", include_prompt=False)
    embedder = load(path)
    vectors = hidden(path, "search: fox")
    prompt = len(embedder.tokenize("search:")) - 1
    np.testing.assert_allclose(
        embedder.embed("fox", prompt_name="query").vector, vectors[prompt:].mean(0).numpy(), atol=2e-6
    )


def test_plain_encoders_give_the_mean(own: Callable[[str], Path]) -> None:
    path = own("sentence_transformer")
    (path / "modules.json").unlink()
    vector = load(path).embed("the quick brown fox").vector
    np.testing.assert_allclose(vector, hidden(path, "the quick brown fox").mean(0).numpy(), atol=2e-6)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"pooling_mode_cls_token": True}, lambda v: v[0]),
        ({"pooling_mode_lasttoken": True}, lambda v: v[-1]),
        ({"pooling_mode_max_tokens": True}, lambda v: v.max(0).values),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, lambda v: v.sum(0) / len(v) ** 0.5),
        ({"pooling_mode": "mean"}, lambda v: v.mean(0)),
        (
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
            lambda v: torch.cat([v[0], v.mean(0)]),
        ),
        (
            {"pooling_mode_weightedmean_tokens": True},
            lambda v: (v * torch.arange(1, len(v) + 1)[:, None]).sum(0) / sum(range(1, len(v) + 1)),
        ),
    ],
)
def test_every_kind_of_pooling(
    config: dict[str, Any], expected: Callable[[torch.Tensor], torch.Tensor], own: Callable[[str], Path]
) -> None:
    path = own("sentence_transformer")
    (path / "modules.json").write_text(
        '[{"type": "sentence_transformers.models.Transformer", "path": ""},'
        ' {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]',
        encoding="utf-8",
    )
    tiny_models.write_json(path / "1_Pooling/config.json", config)
    embedder = load(path)
    for text, result in zip(TEXTS, embedder.embed(TEXTS), strict=True):
        np.testing.assert_allclose(result.vector, expected(hidden(path, text)).numpy(), atol=5e-6)


def test_pooling_ignores_padding_on_either_side() -> None:
    vectors = torch.arange(12.0).reshape(1, 4, 3)
    for mask in ([1, 1, 0, 0], [0, 0, 1, 1], [0, 1, 1, 0]):
        kept = vectors[0][torch.tensor(mask) == 1]
        result = pool(vectors, torch.tensor([mask]), ("cls", "lasttoken", "max", "mean"))[0]
        torch.testing.assert_close(result, torch.cat([kept[0], kept[-1], kept.max(0).values, kept.mean(0)]))


def test_steps_that_are_not_known_are_refused(own: Callable[[str], Path]) -> None:
    path = own("sentence_transformer")
    tiny_models.change_json(path / "2_Dense/config.json", activation_function="torch.nn.Mystery")
    with pytest.raises(Unsupported, match="Mystery"):
        load(path)
    tiny_models.write_json(path / "1_Pooling/config.json", {"pooling_mode": "attention"})
    with pytest.raises(Unsupported, match="attention"):
        load(path)
    tiny_models.write_json(path / "modules.json", [{"type": "x.Router", "path": ""}])
    with pytest.raises(Unsupported, match="Router"):
        load(path)
    for damaged in ("{}", "[1]", "nonsense"):
        (path / "modules.json").write_text(damaged, encoding="utf-8")
        with pytest.raises(IntegrityError, match=r"modules\.json"):
            load(path)
    for outside in ("../elsewhere", "/etc"):
        tiny_models.write_json(path / "modules.json", [{"type": "x.Pooling", "path": outside}])
        with pytest.raises(IntegrityError, match="leaves the folder"):
            load(path)


def test_a_missing_dense_layer_is_named(own: Callable[[str], Path]) -> None:
    path = own("sentence_transformer")
    (path / "2_Dense/model.safetensors").unlink()
    with pytest.raises(IntegrityError, match="2_Dense"):
        load(path)
