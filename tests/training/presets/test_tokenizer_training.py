"""New tokenizers: the same each time, lossless where they promise it, honest about what they lack."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos.errors import InvalidRecipe, InvalidRequest
from llmasos.training.presets.special_tokens import special_tokens
from llmasos.training.presets.table import PresetFamily
from llmasos.training.presets.tokenizer_training import Algorithm, train_tokenizer

TEXTS = [
    "The quick brown fox jumps over the lazy dog. Pack my box with five dozen liquor jugs.\nTwo lines, 2048 words.",
    "This is a great movie! I loved it. This is a terrible movie. I hated it. Voilà, un café crème.",
    "你好，世界。今天天气很好。今天我们去看电影。",
] * 3


def source(texts: list[str]) -> Callable[[], Iterator[str]]:
    return lambda: iter(texts)


ALGORITHMS: list[tuple[Algorithm, PresetFamily]] = [
    ("bpe", "llama"), ("unigram", "t5"), ("unigram", "marian"), ("wordpiece", "bert"), ("characters", "llama"),
]  # fmt: skip


@pytest.mark.parametrize(("algorithm", "family"), ALGORITHMS)
def test_it_knows_its_texts_and_has_its_special_tokens_first(algorithm: Algorithm, family: PresetFamily) -> None:
    special = special_tokens(family)
    trained = train_tokenizer(algorithm, source(TEXTS), special, vocabulary_size=400)
    assert trained.texts == len(TEXTS)
    assert trained.bytes == sum(len(text.encode()) for text in TEXTS)
    tokenizer = trained.tokenizer
    assert tokenizer.get_vocab_size() <= 400
    known = [token for token in special.tokens if tokenizer.token_to_id(token) is not None]
    assert [tokenizer.token_to_id(token) for token in known] == list(range(len(known)))
    assert set(special.tokens) - set(known) <= {"<|unknown|>"}
    for text in TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert ids
        assert trained.unknown_id not in ids


@pytest.mark.parametrize(("algorithm", "family"), ALGORITHMS)
def test_texts_come_back(algorithm: Algorithm, family: PresetFamily) -> None:
    tokenizer = train_tokenizer(algorithm, source(TEXTS), special_tokens(family), vocabulary_size=500).tokenizer
    text = TEXTS[0]
    found = tokenizer.decode(tokenizer.encode(text).ids)
    if algorithm == "wordpiece":  # which forgets case, accents and what kind of space there was
        found, text = found.replace(" ", ""), text.lower().replace(" ", "").replace("\n", "")
    assert found == text


@settings(deadline=None, max_examples=30)
@given(st.text())
def test_bytes_lose_no_character(text: str) -> None:
    tokenizer = _bpe()
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def _bpe(cache: list = []):  # type: ignore[no-untyped-def,type-arg]  # noqa: B006
    if not cache:
        cache.append(train_tokenizer("bpe", source(TEXTS), special_tokens("llama"), vocabulary_size=300).tokenizer)
    return cache[0]


PROGRAM = """
import hashlib
from test_tokenizer_training import ALGORITHMS, TEXTS, source
from llmasos.training.presets.special_tokens import special_tokens
from llmasos.training.presets.tokenizer_training import train_tokenizer
for algorithm, family in ALGORITHMS:
    trained = train_tokenizer(algorithm, source(TEXTS), special_tokens(family), vocabulary_size=420)
    print(hashlib.sha256(trained.tokenizer.to_str().encode()).hexdigest())
"""


def test_other_processes_make_the_same() -> None:
    from pathlib import Path

    def run() -> list[str]:
        found = subprocess.run(
            [sys.executable, "-c", PROGRAM], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
        return found.stdout.split()

    first = run()
    assert len(first) == len(set(first)) == len(ALGORITHMS)
    assert all(run() == first for _ in range(2))


def test_what_the_texts_lack_is_unknown() -> None:
    trained = train_tokenizer("characters", source(["abc ab"]), special_tokens("llama"), vocabulary_size=None)
    assert trained.tokenizer.get_vocab_size() == 3 + 4
    ids = trained.tokenizer.encode("abz c").ids
    assert trained.tokenizer.decode(ids, skip_special_tokens=False) == "ab<|unknown|> c"


def test_turns_of_a_conversation_are_single_tokens() -> None:
    special = special_tokens("llama", chat=True)
    tokenizer = train_tokenizer("bpe", source(TEXTS), special, vocabulary_size=300).tokenizer
    assert len(tokenizer.encode("<|im_start|>user\n").tokens[:1]) == 1
    assert tokenizer.encode("<|im_start|>").tokens == ["<|im_start|>"]
    assert special.names["eos_token"] == "<|im_end|>"


@pytest.mark.parametrize("family", ["t5", "marian"])
def test_sources_end_with_the_end_token(family: PresetFamily) -> None:
    tokenizer = train_tokenizer("unigram", source(TEXTS), special_tokens(family), vocabulary_size=400).tokenizer
    assert tokenizer.encode("The dog").tokens[-1] == "</s>"
    assert tokenizer.encode("The dog").tokens.count("</s>") == 1


def test_bert_marks_pairs() -> None:
    tokenizer = train_tokenizer("wordpiece", source(TEXTS), special_tokens("bert"), vocabulary_size=400).tokenizer
    pair = tokenizer.encode("the dog", "a movie")
    assert [pair.tokens[0], pair.tokens[-1]] == ["[CLS]", "[SEP]"]
    assert pair.type_ids[0] == 0
    assert pair.type_ids[-1] == 1


@pytest.mark.parametrize(("algorithm", "size"), [("bpe", 258), ("wordpiece", 60), ("unigram", 40)])
def test_a_vocabulary_that_is_too_small_is_refused(algorithm: Algorithm, size: int) -> None:
    with pytest.raises(InvalidRecipe, match=r"vocabulary_size = \d+: these texts need at least (\d+)"):
        train_tokenizer(algorithm, source(TEXTS), special_tokens("t5"), vocabulary_size=size)


def test_no_text_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="the texts are empty"):
        train_tokenizer("bpe", source(["", ""]), special_tokens("llama"), vocabulary_size=300)


def test_long_lines_are_not_left_out_by_the_trainer() -> None:
    long = "wombat " * 2000 + "没有空格" * 2000
    trained = train_tokenizer("unigram", source(["short"] * 100 + [long]), special_tokens("t5"), vocabulary_size=60)
    assert trained.unknown_id not in trained.tokenizer.encode("wombat 没有空格").ids
