import json
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmasos.library.kind import Kind
from llmasos.library.metadata import Lineage, LineageInput, Metadata
from llmasos.library.reference import Reference
from llmasos.library.store import Library

HEADER = json.dumps({"w": {"dtype": "U8", "shape": [5000], "data_offsets": [0, 5000]}}).encode()
WEIGHTS = struct.pack("<Q", len(HEADER)) + HEADER + b"w" * 5000

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    for variable in [name for name in os.environ if name.startswith("LLMASOS_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("LLMASOS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LLMASOS_LANG", "en")
    opened = Library(tmp_path / "home")
    yield opened
    opened.close()


@pytest.fixture
def run(library: Library, llmasos: Run) -> Run:
    """``run("show", "a")`` -> exit code, standard output, standard error; in this library."""
    return llmasos


@pytest.fixture
def filled(library: Library) -> Library:
    """A base, an adapter of it, and a data set."""
    with library.draft() as draft:
        draft.add_bytes("config.json", b"{}")
        draft.add_bytes("model.safetensors", WEIGHTS)
        base = draft.publish(
            Reference.parse("base:v1"),
            Metadata(
                architecture="llama",
                task_family="causal",
                parameters=134_515_008,
                context_length=8192,
                languages=["en", "fr"],
                license="Apache-2.0",
                precision="bfloat16",
                chat_template=True,
                metrics={"accuracy": 0.51234567},
                description="A small model.",
            ),
            lineage=Lineage(step="pull", source="pypi:somewhere==1"),
        )
    with library.draft() as draft:
        draft.add_bytes("adapter_model.safetensors", struct.pack("<Q", 2) + b"{}")
        draft.publish(
            Reference.parse("my/adapter"),
            Metadata(kind=Kind.ADAPTER, base=base.digest, data=["my/data:v1"]),
            lineage=Lineage(step="train", inputs=[LineageInput(role="base", digest=base.digest, reference="base:v1")]),
        )
    with library.draft() as draft:
        draft.add_bytes("train.jsonl", b"{}")
        draft.publish(Reference.parse("my/data:v1"), Metadata(kind=Kind.DATASET), card="---\nlicense: mit\n---\nRows.")
    return library


def parsed(result: tuple[int, str, str]) -> Any:
    code, out, _ = result
    assert code == 0
    return json.loads(out)


def test_list(run: Run, filled: Library) -> None:
    code, out, _ = run("list")
    assert code == 0
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["Name", "my/data:v1", "my/adapter:latest", "base:v1"]
    assert "llama" in lines[3]
    assert "135M" in lines[3]
    assert "bfloat16" in lines[3]
    rows = parsed(run("list", "--json"))
    assert rows[2]["names"] == ["base:v1"]
    assert rows[2]["parameters"] == 134_515_008
    assert rows[2]["license"] == "Apache-2.0"
    assert rows[2]["digest"] == filled.digest_of("base:v1")
    assert [row["names"] for row in parsed(run("list", "--kind", "dataset", "--json"))] == [["my/data:v1"]]
    assert [row["names"] for row in parsed(run("list", "my/*", "--json"))] == [["my/data:v1"], ["my/adapter:latest"]]
    code, out, err = run("list", "nothing*")
    assert (code, out) == (0, "")
    assert "matches" in err


def test_list_of_an_empty_library_says_what_to_do(run: Run) -> None:
    code, out, err = run("list")
    assert (code, out) == (0, "")
    assert "llmasos pull" in err
    assert parsed(run("list", "--json")) == []


def test_versions_without_a_name_are_listed_on_request(run: Run, filled: Library) -> None:
    old = filled.digest_of("base:v1")
    filled.tag("my/data:v1", "base:v1")
    assert old not in {row["digest"] for row in parsed(run("list", "--json"))}
    assert old in {row["digest"] for row in parsed(run("list", "--all", "--json"))}
    _, out, _ = run("list", "--all")
    assert old.removeprefix("sha256:")[:12] in out


def test_an_unknown_kind_is_refused(run: Run) -> None:
    code, _, err = run("list", "--kind", "modell")
    assert code == 2
    assert "steering-vector" in err


def test_show(run: Run, filled: Library) -> None:
    code, out, _ = run("show", "base:v1")
    assert code == 0
    for part in (
        "base:v1",
        filled.digest_of("base:v1"),
        "llama",
        "causal",
        "134,515,008",
        "8,192 tokens",
        "en, fr",
        "Apache-2.0",
        "accuracy 0.5123",
        "pypi:somewhere==1",
        "A small model.",
        "model.safetensors",
        "5.0 KiB",
    ):
        assert part in out, part
    data = parsed(run("show", "base:v1", "--json"))
    assert data["architecture"] == "llama"
    assert data["context_length"] == 8192
    assert data["languages"] == ["en", "fr"]
    assert data["source"] == "pypi:somewhere==1"
    assert [file["path"] for file in data["files"]] == ["README.md", "config.json", "model.safetensors"]
    assert data["metrics"] == {"accuracy": 0.51234567}
    _, out, _ = run("show", "my/adapter")
    assert "base:v1 (sha256:" in out
    assert "my/data:v1" in out


def test_show_of_something_unknown(run: Run, filled: Library) -> None:
    code, out, err = run("show", "bsae:v1")
    assert (code, out) == (3, "")
    assert "base:v1" in err
    code, out, _ = run("show", "bsae:v1", "--json")
    assert code == 3
    error = json.loads(out)["error"]
    assert error["code"] == "not_found"
    assert "base:v1" in error["hint"]
    assert run("show", "BASE")[0] == 2


def test_tag_and_rm(run: Run, filled: Library) -> None:
    digest = filled.digest_of("base:v1")
    code, out, _ = run("tag", "base:v1", "base")
    assert (code, out.strip()) == (0, f"base:latest -> {digest}")
    assert parsed(run("tag", digest, "n/other", "--json")) == {
        "name": "n/other:latest",
        "digest": digest,
        "names": ["base:latest", "base:v1", "n/other:latest"],
    }
    code, out, _ = run("rm", "base", "n/other")
    assert code == 0
    assert out.splitlines() == ["removed base:latest", "removed n/other:latest"]
    code, _, err = run("rm", "base:v1")
    assert code == 2
    assert "my/adapter:latest" in err
    removed = parsed(run("rm", "base:v1", "--force", "--json"))
    assert (removed["names"], removed["versions"]) == (["base:v1"], [digest])
    assert removed["freed"] > 5000


def test_rm_of_several_with_an_unknown_one_removes_nothing(run: Run, filled: Library) -> None:
    assert run("rm", "my/data:v1", "nothing")[0] == 3
    assert filled.has("my/data:v1")


def test_verify_and_gc(run: Run, filled: Library) -> None:
    code, out, _ = run("verify")
    assert code == 0
    assert "0 problem(s)" in out
    version = filled.resolve("base:v1")
    path = filled.blobs.path(version.manifest.files["model.safetensors"].digest)
    path.chmod(0o644)
    path.write_bytes(b"v" * len(WEIGHTS))
    code, out, err = run("verify", "base:v1")
    assert code == 4
    assert "model.safetensors" in out
    assert "--force" in err
    code, out, _ = run("verify", "--json")
    assert code == 4
    report = json.loads(out)
    assert report["ok"] is False
    assert report["problems"][0]["trouble"] == "damaged"
    assert report["problems"][0]["versions"] == ["base:v1"]
    filled.remove("my/adapter")
    filled.tag("my/data:v1", "base:v1")
    code, out, _ = run("gc", "--dry-run")
    assert code == 0
    assert out.startswith("would remove 1 version(s)")
    assert parsed(run("gc", "--json"))["versions"] == [version.digest]
    code, out, _ = run("gc")
    assert out.startswith("removed 0 version(s), 0 blob(s)")
    assert run("verify")[0] == 0


def test_card(run: Run, filled: Library) -> None:
    code, out, _ = run("card", "my/data:v1")
    assert (code, out) == (0, "---\nlicense: mit\n---\nRows.")
    data = parsed(run("card", "my/data:v1", "--json"))
    assert (data["head"], data["body"]) == ({"license": "mit"}, "Rows.")


def test_lineage(run: Run, filled: Library) -> None:
    code, out, _ = run("lineage", "my/adapter")
    assert code == 0
    assert out.splitlines()[0].startswith("my/adapter:latest @")
    assert "└─ base: base:v1 @" in out
    assert "[pull: pypi:somewhere==1]" in out
    data = parsed(run("lineage", "base:v1", "--json"))
    assert data["inputs"]["nodes"] == []
    assert [node["name"] for node in data["users"]["nodes"]] == ["my/adapter:latest"]


def test_diff(run: Run, filled: Library) -> None:
    code, out, _ = run("diff", "my/adapter", "my/data:v1")
    assert code == 0
    assert "kind: adapter -> dataset" in out
    assert "- adapter_model.safetensors (10 B)" in out
    assert "+ train.jsonl (2 B)" in out
    assert "~ README.md" in out
    data = parsed(run("diff", "base:v1", "base:v1", "--json"))
    assert (data["metadata"], data["files"], data["tensors"], data["equal_files"]) == ([], [], [], 3)
    assert "the versions are equal" in run("diff", "base:v1", "base:v1")[1]


def test_damaged_content_is_refused(run: Run, filled: Library) -> None:
    digest = filled.digest_of("base:v1")
    path = filled.blobs.path(digest)
    path.chmod(0o644)
    path.write_bytes(b"{}")
    code, _, err = run("show", "base:v1")
    assert code == 4
    assert digest in err


def test_chinese(run: Run, filled: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMASOS_LANG", "zh")
    assert "名称" in run("list")[1].splitlines()[0]
    assert "没有" in run("show", "zzzzzzzzz")[2]
