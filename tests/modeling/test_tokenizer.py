from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

import tiny_models
from llmasos.errors import IntegrityError, InvalidRequest, Unsupported
from llmasos.modeling.chat_template import Prompt, Segment
from llmasos.modeling.folder import ModelFolder
from llmasos.modeling.tokenizer import Tokenizer, longest_first
from llmasos.modeling.tokenizer_files import load_tokenizer

TEXTS = ["Hello, how are you?", "你好，世界 🎉", "  spaces\n\tand lines ", "quick</s>brown [SEP] <s>", ""]
FAST = ["llama", "qwen2", "t5", "bart", "bert_classifier", "roberta_classifier", "sentence_transformer"]


def opened(path: Path) -> Tokenizer:
    return load_tokenizer(ModelFolder.open(path))


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("text", TEXTS)
def test_tokens_are_those_of_transformers(name: str, text: str, tiny: Callable[[str], Path]) -> None:
    reference = PreTrainedTokenizerFast(tokenizer_file=str(tiny(name) / "tokenizer.json"))
    ours = opened(tiny(name))
    theirs = reference(text, truncation=False, padding=False, return_special_tokens_mask=True)
    encoded = ours.encode(text)
    assert encoded.ids == theirs["input_ids"]
    assert encoded.special == [bool(flag) for flag in theirs["special_tokens_mask"]]
    assert ours.decode(encoded.ids) == reference.decode(
        encoded.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    assert ours.pieces(encoded.ids) == reference.convert_ids_to_tokens(encoded.ids)


@pytest.mark.parametrize("truncate", ["start", "end"])
@pytest.mark.parametrize("pair", [None, "a terrible movie", "no"])
@pytest.mark.parametrize("limit", [5, 8, 9, 40])
def test_pairs_and_truncation_are_those_of_transformers(
    truncate: str, pair: str | None, limit: int, tiny: Callable[[str], Path]
) -> None:
    side = "right" if truncate == "end" else "left"
    reference = PreTrainedTokenizerFast(
        tokenizer_file=str(tiny("bert_classifier") / "tokenizer.json"), truncation_side=side
    )
    theirs = reference("This is a great movie! I loved it.", pair, truncation=True, max_length=limit,
                       return_token_type_ids=True)  # fmt: skip
    ours = opened(tiny("bert_classifier")).encode(
        "This is a great movie! I loved it.",
        pair,
        limit=limit,
        truncate=truncate,  # type: ignore[arg-type]
    )
    assert ours.ids == theirs["input_ids"]
    assert ours.type_ids == theirs["token_type_ids"]
    whole = opened(tiny("bert_classifier")).encode("This is a great movie! I loved it.", pair)
    assert ours.truncated == len(whole.ids) - len(ours.ids)


@given(first=st.integers(0, 50), second=st.integers(0, 50), room=st.integers(0, 60))
def test_longest_first(first: int, second: int, room: int) -> None:
    a, b = longest_first(first, second, room)
    assert a + b == min(first + second, room)
    assert 0 <= a <= first
    assert 0 <= b <= second
    if first + second > room and a < first and b < second:
        assert abs(a - b) <= 1, "both are cut only down to the same length"


def test_settings_of_a_training_run_are_not_applied(tiny: Callable[[str], Path]) -> None:
    tokenizer = opened(tiny("sentence_transformer"))  # its file says: cut at 5, pad to 9
    assert len(tokenizer.encode("great").ids) < 9
    assert len(tokenizer.encode("the quick brown fox jumps over the lazy dog").ids) > 9


def test_the_file_and_not_the_configuration_decides_on_edge_tokens(own: Callable[[str], Path]) -> None:
    path = own("gemma3")
    for flag in (True, False):
        tiny_models.change_json(path / "tokenizer_config.json", add_bos_token=flag, add_eos_token=flag)
        encoded = opened(path).encode("hello")
        assert encoded.ids == AutoTokenizer.from_pretrained(path)("hello")["input_ids"]


def test_marian_is_that_of_transformers(tiny: Callable[[str], Path]) -> None:
    reference = AutoTokenizer.from_pretrained(tiny("marian"))
    ours = opened(tiny("marian"))
    for text in ["The house is wonderful.", ">>fra<< The house", "你好"]:
        assert ours.encode(text).ids == reference(text)["input_ids"]
    ids = reference("The house is wonderful.")["input_ids"]
    assert ours.decode(ids) == reference.decode(ids, skip_special_tokens=True, use_source_tokenizer=False)
    assert ours.encode("The house is wonderful.", limit=5).ids == [*ids[:4], 0]
    assert ours.special.id("eos") == 0
    assert ours.token_id(">>fra<<") is not None
    assert ">>fra<<" in ours.language_tokens()


def test_vocabulary_files_without_tokenizer_json(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    reference = PreTrainedTokenizerFast(tokenizer_file=str(tiny("bert_classifier") / "tokenizer.json"))
    vocabulary = sorted(reference.get_vocab().items(), key=lambda item: item[1])
    (tmp_path / "vocab.txt").write_text("\n".join(word for word, _ in vocabulary), encoding="utf-8")
    tiny_models.write_json(tmp_path / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer"})
    tiny_models.write_json(tmp_path / "config.json", {"model_type": "bert", "architectures": ["BertModel"]})
    ours = opened(tmp_path)
    assert ours.encode("This is great", "no").ids == reference("This is great", "no")["input_ids"]
    assert ours.special.id("pad") == 0


def test_literal_text_in_the_middle_keeps_its_words(tiny: Callable[[str], Path]) -> None:
    tokenizer = opened(tiny("gemma3"))  # puts a space before a text that stands at the beginning
    whole = tokenizer.encode("quick brown fox", add_special_tokens=False).ids
    prompt = Prompt((Segment("quick brown "), Segment("</s>", literal=True), Segment(" fox")))
    ids = tokenizer.encode_prompt(prompt)
    assert tokenizer.special.id("eos") not in ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == "quick brown </s> fox"
    assert tokenizer.encode_prompt(Prompt((Segment("quick brown fox"),))) == whole


@pytest.mark.parametrize("name", ["llama", "marian"])
@pytest.mark.parametrize("wrong", [-1, 99999, 1.5, True, "x"])
def test_ids_that_are_no_tokens(name: str, wrong: object, tiny: Callable[[str], Path]) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(repr(wrong))):
        opened(tiny(name)).check_ids([1, wrong])  # type: ignore[list-item]


def test_ids_beyond_the_vocabulary_have_no_text(tiny: Callable[[str], Path]) -> None:
    tokenizer = opened(tiny("llama"))  # output layers are often padded to a round number of rows
    assert tokenizer.decode([99999]) == ""
    assert tokenizer.pieces([99999]) == ["<99999>"]


def test_damaged_and_missing_files(own: Callable[[str], Path]) -> None:
    path = own("llama")
    (path / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(IntegrityError, match=r"tokenizer\.json"):
        opened(path)
    (path / "tokenizer.json").unlink()
    (path / "tokenizer_config.json").unlink()
    with pytest.raises(Unsupported, match="no tokenizer"):
        opened(path)
    path = own("marian")
    (path / "source.spm").write_bytes(b"nothing")
    with pytest.raises(IntegrityError, match=r"source\.spm"):
        opened(path)


@pytest.mark.parametrize("name", ["llama", "t5", "bert_classifier", "roberta_classifier"])
def test_tokens_of_prompts_know_their_places(name: str, tiny: Callable[[str], Path]) -> None:
    tokenizer = opened(tiny(name))
    special = next(token for token, is_special in tokenizer.added_tokens.items() if is_special)
    prompts = [
        Prompt((Segment("the quick brown fox"),)),
        Prompt((Segment("the quick "), Segment(special, literal=True), Segment("brown fox"))),
        Prompt((Segment("quick 你好 🎉 fox"),)),
    ]
    for prompt, encoded in zip(prompts, tokenizer.encode_prompts(prompts), strict=True):
        text = str(prompt)
        assert encoded.ids == tokenizer.encode_prompt(prompt)
        assert encoded.tokens_within(0, len(text)) == (0, len(encoded.ids), 0)
        for place in range(1, len(text)):
            before, after = encoded.tokens_within(0, place), encoded.tokens_within(place, len(text))
            assert before.start == 0
            assert after.end == len(encoded.ids)
            assert before.crossing == after.crossing
            assert before.end + before.crossing == after.start


def test_the_digest_follows_from_the_tokens(tiny: Callable[[str], Path], own: Callable[[str], Path]) -> None:
    assert opened(tiny("llama")).digest == opened(tiny("llama")).digest
    assert opened(tiny("llama")).digest != opened(tiny("qwen2")).digest
    path = own("llama")
    file = path / "tokenizer.json"
    file.write_text(file.read_text(encoding="utf-8").replace("<think>", "<thunk>"), encoding="utf-8")
    assert opened(path).digest != opened(tiny("llama")).digest
