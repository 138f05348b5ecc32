import os
from pathlib import Path
from typing import Any

import pytest

from llmasos.errors import InUse, InvalidReference, NotFound
from llmasos.library import store
from llmasos.library.digest import digest_of
from llmasos.library.kind import Kind
from llmasos.library.metadata import Lineage, LineageInput, Metadata
from llmasos.library.reference import Reference
from llmasos.library.store import Library
from llmasos.settings import get_settings

NOWHERE = "sha256:" + "0" * 64


def test_an_empty_library(library: Library) -> None:
    assert library.names() == []
    assert library.versions() == []
    with pytest.raises(NotFound):
        library.resolve("anything")


def test_names_and_rows(library: Library, publish: Any) -> None:
    publish("b:1", metadata=Metadata(architecture="llama", parameters=5, license="MIT"))
    publish("n/a", {"x": b"1"}, metadata=Metadata(kind=Kind.DATASET))
    assert library.names() == ["b:1", "n/a:latest"]
    newest, oldest = library.versions()
    assert (newest.kind, newest.names, newest.parameters) == ("dataset", ("n/a:latest",), None)
    assert (oldest.kind, oldest.architecture, oldest.parameters, oldest.license) == ("model", "llama", 5, "MIT")
    assert newest.published > oldest.published
    assert [row.names for row in library.versions(kind="dataset")] == [("n/a:latest",)]
    assert [row.names for row in library.versions(pattern="n/*")] == [("n/a:latest",)]
    assert [row.names for row in library.versions(pattern="b")] == [("b:1",)]
    assert library.versions(pattern="c*") == []


def test_digest_in_a_reference_decides(library: Library, publish: Any) -> None:
    old = publish("a", {"x": b"1"})
    new = publish("a", {"x": b"2"})
    assert library.resolve("a").digest == new.digest
    assert library.resolve(f"a@{old.digest}").digest == old.digest
    assert library.has("a")
    assert not library.has("a:other")
    with pytest.raises(NotFound, match=NOWHERE):
        library.resolve(f"a@{NOWHERE}")
    with pytest.raises(NotFound):
        library.resolve(NOWHERE)
    with pytest.raises(InvalidReference):
        library.resolve("A")


def test_unknown_names_get_suggestions(library: Library, publish: Any) -> None:
    publish("mine/sentiment:v1")
    publish("mine/sentiment:v2")
    with pytest.raises(NotFound) as near:
        library.resolve("mine/sentimant:v1")
    assert "mine/sentiment:v1" in str(near.value.hint)
    with pytest.raises(NotFound) as other_tags:
        library.resolve("mine/sentiment")
    assert "mine/sentiment:v1, mine/sentiment:v2" in str(other_tags.value.hint)
    with pytest.raises(NotFound) as offered:
        library.resolve("smollm2:135m-instruct")
    assert "llmasos pull smollm2:135m-instruct" in str(offered.value.hint)
    with pytest.raises(NotFound) as misspelt:
        library.resolve("smolm2:135m-instruct")
    assert "smollm2:135m-instruct" in str(misspelt.value.hint)
    with pytest.raises(NotFound) as unknown:
        library.resolve("zzzzzzzzzzzzz")
    assert "llmasos list" in str(unknown.value.hint)


def test_tag(library: Library, publish: Any) -> None:
    version = publish("a", {"x": b"1"})
    other = publish("b", {"x": b"2"})
    tagged = library.tag("a", "n/c:v1")
    assert (tagged.digest, tagged.names) == (version.digest, ("a:latest", "n/c:v1"))
    assert library.tag(other.digest, Reference.parse("a")).names == ("a:latest", "b:latest")
    assert library.resolve("n/c:v1").names == ("n/c:v1",)
    with pytest.raises(NotFound):
        library.tag("nothing", "d")
    with pytest.raises(InvalidReference):
        library.tag("a", f"d@{version.digest}")


