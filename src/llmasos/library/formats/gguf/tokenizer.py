"""``tokenizer.json`` and ``tokenizer_config.json`` from the vocabulary of a GGUF file.

Both kinds of vocabulary become a BPE model of the ``tokenizers`` library:

- ``gpt2``: byte-level BPE with the file's merges;
- ``llama``: SentencePiece BPE. It has no merges but a score per token, and joins the pair whose result scores best;
  every way to cut a token into two tokens is therefore a merge, and their order is that of the scores.

Where transformers' own reading of GGUF and llama.cpp differ, the model's original tokenizer decides; the differences
are in docs/formats.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmasos.errors import Unsupported
from llmasos.i18n import t
from llmasos.library.formats.gguf.header import Header, damaged
from llmasos.library.formats.gguf.pre_tokenizers import PreTokenizer, find_pre_tokenizer
from llmasos.library.formats.gguf.vocabulary import TokenType, Vocabulary
from llmasos.library.formats.json_file import write_json

_SPACE = "\u2581"  # SentencePiece's sign for a space
_BYTE_TOKENS = tuple(f"<0x{byte:02X}>" for byte in range(256))

Json = dict[str, Any]


def write_tokenizer(header: Header, vocabulary: Vocabulary, context: int, destination: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json for a model of ``context`` tokens into ``destination``.

    Raises:
        IntegrityError: merges or scores that do not belong to the vocabulary.
        Unsupported: another kind of vocabulary, or an unknown way to cut words.
    """
    specials = _special_tokens(vocabulary)
    if vocabulary.model == "gpt2":
        way = find_pre_tokenizer(vocabulary.pre)
        add_bos = way.add_bos if vocabulary.add_bos is None else vocabulary.add_bos
        parts = _byte_level(header, vocabulary, way)
        strip = False
    elif vocabulary.model == "llama":
        add_bos = True if vocabulary.add_bos is None else vocabulary.add_bos
        parts = _sentence_piece(header, vocabulary, specials.get("unk_token"))
        strip = header.architecture == "phi3"  # llama.cpp and Phi-3's own tokenizer drop spaces behind special tokens
    else:
        raise Unsupported(
            t(
                "{path} has a vocabulary of the kind {kind!r}; gpt2 and llama can be imported",
                path=header.path,
                kind=vocabulary.model,
            ),
            hint=t("Import the model from its original safetensors repository instead."),
        )
    add_bos = add_bos and "bos_token" in specials
    add_eos = bool(vocabulary.add_eos) and "eos_token" in specials
    tokenizer: Json = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added_tokens(vocabulary, specials, strip=strip),
        **parts,
        "post_processor": _template(vocabulary, specials, add_bos=add_bos, add_eos=add_eos),
    }
    write_json(destination / "tokenizer.json", tokenizer)
    write_json(
        destination / "tokenizer_config.json",
        {
            # The class that takes tokenizer.json as it is; the models' own classes would build another one.
            "tokenizer_class": "PreTrainedTokenizerFast",
            "add_bos_token": add_bos,
            "add_eos_token": add_eos,
            "clean_up_tokenization_spaces": False,
            "model_max_length": context,
            **{name: vocabulary.tokens[index] for name, index in specials.items()},
        },
        indent=2,
    )


def _special_tokens(vocabulary: Vocabulary) -> dict[str, int]:
    """The tokens with a role. SentencePiece vocabularies have default places for some (llama.cpp, llama-vocab.cpp)."""
    ids = dict(vocabulary.ids)
    if vocabulary.model == "llama":
        control = set(vocabulary.of_type(TokenType.CONTROL, TokenType.UNKNOWN))
        for name, index in (("unk", 0), ("bos", 1), ("eos", 2)):
            if name not in ids and index in control:
                ids[name] = index
    ordinary = (TokenType.NORMAL, TokenType.BYTE)
    marked = any(kind not in ordinary for kind in vocabulary.types)
    specials = {}
    for name in ("bos", "eos", "unk", "pad", "sep", "mask"):
        if name not in ids:
            continue
        index = ids[name]
        # Some files call an ordinary token such as "!" their padding. As a special token it would vanish from texts.
        if marked and name not in ("bos", "eos") and vocabulary.types[index] in ordinary:
            continue
        specials[f"{name}_token"] = index
    return specials


