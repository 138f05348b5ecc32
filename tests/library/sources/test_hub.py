"""Pulls through the real huggingface_hub client from a stand-in that speaks the hub's protocol."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from standin_http import Handler
from standin_hub import HubRepo, HubStandIn

from llmasos.errors import IntegrityError, NotFound, Unauthorised, Unavailable, UnsafeContent
from llmasos.library.sources.fetched import Fetched
from llmasos.library.sources.hub import fetch_repository, locate_repository, search_hub
from llmasos.library.sources.reference import HubSource, parse_source

WEIGHTS = bytes(range(256)) * 4000  # 1 MB: stored apart, as LFS does


@pytest.fixture
def repo(hub: HubStandIn) -> HubRepo:
    hub.repos["org/tiny"] = HubRepo(
        {
            "config.json": b'{"model_type": "llama"}',
            "tokenizer.json": b"{}",
            "model.safetensors": WEIGHTS,
            "pytorch_model.bin": WEIGHTS + b"x",
            "tf_model.h5": b"x" * 20_000,
            "README.md": b"# Tiny",
        },
        card={"license": "apache-2.0", "language": ["en", "zh"]},
        revisions=("main", "v1"),
    )
    return hub.repos["org/tiny"]


def pull(text: str, folder: Path) -> Fetched:
    source = parse_source(text)
    assert isinstance(source, HubSource)
    return fetch_repository(locate_repository(source), folder)


def names(fetched: Fetched) -> set[str]:
    return {path.relative_to(fetched.path).as_posix() for path in fetched.path.rglob("*") if path.is_file()}


def test_only_what_is_needed_at_a_fixed_commit(hub: HubStandIn, repo: HubRepo, tmp_path: Path) -> None:
    fetched = pull("hf:org/tiny@v1", tmp_path / "pull")
    assert names(fetched) == {"config.json", "tokenizer.json", "model.safetensors", "README.md"}
    assert (fetched.path / "model.safetensors").read_bytes() == WEIGHTS
    assert fetched.source == f"hf:org/tiny@{repo.commit}"
    assert (fetched.license, fetched.languages) == ("apache-2.0", ("en", "zh"))
    assert set(fetched.left_out) == {"pytorch_model.bin", "tf_model.h5"}
    assert hub.sent("pytorch_model.bin") == 0


def test_a_token_goes_to_the_hub_and_nowhere_else(
    hub: HubStandIn, repo: HubRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.private = True
    with pytest.raises(NotFound, match="private") as caught:
        pull("hf:org/tiny", tmp_path / "1")
    assert "login" in str(caught.value.hint)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert "model.safetensors" in names(pull("hf:org/tiny", tmp_path / "2"))
    assert hub.requests("GET", "/model.safetensors")[0].headers["authorization"] == f"Bearer {hub.token}"
    assert hub.leaked == []
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(Unauthorised, match="token"):
        pull("hf:org/tiny", tmp_path / "3")


def test_cut_at_half_and_resumed_by_the_next_process(
    hub: HubStandIn, repo: HubRepo, tmp_path: Path, configure: Callable[..., None]
) -> None:
    configure(download_retries=0)
    hub.faults.cut["model.safetensors"] = [len(WEIGHTS) // 2]
    with pytest.raises(Unavailable):
        pull("hf:org/tiny", tmp_path / "pull")
    assert hub.sent("model.safetensors") == len(WEIGHTS) // 2
    fetched = pull("hf:org/tiny", tmp_path / "pull")
    assert (fetched.path / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.sent("model.safetensors") == len(WEIGHTS)
    assert hub.requests("GET", "/model.safetensors")[-1].headers["range"] == f"bytes={len(WEIGHTS) // 2}-"


def test_cut_at_half_and_resumed_at_once(hub: HubStandIn, repo: HubRepo, tmp_path: Path) -> None:
    hub.faults.cut["model.safetensors"] = [len(WEIGHTS) // 2]
    pull("hf:org/tiny", tmp_path / "pull")
    assert hub.sent("model.safetensors") == len(WEIGHTS)


def test_a_finished_fetch_is_not_repeated(hub: HubStandIn, repo: HubRepo, tmp_path: Path) -> None:
    first = pull("hf:org/tiny", tmp_path / "pull")
    sent = hub.sent("model.safetensors")
    assert pull("hf:org/tiny", tmp_path / "pull") == first
    assert hub.sent("model.safetensors") == sent
    repo.commit, repo.files["config.json"] = "f" * 40, b"{}"
    assert (pull("hf:org/tiny", tmp_path / "other").path / "config.json").read_bytes() == b"{}"


def test_a_gated_repository_is_explained(
    hub: HubStandIn, repo: HubRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.gated = True
    for token in (None, hub.token):
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(Unauthorised) as caught:
            pull("hf:org/tiny", tmp_path / "pull")
        assert "gated" in caught.value.message
        assert f"{hub.url}/org/tiny" in str(caught.value.hint)
    assert hub.sent("model.safetensors") == 0
    hub.members.add(hub.token)
    assert "model.safetensors" in names(pull("hf:org/tiny", tmp_path / "pull"))


def test_missing_repository_and_revision(hub: HubStandIn, repo: HubRepo, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="org/none"):
        pull("hf:org/none", tmp_path / "pull")
    with pytest.raises(NotFound, match="v9") as caught:
        pull("hf:org/tiny@v9", tmp_path / "pull")
    assert "commits" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"], ids=["large", "small"])
def test_altered_bytes(
    hub: HubStandIn, repo: HubRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The hub tells the digest of a file, and its store or a mirror sends other bytes."""
    found = locate_repository(HubSource("org/tiny"))
    answer = hub.answer

    def altered(handler: Handler) -> None:
        if handler.command == "GET" and handler.route.endswith(f"/{name}") and "/resolve/" in handler.route:
            handler.reply_file(b"y" * len(repo.files[name]), '"other"', {"X-Repo-Commit": repo.commit})
        else:
            answer(handler)

    monkeypatch.setattr(hub, "answer", altered)
    with pytest.raises(IntegrityError, match=name):
        fetch_repository(found, tmp_path / "pull")


