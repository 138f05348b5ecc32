"""Presets as folders: made once, found again, read by the library and transformers, built with first weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import transformers

import tiny_models
from llmasos.errors import InvalidRecipe
from llmasos.modeling.folder import Family, ModelFolder
from llmasos.modeling.tokenizer_files import load_chat_template, load_tokenizer
from llmasos.training.presets import tokenizer_cache
from llmasos.training.presets.build import build
from llmasos.training.presets.folder import PreparedPreset, prepare_preset
from llmasos.training.recipe.models import PresetModel

TEXTS = [*tiny_models.CORPUS, "No: 1234567890."]
SMALL = {"layers": 2, "hidden_size": 32, "heads": 4, "context_length": 48}


def texts() -> Iterator[str]:
    return iter(TEXTS)


def model(preset: str, **changes: object) -> PresetModel:
    tokenizer = {"kind": "train", "vocabulary_size": 400}
    return PresetModel.model_validate({"preset": preset, "tokenizer": tokenizer, **SMALL, **changes})


def prepared(folder: Path, preset: str, kind: str, **changes: object) -> PreparedPreset:
    labels = ("no", "yes") if kind == "classify" else ()
    return prepare_preset(model(preset, **changes), kind=kind, texts=texts, root=folder, labels=labels)


CASES = [
    ("llama-1m", "pretrain", Family.CAUSAL),
    ("llama-1m", "sft", Family.CAUSAL),
    ("llama-1m", "classify", Family.CLASSIFIER),
    ("llama-1m", "reward", Family.CLASSIFIER),
    ("t5-tiny", "seq2seq", Family.SEQ2SEQ),
    ("marian-small", "seq2seq", Family.SEQ2SEQ),
    ("bert-tiny", "classify", Family.CLASSIFIER),
]


@pytest.mark.parametrize(("preset", "kind", "family"), CASES)
def test_the_module_fits_the_folder(tmp_path: Path, preset: str, kind: str, family: Family) -> None:
    found = prepared(tmp_path, preset, kind)
    assert found.folder.family is family
    tokenizer = load_tokenizer(found.folder)
    assert min(found.folder.context_length or 10**9, tokenizer.maximum_length or 10**9) == 48
    module = build(model(preset), tokenizer, kind=kind, labels=("no", "yes") if kind == "classify" else ())
    assert module.training
    assert module.dtype == torch.float32
    module.save_pretrained(found.folder.path)  # what publishing does
    again = getattr(transformers, found.folder.architecture).from_pretrained(found.folder.path)
    assert {name for name, _ in again.named_parameters()} == {name for name, _ in module.named_parameters()}
    ids = torch.tensor([tokenizer.encode("This is a great movie!").ids])
    extra = {"decoder_input_ids": ids} if family is Family.SEQ2SEQ else {}
    with torch.no_grad():
        first, second = (each.eval()(input_ids=ids, **extra).logits for each in (module, again))
    assert all(torch.equal(weight, dict(module.named_parameters())[name]) for name, weight in again.named_parameters())
    torch.testing.assert_close(first, second, rtol=0, atol=1e-6)  # where weights lie in memory changes the rounding
    if kind == "classify":
        assert again.config.id2label == {0: "no", 1: "yes"}


@pytest.mark.parametrize(("preset", "kind"), [("llama-1m", "pretrain"), ("t5-tiny", "seq2seq"),
                                              ("marian-small", "seq2seq")])  # fmt: skip
def test_the_first_loss_is_that_of_guessing(tmp_path: Path, preset: str, kind: str) -> None:
    found = prepared(tmp_path, preset, kind, hidden_size=128)
    tokenizer = load_tokenizer(found.folder)
    module = build(model(preset, hidden_size=128), tokenizer, kind=kind).eval()
    ids = torch.tensor([tokenizer.encode(text).ids[:40] + [1] * (40 - len(tokenizer.encode(text).ids[:40]))
                        for text in TEXTS])  # fmt: skip
    with torch.no_grad():
        loss = float(module(input_ids=ids, labels=ids).loss)
    assert loss == pytest.approx(math.log(tokenizer.vocabulary_size), rel=0.25)


def test_weights_depend_on_the_seed_alone(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(prepared(tmp_path, "llama-1m", "pretrain").folder)

    def weights(seed: int) -> torch.Tensor:
        module = build(model("llama-1m"), tokenizer, kind="pretrain", seed=seed)
        return torch.cat([weight.detach().flatten() for weight in module.parameters()])

    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = weights(1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert torch.equal(first, weights(1))
    assert not torch.equal(first, weights(2))


def test_residual_layers_start_smaller() -> None:
    from llmasos.training.presets.configuration import Vocabulary

    module = build(PresetModel(preset="llama-15m"), Vocabulary.assumed(500), kind="pretrain")
    spread = {name: float(weight.detach().std()) for name, weight in module.named_parameters() if weight.dim() == 2}
    assert spread["model.layers.0.self_attn.q_proj.weight"] == pytest.approx(0.02, rel=0.05)
    assert spread["model.layers.0.mlp.down_proj.weight"] == pytest.approx(0.02 / 12**0.5, rel=0.05)
    assert spread["model.layers.5.self_attn.o_proj.weight"] == pytest.approx(0.02 / 12**0.5, rel=0.05)


def test_a_model_for_conversation_has_marks_and_a_template(tmp_path: Path) -> None:
    found = prepared(tmp_path, "llama-1m", "sft")
    tokenizer = load_tokenizer(found.folder)
    template = load_chat_template(found.folder, tokenizer)
    assert template is not None
    assert tokenizer.special.texts["eos_token"] == "<|im_end|>"
    ends = found.folder.generation_config["eos_token_id"]
    assert ends == [tokenizer.token_id("<|im_end|>"), tokenizer.token_id("<|endoftext|>")]
    fast = transformers.AutoTokenizer.from_pretrained(found.folder.path)
    text = fast.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True)
    assert text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert load_chat_template(prepared(tmp_path, "llama-1m", "pretrain").folder, tokenizer) is None


def test_transformers_reads_the_same_tokens(tmp_path: Path) -> None:
    found = prepared(tmp_path, "bert-tiny", "classify", tokenizer={"kind": "train", "algorithm": "wordpiece",
                                                                  "vocabulary_size": 300})  # fmt: skip
    fast = transformers.AutoTokenizer.from_pretrained(found.folder.path)
    tokenizer = load_tokenizer(found.folder)
    assert fast("This is a great movie!")["input_ids"] == tokenizer.encode("This is a great movie!").ids
    assert fast.model_max_length == 48


def test_it_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepared(tmp_path, "llama-1m", "pretrain")
    trainings = []
    monkeypatch.setattr(tokenizer_cache, "train_tokenizer", lambda *_, **__: trainings.append(1))
    assert prepared(tmp_path, "llama-1m", "pretrain") == first
    wider = prepared(tmp_path, "llama-1m", "pretrain", hidden_size=64)  # another model, the same tokenizer
    assert wider.folder.path != first.folder.path
    assert wider.report == first.report
    assert trainings == []
    assert not [path for path in tmp_path.rglob(".*") if path.is_dir()]


def test_other_texts_make_another_tokenizer(tmp_path: Path) -> None:
    first = prepared(tmp_path, "llama-1m", "pretrain")
    other = prepare_preset(model("llama-1m"), kind="pretrain", texts=lambda: iter(["other words"] * 5), root=tmp_path)
    assert other.folder.path != first.folder.path


def test_the_report_counts_what_is_unknown(tmp_path: Path) -> None:
    def many() -> Iterator[str]:
        return iter([*tiny_models.CORPUS * 100, "龘"])

    size = sum(len(text.encode()) for text in many())
    tokenizer = {"kind": "train", "algorithm": "unigram", "vocabulary_size": 300}
    found = prepare_preset(model("t5-tiny", tokenizer=tokenizer), kind="seq2seq", texts=many, root=tmp_path)
    report = found.report
    assert report is not None
    assert (report.texts, report.bytes, report.measured_bytes) == (2001, size, size)
    assert report.unknown == 1
    assert report.bytes_per_token > 1.5
    assert any("lacks entries: 1 of" in note for note in report.notes())
    characters = prepare_preset(
        model("llama-1m", tokenizer={"kind": "characters"}), kind="pretrain", texts=many, root=tmp_path
    ).report
    assert characters is not None
    letters = "".join(many())
    assert (characters.vocabulary, characters.unknown) == (3 + len(set(letters)), 0)
    assert characters.tokens == len(letters)


def test_only_the_beginning_of_long_sources_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_cache, "MOST_BYTES", 150)
    report = prepared(tmp_path, "llama-1m", "pretrain").report
    assert report is not None
    assert report.limited
    assert report.bytes <= 150
    assert any("first" in note for note in report.notes())


def test_the_tokenizer_of_another_model(tmp_path: Path) -> None:
    other = ModelFolder.open(tiny_models.build("llama", tmp_path / "other"))
    asked = model("llama-1m", tokenizer={"kind": "existing", "model": "x"})
    found = prepare_preset(asked, kind="sft", texts=texts, root=tmp_path / "made", existing=other)
    assert found.report is None
    tokenizer = load_tokenizer(found.folder)
    assert tokenizer.vocabulary_size == load_tokenizer(other).vocabulary_size
    assert tokenizer.maximum_length == 48
    assert load_chat_template(found.folder, tokenizer) is not None
    assert build(asked, tokenizer, kind="sft").config.vocab_size == tokenizer.vocabulary_size


def test_marian_files_go_to_marian_only(tmp_path: Path) -> None:
    other = ModelFolder.open(tiny_models.build("marian", tmp_path / "other"))

    def prepare(preset: str) -> PreparedPreset:
        asked = model(preset, tokenizer={"kind": "existing", "model": "x"})
        return prepare_preset(asked, kind="seq2seq", texts=texts, root=tmp_path / "made", existing=other)

    found = prepare("marian-small")
    text = "This is a great movie!"
    assert load_tokenizer(found.folder).encode(text).ids == load_tokenizer(other).encode(text).ids
    with pytest.raises(InvalidRecipe, match=r"has no tokenizer\.json"):
        prepare("t5-tiny")


def test_a_tokenizer_without_padding_cannot_serve_an_encoder_decoder(tmp_path: Path) -> None:
    other = ModelFolder.open(tiny_models.build("qwen2", tmp_path / "other"))
    asked = model("t5-tiny", tokenizer={"kind": "existing", "model": "x"})
    with pytest.raises(InvalidRecipe, match="has no pad token"):
        prepare_preset(asked, kind="seq2seq", texts=texts, root=tmp_path / "made", existing=other)


def test_a_full_disk_leaves_nothing_half_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from llmasos.errors import OutOfDisk
    from llmasos.training.presets import tokenizer_files

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(tokenizer_files, "sync_file", full)
    with pytest.raises(OutOfDisk):
        prepared(tmp_path, "llama-1m", "pretrain")
    assert not list(tmp_path.rglob("tokenizer.json"))
