import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from llmasos.errors import AlreadyExists, IntegrityError, InvalidRequest, Unavailable, UnsafeContent
from llmasos.library.card import split_card
from llmasos.library.digest import digest_of
from llmasos.library.kind import Kind
from llmasos.library.manifest import FILEPATH, Descriptor, Manifest, canonical_json
from llmasos.library.metadata import Lineage, LineageInput, Metadata
from llmasos.library.reference import Reference
from llmasos.library.store import Library
from llmasos.library.version import Version

NAME = Reference.parse("mine/model:v1")
OTHER = "sha256:" + "1" * 64


def folders(library: Library) -> list[str]:
    staging = library.home / "staging"
    return sorted(path.name for path in staging.iterdir()) if staging.is_dir() else []


def test_publish_makes_a_version_with_metadata_lineage_and_card(library: Library) -> None:
    metadata = Metadata(architecture="llama", parameters=1234, license="MIT", languages=["en"])
    lineage = Lineage(step="import", source="./x", inputs=[LineageInput(role="source", digest=OTHER, reference="x")])
    with library.draft() as draft:
        draft.add_bytes("config.json", b"{}")
        (draft.directory / "w").write_bytes(b"weights")
        draft.add_file("model.safetensors", draft.directory / "w", move=True)
        assert draft.paths == ("config.json", "model.safetensors")
        version = draft.publish(NAME, metadata, lineage=lineage)
    assert version.names == ("mine/model:v1",)
    assert version.paths == ("README.md", "config.json", "model.safetensors")
    assert version.metadata == metadata
    assert version.size == sum(file.size for file in version.manifest.files.values())
    assert library.resolve("mine/model:v1") == version
    assert library.resolve(version.digest) == version
    steps = library.lineage(version)
    assert [(step.step, step.inputs) for step in steps] == [("import", (("source", OTHER, "x"),))]
    head, _ = split_card(library.card(version))
    assert head["license"] == "mit"
    assert folders(library) == []


def test_the_same_content_is_the_same_version_on_every_machine(tmp_path: Path) -> None:
    digests = []
    for home, order in (("a", [0, 1]), ("b", [1, 0])):
        library = Library(tmp_path / home)
        files = [("config.json", b"{}"), ("model.safetensors", b"w")]
        with library.draft() as draft:
            for index in order:
                draft.add_bytes(*files[index])
            digests.append(draft.publish(NAME, Metadata(architecture="t5")).digest)
        library.close()
    assert digests[0] == digests[1]


def test_an_error_in_the_draft_leaves_nothing(library: Library) -> None:
    with pytest.raises(RuntimeError), library.draft() as draft:
        draft.add_bytes("a", b"a")
        raise RuntimeError
    assert library.versions() == []
    assert folders(library) == []
    assert library.gc().blobs == [digest_of(b"a")]


def test_a_draft_that_was_not_published_shows_nothing(library: Library) -> None:
    with library.draft() as draft:
        draft.add_bytes("a", b"a")
    assert library.names() == []


def test_card_given_then_found_then_written(library: Library) -> None:
    with library.draft() as draft:
        draft.add_bytes("README.md", b"---\nlicense: mit\n---\nhello\n")
        draft.add_bytes("a", b"")
        found = draft.publish(NAME, Metadata())
    assert library.card(found).endswith("hello\n")
    with library.draft() as draft:
        draft.add_bytes("README.md", b"old")
        draft.add_bytes("a", b"")
        given = draft.publish(NAME, Metadata(), card="new")
    assert library.card(given) == "new"


def test_an_empty_draft_is_refused(library: Library) -> None:
    with library.draft() as draft, pytest.raises(InvalidRequest):
        draft.publish(NAME, Metadata())


@pytest.mark.parametrize("path", ["../x", "/x", "a\\b", ""])
def test_paths_are_checked(library: Library, path: str, tmp_path: Path) -> None:
    with library.draft() as draft:
        with pytest.raises(UnsafeContent):
            draft.add_bytes(path, b"")
        with pytest.raises(UnsafeContent):
            draft.add_file(path, tmp_path / "never read")


def test_paths_that_collide_are_refused(library: Library) -> None:
    with library.draft() as draft:
        draft.add_bytes("a", b"1")
        with pytest.raises(AlreadyExists):
            draft.add_bytes("a", b"2")
        draft.add_bytes("a/b", b"3")
        with pytest.raises(UnsafeContent):
            draft.publish(NAME, Metadata())
    assert library.versions() == []


def test_publishing_again_moves_the_name_and_keeps_the_old_version(library: Library) -> None:
    versions = []
    for content in (b"1", b"2"):
        with library.draft() as draft:
            draft.add_bytes("a", content)
            versions.append(draft.publish(NAME, Metadata()))
    assert library.resolve(NAME) == versions[1]
    assert library.resolve(versions[0].digest).names == ()