def test_a_mirror_that_tells_no_sizes(hub: HubStandIn, repo: HubRepo, tmp_path: Path) -> None:
    repo.without_sizes = True
    fetched = pull("hf:org/tiny", tmp_path / "pull")
    assert (fetched.path / "model.safetensors").read_bytes() == WEIGHTS
    assert {item.reference for item in fetched.origins} == names(fetched)  # each was checked


def test_paths_that_leave_the_folder(hub: HubStandIn, repo: HubRepo, tmp_path: Path) -> None:
    repo.files = {"../../evil.gguf": b"GGUF", "README.md": b"#"}
    with pytest.raises(UnsafeContent):
        pull("hf:org/tiny", tmp_path / "pull")


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Unavailable) as caught:
        pull("hf:org/tiny", tmp_path / "pull")
    assert "127.0.0.1:9" in caught.value.message
    assert "HF_ENDPOINT" in str(caught.value.hint)


def test_an_endpoint_that_is_no_hub(hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"{hub.url}/elsewhere")
    with pytest.raises((NotFound, Unavailable)):
        pull("hf:org/tiny", tmp_path / "pull")


@pytest.mark.parametrize("page", [b"<html>Please sign in</html>", b"{}", b"[]", b"null"])
def test_a_page_that_is_no_hubs(hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: bytes) -> None:
    monkeypatch.setattr(hub, "answer", lambda handler: handler.reply(200, page))
    with pytest.raises(Unavailable):
        pull("hf:org/tiny", tmp_path / "pull")


def test_search(hub: HubStandIn, repo: HubRepo) -> None:
    assert search_hub("tin", 5) == [("org/tiny", "text-generation", 5)]
    assert search_hub("nothing", 5) == []
