import contextlib
from datetime import UTC, datetime

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from llmasos.errors import IntegrityError
from llmasos.library.card import default_card, join_card, split_card
from llmasos.library.kind import Kind
from llmasos.library.manifest import Descriptor
from llmasos.library.metadata import Lineage, LineageInput, Metadata
from llmasos.library.reference import Reference

DIGEST = "sha256:" + "ab" * 32


def test_the_written_card_tells_what_is_known() -> None:
    metadata = Metadata(
        kind=Kind.ADAPTER,
        architecture="llama",
        task_family="causal",
        parameters=134_515_008,
        context_length=8192,
        languages=["en", "zh"],
        license="Apache-2.0",
        license_url="https://example.org/license",
        chat_template=True,
        base=DIGEST,
        metrics={"eval_loss": 1.23456789, "steps": 100},
        labels=["no", "yes | maybe"],
        data=["mine/data:v1"],
        description="Adapted.",
        created=datetime(2026, 1, 2, tzinfo=UTC),
    )
    lineage = Lineage(
        step="train",
        inputs=[LineageInput(role="base", digest=DIGEST, reference="smollm2:135m")],
        recipe={"learning_rate": 0.0002},
        metrics={"loss": 0.5},
        code_version="9.9",
    )
    files = [Descriptor("x", DIGEST, 2048).with_path("adapter_model.safetensors")]
    card = default_card(metadata, lineage, name=Reference.parse("my/adapter:v1"), files=files)
    head, body = split_card(card)
    assert head == {
        "license": "apache-2.0",
        "license_link": "https://example.org/license",
        "language": ["en", "zh"],
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "base_model": "smollm2:135m",
        "datasets": ["mine/data:v1"],
        "tags": ["llmasos", "adapter"],
    }
    assert body.startswith("# my/adapter:v1\n\nAdapted.\n")
    for part in (
        "| Context length | 8,192 tokens |",
        "| Metric | Value |",
        "| eval_loss | 1.23457 |",
        "| steps | 100 |",
        "0. no\n1. yes | maybe",
        "step **train** with LLMasOS 9.9",
        f"| base | `smollm2:135m` | `{DIGEST}` |",
        "learning_rate: 0.0002",
        "| loss | 0.5 |",
        "| `adapter_model.safetensors` | 2.0 KiB |",
        "2026-01-02T00:00:00+00:00",
    ):
        assert part in body


def test_the_card_of_an_artefact_of_which_nothing_is_known() -> None:
    head, body = split_card(default_card(Metadata(kind=Kind.REPORT), None, name=None, files=[]))
    assert head == {"tags": ["llmasos", "report"]}
    assert body.startswith("# report\n")


@pytest.mark.parametrize("text", ["", "hello", "# Title\n---\nx: 1\n---\n", "---\nno end", " ---\n", "---"])
def test_cards_without_a_head(text: str) -> None:
    assert split_card(text) == ({}, text)


def test_cards_with_a_head() -> None:
    assert split_card("---\r\nlicense: mit\r\n---\r\n\r\nhello") == ({"license": "mit"}, "hello")
    assert split_card("\ufeff---\na: [1, 2]\n---\nx\n") == ({"a": [1, 2]}, "x\n")
    assert split_card("---\n---\nx") == ({}, "x")


@pytest.mark.parametrize("head", ["a: [", "- a\n- b", "x", "!!python/object/apply:os.system ['true']", "[" * 5000])
def test_a_broken_head_is_an_error(head: str) -> None:
    with pytest.raises(IntegrityError):
        split_card(f"---\n{head}\n---\nbody")


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(min_size=1, max_size=10), _values, max_size=4))
def test_a_head_that_was_written_is_read_again(head: dict[str, object]) -> None:
    with contextlib.suppress(yaml.YAMLError):
        # Left out is what PyYAML itself does not read as it wrote it: control characters, \x85 as a line break.
        if yaml.safe_load(yaml.safe_dump(head, allow_unicode=True)) == head:
            assert split_card(join_card(head, "body")) == (head, "body\n")
