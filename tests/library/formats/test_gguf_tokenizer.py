"""Tokenizers rebuilt from GGUF vocabularies against those that the vocabularies came from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import transformers
from gguf import GGUFWriter
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from gguf_files import (
    CHAT_TEMPLATE,
    Vocab,
    byte_level_vocab,
    sentence_piece_model,
    sentence_piece_vocab,
    tiny_model,
    write_gguf,
)
from llmasos.errors import IntegrityError, LLMasOSError, Unsupported
from llmasos.library.formats.gguf import convert_gguf, read_header
from llmasos.library.formats.gguf.vocabulary import read_vocabulary

TEXTS = [
    "", " ", "  ", "a", " a", "a  b", "a   b", "a      b", "\n", "\n\n\n", "\t x", "x\r\ny", "Hello, world!",
    "The quick brown fox  jumps   over the lazy dog.", "I've don't CAN'T we'LL",
    "1234567890 12 3.14 2024-11-23", "x=10;y", "我想在apple工作1314151天～", "你好，世界！今天天气很好。",
    "こんにちは 안녕하세요 Привет مرحبا हिन्दी ไทย", "café naïve Größe", "🚀 👩‍👩‍👧‍👦 🇫🇷 ✅", "½ ² Ⅷ ٣٤",
    "def f(x):\n    return x ** 2  # square\n\n\n\tpass\n", "<div class=\"a\">&amp;</div>",
    "{\"k\": [1, 2.5e-3, null]}", "!@#$%^&*()_+-=[]{}|;':\",./<>?`~", "\u200b\u00a0\ufeff", "a\u0000b\u0001",
    "𠀀𝕳", "<|im_start|>user\nhi<|im_end|>\n", "a<tool_call>b</tool_call>", "x <|endoftext|> y",
]  # fmt: skip


def rebuild(folder: Path, vocab: Vocab, architecture: str = "llama", **writing: Any) -> Path:
    """Write a model with ``vocab`` and import it; the folder of the result."""
    model = tiny_model(architecture, num_hidden_layers=1, hidden_size=32, intermediate_size=32,
                       vocab_size=len(vocab.tokens))  # fmt: skip
    folder.mkdir(exist_ok=True)
    write_gguf(folder / "m.gguf", model, vocab, **writing)
    out = folder / "out"
    out.mkdir()
    convert_gguf(folder / "m.gguf", out)
    return out


def load(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids


# --- byte-level --------------------------------------------------------------------------------------------------

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_PLAIN = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
# What the tokenizer.json files of the models themselves say.
ORIGINALS = {
    "gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    "smollm": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    "llama-bpe": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(_LLAMA3), "isolated"), _PLAIN]),
    "qwen2": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(_LLAMA3.replace("{1,3}", "")), "isolated"), _PLAIN]),
    "deepseek-coder": pre_tokenizers.Sequence(
        [
            *(
                pre_tokenizers.Split(Regex(pattern), "isolated")
                for pattern in ("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+")
            ),
            pre_tokenizers.Digits(individual_digits=True),
            _PLAIN,
        ]
    ),
}


def original(pre: str, vocab: Vocab) -> Tokenizer:
    """The model's own tokenizer over the same vocabulary, built with the tokenizers library."""
    assert vocab.merges is not None
    merges = [tuple(merge.split(" ")) for merge in vocab.merges]
    table = {token: index for index, token in enumerate(vocab.tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=table, merges=merges, ignore_merges=pre == "llama-bpe"))
    tokenizer.pre_tokenizer = ORIGINALS[pre]
    tokenizer.decoder = decoders.ByteLevel()
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    specials = [tokenizers.AddedToken(text, normalized=False, special=True) for text in vocab.tokens[:3]]
    tokenizer.add_special_tokens(specials)
    tokenizer.add_tokens([tokenizers.AddedToken("<tool_call>", normalized=False, special=False)])
    return tokenizer


@pytest.mark.parametrize("pre", ORIGINALS)
def test_byte_level_tokens_are_those_of_the_original(pre: str, tmp_path: Path) -> None:
    vocab = byte_level_vocab(pre)
    ours, theirs = load(rebuild(tmp_path, vocab)), original(pre, vocab)
    for text in TEXTS:
        assert ids(ours, text) == ids(theirs, text), repr(text)
        assert ours.decode(ids(ours, text), skip_special_tokens=False) == text, repr(text)
    assert ours.get_vocab() == theirs.get_vocab()


def test_pre_tokenizers_differ_where_the_models_differ(tmp_path: Path) -> None:
    """The comparison above could not fail if these texts were cut alike by all of them."""
    found = {
        pre: tuple(ids(load(rebuild(tmp_path / pre, byte_level_vocab(pre))), "12345 DON'T  10"))
        for pre in ("gpt-2", "smollm", "llama-bpe")
    }
    assert len(set(found.values())) == 3


