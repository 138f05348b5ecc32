"""The care of models: list, show, copy, create, send files, delete, push, pull."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from standin_registry import RegistryStandIn

from server.running import Running
from tiny_models import build

ASK = [{"role": "user", "content": "Hello"}]


def work(server: Running, path: str, **body: Any) -> list[dict[str, Any]]:
    with server.client() as client:
        answer = client.post(path, json=body)
    if answer.headers["content-type"] != "application/x-ndjson":
        return [{"status_code": answer.status_code, **answer.json()}]
    return [json.loads(line) for line in answer.text.splitlines()]


def done(server: Running, path: str, **body: Any) -> list[dict[str, Any]]:
    lines = work(server, path, **body)
    assert lines[-1] == {"status": "success"}, lines
    return lines


def names(server: Running) -> set[str]:
    with server.client() as client:
        return {item["name"] for item in client.get("/api/tags").json()["models"]}


def show(server: Running, name: str, **body: Any) -> Any:
    with server.client() as client:
        return client.post("/api/show", json={"model": name, **body}).json()


def delete(server: Running, name: str) -> httpx.Response:
    with server.client() as client:
        return client.request("DELETE", "/api/delete", json={"model": name})


def chat(server: Running, model: str, **body: Any) -> Any:
    options = {"temperature": 0, "num_predict": 4}
    with server.client() as client:
        answer = client.post(
            "/api/chat", json={"model": model, "messages": ASK, "stream": False, "options": options, **body}
        )
    assert answer.status_code == 200, answer.text
    return answer.json()


def send(server: Running, path: Path) -> str:
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    with server.client() as client:
        assert client.post(f"/api/blobs/{digest}", content=path.read_bytes()).status_code in (200, 201)
        assert client.head(f"/api/blobs/{digest}").status_code == 200
    return digest


def test_the_list(stocked: Running) -> None:
    with stocked.client() as client:
        found = {item["name"]: item for item in client.get("/api/tags").json()["models"]}
    tiny = found["tiny:latest"]
    assert tiny["model"] == "tiny:latest" and tiny["size"] > 0 and len(tiny["digest"]) == 64
    assert tiny["details"]["family"] == "llama" and tiny["details"]["quantization_level"] == "F32"


def test_what_is_shown(stocked: Running) -> None:
    found = show(stocked, "tiny")
    assert found["capabilities"] == ["completion", "thinking"], "its template has tools in a form nobody knows"
    facts = found["model_info"]
    assert facts["general.architecture"] == "llama"
    assert facts["llama.embedding_length"] == 32 and facts["llama.block_count"] == 2
    assert facts["llama.context_length"] > 0 and facts["general.parameter_count"] > 1000
    assert "im_start" in found["template"] and found["modelfile"].count("FROM tiny\n") == 1
    assert "tensors" not in found
    assert any(item["name"].endswith("embed_tokens.weight") for item in show(stocked, "tiny", verbose=True)["tensors"])
    assert show(stocked, "vectors")["capabilities"] == ["embedding"]
    assert "no model 'nothing'" in show(stocked, "nothing")["error"]


def test_a_copy_is_another_name(stocked: Running) -> None:
    with stocked.client() as client:
        assert client.post("/api/copy", json={"source": "tiny", "destination": "twin:v1"}).status_code == 200
        assert client.post("/api/copy", json={"source": "nothing", "destination": "x"}).status_code == 404
        assert client.post("/api/copy", json={"source": "tiny", "destination": "No Name"}).status_code == 400
    assert chat(stocked, "twin:v1")["eval_count"] == 4
    assert delete(stocked, "twin:v1").status_code == 200
    assert "twin:v1" not in names(stocked) and "tiny:latest" in names(stocked)
    assert delete(stocked, "twin:v1").status_code == 404


def test_a_created_model_brings_its_presets_to_every_api(stocked: Running) -> None:
    plain = chat(stocked, "tiny")["prompt_eval_count"]
    lines = done(
        stocked, "/api/create", model="pirate", **{"from": "tiny"}, system="You are a pirate.", license="MIT",
        messages=[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Arr"}],
        parameters={"num_predict": 3, "temperature": 0, "seed": 1, "stop": ["Z"], "num_ctx": 200},
    )  # fmt: skip
    assert lines[0]["status"] == "creating pirate:latest"
    with stocked.client() as client:
        answer = client.post("/api/chat", json={"model": "pirate", "messages": ASK, "stream": False}).json()
        assert answer["prompt_eval_count"] > plain + 10 and answer["eval_count"] == 3
        openai = client.post("/v1/chat/completions", json={"model": "pirate", "messages": ASK}).json()
        assert openai["usage"]["prompt_tokens"] == answer["prompt_eval_count"]
        assert openai["usage"]["completion_tokens"] == 3
        assert openai["choices"][0]["message"]["content"] == answer["message"]["content"]
        running = {item["digest"] for item in client.get("/api/ps").json()["models"]}
    assert len(running) == 1, "the base and what is made of it share their weights"
    found = show(stocked, "pirate")
    assert found["system"] == "You are a pirate." and len(found["messages"]) == 2 and found["license"] == "MIT"
    assert 'SYSTEM """You are a pirate."""' in found["modelfile"]
    assert [line.split() for line in found["parameters"].splitlines()] == [
        ["temperature", "0"], ["seed", "1"], ["stop", '"Z"'], ["num_predict", "3"], ["num_ctx", "200"],
    ]  # fmt: skip
    done(stocked, "/api/create", model="captain", **{"from": "pirate"}, system="You are a captain.")
    assert show(stocked, "captain")["parameters"] == found["parameters"], "what is not said anew is inherited"
    (step,) = stocked.service.library.lineage(stocked.service.library.digest_of("captain"))
    assert step.step == "create" and step.inputs[0][:2] == ("base", stocked.service.library.digest_of("pirate"))
    for name in ("captain", "pirate"):
        assert delete(stocked, name).status_code == 200


def test_another_template_makes_another_model(stocked: Running) -> None:
    template = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    done(stocked, "/api/create", model="plain", **{"from": "tiny"}, template=template)
    found = show(stocked, "plain")
    assert found["template"] == template and found["capabilities"] == ["completion", "tools"]
    assert chat(stocked, "plain")["prompt_eval_count"] != chat(stocked, "tiny")["prompt_eval_count"]
    assert delete(stocked, "plain").status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"from": "nothing"}, 404, "nothing"),
        ({}, 400, "from another or from files"),
        ({"from": "tiny", "template": "{{ .Prompt }}"}, 400, "Go's language"),
        ({"from": "tiny", "template": "{% if %}"}, 400, "not valid"),
        ({"from": "vectors", "system": "x"}, 400, "no place for a system prompt"),
        ({"from": "./folder"}, 400, "a path of the server's machine"),
        ({"files": {"a.gguf": "sha256:" + "0" * 64}}, 404, "was not sent"),
        ({"files": {"../a": "sha256:" + "0" * 64}}, 422, "../a"),
        ({"adapters": {"a": "sha256:" + "0" * 64}}, 400, "needs its base"),
        ({"from": "tiny", "name": "x@y"}, 400, "x@y"),
    ],
)
def test_what_cannot_be_created(stocked: Running, body: dict[str, Any], status: int, words: str) -> None:
    lines = work(stocked, "/api/create", **{"name": "new", **body})
    assert words in lines[-1]["error"], lines
    assert lines[-1].get("status_code", status) == status
    assert "new:latest" not in names(stocked)
    with stocked.client() as client:
        whole = client.post("/api/create", json={"name": "new", "stream": False, **body})
    assert whole.status_code == status


def test_a_model_is_made_of_files_that_were_sent(stocked: Running, tmp_path: Path) -> None:
    folder = build("qwen2", tmp_path / "qwen2")
    files = {path.name: send(stocked, path) for path in folder.iterdir()}
    done(stocked, "/api/create", model="mine/sent:v1", files=files)
    body = {"model": "mine/sent:v1", "prompt": "Pack my", "stream": False, "options": {"num_predict": 4}}
    with stocked.client() as client:
        answer = client.post("/api/generate", json=body).json()
        assert answer["prompt_eval_count"] == len(answer["context"]) - 4, "without a template a prompt is continued"
        refusal = client.post("/api/generate", json={**body, "system": "Be brief."})
        assert refusal.status_code == 400 and "no chat template" in refusal.json()["error"]
    assert not list((stocked.service.library.home / "uploads").iterdir())
    assert delete(stocked, "mine/sent:v1").status_code == 200


def test_files_are_what_their_digest_says(stocked: Running) -> None:
    digest = "sha256:" + hashlib.sha256(b"right").hexdigest()
    with stocked.client() as client:
        assert client.head(f"/api/blobs/{digest}").status_code == 404
        wrong = client.post(f"/api/blobs/{digest}", content=b"wrong")
        assert wrong.status_code == 400 and "instead of" in wrong.json()["error"]
        assert client.post("/api/blobs/latest", content=b"x").status_code == 400
        assert client.head(f"/api/blobs/{digest}").status_code == 404
        assert client.post(f"/api/blobs/{digest}", content=b"right").status_code == 201
        assert client.post(f"/api/blobs/{digest}", content=b"").status_code == 200
    (stocked.service.library.home / "uploads" / digest.removeprefix("sha256:")).unlink()


def test_a_model_in_use_is_not_deleted(stocked: Running) -> None:
    done(stocked, "/api/create", model="busy", **{"from": "tiny"}, template="{{ messages[0].content }}")
    with stocked.client() as client:
        body = {"model": "busy", "prompt": "x", "options": {"num_predict": -1, "temperature": 0}}
        with client.stream("POST", "/api/generate", json=body) as answer:
            next(answer.iter_lines())
            refusal = delete(stocked, "busy")
            users = [item.users for item in stocked.service.loaded() if item.name == "busy"]
        if users == [1]:  # a tiny model may have finished
            assert refusal.status_code == 409 and "is answering requests" in refusal.json()["error"]
            stocked.wait_until(lambda: all(item.users == 0 for item in stocked.service.loaded()))
            assert delete(stocked, "busy").status_code == 200
    assert all(item.name != "busy" for item in stocked.service.loaded())


def test_push_and_pull(stocked: Running, registry: RegistryStandIn) -> None:
    done(stocked, "/api/create", model="travels:v1", **{"from": "tiny"}, system="Be brief.")
    place = f"oci:{registry.host}/models/travels:v1"
    lines = done(stocked, "/api/push", model="travels:v1", destination=place)
    assert any(line.get("total") for line in lines)
    assert work(stocked, "/api/push", model="travels:v1")[-1]["status_code"] == 400
    assert delete(stocked, "travels:v1").status_code == 200
    lines = done(stocked, "/api/pull", model=place)
    assert lines[0] == {"status": f"looking for {place}"}
    assert "models/travels:v1" in names(stocked)
    assert show(stocked, "models/travels:v1")["system"] == "Be brief."
    assert delete(stocked, "models/travels:v1").status_code == 200


def test_progress_tells_bytes_under_a_steady_digest(
    stocked: Running, registry: RegistryStandIn, tmp_path: Path
) -> None:
    files = {path.name: send(stocked, path) for path in build("gemma3", tmp_path / "gemma3").iterdir()}
    done(stocked, "/api/create", model="sent", files=files)
    place = f"oci:{registry.host}/models/sent:v1"
    done(stocked, "/api/push", model="sent", destination=place)
    assert delete(stocked, "sent").status_code == 200
    lines = [line for line in done(stocked, "/api/pull", model=place) if "total" in line]
    assert len({line["digest"] for line in lines}) == 1 and len(lines[0]["digest"]) == 71
    assert lines[-1]["completed"] == lines[-1]["total"] > 0
    assert delete(stocked, "models/sent:v1").status_code == 200


def test_a_pull_stops_when_nobody_waits(stocked: Running, registry: RegistryStandIn, tmp_path: Path) -> None:
    files = {path.name: send(stocked, path) for path in build("gemma3", tmp_path / "gemma3").iterdir()}
    done(stocked, "/api/create", model="slow", files=files)
    place = f"oci:{registry.host}/models/slow:v1"
    done(stocked, "/api/push", model="slow", destination=place)
    assert delete(stocked, "slow").status_code == 200
    for digest in registry.blobs["models/slow"]:
        registry.faults.delay[digest] = 0.2
    workshop = stocked.server.config.app.state.workshop  # type: ignore[union-attr]
    with stocked.client() as client:
        one = client.stream("POST", "/api/pull", json={"model": place})
        two = client.stream("POST", "/api/pull", json={"model": place})
        with one as first:
            assert json.loads(next(first.iter_lines()))["status"] == f"looking for {place}"
            with two as second:
                next(second.iter_lines())
                assert len(workshop._works) == 1, "who wants the same shares it"
            assert workshop._works, "one still waits"
    stocked.wait_until(lambda: not workshop._works)
    assert "models/slow:v1" not in names(stocked)
    registry.faults.delay.clear()
    done(stocked, "/api/pull", model=place)
    assert delete(stocked, "models/slow:v1").status_code == 200


def test_what_cannot_be_pulled(stocked: Running, registry: RegistryStandIn) -> None:
    for reference, status in (("nothing-of-this-name", 404), ("/etc", 400), (f"oci:{registry.host}/no/thing:v1", 404)):
        with stocked.client() as client:
            answer = client.post("/api/pull", json={"model": reference})
        assert answer.status_code == status, answer.text
        assert set(answer.json()) == {"error"}
    with stocked.client() as client:
        answer = client.post("/api/pull", json={"model": "tiny", "insecure": True})
        assert answer.status_code == 400 and answer.json()["error"].startswith("insecure = true")
    done(stocked, "/api/pull", model="tiny")


def test_a_server_without_management_changes_nothing(desk: Any) -> None:
    client = desk(management=False).client
    for method, path in (("POST", "/api/pull"), ("POST", "/api/create"), ("POST", "/api/copy"), ("POST", "/api/push"),
                         ("DELETE", "/api/delete"), ("POST", "/api/blobs/sha256:" + "0" * 64)):  # fmt: skip
        answer = client.request(method, path, json={"model": "m"})
        assert answer.status_code == 403 and set(answer.json()) == {"error"}
    assert client.get("/api/tags").status_code == 200


def test_requests_at_the_same_time_do_not_disturb_each_other(stocked: Running) -> None:
    found: list[set[str]] = []

    def make(number: int) -> None:
        done(stocked, "/api/create", model=f"many:{number}", **{"from": "tiny"}, system=f"You are number {number}.")
        found.append({show(stocked, f"many:{number}")["system"]})

    threads = [threading.Thread(target=make, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(sorted, found)) == [[f"You are number {number}."] for number in range(4)]
    for number in range(4):
        assert delete(stocked, f"many:{number}").status_code == 200
