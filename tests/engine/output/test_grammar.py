"""Constrained output: what comes out is valid, what cannot be is refused, and forced tokens change nothing."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from llmasos.engine.grammar import GrammarCompiler, GrammarState
from llmasos.engine.grammar_masks import MaskJob, MaskWorker
from llmasos.engine.grammar_vocabulary import GrammarVocabulary, Spelling
from llmasos.engine.request import Grammar, SamplingParameters
from llmasos.engine.sampler import Sampler, SamplingState
from llmasos.engine.text_decoder import text_decoder
from llmasos.errors import InvalidRequest, Unsupported

from .conftest import CORPUS

EOS = 2
KINDS = ["byte-level", "byte-fallback-strip"]
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="session")
def compilers(tokenizers_by_kind: dict[str, Any]) -> dict[str, tuple[Any, GrammarCompiler, MaskWorker]]:
    found = {}
    for kind in KINDS:
        tokenizer = tokenizers_by_kind[kind]
        eos = tokenizer.token_to_id("</s>")
        size = tokenizer.get_vocab_size() + 5  # models pad their embedding matrix
        vocabulary = GrammarVocabulary(tokenizer, vocabulary_size=size, eos_ids=[eos])
        found[kind] = (tokenizer, GrammarCompiler(vocabulary), MaskWorker(size))
    return found


@pytest.fixture
def compiler(compilers: dict[str, Any]) -> GrammarCompiler:
    return compilers["byte-level"][1]


def allowed_tokens(worker: MaskWorker, state: GrammarState, draft: list[int] | None = None) -> list[list[int]]:
    worker.start_masks([MaskJob(state, 0, draft or [])])
    masks = worker.collect()
    assert masks is not None
    return [np.flatnonzero(np.unpackbits(row.view(np.uint8), bitorder="little")).tolist() for row in masks.bits]


def generate(
    setting: tuple[Any, GrammarCompiler, MaskWorker], grammar: Grammar, seed: int, *, limit: int = 250
) -> str | None:
    """Random output, through the sampler, with forced tokens; ``None`` if it did not end in time."""
    tokenizer, compiler, worker = setting
    eos = tokenizer.token_to_id("</s>")
    random = np.random.default_rng(seed)
    size = tokenizer.get_vocab_size() + 5
    # Random tokens rarely close a text: lean towards short, closing ones.
    lean = np.array([2.0 if text in {'"', "}", "]", '"}', '"]'} else 0.0 for text in pieces(tokenizer, size)])
    lean[eos] = 3.0
    state = compiler.start(grammar)
    sampling = SamplingState(SamplingParameters(seed=seed))
    output: list[int] = []
    while len(output) < limit:
        forced = state.take_forced(limit)
        output += forced
        for token in forced:
            sampling.append(token)
        if state.finished:
            break
        worker.start_masks([MaskJob(state, 0)])
        logits = torch.from_numpy((random.normal(0, 2, (1, size)) + lean).astype(np.float32))
        result = Sampler().sample(logits, [sampling], masks=worker.collect())
        assert not result.failures
        token = result.tokens[0]
        if token == eos:
            assert state.accepting
            break
        sampling.append(token)
        state.advance(token)
        assert state.error is None
        output.append(token)
    else:
        return None
    decoder = text_decoder(tokenizer)
    return b"".join(decoder.bytes_of(token) or b"" for token in output).decode()


def pieces(tokenizer: Any, size: int) -> list[str]:
    decoder = text_decoder(tokenizer)
    return [(decoder.bytes_of(token) or b"").decode(errors="replace") for token in range(size)]


patterns = ["^[a-z]{2,5}$", "^(red|green)-\\d+$", "^[A-F0-9]{4}$", "x+"]
values = st.none() | st.booleans() | st.integers(-5, 5) | st.text('abé你"\\ ', max_size=5)
scalars = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.builds(
        lambda low, width: {"type": "integer", "minimum": low, "maximum": low + width},
        st.integers(-500, 500),
        st.integers(0, 900),
    ),
    st.builds(
        lambda low, width: {"type": "number", "minimum": low, "maximum": low + width, "multipleOf": 0.5},
        st.integers(-9, 9),
        st.integers(1, 30),
    ),
    st.builds(
        lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more},
        st.integers(0, 4),
        st.integers(0, 8),
    ),
    st.sampled_from(patterns).map(lambda pattern: {"type": "string", "pattern": pattern, "maxLength": 20}),
    st.sampled_from(["date", "time", "ipv4", "uuid", "email"]).map(lambda name: {"type": "string", "format": name}),
    st.lists(values, min_size=1, max_size=4).map(lambda options: {"enum": options}),
    st.integers(0, 99).map(lambda value: {"const": {"k": [value]}}),
)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.text("abcß_ $", min_size=1, max_size=6)
    return st.one_of(
        st.builds(
            lambda properties, optional, more: {
                "type": "object",
                "properties": properties,
                "required": [name for name in properties if name not in optional],
                "additionalProperties": more,
            },
            st.dictionaries(names, inner, max_size=4), st.sets(names, max_size=2), st.just(False) | inner,
        ),
        st.builds(
            lambda items, low, more: {"type": "array", "items": items, "minItems": low, "maxItems": low + more},
            inner, st.integers(0, 2), st.integers(0, 2),
        ),
        st.lists(inner, min_size=1, max_size=3).map(lambda options: {"anyOf": options}),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda items: {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}
        ),
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@QUICK
@given(schema=st.recursive(scalars, containers, max_leaves=6), seed=st.integers(0, 10**6))
def test_random_output_under_random_schemas_is_valid(kind: str, schema: Any, seed: int, compilers: Any) -> None:
    text = generate(compilers[kind], Grammar("json_schema", schema), seed)
    if text is not None:
        rules = jsonschema.Draft202012Validator
        rules(schema, format_checker=rules.FORMAT_CHECKER).validate(json.loads(text))


@pytest.mark.parametrize("kind", KINDS)
def test_any_json_object(kind: str, compilers: Any) -> None:
    ended = 0
    for seed in range(20):
        text = generate(compilers[kind], Grammar("json"), seed)
        if text is not None:
            assert isinstance(json.loads(text), dict)
            ended += 1
    assert ended > 5


PATTERNS = [
    r"[a-z]{3,8}",
    r"(foo|bar)+[0-9]?",
    r"\d{4}-\d{2}-\d{2}",
    r"[^\"\n]{0,12}!",
    r"ж你*|x",
    r"(a|ab)(c|bcd)(d*)",
    r"",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_random_output_matches_the_pattern(kind: str, pattern: str, compilers: Any) -> None:
    ended = 0
    for seed in range(6):
        text = generate(compilers[kind], Grammar("regex", pattern), seed)
        if text is not None:
            assert re.fullmatch(pattern, text)
            ended += 1
    assert ended


@pytest.mark.parametrize("kind", KINDS)
def test_choices_and_grammars(kind: str, compilers: Any) -> None:
    choices = ("yes", "yes please", "no", "ça", 'say "hi"\n', "</s>")
    seen = {generate(compilers[kind], Grammar("choice", choices), seed) for seed in range(60)}
    assert seen <= set(choices)
    assert len(seen) > 3
    lark = 'start: greeting " " NAME\ngreeting: "hello" | "bye"\nNAME: /[A-Z][a-z]{1,5}/'
    for seed in range(5):
        text = generate(compilers[kind], Grammar("lark", lark), seed)
        assert text is not None
        assert re.fullmatch(r"(hello|bye) [A-Z][a-z]{1,5}", text)


@pytest.mark.parametrize("kind", KINDS)
def test_forced_tokens_are_those_a_model_would_have_to_write(kind: str, compilers: Any) -> None:
    """Every allowed text, spelled as the tokenizer spells it, can be written; what is forced is always its next part.

    So a model that writes texts as its tokenizer spells them gives each text the same probability with forced tokens
    as without: they only take what had probability 1.
    """
    tokenizer, compiler, worker = compilers[kind]
    schema = {
        "type": "object",
        "properties": {
            "name": {"enum": ["Ada", "Adam", "Bob"]},
            "temperature": {"type": "integer", "minimum": 8, "maximum": 12},
            "tags": {"type": "array", "items": {"enum": ["math", "engine"]}, "maxItems": 2},
        },
        "required": ["name", "temperature", "tags"],
        "additionalProperties": False,
    }
    spelling = Spelling(tokenizer, text_decoder(tokenizer), tokenizer.get_vocab_size(), 0)
    texts = [
        json.dumps({"name": name, "temperature": degrees, "tags": tags})
        for name in ("Ada", "Adam", "Bob")
        for degrees in range(8, 13)
        for tags in ([], ["math"], ["engine", "math"])
    ]
    forced_in_all = 0
    for text in texts:
        rest = spelling(text)
        state = compiler.start(Grammar("json_schema", schema))
        while rest:
            forced = state.take_forced(100)
            assert forced == rest[: len(forced)]
            forced_in_all += len(forced)
            rest = rest[len(forced) :]
            if rest:
                assert rest[0] in allowed_tokens(worker, state)[0]
                state.advance(rest.pop(0))
        assert state.finished
    assert forced_in_all > len(texts) * 10


@QUICK
@given(seed=st.integers(0, 10**6), taken=st.integers(0, 12))
def test_masks_of_a_draft_and_rollback_equal_one_by_one(seed: int, taken: int, compilers: Any) -> None:
    _, compiler, worker = compilers["byte-level"]
    random = np.random.default_rng(seed)
    grammar = Grammar("json_schema", {"type": "object", "properties": {"a": {"type": "string"}, "b": {}}})
    state = compiler.start(grammar)
    for _ in range(taken):
        options = [token for token in allowed_tokens(worker, state)[0] if token != EOS]
        if not options:
            break
        state.advance(int(random.choice(options)))
    masks, draft = [], []
    while len(draft) < 5:
        masks.append(allowed_tokens(worker, state)[0])
        options = [token for token in masks[-1] if token != EOS]
        if not options:
            break
        draft.append(int(random.choice(options)))
        state.advance(draft[-1])
    else:
        masks.append(allowed_tokens(worker, state)[0])
    complete = state.finished
    state.rollback(len(draft))
    if draft and not complete:
        assert state.accepted([*draft, EOS, EOS]) == len(draft) + (EOS in masks[-1])
    assert allowed_tokens(worker, state, draft) == masks
    assert allowed_tokens(worker, state)[0] == masks[0]


def test_a_draft_that_leaves_the_grammar_is_cut(compilers: Any) -> None:
    tokenizer, compiler, _ = compilers["byte-level"]
    state = compiler.start(Grammar("regex", "[a-z]+"))
    ids = [tokenizer.token_to_id(letter) for letter in "ab1c"]
    assert state.accepted(ids) == 2
    assert state.accepted([]) == 0
    with pytest.raises(ValueError, match="1 tokens cannot be given back"):
        state.rollback(1)


def test_end_tokens_only_where_the_grammar_accepts(compilers: Any) -> None:
    tokenizer, compiler, worker = compilers["byte-level"]
    state = compiler.start(Grammar("regex", "ab*"))
    assert EOS not in allowed_tokens(worker, state)[0]
    assert not state.accepting
    state.advance(tokenizer.token_to_id("a"))
    assert EOS in allowed_tokens(worker, state)[0]
    assert state.accepting
    assert not state.finished
    state.advance(EOS)
    assert state.finished


def test_a_dead_end_is_an_error_and_not_an_end(compilers: Any) -> None:
    tokenizer, compiler, worker = compilers["byte-level"]
    state = compiler.start(Grammar("lark", 'start: "ok" | "a" loop\nloop: loop "b"'))
    state.advance(tokenizer.token_to_id("a"))
    logits = torch.zeros(2, tokenizer.get_vocab_size() + 5)
    worker.start_masks([MaskJob(state, 1)])
    states = [SamplingState(SamplingParameters(temperature=0)) for _ in range(2)]
    result = Sampler().sample(logits, states, masks=worker.collect())
    assert list(result.failures) == [1]
    assert "cannot be completed" in result.failures[1]
    assert state.error is not None
    assert not state.finished


def test_many_states_at_once(compilers: Any) -> None:
    _, compiler, worker = compilers["byte-level"]
    states = [compiler.start(Grammar("choice", (f"{letter}1", f"{letter}2"))) for letter in "abcdefgh"]
    singly = [allowed_tokens(worker, state)[0] for state in states]
    worker.start_masks([MaskJob(state, 2 * row) for row, state in enumerate(states)])
    with pytest.raises(RuntimeError, match="not collected"):
        worker.start_masks([])
    masks = worker.collect()
    assert masks is not None
    assert list(masks.rows) == list(range(0, 16, 2))
    together = [np.flatnonzero(np.unpackbits(row.view(np.uint8), bitorder="little")).tolist() for row in masks.bits]
    assert together == singly
    worker.start_masks([])
    assert worker.collect() is None


@pytest.mark.parametrize(
    ("kind", "source", "reason"),
    [
        ("json_schema", {"type": "foo"}, "Invalid type: foo (at / of the schema)"),
        ("json_schema", '{"type": ', "line 1 column 10"),
        ("json_schema", {"properties": {"a/b": {"items": {"pattern": "("}}}}, "/properties/a~1b/items"),
        ("json_schema", {"type": "integer", "minimum": 5, "maximum": 3}, "minimum (5) is greater than maximum (3)"),
        ("json_schema", {"properties": {"x": {"$ref": "#/$defs/none"}}}, "/properties/x"),
        ("json_schema", {"not": {}}, "Unimplemented keys"),
        ("json_schema", False, "schema is false"),
        ("json_schema", ["a"], "allowed is a JSON schema"),
        ("json_schema", {"const": {1, 2}}, "not JSON serializable"),
        ("json", {"a": 1}, "any JSON object"),
        ("regex", "a{2", "a{2\n     ^^\nerror: unclosed counted repetition"),
        ("regex", r"\bfoo", "lookarounds not supported"),
        ("regex", 5, "allowed is a text"),
        ("lark", 'start: "a" foo', 'at 1(8): unknown name: "foo"'),
        ("lark", 'start: start "a"', "allows no output that ever ends"),
        ("lark", 'start: "a" x\nx: x "b"', "allows no output that ever ends"),
        ("lark", "", "Empty grammar"),
        ("choice", (), "at least one text"),
        ("choice", "abc", "at least one text"),
        ("yaml", "", "json_schema, json, regex, lark, choice"),
    ],
)  # fmt: skip
def test_bad_and_impossible_grammars_are_refused_with_a_reason(
    kind: Any, source: Any, reason: str, compiler: GrammarCompiler
) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(reason)):
        compiler.start(Grammar(kind, source))


@pytest.mark.parametrize("schema", [True, {}, '{"type": "string"}', {"x-guidance": {"whitespace_flexible": True}}])
def test_schemas_of_every_form_are_taken(schema: Any, compiler: GrammarCompiler) -> None:
    assert compiler.start(Grammar("json_schema", schema)).error is None


def test_states_of_one_grammar_are_independent(compiler: GrammarCompiler, byte_level: Tokenizer) -> None:
    grammar = Grammar("choice", ("ab", "cd"))
    first, second = compiler.start(grammar), compiler.start(grammar)
    first.advance(byte_level.token_to_id("a"))
    assert first.take_forced(9) == [byte_level.token_to_id("b")]
    assert first.finished
    assert not second.finished
    assert second.accepted([byte_level.token_to_id("c")]) == 1


def test_models_that_cannot_be_constrained_say_why(tokenizers_by_kind: dict[str, Any], byte_level: Tokenizer) -> None:
    for kind in ("word-piece", "marian"):
        vocabulary = GrammarVocabulary(tokenizers_by_kind[kind], vocabulary_size=300, eos_ids=[0])
        with pytest.raises(Unsupported, match="depends on its neighbours"):
            GrammarCompiler(vocabulary).start(Grammar("json"))
    with pytest.raises(Unsupported, match="no"):
        GrammarCompiler(GrammarVocabulary(byte_level, vocabulary_size=300, eos_ids=[])).start(Grammar("json"))


@pytest.mark.parametrize("kind", KINDS)
def test_encoding_goes_on_from_a_text_as_the_tokenizer_does(kind: str, compilers: Any) -> None:
    tokenizer = compilers[kind][0]
    decoder = text_decoder(tokenizer)
    spelling = Spelling(tokenizer, decoder, tokenizer.get_vocab_size(), 0)
    text = CORPUS[0] + CORPUS[3]
    ids = tokenizer.encode(text).ids
    for cut in range(1, len(ids)):
        rest = b"".join(decoder.bytes_of(token) or b"" for token in ids[cut:])
        if rest.startswith((b" ", b"\n", b"'", b",")):  # where no token could have reached across
            assert spelling(rest) == ids[cut:]


@pytest.mark.parametrize("kind", KINDS)
@QUICK
@given(text=st.text(max_size=12) | st.sampled_from(["<|im_end|>", "a</s>b", " x", "  ", "\x02", "plain added", "é"]))
def test_encoding_spells_the_text_exactly(kind: str, text: str, compilers: Any) -> None:
    tokenizer = compilers[kind][0]
    decoder = text_decoder(tokenizer)
    spelling = Spelling(tokenizer, decoder, tokenizer.get_vocab_size(), 0)
    ids = spelling(text)
    assert not set(ids) & decoder.special
    if kind == "byte-level" or all(character in "abc <>|_im/sxend" for character in text):
        assert b"".join(decoder.bytes_of(token) or b"" for token in ids) == text.encode()
