from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny_models

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    root = tmp_path_factory.mktemp("inference")

    def folder(name: str) -> str:
        path = root / name
        return str(path if path.is_dir() else tiny_models.build(name, path))

    return folder


@pytest.fixture
def lines(tmp_path: Path) -> Callable[[str, str], str]:
    def write(name: str, content: str) -> str:
        (tmp_path / name).write_text(content, encoding="utf-8")
        return str(tmp_path / name)

    return write


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_generate_writes_the_text(llmasos: Run, tiny: Callable[[str], str]) -> None:
    code, text, _ = llmasos("generate", tiny("llama"), "This is", "--max-tokens", "8", "--temperature", "0")
    assert code == 0
    code, document, _ = llmasos(
        "generate", tiny("llama"), "This is", "--max-tokens", "8", "--temperature", "0", "--json"
    )
    result = json.loads(document)
    assert (code, result["text"] + "\n") == (0, text)
    assert result["prompt"] == "This is"
    assert result["model"] == tiny("llama")
    assert result["finish_reason"] == "length"
    assert result["usage"]["completion_tokens"] == 8
    assert result["timings"]["total_seconds"] > 0


def test_options_reach_the_model(llmasos: Run, tiny: Callable[[str], str]) -> None:
    def text(*options: str) -> str:
        return llmasos("generate", tiny("llama"), "This is", "--max-tokens", "12", *options)[1]

    assert text("--temperature", "1.5", "--seed", "1") == text("--temperature", "1.5", "--seed", "1")
    assert text("--temperature", "1.5", "--seed", "1") != text("--temperature", "1.5", "--seed", "2")
    whole = text("--temperature", "0").rstrip("\n")
    assert text("--temperature", "0", "--stop", whole[5:8]) == whole[: whole.index(whole[5:8])] + "\n"
    document = json.loads(text("--json", "--logprobs", "1", "--temperature", "0"))
    assert len(document["logprobs"]) == 12
    assert document["logprobs"][0]["top"][0][0] == document["logprobs"][0]["token_id"]


def test_chat_uses_the_template(llmasos: Run, tiny: Callable[[str], str]) -> None:
    def tokens(*options: str) -> int:
        document = llmasos("generate", tiny("llama"), "Hello", "--max-tokens", "1", "--json", *options)[1]
        return int(json.loads(document)["usage"]["prompt_tokens"])

    assert tokens() < tokens("--chat") < tokens("--system", "be brief")
    code, _, error = llmasos("generate", tiny("qwen2"), "Hello", "--chat")
    assert code == 2
    assert "base model" in error


def test_standard_input(llmasos: Run, tiny: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = llmasos("generate", tiny("t5"), "The house", "--max-tokens", "4")[1]
    for arguments in (["-"], []):
        monkeypatch.setattr(sys, "stdin", io.StringIO("The house\n"))
        assert llmasos("generate", tiny("t5"), *arguments, "--max-tokens", "4")[1] == expected
    monkeypatch.setattr(sys, "stdin", io.StringIO(" \n"))
    code, _, error = llmasos("generate", tiny("t5"), "-")
    assert code == 2
    assert "empty" in error


def test_a_file_becomes_json_lines(llmasos: Run, tiny: Callable[[str], str], lines: Callable[[str, str], str]) -> None:
    path = lines("in.txt", "The house\n\n你好\n")
    code, text, _ = llmasos("generate", tiny("t5"), "--file", path, "--max-tokens", "4")
    assert code == 0
    found = records(text)
    assert [(item["line"], item["prompt"]) for item in found] == [(1, "The house"), (3, "你好")]
    alone = json.loads(llmasos("generate", tiny("t5"), "你好", "--max-tokens", "4", "--json")[1])
    assert found[1]["text"] == alone["text"]
    path = lines("in.jsonl", '{"id": "a", "text": "The house"}\n"你好"\n{"prompt": "x", "id": 7}\n')
    found = records(llmasos("generate", tiny("t5"), "-f", path, "--max-tokens", "4")[1])
    assert [item.get("id") for item in found] == ["a", None, 7]


def test_an_output_file_is_not_overwritten(
    llmasos: Run, tiny: Callable[[str], str], lines: Callable[[str, str], str], tmp_path: Path
) -> None:
    path, target = lines("in.txt", "one\ntwo\n"), tmp_path / "out.jsonl"
    assert llmasos("embed", tiny("sentence_transformer"), "-f", path, "-o", str(target))[:2] == (0, "")
    assert len(records(target.read_text(encoding="utf-8"))) == 2
    code, _, error = llmasos("embed", tiny("sentence_transformer"), "-f", path, "-o", str(target))
    assert code == 2
    assert "--overwrite" in error
    assert llmasos("embed", tiny("sentence_transformer"), "-f", path, "-o", str(target), "--overwrite")[0] == 0
    code, _, error = llmasos("embed", tiny("sentence_transformer"), "-f", path, "-o", str(tmp_path / "no/out"))
    assert code == 3


def test_lines_that_the_model_refuses(
    llmasos: Run, tiny: Callable[[str], str], lines: Callable[[str, str], str]
) -> None:
    path = lines("in.txt", "one\n" + "fox " * 100 + "\nthree\n")
    code, _, error = llmasos("classify", tiny("bert_classifier"), "-f", path)
    assert code == 2
    assert "line 2" in error
    assert "--skip-errors" in error
    code, text, error = llmasos("classify", tiny("bert_classifier"), "-f", path, "--skip-errors")
    assert code == 1
    found = records(text)
    assert [item["line"] for item in found] == [1, 2, 3]
    assert found[1]["error"]["code"] == "context_length_exceeded"
    assert found[0]["label"]
    assert "1 of 3" in error
    code, text, _ = llmasos("classify", tiny("bert_classifier"), "-f", path, "--truncate", "end")
    assert code == 0
    assert records(text)[1]["truncated_tokens"] > 0


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("in.jsonl", "{", "in.jsonl:1"),
        ("in.jsonl", '"ok"\n[1]', "in.jsonl:2"),
        ("in.jsonl", '{"text": "a", "colour": 1}', "colour"),
        ("in.jsonl", '{"text": 5}', "one text"),
        ("in.jsonl", '{"text": "a", "pair": "b"}', "pair"),
        ("in.txt", "\n \n", "no text"),
    ],
)
def test_malformed_files(
    name: str, content: str, problem: str, llmasos: Run, tiny: Callable[[str], str], lines: Callable[[str, str], str]
) -> None:
    code, _, error = llmasos("embed", tiny("sentence_transformer"), "-f", lines(name, content))
    assert code == 2
    assert problem in error