@pytest.mark.parametrize("pre", ["gpt-2", "llama-bpe", "qwen2"])
def test_same_as_transformers_reads_it(pre: str, tmp_path: Path) -> None:
    vocab = replace(byte_level_vocab(pre), extra={"bos": 1, "eos": 2, "pad": 0, "add_bos": True, "add_eos": False})
    out = rebuild(tmp_path, vocab)
    ours = transformers.PreTrainedTokenizerFast.from_pretrained(out)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, gguf_file="m.gguf")
    assert len(ours) == len(theirs) == len(vocab.tokens)
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        assert getattr(ours, name) == getattr(theirs, name)
    for text in TEXTS:
        assert ours(text)["input_ids"] == theirs(text)["input_ids"], repr(text)
        assert ours.decode(ours(text)["input_ids"], skip_special_tokens=True) == theirs.decode(
            theirs(text)["input_ids"], skip_special_tokens=True
        )


def test_qwen_composes_characters_first_as_its_own_tokenizer_does(tmp_path: Path) -> None:
    ours = load(rebuild(tmp_path, byte_level_vocab("qwen2")))
    assert ids(ours, "cafe\u0301") == ids(ours, "café")


def test_unknown_pre_tokenizer_is_refused_with_near_names(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="smolm") as error:
        rebuild(tmp_path, byte_level_vocab("smolm"))
    assert "smollm" in (error.value.hint or "")


def test_file_without_pre_tokenizer_gets_llama_cpps_default(tmp_path: Path) -> None:
    ours = load(rebuild(tmp_path, replace(byte_level_vocab(), pre=None)))
    words = [text for text, _ in ours.pre_tokenizer.pre_tokenize_str("it's 12345 x+=1!")]
    assert words == ["it", "'", "s", "Ġ", "123", "45", "Ġx", "+=", "1", "!"]


@pytest.mark.parametrize("merge", ["a", "zzz qqq", "a  b", " "])
def test_merges_that_do_not_fit_the_vocabulary_are_damage(merge: str, tmp_path: Path) -> None:
    vocab = byte_level_vocab()
    assert vocab.merges is not None
    with pytest.raises(IntegrityError, match="merge 0"):
        rebuild(tmp_path, replace(vocab, merges=[merge, *vocab.merges]))


# --- SentencePiece -----------------------------------------------------------------------------------------------


def sentence_piece(*, prefix: bool) -> Any:
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_proto=sentence_piece_model(prefix=prefix))


@pytest.mark.parametrize(("architecture", "prefix"), [("llama", True), ("gemma3", False)])
def test_sentence_piece_tokens_are_those_of_sentence_piece(architecture: str, prefix: bool, tmp_path: Path) -> None:
    ours = load(rebuild(tmp_path, sentence_piece_vocab(prefix=prefix), architecture))
    theirs = sentence_piece(prefix=prefix)
    texts = [text for text in TEXTS if text and "\0" not in text]
    texts += ["a" + " " * count + "b" for count in range(1, 13)] + ["\n" * count + "z" for count in range(1, 5)]
    for text in texts:
        assert ids(ours, text) == theirs.encode(text), repr(text)
        assert ours.decode(ids(ours, text)) == text, repr(text)


def test_gemma_starts_with_the_begin_token_and_keeps_markers_whole(tmp_path: Path) -> None:
    vocab = sentence_piece_vocab(prefix=False)
    ours = transformers.PreTrainedTokenizerFast.from_pretrained(rebuild(tmp_path, vocab, "gemma3"))
    marker = vocab.tokens.index("<start_of_turn>")
    encoded = ours("<start_of_turn>hi")["input_ids"]
    assert encoded[:2] == [1, marker]
    assert ours.decode(encoded, skip_special_tokens=True) == "<start_of_turn>hi"  # user-defined, not special


def test_prefix_space_is_put_behind_every_special_token(tmp_path: Path) -> None:
    """As llama.cpp does, and the slow tokenizer of Llama 2; transformers' Metaspace does it only at the start."""
    ours = load(rebuild(tmp_path, sentence_piece_vocab()))
    words = ours.encode("</s>fox</s>fox", add_special_tokens=False).tokens
    assert [word.count("▁") for word in words if "f" in word] == [1, 1]


def test_phi3_swallows_the_space_behind_its_markers(tmp_path: Path) -> None:
    vocab = sentence_piece_vocab()
    tokens = list(vocab.tokens)
    types = list(vocab.types)
    marker = tokens.index("<start_of_turn>")
    tokens[marker], types[marker] = "<|end|>", 3
    ours = load(rebuild(tmp_path, replace(vocab, tokens=tokens, types=types), "phi3"))
    assert ids(ours, "<|end|>\n a") == ids(ours, "<|end|>a")
    assert ids(ours, "<s>  a") != ids(ours, "<s>a")


# --- special tokens, templates, ids ----------------------------------------------------------------------------------


def read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def test_ids_templates_and_sampling_are_written(tmp_path: Path) -> None:
    vocab = byte_level_vocab()
    vocab = replace(vocab, extra={**vocab.extra, "template": CHAT_TEMPLATE})

    def extra(writer: GGUFWriter) -> None:
        writer.add_float32("general.sampling.temp", 0.7)
        writer.add_int32("general.sampling.top_k", 20)

    out = rebuild(tmp_path, vocab, extra=extra)
    config, generation = read_json(out / "config.json"), read_json(out / "generation_config.json")
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (1, 2, 0)
    assert generation["eos_token_id"] == [2, 0]  # <|im_end|>, which the file names, and <|endoftext|>
    assert (generation["do_sample"], generation["temperature"], generation["top_k"]) == (True, 0.7, 20)
    assert (out / "chat_template.jinja").read_text() == CHAT_TEMPLATE
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    text = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert text == "<|im_start|>user\nhi<|im_end|>\n"
    assert tokenizer.model_max_length == 2048


