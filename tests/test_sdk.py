from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import llmasos
import tiny_models
from llmasos import progress
from llmasos.errors import (
    IntegrityError,
    InvalidReference,
    MissingDependency,
    NotFound,
    OutOfMemory,
    Unsupported,
)
from llmasos.library import acquire
from llmasos.library.metadata import Metadata
from llmasos.library.reference import Reference
from llmasos.library.store import Library
from llmasos.progress import Event


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build("distilbert_classifier", tmp_path_factory.mktemp("sdk") / "model")


def publish(folder: Path, name: str, **metadata: object) -> None:
    with Library().draft() as draft:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            draft.add_file(str(file.relative_to(folder)), file)
        draft.publish(Reference.parse(name), Metadata.model_validate(metadata, strict=False))


def test_the_package_imports_nothing_heavy() -> None:
    code = "import llmasos, sys; llmasos.load; print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_the_package_offers() -> None:
    assert {"load", "Model", "Library", "__version__"} <= set(dir(llmasos))
    assert llmasos.Library is Library
    with pytest.raises(AttributeError, match="laod"):
        _ = llmasos.laod


def test_a_model_of_the_library(folder: Path) -> None:
    publish(folder, "team/mood:v1", labels=["bad", "good"], license="MIT")
    events: list[Event] = []
    with progress.reporting(events.append):
        model = llmasos.load("team/mood:v1")
    assert model.reference == "team/mood:v1"
    assert model.metadata.license == "MIT"
    assert model.labels == ["bad", "good"], "names of the library win over LABEL_0"
    assert model.classify("This is a great movie!").label in ("bad", "good")
    assert {event.label for event in events} >= {"check files", "load team/mood:v1"}
    assert {event.kind for event in events} <= {"started", "progress", "finished"}


def test_a_folder_is_used_where_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for reference in (folder, str(folder), f"file:{folder}"):
        assert llmasos.load(reference).capabilities == {"classify", "tokenize"}
    monkeypatch.chdir(folder.parent)
    assert llmasos.load("./model").reference == "./model"
    assert Library().names() == []


def test_paths_that_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        llmasos.load(tmp_path / "nowhere")
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(Unsupported) as caught:
        llmasos.load(tmp_path / "model.gguf")
    assert "llmasos import" in str(caught.value.hint)


def test_a_flipped_bit_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(folder, "mood")
    library = Library()
    version = library.resolve("mood")
    digest = version.manifest.files["model.safetensors"].digest
    blob = library.blobs.path(digest)
    blob.chmod(0o644)
    data = bytearray(blob.read_bytes())
    data[-5] ^= 1
    blob.write_bytes(data)
    with pytest.raises(IntegrityError, match=digest[:15]):
        llmasos.load("mood")


def test_another_kind_of_artefact_is_refused(folder: Path) -> None:
    publish(folder, "numbers", kind="dataset")
    with pytest.raises(Unsupported, match="dataset"):
        llmasos.load("numbers")


class Sources:
    """Stands in for the network: remembers what was asked for, and has one model."""

    def __init__(self, folder: Path, has: str) -> None:
        self.asked: list[str] = []
        self._folder = folder
        self._has = has

    def ensure(self, reference: str, *, library: Library, accept_license: bool = False) -> object:
        self.asked.append(reference)
        if not reference.startswith("hf:"):
            Reference.parse(reference)  # refuses capital letters, as the real one does
        if reference != self._has:
            raise NotFound(f"nothing is called {reference}", hint="look elsewhere")
        publish(self._folder, "found")
        return library.resolve("found")


