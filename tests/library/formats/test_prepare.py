"""From any source to one kind of folder: what is taken, converted, left out and refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import tiny_models
from gguf_files import byte_level_vocab, tiny_model, write_gguf
from llmasos import progress
from llmasos.errors import (
    AlreadyExists,
    IntegrityError,
    InvalidRequest,
    LLMasOSError,
    NotFound,
    UnsafeContent,
    Unsupported,
)
from llmasos.library.formats.detect import detect
from llmasos.library.formats.prepare import Prepared, prepare
from llmasos.library.kind import Kind
from torch_files import save


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The folder of a small complete model."""
    return tiny_models.build("llama", tmp_path / "source")


def run(source: Path, **options: Any) -> Prepared:
    return prepare(source, source.parent / "prepared", **options)


def put(folder: Path, **files: str) -> None:
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


def pickled(folder: Path) -> Path:
    """Turn the weights of a folder into pytorch_model.bin."""
    save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


# --- copying ---------------------------------------------------------------------------------------------------------


def test_a_transformers_folder_is_copied_as_it_is(source: Path) -> None:
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    prepared = run(source)
    assert {path.name: path.read_bytes() for path in prepared.directory.iterdir()} == before
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before
    assert prepared.converted is None
    assert prepared.skipped == ()
    assert prepared.files == tuple(sorted(before))
    assert prepared.detected.kind is Kind.MODEL
    assert (prepared.detected.format, prepared.detected.family) == ("transformers", "causal")


def test_own_files_may_be_used_up(source: Path) -> None:
    weights = (source / "model.safetensors").stat().st_ino
    prepared = run(source, consume=True)
    assert (prepared.directory / "model.safetensors").stat().st_ino == weights
    assert not (source / "model.safetensors").exists()


def test_what_is_not_needed_is_left_out_and_named(source: Path) -> None:
    put(
        source, README_dot_md="# hi", LICENSE="free", modeling_evil_dot_py="import os", setup_dot_sh="rm",
        training_args_dot_bin="x", optimizer_dot_pt="x", tf_model_dot_h5="x", notes_dot_docx="x", _dot_git__config="x",
        onnx__model_dot_onnx="x", checkpoint_dash_5__model_dot_safetensors="x",
    )  # fmt: skip
    (source / "checkpoint_dash_5").rename(source / "checkpoint-5")
    prepared = run(source)
    assert {"README.md", "LICENSE", "config.json", "model.safetensors"} <= set(prepared.files)
    reasons = {item.path: item.reason for item in prepared.skipped}
    assert reasons == {
        ".git": "hidden",
        "checkpoint-5/": "another copy of the model, or nothing of it",
        "modeling_evil.py": "program code is never imported",
        "notes.docx": "not needed",
        "onnx/": "another copy of the model, or nothing of it",
        "optimizer.pt": "may contain program code",
        "setup.sh": "program code is never imported",
        "tf_model.h5": "other weights",
        "training_args.bin": "may contain program code",
    }
    assert not set(reasons) & set(prepared.files)


def test_safetensors_go_before_a_pickle_of_the_same_model(source: Path) -> None:
    (source / "pytorch_model.bin").write_bytes(b"never looked at")
    prepared = run(source)
    assert prepared.converted is None
    assert [item.path for item in prepared.skipped] == ["pytorch_model.bin"]


def test_shards_are_taken_by_their_index(source: Path) -> None:
    shard(source)
    save_file({"x": torch.ones(1)}, source / "consolidated.safetensors")
    prepared = run(source)
    assert {"model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json"} <= set(prepared.files)
    assert [item.path for item in prepared.skipped] == ["consolidated.safetensors"]
    transformers.AutoModelForCausalLM.from_pretrained(prepared.directory)


