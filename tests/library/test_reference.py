import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos.errors import InvalidReference
from llmasos.library.reference import RESERVED, Reference

DIGEST = "sha256:" + "0123456789abcdef" * 4

_word = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8)
_component = st.lists(_word, min_size=1, max_size=3).flatmap(
    lambda words: st.sampled_from([".", "_", "__", "-", "--"]).map(lambda joint: joint.join(words))
)
_tag = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)
_digest = st.text("0123456789abcdef", min_size=64, max_size=64).map(lambda text: f"sha256:{text}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("smollm2", Reference("smollm2", None, "latest", None)),
        ("smollm2:135m-instruct", Reference("smollm2", None, "135m-instruct", None)),
        ("mine/sst2:V3.1_x", Reference("sst2", "mine", "V3.1_x", None)),
        (f"a@{DIGEST}", Reference("a", None, None, DIGEST)),
        (f"a/b:c@{DIGEST}", Reference("b", "a", "c", DIGEST)),
        ("a.b_c__d-e--f", Reference("a.b_c__d-e--f")),
    ],
)
def test_parses_each_form(text: str, expected: Reference) -> None:
    assert Reference.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ":",
        "/",
        "a/",
        "/a",
        "a:",
        "a:b:c",
        "a/b/c",
        "a b",
        " a",
        "a\n",
        "a:b\n",
        "-a",
        "a-",
        "a..b",
        "a___b",
        "ä",
        "a@",
        "a@sha256:12",
        f"a@{DIGEST.upper()}",
        f"a@{DIGEST}@{DIGEST}",
        f"@{DIGEST}",
        f"a@{DIGEST.replace('sha256', 'sha512')}",
        "a:.b",
        "a:" + "b" * 129,
        "a" * 129,
        "../a",
        "a\x00",
        *sorted(f"{word}:x" for word in RESERVED),
    ],
)
def test_refuses_what_is_not_a_reference(text: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        Reference.parse(text)
    assert caught.value.hint


def test_capital_letters_are_told_the_spelling_that_works() -> None:
    with pytest.raises(InvalidReference) as caught:
        Reference.parse("Qwen/Qwen3-0.6B:Q4")
    assert "qwen/qwen3-0.6b:Q4" in str(caught.value.hint)
    assert "hf:Qwen/Qwen3-0.6B" in str(caught.value.hint)


def test_a_reference_says_which_version_it_means() -> None:
    with pytest.raises(InvalidReference):
        Reference("a", tag=None)


def test_derived_references() -> None:
    reference = Reference.parse(f"n/a@{DIGEST}")
    assert str(reference.without_digest()) == "n/a:latest"
    assert str(reference.with_tag("v2")) == "n/a:v2"
    assert reference.repository == "n/a"


@given(_component, st.none() | _component, st.none() | _tag, st.none() | _digest)
def test_text_and_reference_are_the_same(name: str, namespace: str | None, tag: str | None, digest: str | None) -> None:
    if (namespace is None and name in RESERVED) or (tag is None and digest is None):
        tag, namespace = tag or "latest", namespace or "n"
    reference = Reference(name, namespace, tag, digest)
    assert Reference.parse(str(reference)) == reference


@given(st.text() | st.from_regex(r"[a-zA-Z0-9:/@._-]{0,40}", fullmatch=True))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except InvalidReference:
        return
    assert Reference.parse(str(reference)) == reference
    assert str(reference) in (text, f"{text}:latest")