@pytest.mark.parametrize("name", ["textattack/bert-base-uncased-SST-2", "google/flan-t5.v1_1"])
def test_a_plain_organisation_and_name_falls_to_hugging_face(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = Sources(folder, f"hf:{name}")
    monkeypatch.setattr(acquire, "ensure", sources.ensure)
    assert llmasos.load(name).classify("This is a great movie!").label
    assert sources.asked == [name, f"hf:{name}"]


@pytest.mark.parametrize("reference", ["plain", "org/name:tag", "a/b/c", "hf:org/other"])
def test_other_names_do_not(reference: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = Sources(folder, "something else")
    monkeypatch.setattr(acquire, "ensure", sources.ensure)
    with pytest.raises((NotFound, InvalidReference), match=reference):
        llmasos.load(reference)
    assert sources.asked == [reference]


def test_what_hugging_face_lacks_too_is_reported_as_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acquire, "ensure", Sources(folder, "something else").ensure)
    with pytest.raises(NotFound, match="called org/name"):
        llmasos.load("org/name")


def test_missing_packages_are_named_before_anything_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else find(name, *rest))
    with pytest.raises(MissingDependency, match="torch") as caught:
        llmasos.load("anything")
    assert "llmasos[local]" in str(caught.value.hint)


def test_a_model_that_cannot_fit_is_refused_with_the_estimate(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmasos import hardware

    monkeypatch.setattr(hardware, "memory", lambda: hardware.Memory(total=2**30, available=2**20, limit=None))
    with pytest.raises(OutOfMemory) as caught:
        llmasos.load(folder)
    assert caught.value.available == 2**20
    assert caught.value.needed > 2**20
    assert "MiB" in caught.value.message


def test_threads_and_number_format(folder: Path) -> None:
    import torch

    from llmasos.errors import InvalidRequest

    before = torch.get_num_threads()
    try:
        assert llmasos.load(folder, threads=1, dtype="bfloat16").dtype == "bfloat16"
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    with pytest.raises(InvalidRequest, match="float33"):
        llmasos.load(folder, dtype="float33")
    with pytest.raises(InvalidRequest, match="tpu"):
        llmasos.load(folder, device="tpu")


def test_format_of_the_cache(folder: Path, tmp_path: Path) -> None:
    from llmasos.engine.backend import EngineBackend
    from llmasos.errors import InvalidRequest, Unsupported

    llama = tiny_models.build("llama", tmp_path / "llama")
    sizes = []
    for asked, found in (("int8", "int8"), ("bfloat16", "bfloat16"), ("auto", "float32")):
        with llmasos.load(llama, dtype="float32", cache_dtype=asked) as model:
            assert isinstance(model.backend, EngineBackend)
            assert model.backend.cache_dtype == found
            sizes.append(model.backend.engine.limits.bytes_per_token)
            assert len(model.generate("abc", max_tokens=3, temperature=0, ignore_eos=True).token_ids) == 3
    assert sizes == sorted(sizes) and len(set(sizes)) == 3
    with pytest.raises(InvalidRequest, match="'int7' is not a format of the key-value cache"):
        llmasos.load(llama, cache_dtype="int7")
    with pytest.raises(Unsupported, match="cache_dtype = int8"):  # a classifier keeps nothing
        llmasos.load(folder, cache_dtype="int8")


def test_code_in_a_repository_is_not_run(folder: Path, tmp_path: Path) -> None:
    from llmasos.errors import UnsafeContent

    hostile = Path(shutil.copytree(folder, tmp_path / "hostile"))
    mark = tmp_path / "mark"
    (hostile / "modeling_x.py").write_text(f"open({str(mark)!r}, 'w')\nclass X: pass\n", encoding="utf-8")
    names = dict.fromkeys(("AutoConfig", "AutoModel", "AutoModelForSequenceClassification"), "modeling_x.X")
    tiny_models.change_json(hostile / "config.json", auto_map=names, architectures=["XForSequenceClassification"])
    with pytest.raises(UnsafeContent):
        llmasos.load(hostile)
    tiny_models.change_json(hostile / "config.json", model_type="unheard_of")
    with pytest.raises(UnsafeContent):
        llmasos.load(hostile)
    assert not mark.exists()
