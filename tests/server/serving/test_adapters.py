"""Adapters as model names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers

from llmasos.library import acquire
from llmasos.library.store import Library
from llmasos.modeling.folder import Family
from llmasos.training.methods.apply import apply_method, save_trained
from llmasos.training.recipe import methods
from server.running import running
from tiny_models import build


@pytest.fixture
def library(home: Path, tmp_path: Path) -> Library:
    """A base model and an adapter that names it."""
    library = Library(home)
    base = build("llama", tmp_path / "llama")
    acquire.import_path(base, name="llama", library=library)
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    torch.manual_seed(3)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn_like(parameter)
    adapted.peft_config["default"].base_model_name_or_path = "llama"
    adapted.save_pretrained(tmp_path / "red")
    acquire.import_path(tmp_path / "red", name="red", library=library)
    return library


def test_an_adapter_is_a_model_under_three_names(library: Library, home: Path) -> None:
    with running(home, adapters={"scarlet": "red"}) as server, server.client() as client:
        texts = {}
        for name in ("llama", "llama+red", "scarlet", "llama+scarlet", "red"):
            body = {"model": name, "prompt": "The quick brown", "max_tokens": 12, "temperature": 0, "ignore_eos": True}
            answer = client.post("/v1/completions", json=body)
            assert answer.status_code == 200, answer.text
            texts[name] = answer.json()["choices"][0]["text"]
        assert texts["llama+red"] == texts["scarlet"] == texts["llama+scarlet"] == texts["red"] != texts["llama"]
        assert len(server.service.loaded()) == 1
        listed = {item["id"]: item["kind"] for item in client.get("/v1/models").json()["data"]}
        assert listed["scarlet"] == "adapter" and listed["llama:latest"] == "model"
        for odd in ("red+llama", "llama+llama", "llama+none"):
            body = {"model": odd, "prompt": "a"}
            assert client.post("/v1/completions", json=body).status_code in (400, 404)


def test_an_adapter_that_no_engine_applies_is_a_model_of_its_own(home: Path, tmp_path: Path) -> None:
    library = Library(home)
    for name, kind, family in (("bert_classifier", "classify", Family.ENCODER), ("llama", "sft", Family.CAUSAL)):
        base = build(name, tmp_path / name)
        acquire.import_path(base, name=name.split("_")[0], library=library)
        loader: Any = (
            transformers.AutoModelForSequenceClassification if kind == "classify" else transformers.AutoModelForCausalLM
        )
        applied = apply_method(
            loader.from_pretrained(base), methods.PromptTuning(tokens=2), family=family, kind=kind, seed=0
        )
        save_trained(applied, tmp_path / f"{name}-adapter", base=name.split("_")[0])
        acquire.import_path(tmp_path / f"{name}-adapter", name=f"{kind}", library=library)
    with running(home) as server, server.client() as client:
        found = client.post("/v1/classify", json={"model": "classify", "input": "the quick fox"})
        assert found.status_code == 200, found.text
        assert {item["label"] for item in found.json()["data"]} <= {"negative", "neutral", "positive"}
        assert len(server.service.loaded()) == 1
        body = {"model": "sft", "prompt": "The quick", "max_tokens": 4}
        refused = client.post("/v1/completions", json=body)
        assert refused.status_code == 400
        assert "llmasos generate" in refused.text