def test_ordinary_token_named_as_padding_stays_ordinary(tmp_path: Path) -> None:
    """Some files name "!" as their padding; as a special token it would vanish from every answer."""
    vocab = byte_level_vocab()
    exclamation = vocab.tokens.index("!")
    out = rebuild(tmp_path, replace(vocab, extra={**vocab.extra, "pad": exclamation}))
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(out)
    assert tokenizer.decode(tokenizer("hi!")["input_ids"], skip_special_tokens=True) == "hi!"


@pytest.mark.parametrize("value", [2**32 - 1, 600])
def test_special_ids_outside_the_vocabulary(value: int, tmp_path: Path) -> None:
    """All bits set is the converters' way to say that there is none; any other number is damage."""
    vocab = replace(byte_level_vocab(), extra={"bos": 1, "eos": 2, "pad": value})
    if value == 600:
        with pytest.raises(IntegrityError, match="600, but there are 512 tokens"):
            rebuild(tmp_path, vocab)
    else:
        assert "pad_token" not in read_json(rebuild(tmp_path, vocab) / "tokenizer_config.json")


def test_end_tokens_of_a_markup_vocabulary_are_not_its_tags(tmp_path: Path) -> None:
    """In Gemma's vocabulary </s> is a tag of HTML and must not end an answer."""
    vocab = sentence_piece_vocab(prefix=False)
    tokens = list(vocab.tokens)
    tokens[1], tokens[2] = "<bos>", "<eos>"
    user = tokens.index("<start_of_turn>")
    tokens[user] = "</s>"
    write_gguf(tmp_path / "m.gguf", tiny_model("gemma3", vocab_size=512), replace(vocab, tokens=tokens))
    assert read_vocabulary(read_header(tmp_path / "m.gguf"), 512).end_ids == [2]


def change(vocab: Vocab, **values: Any) -> Vocab:
    return replace(vocab, **values)


@pytest.mark.parametrize(
    ("vocab", "words"),
    [
        (lambda v: change(v, tokens=[*v.tokens[:-1], v.tokens[0]]), "0 and 511 are both"),
        (lambda v: change(v, types=v.types[:-1]), "511 entries for 512 tokens"),
        (lambda v: change(v, merges=None), "tokenizer.ggml.merges"),
        (lambda v: change(v, model="rwkv"), "'rwkv'"),
        (lambda v: change(v, model="none"), "no vocabulary"),
        (lambda v: change(v, model="llama"), "tokenizer.ggml.scores"),
    ],
)
def test_broken_vocabularies_are_refused(vocab: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(LLMasOSError, match=words):
        rebuild(tmp_path, vocab(byte_level_vocab()))


def test_more_tokens_than_rows_are_refused(tmp_path: Path) -> None:
    model = tiny_model("llama", vocab_size=500)
    write_gguf(tmp_path / "m.gguf", model, byte_level_vocab())
    (tmp_path / "out").mkdir()
    with pytest.raises(IntegrityError, match="512 tokens do not fit 500 rows"):
        convert_gguf(tmp_path / "m.gguf", tmp_path / "out")


def test_named_templates_get_files_of_their_own(tmp_path: Path) -> None:
    def extra(writer: GGUFWriter) -> None:
        writer.add_chat_template([{"name": "default", "template": "A"}, {"name": "tool_use", "template": "B"}])

    out = rebuild(tmp_path, byte_level_vocab(), extra=extra)
    assert (out / "chat_template.jinja").read_text() == "A"
    assert (out / "additional_chat_templates" / "tool_use.jinja").read_text() == "B"


def test_template_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    def extra(writer: GGUFWriter) -> None:
        writer.add_array("tokenizer.chat_templates", ["../../evil"])
        writer.add_string("tokenizer.chat_template.../../evil", "B")

    with pytest.raises(LLMasOSError, match="evil"):
        rebuild(tmp_path, byte_level_vocab(), extra=extra)
    assert not list(tmp_path.rglob("evil*"))


def test_empty_tokens_get_names(tmp_path: Path) -> None:
    vocab = byte_level_vocab()
    out = rebuild(tmp_path, replace(vocab, tokens=[*vocab.tokens[:-1], ""]))
    assert load(out).id_to_token(511) == "[EMPTY_511]"


def test_scores_as_integers_are_read(tmp_path: Path) -> None:
    vocab = sentence_piece_vocab()
    assert vocab.scores is not None
    scores = [int(np.round(score)) for score in vocab.scores]
    ours = load(rebuild(tmp_path, replace(vocab, scores=scores)))
    assert ids(ours, "The quick brown fox") == sentence_piece(prefix=True).encode("The quick brown fox")