def shard(folder: Path, weight_map: dict[str, Any] | None = None) -> None:
    """Split model.safetensors in two."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    halves = {"model-1.safetensors": names[: len(names) // 2], "model-2.safetensors": names[len(names) // 2 :]}
    for name, part in halves.items():
        save_file({key: tensors[key] for key in part}, folder / name, metadata={"format": "pt"})
    found = {key: name for name, part in halves.items() for key in part}
    index = {"metadata": {}, "weight_map": {**found, **(weight_map or {})}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("name", "error"),
    [("../../evil.safetensors", UnsafeContent), ("/etc/passwd", UnsafeContent), ("gone.safetensors", IntegrityError)],
)
def test_an_index_cannot_name_files_elsewhere(source: Path, name: str, error: type, tmp_path: Path) -> None:
    (tmp_path / "evil.safetensors").write_text("x")
    shard(source, {"extra": name})
    with pytest.raises(error):
        run(source)


def test_a_single_file_of_another_name_is_renamed(source: Path) -> None:
    (source / "model.safetensors").rename(source / "pretty-name-v2.safetensors")
    prepared = run(source)
    assert "model.safetensors" in prepared.files
    transformers.AutoModelForCausalLM.from_pretrained(prepared.directory)


def test_several_files_without_an_index_are_refused(source: Path) -> None:
    (source / "model.safetensors").rename(source / "a.safetensors")
    save_file({"x": torch.ones(1)}, source / "b.safetensors")
    with pytest.raises(Unsupported, match=r"a\.safetensors, b\.safetensors"):
        run(source)


def test_truncated_safetensors_are_refused(source: Path) -> None:
    path = source / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(IntegrityError, match=r"model\.safetensors"):
        run(source)


def test_modules_of_sentence_transformers_keep_their_folders(tmp_path: Path) -> None:
    source = tiny_models.build("sentence_transformer", tmp_path / "source")
    put(source, modules_dot_json="[]", **{"1_Pooling__config_dot_json": "{}", "2_Dense__config_dot_json": "{}"})
    save({"linear.weight": torch.ones(2, 2)}, source / "2_Dense" / "pytorch_model.bin")
    prepared = run(source)
    assert {"modules.json", "1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"} <= set(
        prepared.files
    )
    assert "2_Dense/pytorch_model.bin" not in prepared.files
    assert prepared.metadata.task_family == "embedder"


# --- links -----------------------------------------------------------------------------------------------------------


def test_links_that_leave_the_folder_are_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("{}")
    (source / "notes.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(UnsafeContent, match=r"notes\.json is a link"):
        run(source)


def test_links_of_the_hugging_face_cache_are_followed(source: Path, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "cache" / "blobs", tmp_path / "cache" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for path in source.iterdir():
        path.rename(blobs / f"hash-{path.name}")
        (snapshot / path.name).symlink_to(Path("..", "..", "blobs", f"hash-{path.name}"))
    prepared = prepare(snapshot, tmp_path / "prepared", consume=True)
    assert not any(path.is_symlink() for path in prepared.directory.rglob("*"))
    assert (blobs / "hash-model.safetensors").exists()  # what a link leads to is not ours


def test_other_things_than_files_are_left_out(source: Path) -> None:
    os.mkfifo(source / "pipe.json")
    assert [item.reason for item in run(source).skipped] == ["not a regular file"]


def test_names_that_no_artefact_may_have_are_refused(source: Path) -> None:
    (source / "two\nlines.txt").write_text("x")
    with pytest.raises(UnsafeContent, match="not allowed"):
        run(source)


# --- converting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "bert_classifier", "t5", "bart", "marian"])
def test_pickled_models_load_completely(family: str, tmp_path: Path) -> None:
    source = tiny_models.build(family, tmp_path / "source")
    wanted = load_file(source / "model.safetensors")
    prepared = run(pickled(source))
    assert prepared.converted == "torch"
    assert prepared.detected.format == "torch"
    assert not [name for name in prepared.files if name.endswith(".bin")]
    found = load_file(prepared.directory / "model.safetensors")
    assert all(torch.equal(found[name], value) for name, value in wanted.items())
    config = json.loads((prepared.directory / "config.json").read_text())
    model_class = getattr(transformers, config["architectures"][0])
    _, report = model_class.from_pretrained(prepared.directory, output_loading_info=True)
    assert not any(report.values()), report


def test_untied_models_keep_every_name(source: Path) -> None:
    """A checkpoint may share bytes although its model does not tie them again when it is loaded."""
    tiny_models.change_json(source / "config.json", tie_word_embeddings=False)
    tensors = load_file(source / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    (source / "model.safetensors").unlink()
    save(tensors, source / "pytorch_model.bin")
    prepared = run(source)
    assert "lm_head.weight" in load_file(prepared.directory / "model.safetensors")


def test_a_gguf_file_becomes_a_folder_and_is_kept(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", tiny_model("qwen2"), byte_level_vocab("qwen2"))
    before = file.read_bytes()
    (tmp_path / "README.md").write_text("somebody's other document")
    events: list[progress.Event] = []
    with progress.reporting(events.append):
        prepared = prepare(file, tmp_path / "prepared")
    assert prepared.converted == "gguf"
    assert {"config.json", "model.safetensors", "tokenizer.json", "original/tiny.gguf"} <= set(prepared.files)
    assert "README.md" not in prepared.files
    assert (prepared.directory / "original" / "tiny.gguf").read_bytes() == before == file.read_bytes()
    finished = [event.label for event in events if event.kind == "finished"]
    assert "de-quantise tiny.gguf" in finished
    transformers.AutoModelForCausalLM.from_pretrained(prepared.directory)


def test_a_folder_with_a_gguf_file_brings_its_documents(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    write_gguf(source / "tiny.gguf", tiny_model("llama"), byte_level_vocab())
    put(source, README_dot_md="---\nlicense: mit\n---\n", LICENSE="x", other_dot_txt="x")
    prepared = run(source, consume=True)
    assert {"README.md", "LICENSE", "original/tiny.gguf"} <= set(prepared.files)
    assert [item.path for item in prepared.skipped] == ["other.txt"]
    assert prepared.metadata.license == "mit"
    assert not (source / "tiny.gguf").exists()


def test_a_gguf_file_without_ending_gets_one(tmp_path: Path) -> None:
    """Ollama keeps its models as blobs/sha256-..."""
    write_gguf(tmp_path / "sha256:ab.gguf", tiny_model("llama", num_hidden_layers=1), byte_level_vocab())
    file = (tmp_path / "sha256:ab.gguf").rename(tmp_path / "sha256:ab")
    prepared = prepare(file, tmp_path / "prepared")
    assert "original/sha256_ab.gguf" in prepared.files
    assert prepared.metadata.languages == ["en", "zh"]


def test_any_part_of_a_split_model_stands_for_it(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf", tiny_model("llama"), byte_level_vocab(), split_max_tensors=8)
    parts = sorted(tmp_path.glob("m-*.gguf"))
    assert detect(tmp_path).path == parts[0]
    assert detect(parts[1]).architecture == "llama"
    prepared = prepare(tmp_path, tmp_path / "prepared")
    assert {f"original/{path.name}" for path in parts} <= set(prepared.files)
    parts[1].unlink()
    with pytest.raises(IntegrityError, match="is missing"):
        detect(parts[0])


def test_several_gguf_files_have_to_be_named(tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        write_gguf(tmp_path / name, tiny_model("llama", num_hidden_layers=1), byte_level_vocab())
    with pytest.raises(InvalidRequest, match=r"a\.gguf, b\.gguf"):
        detect(tmp_path)


# --- adapters --------------------------------------------------------------------------------------------------------


@pytest.fixture
def adapter(source: Path, tmp_path: Path) -> Path:
    base = transformers.AutoModelForCausalLM.from_pretrained(source)
    model = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    model.save_pretrained(tmp_path / "adapter")
    tiny_models.change_json(tmp_path / "adapter" / "adapter_config.json", base_model_name_or_path="org/base-model")
    return tmp_path / "adapter"


@pytest.mark.parametrize("old", [False, True])
def test_adapters_name_their_base(adapter: Path, old: bool) -> None:
    wanted = load_file(adapter / "adapter_model.safetensors")
    if old:
        save(wanted, adapter / "adapter_model.bin")
        (adapter / "adapter_model.safetensors").unlink()
    prepared = run(adapter)
    assert prepared.detected.kind is Kind.ADAPTER
    assert prepared.detected.base == prepared.metadata.base == "org/base-model"
    assert prepared.metadata.kind is Kind.ADAPTER
    assert (prepared.metadata.architecture, prepared.metadata.task_family) == ("lora", "causal")
    assert prepared.metadata.parameters == sum(value.numel() for value in wanted.values())
    found = load_file(prepared.directory / "adapter_model.safetensors")
    assert all(torch.equal(found[name], value) for name, value in wanted.items())


def test_an_adapter_beside_a_whole_model_is_the_adapter(adapter: Path, source: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (adapter / name).write_bytes((source / name).read_bytes())
    prepared = run(adapter)
    assert prepared.detected.kind is Kind.ADAPTER
    assert "model.safetensors" in {item.path for item in prepared.skipped}


def test_a_merged_model_that_kept_its_adapters_configuration_is_a_model(source: Path) -> None:
    put(source, adapter_config_dot_json="{}")
    assert run(source).detected.kind is Kind.MODEL


def test_a_gguf_file_beside_a_configuration_is_the_model(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    write_gguf(source / "m.gguf", tiny_model("llama", num_hidden_layers=1), byte_level_vocab())
    put(source, config_dot_json="{}")
    assert run(source).converted == "gguf"


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "error", "words"),
    [
        ({}, NotFound, "it is empty"),
        ({"a_dot_txt": "x"}, NotFound, r"holds: a\.txt"),
        ({"config_dot_json": "{}"}, NotFound, "no weights"),
        ({"config_dot_json": "{}", "tf_model_dot_h5": "x"}, Unsupported, "only for TensorFlow"),
        ({"config_dot_json": "[]", "model_dot_safetensors": ""}, IntegrityError, "not a JSON object"),
        ({"config_dot_json": "{", "model_dot_safetensors": ""}, IntegrityError, "not valid JSON"),
        ({"config_dot_json": "[" * 100_000, "model_dot_safetensors": ""}, IntegrityError, "not valid JSON"),
        ({"adapter_config_dot_json": "{}"}, NotFound, "adapter_model"),
    ],
)
def test_folders_without_a_model(files: dict[str, str], error: type, words: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    put(source, **files)
    with pytest.raises(error, match=words) as caught:
        run(source)
    assert isinstance(caught.value, LLMasOSError)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["w.bin", "w.safetensors", "w.pt", "w.txt"])
def test_single_files_that_are_no_model(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"data")
    with pytest.raises(Unsupported):
        detect(tmp_path / name)


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        detect(tmp_path / "gone")


def test_the_destination_must_be_empty(source: Path) -> None:
    put(source.parent / "prepared", x_dot_txt="mine")
    with pytest.raises(AlreadyExists):
        run(source)
    assert (source.parent / "prepared" / "x.txt").read_text() == "mine"


def test_looking_needs_no_optional_package(source: Path) -> None:
    """``detect`` and ``describe`` work on a bare installation."""
    code = (
        "import sys\n"
        "for name in ('numpy', 'torch', 'transformers', 'gguf', 'tokenizers', 'safetensors'):\n"
        "    sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "from llmasos.library.formats.prepare import prepare\n"
        "print(prepare(Path(sys.argv[1]), Path(sys.argv[2])).metadata.architecture)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, source, source.parent / "p"], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "llama"
