from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "standins"))

from standin_http import running
from standin_hub import HubRepo, HubStandIn
from standin_registry import RegistryStandIn

from llmasos import i18n, settings
from llmasos.errors import InvalidRequest
from llmasos.library.metadata import Metadata
from llmasos.library.search import search
from llmasos.library.store import Library


def references(library: Library, query: str = "", **options: object) -> list[str]:
    return [hit.reference for hit in search(query, library=library, **options).hits]  # type: ignore[arg-type]


def test_the_catalogue(library: Library) -> None:
    assert references(library, "smollm2", limit=3)[0].startswith("smollm2:")
    assert references(library, "opus zh") == ["opus-mt:en-zh", "opus-mt:zh-en"]
    assert "qwen3:0.6b" in references(library, "QWEN3 0.6b")
    assert references(library, "no such thing anywhere") == []
    assert len(references(library, limit=1000)) > 60
    assert len(references(library, limit=5)) == 5


def test_words_of_descriptions_in_both_languages(library: Library) -> None:
    assert "opus-mt:en-fr" in references(library, "translates french")
    assert "opus-mt:en-fr" in references(library, "法语")
    i18n.set_language("zh")
    hit = next(hit for hit in search("opus-mt:en-fr", library=library).hits if hit.reference == "opus-mt:en-fr")
    assert "法语" in hit.description


def test_filters(library: Library) -> None:
    assert set(references(library, task="classifier")) == {
        "bert:base-uncased-sst2", "distilbert:sst2", "roberta:sentiment"
    }  # fmt: skip
    chinese = references(library, language="zh", limit=1000)
    assert "bert:base-chinese" in chinese
    assert "bert:base-uncased" not in chinese
    with pytest.raises(InvalidRequest) as caught:
        search(task="clasifier", library=library)
    assert "classifier" in str(caught.value.hint)


def test_the_library_comes_first(library: Library, publish: Callable[..., object]) -> None:
    publish("mine/minilm:v1", metadata=Metadata(description="Fine-tuned MiniLM", languages=["sw"]))
    publish("minilm:l6-v2", metadata=Metadata(description="Pulled"))
    hits = search("minilm", library=library).hits
    assert [hit.reference for hit in hits if hit.installed] == ["minilm:l6-v2", "mine/minilm:v1"]
    assert [hit.reference for hit in hits].count("minilm:l6-v2") == 1
    assert references(library, "minilm", language="sw") == ["mine/minilm:v1"]


def test_a_damaged_version_is_found_all_the_same(
    library: Library, publish: Callable[..., object], damage: Callable[[Path], None]
) -> None:
    version = publish("mine/x:v1")
    damage(library.blobs.path(version.digest))  # type: ignore[attr-defined]
    assert references(library, "mine/x") == ["mine/x:v1"]


def test_registries(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(RegistryStandIn()) as registry:
        registry.tags = {"models/gizmo": {"v1": "", "v2": ""}, "other/thing": {"v1": ""}}
        monkeypatch.setenv("LLMASOS_REGISTRIES", f"{registry.host}/models,127.0.0.1:9")
        monkeypatch.setenv("LLMASOS_DOWNLOAD_RETRIES", "0")
        settings.get_settings.cache_clear()
        found = search("gizmo", library=library)
        assert [hit.reference for hit in found.hits] == [
            f"oci:{registry.host}/models/gizmo:v1", f"oci:{registry.host}/models/gizmo:v2"
        ]  # fmt: skip
        assert set(found.unreachable) == {"127.0.0.1:9"}
        registry.catalogue = False
        assert f"{registry.host}/models" in search("gizmo", library=library).unreachable


def test_the_hub_when_asked(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(HubStandIn()) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        hub.repos["org/gizmo"] = HubRepo({})
        assert references(library, "gizmo") == []
        assert references(library, "gizmo", hub=True) == ["hf:org/gizmo"]
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert search("gizmo", library=library, hub=True).unreachable.keys() == {"hub"}
