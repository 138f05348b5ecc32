"""What a model brings to every request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llmasos.errors import IntegrityError
from llmasos.library.metadata import Metadata
from llmasos.library.reference import Reference
from llmasos.library.store import Library
from llmasos.server.serving.job import Job
from llmasos.server.serving.presets import PRESETS_PATH, Presets, read_presets, weights_of

PRESETS = Presets(
    system="Be brief.", messages=[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}],
    options={"temperature": 0.5, "max_tokens": 9}, context_limit=100,
)  # fmt: skip


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    opened = Library(tmp_path / "home")
    yield opened
    opened.close()


def publish(library: Library, name: str, **files: bytes) -> str:
    with library.draft() as draft:
        for path, data in {"config.json": b"{}", "model.safetensors": b"weights"}.items():
            draft.add_bytes(path, files.pop(path.partition(".")[0], data))
        for path, data in files.items():
            draft.add_bytes(PRESETS_PATH if path == "presets" else path, data)
        return draft.publish(Reference.parse(name), Metadata()).digest


def test_a_request_wins_over_presets() -> None:
    job = PRESETS.applied(Job("m", messages=[{"role": "user", "content": "Q"}], options={"temperature": 0, "seed": 1}))
    assert job.options == {"temperature": 0, "max_tokens": 9, "seed": 1}
    assert job.context_limit == 100
    assert [message["content"] for message in job.messages or ()] == ["Be brief.", "Hi", "Yes?", "Q"]
    assert PRESETS.applied(Job("m", messages=[], context_limit=5)).context_limit == 5


def test_a_system_message_stands_in_for_the_preset_one() -> None:
    own = [{"role": "system", "content": "Own."}, {"role": "user", "content": "Q"}]
    job = PRESETS.applied(Job("m", messages=own))
    assert [message["content"] for message in job.messages or ()] == ["Own.", "Hi", "Yes?", "Q"]


def test_a_text_is_left_as_it_is() -> None:
    job = PRESETS.applied(Job("m", prompt="Once"))
    assert (job.messages, job.prompt, job.options["temperature"]) == (None, "Once", 0.5)


def test_presets_are_read_from_the_version(library: Library) -> None:
    assert read_presets(library, publish(library, "plain")) is None
    assert read_presets(library, publish(library, "mine", presets=PRESETS.to_bytes())) == PRESETS


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"unknown": 1}', b'{"context_limit": 0}'])
def test_damaged_presets_are_no_presets(library: Library, content: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"presets\.json"):
        read_presets(library, publish(library, "mine", presets=content))


def test_the_weights_are_those_of_the_base_if_nothing_else_differs(library: Library) -> None:
    base = publish(library, "base")
    presets = Presets(base=base, system="S")
    same = publish(library, "same", presets=presets.to_bytes(), LICENSE=b"text")
    assert weights_of(library, same, presets) == base
    other = publish(library, "other", presets=presets.to_bytes(), model=b"other weights")
    assert weights_of(library, other, presets) == other, "a claim that the files deny"
    assert weights_of(library, same, Presets(system="S")) == same
    library.remove("base")
    assert weights_of(library, same, presets) == same