def test_malformed_calls(llmasos: Run, tiny: Callable[[str], str], tmp_path: Path) -> None:
    model = tiny("sentence_transformer")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    for arguments, problem, expected in (
        (("embed", model, "-f", str(tmp_path / "nowhere")), "nowhere", 3),
        (("embed", model, "-f", str(tmp_path)), "folder", 2),
        (("embed", model, "-f", str(tmp_path / "latin.txt")), "UTF-8", 2),
        (("embed", model, "text", "-f", str(tmp_path / "latin.txt")), "not both", 2),
        (("embed", model, "text", "-o", "x"), "--output", 2),
        (("embed", model, "text", "--skip-errors"), "--skip-errors", 2),
        (("generate", model, "text"), "cannot generate", 2),
        (("classify", model, "text"), "cannot classify", 2),
        (("generate", tiny("t5"), "two", "texts"), "quotation marks", 2),
        (("generate", tiny("t5"), "a", "--top-p", "2"), "top_p", 2),
    ):
        code, _, error = llmasos(*arguments)
        assert (code, problem in error) == (expected, True), error


def test_classify(llmasos: Run, tiny: Callable[[str], str]) -> None:
    code, text, _ = llmasos("classify", tiny("bert_classifier"), "This is a great movie!")
    assert code == 0
    assert all(label in text for label in ("negative", "neutral", "positive"))
    code, text, _ = llmasos("classify", tiny("bert_classifier"), "This is a great movie!", "I hated it", "--json")
    document = json.loads(text)
    assert [item["text"] for item in document["results"]] == ["This is a great movie!", "I hated it"]
    for item in document["results"]:
        assert sum(item["scores"].values()) == pytest.approx(1, abs=1e-5)
        assert item["score"] == item["scores"][item["label"]]
    paired = json.loads(llmasos("classify", tiny("bert_classifier"), "a", "--pair", "b", "--json")[1])
    single = json.loads(llmasos("classify", tiny("bert_classifier"), "a", "--json")[1])
    assert paired["results"][0]["pair"] == "b"
    assert paired["results"][0]["scores"] != single["results"][0]["scores"]


def test_pairs_in_files(llmasos: Run, tiny: Callable[[str], str], lines: Callable[[str, str], str]) -> None:
    path = lines("in.jsonl", '{"text": "a", "pair": "b"}\n"a"\n')
    own, default = records(llmasos("classify", tiny("bert_classifier"), "-f", path, "--pair", "c")[1])
    assert (own["pair"], default["pair"]) == ("b", "c")


def test_embed(llmasos: Run, tiny: Callable[[str], str]) -> None:
    code, text, _ = llmasos("embed", tiny("sentence_transformer"), "a fox", "a dog")
    assert code == 0
    assert "16 dimensions" in text
    assert "1.000" in text
    document = json.loads(llmasos("embed", tiny("sentence_transformer"), "a fox", "--dimensions", "4", "--json")[1])
    vector = document["results"][0]["embedding"]
    assert len(vector) == 4
    assert sum(value * value for value in vector) == pytest.approx(1, abs=1e-5)
    raw = json.loads(llmasos("embed", tiny("sentence_transformer"), "a fox", "--no-normalize", "--json")[1])
    assert sum(value * value for value in raw["results"][0]["embedding"]) != pytest.approx(1, abs=1e-3)


def test_tokenize(llmasos: Run, tiny: Callable[[str], str]) -> None:
    code, text, _ = llmasos("tokenize", tiny("bert_classifier"), "great movie")
    assert code == 0
    assert "[CLS]" in text
    document = json.loads(llmasos("tokenize", tiny("bert_classifier"), "great movie", "--json")[1])["results"][0]
    bare = json.loads(llmasos("tokenize", tiny("bert_classifier"), "great movie", "--no-special", "--json")[1])
    assert document["ids"][1:-1] == bare["results"][0]["ids"]
    assert document["pieces"][0] == "[CLS]"
    ids = ",".join(map(str, document["ids"]))
    assert llmasos("tokenize", tiny("bert_classifier"), "--decode", "--no-special", ids)[1] == "great movie\n"
    chat = json.loads(llmasos("tokenize", tiny("llama"), "--chat", "hi", "--json")[1])["results"][0]
    assert chat["text"].startswith("<|im_start|>user\nhi<|im_end|>")
    assert chat["pieces"][0] == "<|im_start|>"
    for wrong in ("a,b", "999999"):
        assert llmasos("tokenize", tiny("llama"), "--decode", wrong)[0] == 2


def test_tokenize_needs_no_torch(tiny: Callable[[str], str]) -> None:
    code = (
        "import sys; from llmasos.cli import app\n"
        "try: app.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, "tokenize", tiny("llama"), "hello", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
