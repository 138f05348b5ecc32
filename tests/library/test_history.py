"""All versions that a name has had."""

from __future__ import annotations

from typing import Any

import pytest

from llmasos.errors import InvalidReference
from llmasos.library.history import NamedVersion, versions_of
from llmasos.library.metadata import Lineage
from llmasos.library.store import Library


def outline(found: list[NamedVersion]) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    return [(item.row.digest, item.tags, item.former) for item in found]


def test_tags_move_and_versions_stay(library: Library, publish: Any) -> None:
    train = Lineage(step="train")
    first = publish("my/model:latest", {"x": b"1"}, lineage=train)
    second = publish("my/model:latest", {"x": b"2"}, lineage=train)
    library.tag("my/model:latest", "my/model:v2")
    publish("my/model-2:latest", {"x": b"3"}, lineage=train)
    publish("my/other", {"x": b"4"}, lineage=train)
    assert outline(versions_of(library, "my/model:v2")) == [
        (second.digest, ("latest", "v2"), ()), (first.digest, (), ("latest",)),
    ]  # fmt: skip
    library.tag(first.digest, "my/model:latest")
    assert outline(versions_of(library, "my/model")) == [
        (second.digest, ("v2",), ("latest",)), (first.digest, ("latest",), ()),
    ]  # fmt: skip


def test_what_garbage_collection_removed_is_gone(library: Library, publish: Any) -> None:
    publish("m", {"x": b"1"}, lineage=Lineage(step="train"))
    second = publish("m", {"x": b"2"}, lineage=Lineage(step="train"))
    library.gc()
    assert outline(versions_of(library, "m")) == [(second.digest, ("latest",), ())]


def test_a_version_without_a_history_is_known_by_its_tag_only(library: Library, publish: Any) -> None:
    publish("m_x:1", {"x": b"1"})
    publish("mzx:1", {"x": b"2"}, lineage=Lineage(step="import"))
    assert [item.tags for item in versions_of(library, "m_x")] == [("1",)]
    with pytest.raises(InvalidReference):
        versions_of(library, "NOT A NAME")
