"""Whole preparations: the same result however they run, and after being killed."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import llmasos
from llmasos.data.output.catalogue import data_sets, read_split
from llmasos.data.prepare import Prepared
from llmasos.data.row import Label, Text
from llmasos.errors import InvalidRecipe, InvalidRequest, Unavailable
from llmasos.library.store import Library

pytestmark = pytest.mark.integration  # by its time: seconds, not milliseconds


def write_lines(path: Path, records: list[Any]) -> None:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for part in range(3):
        write_lines(
            folder / f"{part}.jsonl",
            [
                {"text": f"Row {number % 45} of part {part if number % 2 else 0}.", "label": str(number % 3)}
                for number in range(50)
            ],
        )
    monkeypatch.chdir(tmp_path)
    return folder


RECIPE: dict[str, Any] = {
    "kind": "data",
    "name": "me/test",
    "sources": [{"path": "corpus", "name": "c"}],
    "steps": [{"step": "clean_whitespace"}, {"step": "exact_duplicates"}],
    "split": {"parts": {"validation": 0.1}, "stratify_by": "label"},
    "execution": {"workers": 1, "shard_megabytes": 0.002},
}


def prepare(**changes: Any) -> Prepared:
    return llmasos.prepare({**RECIPE, **changes})


def rows_of(prepared: Prepared, split: str = "train") -> list[Any]:
    return [row.sample for row in read_split(prepared.version.digest, split)]


def test_the_version_is_complete(corpus: Path) -> None:
    prepared = prepare(license="CC0-1.0", description="A test.")
    totals = prepared.facts["totals"]
    assert totals["read"] == 150
    assert totals["read"] == totals["kept"] + totals["rejected"]
    assert prepared.facts["splits"]["train"] + prepared.facts["splits"]["validation"] == totals["kept"]
    library = Library()
    version = library.resolve("me/test")
    files = version.manifest.files
    assert set(files) == {
        "README.md", "data/train-00000.parquet", "data/validation-00000.parquet", "rejected/rejected.jsonl.gz",
        "report.json",
    }  # fmt: skip
    rejected = [
        json.loads(line)
        for line in gzip.decompress(library.blobs.read(files["rejected/rejected.jsonl.gz"].digest)).splitlines()
    ]
    assert len(rejected) == totals["rejected"]
    assert {item["reason"] for item in rejected} == set(prepared.facts["steps"][3]["rejected"])
    (step,) = library.lineage(version)
    assert step.step == "prepare"
    assert len(step.inputs) == 3
    (found,) = data_sets(library)
    assert (found.name, found.kind, found.rows) == ("me/test:latest", "label", totals["kept"])
    assert len(rows_of(prepared)) == prepared.facts["splits"]["train"]
    assert all(isinstance(sample, Label) for sample in rows_of(prepared))


def test_hugging_face_tools_read_the_exported_folder(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    from llmasos.data.output.export import export_files

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    prepared = prepare()
    export_files(Library(), prepared.version, tmp_path / "export")
    loaded = datasets.load_dataset(str(tmp_path / "export"))
    assert {name: len(split) for name, split in loaded.items()} == prepared.facts["splits"]
    assert {"text", "label", "id", "origin"} <= set(loaded["train"].column_names)


@pytest.mark.parametrize("output", [{"format": "jsonl"}, {"format": "arrow"}, {"shuffle": True, "rows_per_file": 20}])
def test_every_output_holds_the_same_rows(output: dict[str, Any], corpus: Path) -> None:
    plain, other = prepare(), prepare(output=output)
    key = lambda sample: (sample.text, sample.label)  # noqa: E731
    assert sorted(rows_of(plain), key=key) == sorted(rows_of(other), key=key)
    if output.get("shuffle"):
        assert rows_of(plain) != rows_of(other)
    else:
        assert rows_of(plain) == rows_of(other)


@pytest.mark.integration
def test_the_result_does_not_depend_on_workers_or_shards(corpus: Path) -> None:
    output = {"shuffle": True, "rows_per_file": 30}
    digests = {
        prepare(execution={"workers": workers, "shard_megabytes": size}, output=output).version.digest
        for workers, size in ((1, 16), (1, 0.001), (3, 0.002))
    }
    assert len(digests) == 1


def test_another_seed_gives_another_split(corpus: Path) -> None:
    assert rows_of(prepare(seed=1), "validation") != rows_of(prepare(seed=2), "validation")


def test_sources_of_different_kinds_are_refused(corpus: Path, tmp_path: Path) -> None:
    write_lines(tmp_path / "t.jsonl", [{"text": "only text"}])
    with pytest.raises(InvalidRecipe, match="c: label, t: text"):
        prepare(sources=[*RECIPE["sources"], {"path": "t.jsonl"}], split=None)


def test_mixture_names_are_checked(corpus: Path) -> None:
    with pytest.raises(InvalidRecipe, match=r"mix\.weights names 'd'"):
        prepare(mix={"weights": {"d": 2}})


def test_nothing_left_is_an_error_that_says_where_rows_went(corpus: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"no row is left: filter_length rejected 150 of 150"):
        prepare(steps=[{"step": "filter_length", "least": 1000}])


def test_a_data_set_of_the_library_is_a_source(corpus: Path) -> None:
    first = prepare()
    again = prepare(name="me/again", sources=[{"source": "library", "reference": "me/test"}], steps=[], split=None)
    assert rows_of(again) == rows_of(first)
    (step,) = Library().lineage(again.version)
    assert [digest for _, digest, _ in step.inputs] == [first.version.digest]


def test_errors_in_workers_reach_the_caller(corpus: Path) -> None:
    with pytest.raises(InvalidRecipe, match=r"\d\.jsonl:\d+: the row has nothing named 'author'"):
        prepare(
            split={"parts": {"test": 0.1}, "group_by": "author"}, execution={"workers": 2, "shard_megabytes": 0.002}
        )


def test_two_processes_do_not_prepare_the_same(corpus: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from filelock import FileLock

    monkeypatch.setattr("llmasos.data.prepare.fingerprint", lambda *_: "same")
    (home / "data").mkdir(parents=True)
    with FileLock(home / "data" / "same.lock"), pytest.raises(Unavailable, match="another process"):
        prepare()


SCRIPT = """
import json, sys
import llmasos
prepared = llmasos.prepare(json.loads(sys.argv[1]))
print(prepared.version.digest, prepared.resumed)
"""


def start(recipe: dict[str, Any]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, json.dumps(recipe)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True, env=os.environ.copy())


@pytest.mark.integration
@pytest.mark.parametrize("stage", ["00-rows", "01-rows"])
def test_kill_in_the_middle_and_start_again(stage: str, corpus: Path, home: Path) -> None:
    """After kill -9 of all its processes, the same command gives the same output and does no finished part again."""
    write_lines(
        corpus / "more.jsonl", [{"text": f"Some more text, number {number}", "label": "x"} for number in range(9000)]
    )
    steps = [{"step": "repair_unicode"}, {"step": "exact_duplicates"}, {"step": "clean_whitespace"}]
    recipe = {**RECIPE, "steps": steps, "execution": {"workers": 1, "shard_megabytes": 0.01}}  # fmt: skip
    process = start(recipe)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        marks = list(home.glob(f"data/*/{stage}/tasks/completions/*"))
        if len(marks) >= 3:
            break
        time.sleep(0.002)
    assert process.poll() is None, "it ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = {
        path: path.stat().st_mtime_ns
        for path in home.glob(f"data/*/{stage}/index/*.npy")
        if not path.name.startswith(".")
    }
    finished = sum(1 for _ in home.glob("data/*/*/tasks/completions/*")) + sum(
        1 for _ in home.glob("data/*/*-tasks/*/completions/*")
    )
    assert not data_sets(Library())
    resumed = llmasos.prepare({**recipe, "name": "me/test"}, keep_work=True)
    assert resumed.resumed == finished >= 3
    marked = {path.stem for path in home.glob(f"data/*/{stage}/tasks/completions/*")}
    unchanged = [path for path, moment in done.items() if path.exists() and path.stat().st_mtime_ns == moment]
    assert len(unchanged) >= 3, "finished parts were done again"
    assert marked
    assert llmasos.prepare({**recipe, "seed": 42}).version.digest == resumed.version.digest
    fresh = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps({**recipe, "execution": {"workers": 1, "shard_megabytes": 1}})],
        capture_output=True, text=True, check=True, env={**os.environ, "LLMASOS_HOME": str(home / "other")},
    )  # fmt: skip
    assert fresh.stdout.split()[0] == resumed.version.digest


def test_planted_lines_keep_their_raw_text(corpus: Path) -> None:
    (corpus / "broken.jsonl").write_text('{"text": "fine", "label": "a"}\n{"text": "cut off\n', encoding="utf-8")
    prepared = prepare()
    (example,) = prepared.facts["steps"][0]["rejections"]["broken_json"]
    assert example["origin"] == "broken.jsonl:2"
    assert example["text"] == '{"text": "cut off'


def test_plain_text_needs_no_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("One document.\n")
    monkeypatch.chdir(tmp_path)
    prepared = llmasos.prepare({"kind": "data", "sources": [{"path": "a.txt"}]})
    assert rows_of(prepared) == [Text("One document.")]
    assert prepared.facts["sources"][0]["recognised"] == "plain text"


def test_forgotten_work_is_swept(corpus: Path, home: Path) -> None:
    for name, age in (("old", 40), ("new", 1)):
        (home / "data" / name / "rows").mkdir(parents=True)
        moment = time.time() - age * 24 * 3600
        os.utime(home / "data" / name, (moment, moment))
    prepare(steps=[], split=None)
    assert sorted(path.name for path in (home / "data").iterdir()) == ["new"]


def test_splits_named_in_the_manner_of_the_hub(corpus: Path, tmp_path: Path) -> None:
    from llmasos.library.kind import Kind
    from llmasos.library.metadata import Metadata
    from llmasos.library.reference import Reference

    with Library().draft() as draft:
        for number in range(2):
            draft.add_bytes(f"data/train-{number:05d}-of-00002.jsonl", json.dumps({"text": f"t{number}"}).encode())
        draft.add_bytes("data/test-extra-00000-of-00001.jsonl", b'{"text": "other"}')
        draft.publish(Reference.parse("a/hub"), Metadata(kind=Kind.DATASET))
    assert [row.sample for row in read_split("a/hub")] == [Text("t0"), Text("t1")]
    assert [row.sample for row in read_split("a/hub", "test-extra")] == [Text("other")]


@pytest.mark.integration
def test_interrupting_ends_everything_quickly(corpus: Path, home: Path) -> None:
    write_lines(
        corpus / "more.jsonl", [{"text": f"Some more, number {number}", "label": "x"} for number in range(30_000)]
    )
    recipe = {**RECIPE, "execution": {"workers": 2, "shard_megabytes": 0.01}}
    (corpus.parent / "recipe.yaml").write_text(json.dumps(recipe))
    command = [sys.executable, "-m", "llmasos.cli.app", "data", "prepare", "recipe.yaml"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=corpus.parent)
    deadline = time.monotonic() + 60
    while not list(home.glob("data/*/00-rows/tasks/completions/*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "Interrupted." in errors
