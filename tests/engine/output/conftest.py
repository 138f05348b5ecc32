"""Small tokenizers of every kind, trained here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

CORPUS = [
    "The quick brown fox jumps over the lazy dog, doesn't it? It's 12.5% faster than 3,000 others!",
    '{"name": "Ada", "age": 36, "tags": ["math", "engine"], "nested": {"ok": true, "none": null}}',
    "Größe, façade, naïve, œuvre: ça coûte 20 €. Ключ, мир и труд. 你好，世界！今天天气很好。",
    "def add(a, b):\n    return a + b\n\n\nclass Engine:\n    pass  # done\n",
    "<tool_call>\n{}\n</tool_call> 👩‍👩‍👧 🇫🇷 ✓ \t tabs  and   spaces ",
] * 4
SPECIAL = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]


def train_byte_level(size: int = 700) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens(["plain added", "é"])  # neither is spelled in the byte alphabet as it is meant
    return tokenizer


def train_byte_fallback(strip: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if strip else steps)
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<unk>", *SPECIAL, *byte_tokens], limit_alphabet=60, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    # A trainer can only make special tokens of the byte tokens; real files have them as plain vocabulary.
    written = json.loads(tokenizer.to_str())
    written["added_tokens"] = [token for token in written["added_tokens"] if token["content"] not in byte_tokens]
    return Tokenizer.from_str(json.dumps(written))


def train_word_piece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece("##", cleanup=True)
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=["[UNK]", "[CLS]", "[SEP]"], show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def train_metaspace() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=220, special_tokens=["<unk>", *SPECIAL], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens([AddedToken("<extra>", special=True)])
    return tokenizer


def train_marian(folder: Path) -> Any:
    import sentencepiece
    from transformers import MarianTokenizer

    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(CORPUS), encoding="utf-8")
    for side in ("source", "target"):
        sentencepiece.SentencePieceTrainer.train(
            input=str(corpus), model_prefix=str(folder / side), vocab_size=120, minloglevel=2
        )
        (folder / f"{side}.model").rename(folder / f"{side}.spm")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "target.spm"))
    pieces = ["</s>", "<unk>", *(processor.id_to_piece(index) for index in range(3, len(processor))), "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({piece: index for index, piece in enumerate(pieces)}))
    return MarianTokenizer(
        source_spm=str(folder / "source.spm"), target_spm=str(folder / "target.spm"), vocab=str(folder / "vocab.json")
    )


@pytest.fixture(scope="session")
def byte_level() -> Tokenizer:
    return train_byte_level()


@pytest.fixture(scope="session")
def tokenizers_by_kind(tmp_path_factory: pytest.TempPathFactory, byte_level: Tokenizer) -> dict[str, Any]:
    return {
        "byte-level": byte_level,
        "byte-fallback": train_byte_fallback(strip=False),
        "byte-fallback-strip": train_byte_fallback(strip=True),
        "word-piece": train_word_piece(),
        "metaspace": train_metaspace(),
        "marian": train_marian(tmp_path_factory.mktemp("marian")),
    }