def _added_tokens(vocabulary: Vocabulary, specials: dict[str, int], *, strip: bool) -> list[Json]:
    """Tokens that are looked for in the text before anything else. ``strip``: together with the spaces behind them."""
    control = set(vocabulary.of_type(TokenType.CONTROL, TokenType.UNKNOWN)) | set(specials.values())
    whole = control | set(vocabulary.of_type(TokenType.USER_DEFINED))
    plain = {"<unk>", "<s>", "<|endoftext|>"}
    return [
        {
            "id": index,
            "content": vocabulary.tokens[index],
            "single_word": False,
            "lstrip": False,
            "rstrip": strip and index in control and vocabulary.tokens[index] not in plain,
            "normalized": False,
            "special": index in control,
        }
        for index in sorted(whole)
    ]


def _template(vocabulary: Vocabulary, specials: dict[str, int], *, add_bos: bool, add_eos: bool) -> Json:
    """What is put around a text and around each of two texts."""
    used = [
        index
        for name, index in specials.items()
        if (name == "bos_token" and add_bos) or (name == "eos_token" and add_eos)
    ]

    def side(sequence: str, type_id: int) -> list[Json]:
        def special(name: str) -> Json:
            return {"SpecialToken": {"id": vocabulary.tokens[specials[name]], "type_id": type_id}}

        middle = [{"Sequence": {"id": sequence, "type_id": type_id}}]
        return ([special("bos_token")] if add_bos else []) + middle + ([special("eos_token")] if add_eos else [])

    return {
        "type": "TemplateProcessing",
        "single": side("A", 0),
        "pair": side("A", 0) + side("B", 1),
        "special_tokens": {
            vocabulary.tokens[index]: {
                "id": vocabulary.tokens[index],
                "ids": [index],
                "tokens": [vocabulary.tokens[index]],
            }
            for index in used
        },
    }


def _bpe(vocabulary: Vocabulary, merges: list[tuple[str, str]], **settings: object) -> Json:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        **settings,
        "vocab": {token: index for index, token in enumerate(vocabulary.tokens)},
        "merges": merges,
    }


def _byte_level(header: Header, vocabulary: Vocabulary, way: PreTokenizer) -> Json:
    known = set(vocabulary.tokens)
    if vocabulary.merges is None:
        raise damaged(header.path, t("the metadata has no {key}", key="tokenizer.ggml.merges"))
    merges = []
    for index, merge in enumerate(vocabulary.merges):
        # A token may begin with a space, as some vocabularies of added tokens do; none contains one further on.
        cut = merge.find(" ", 1)
        left, right = merge[:cut], merge[cut + 1 :]
        if cut < 0 or left not in known or right not in known or left + right not in known:
            raise damaged(
                header.path,
                t("merge {index}, {merge!r}, does not join two tokens to a third", index=index, merge=merge[:80]),
            )
        merges.append((left, right))
    return {
        "normalizer": {"type": way.normalizer} if way.normalizer else None,
        "pre_tokenizer": way.to_json(),
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": _bpe(vocabulary, merges, ignore_merges=way.ignore_merges),
    }


def _sentence_piece(header: Header, vocabulary: Vocabulary, unknown: int | None) -> Json:
    prefix = True if vocabulary.add_space_prefix is None else vocabulary.add_space_prefix
    spaces: Json = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    normalizer = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": _SPACE}, spaces]}
    decoders: list[Json] = [
        {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefix:
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    known = set(vocabulary.tokens)
    return {
        "normalizer": normalizer if prefix else spaces,
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": _bpe(
            vocabulary,
            _merges_by_score(header, vocabulary),
            unk_token=None if unknown is None else vocabulary.tokens[unknown],
            fuse_unk=True,
            byte_fallback=all(token in known for token in _BYTE_TOKENS),
        ),
    }


def _merges_by_score(header: Header, vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """Every cut of an ordinary token into two ordinary tokens, the best-scoring token first.

    Control, user-defined and byte tokens take no part: they never come out of joining characters. Among cuts of equal
    score the longer left part goes first, as in transformers.
    """
    if vocabulary.scores is None:
        raise damaged(header.path, t("the metadata has no {key}", key="tokenizer.ggml.scores"))
    scores = vocabulary.scores
    ordinary = {vocabulary.tokens[index]: index for index in vocabulary.of_type(TokenType.NORMAL)}
    ranked = [
        (-scores[index], -cut, cut - len(token), token)
        for token, index in ordinary.items()
        for cut in range(1, len(token))
        if token[:cut] in ordinary and token[cut:] in ordinary
    ]
    ranked.sort(key=lambda item: item[:3])
    return [(token[:-cut], token[-cut:]) for _, cut, _, token in ranked]