def test_a_version_without_a_name(library: Library) -> None:
    with library.draft() as draft:
        draft.add_bytes("a", b"1")
        version = draft.publish(None, Metadata(kind=Kind.REPORT))
    assert library.resolve(version.digest).names == ()
    assert library.names() == []


def manifest_of(library: Library, version: Version) -> bytes:
    return library.blobs.read(version.digest)


def test_a_received_manifest_keeps_its_digest(library: Library, tmp_path: Path) -> None:
    with library.draft() as draft:
        draft.add_bytes("a", b"1")
        version = draft.publish(NAME, Metadata(architecture="llama"), lineage=Lineage(step="train"))
    other = Library(tmp_path / "other")
    with other.draft() as draft:
        for blob in version.manifest.blobs:
            draft.blobs.add_bytes(library.blobs.read(blob.digest), digest=blob.digest)
        received = draft.publish_manifest(
            manifest_of(library, version), NAME, lineage=Lineage(step="pull", source="oci:host/x:1")
        )
    assert received.digest == version.digest
    assert received.metadata == version.metadata
    assert [step.step for step in other.lineage(received)] == ["train", "pull"]
    assert other.verify().ok
    # Once more, through the library: nothing is written twice.
    assert other.publish_manifest(manifest_of(library, version), NAME, Lineage(step="pull", source="oci:host/x:1"))
    assert [step.step for step in other.lineage(received)] == ["train", "pull"]
    other.close()


def test_a_manifest_of_another_tool(library: Library) -> None:
    config = canonical_json(
        {
            "descriptor": {"family": "qwen2", "licenses": ["Apache-2.0"]},
            "config": {"format": "safetensors"},
            "modelfs": {"type": "layers", "diffIds": [digest_of(b"w")]},
        }
    )
    layer = {
        "mediaType": "application/vnd.cncf.model.weight.v1.raw",
        "digest": digest_of(b"w"),
        "size": 1,
        "annotations": {FILEPATH: "model.safetensors"},
    }
    manifest = {
        "schemaVersion": 2,
        "config": {"mediaType": "x/y", "digest": digest_of(config), "size": len(config)},
        "layers": [layer],
    }
    with library.draft() as draft:
        draft.blobs.add_bytes(config)
        draft.blobs.add_bytes(b"w")
        version = draft.publish_manifest(canonical_json(manifest), NAME)
    assert (version.metadata.architecture, version.metadata.license) == ("qwen2", "Apache-2.0")
    assert library.card(version) == ""
    assert library.lineage(version) == []


@pytest.mark.parametrize("size", [None, 2])
def test_a_manifest_whose_blobs_are_missing_or_differ_is_refused(library: Library, size: int | None) -> None:
    with library.draft() as draft:
        config = draft.blobs.add_bytes(b'{"descriptor":{},"config":{}}')
        if size is not None:
            draft.blobs.add_bytes(b"x")
        layer = Descriptor("x/y", digest_of(b"x"), size or 1, {FILEPATH: "a"})
        with pytest.raises(IntegrityError):
            draft.publish_manifest(Manifest(config, (layer,)).to_bytes(), NAME)
    assert library.names() == []


def test_a_draft_with_a_key_survives_a_failure_and_is_taken_up_again(library: Library) -> None:
    with pytest.raises(RuntimeError), library.draft("pull-x") as draft:
        (draft.directory / "part").write_bytes(b"half")
        raise RuntimeError
    with library.draft("pull-x") as draft:
        assert (draft.directory / "part").read_bytes() == b"half"
    with library.draft("pull-x") as draft:
        assert not (draft.directory / "part").exists()


def test_drafts_with_one_key_wait_for_each_other(library: Library) -> None:
    order: list[str] = []
    entered = threading.Event()

    def second() -> None:
        entered.wait()
        with library.draft("same"):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with library.draft("same"):
        entered.set()
        time.sleep(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_waiting_for_a_draft_ends(library: Library) -> None:
    with library.draft("same"), pytest.raises(Unavailable, match="same"), library.draft("same", timeout=0.2):
        pytest.fail("two drafts at once")


@pytest.mark.parametrize("key", ["", "../x", ".hidden", "a/b", "x" * 101])
def test_keys_are_folder_names(library: Library, key: str) -> None:
    with pytest.raises(ValueError, match="key"), library.draft(key):
        pass


def test_threads_add_to_one_draft(library: Library) -> None:
    with library.draft() as draft:

        def add(number: int) -> Callable[[], None]:
            return lambda: [draft.add_bytes(f"{number}/{index}", b"%d" % (index % 3)) for index in range(10)] and None

        threads = [threading.Thread(target=add(number)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        version = draft.publish(NAME, Metadata())
    assert len(version.paths) == 41
    assert library.verify().ok