def test_remove_keeps_the_version_while_it_has_a_name(library: Library, publish: Any) -> None:
    version = publish("a")
    library.tag("a", "b")
    removal = library.remove("a")
    assert (removal.names, removal.versions, removal.freed) == (("a:latest",), (), 0)
    assert library.resolve("b").digest == version.digest
    removal = library.remove("b")
    assert removal.versions == (version.digest,)
    assert removal.freed == sum(blob.size for blob in version.manifest.blobs) + len(version.manifest.to_bytes())
    assert list(library.blobs.digests()) == []
    assert library.versions() == []
    with pytest.raises(NotFound):
        library.remove("a")


def test_remove_sees_a_name_that_has_just_moved(
    library: Library, publish: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process publishes under the name while this one waits for the lock."""
    publish("a", {"x": b"1"})
    real = Library._store_lock
    moved = []

    def publish_first(self: Library) -> Any:
        if not moved:
            moved.append(True)
            moved.append(publish("a", {"x": b"2"}).digest)
        return real(self)

    monkeypatch.setattr(Library, "_store_lock", publish_first)
    assert library.remove("a").versions == (moved[1],)


def test_remove_by_digest_takes_all_names(library: Library, publish: Any) -> None:
    version = publish("a")
    library.tag("a", "b")
    assert library.remove(version.digest).names == ("a:latest", "b:latest")
    assert library.names() == []
    version = publish("a")
    assert library.remove(f"a@{version.digest}").versions == (version.digest,)


def test_remove_spares_blobs_that_others_need(library: Library, publish: Any) -> None:
    publish("a", {"shared": b"s", "own": b"a"})
    kept = publish("b", {"shared": b"s", "own": b"b"})
    library.view(library.resolve("a"))
    library.remove("a")
    assert library.blobs.has(digest_of(b"s"))
    assert not library.blobs.has(digest_of(b"a"))
    assert library.verify().ok
    assert [path.name for path in (library.home / "views").iterdir()] == []
    assert library.view(kept).is_dir()


def test_remove_spares_blobs_of_a_draft_in_progress(library: Library, publish: Any) -> None:
    publish("a", {"x": b"shared"})
    with library.draft() as draft:
        draft.add_bytes("y", b"shared")
        library.remove("a")
        version = draft.publish(Reference.parse("b"), Metadata())
    assert library.verify(version.digest).ok


@pytest.mark.parametrize("by", ["digest", "name", "name@digest", "lineage"])
def test_a_base_that_adapters_need_stays(library: Library, publish: Any, by: str) -> None:
    base = publish("base", {"x": b"base"})
    spelling = {"digest": base.digest, "name": "base", "name@digest": f"base@{base.digest}", "lineage": "Org/Base"}[by]
    lineage = Lineage(step="train", inputs=[LineageInput(role="base", digest=base.digest, reference="base")])
    publish(
        "my/adapter",
        {"adapter_model.safetensors": b"a"},
        metadata=Metadata(kind=Kind.ADAPTER, base=spelling),
        lineage=lineage if by == "lineage" else None,
    )
    library.tag("base", "other-name")
    assert library.remove("other-name").versions == ()
    with pytest.raises(InUse, match="my/adapter:latest") as caught:
        library.remove("base")
    assert "--force" in str(caught.value.hint)
    assert library.resolve("base").digest == base.digest
    assert library.remove("base", force=True).versions == (base.digest,)
    assert library.verify().ok


def test_a_fine_tuned_model_does_not_hold_its_base(library: Library, publish: Any) -> None:
    base = publish("base", {"x": b"base"})
    publish("tuned", {"x": b"tuned"}, metadata=Metadata(base=base.digest))
    assert library.remove("base").versions == (base.digest,)


def test_the_home_folder_and_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("LLMASOS_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("LLMASOS_HOME", str(tmp_path / "one"))
    assert store._settings_if_any() is None
    assert Library().home == tmp_path / "one"
    monkeypatch.setenv("LLMASOS_DATABASE", f"sqlite:///{tmp_path}/elsewhere.db")
    get_settings.cache_clear()
    opened = Library()
    assert opened.names() == []
    opened.close()
    assert (tmp_path / "elsewhere.db").exists()
    assert not (tmp_path / "one" / "catalogue.db").exists()
    get_settings.cache_clear()
