from __future__ import annotations

from typing import get_args

import pytest

from llmasos import i18n
from llmasos.errors import NotFound
from llmasos.library import builtin
from llmasos.library.licenses import find_license
from llmasos.library.metadata import TaskFamily
from llmasos.library.reference import Reference
from llmasos.library.sources.reference import HubSource, PyPISource
from llmasos.settings import Settings


@pytest.mark.parametrize("entry", builtin.entries(), ids=lambda entry: entry.name)
def test_every_entry_is_complete(entry: builtin.BuiltinModel) -> None:
    assert str(Reference.parse(entry.name)) == entry.name
    source = entry.parsed_source
    assert isinstance(source, HubSource | PyPISource)
    if isinstance(source, PyPISource):  # what does not come from the hub must not change under its name
        assert all(part.version for part in source.packages)
    assert entry.task in get_args(TaskFamily)
    assert entry.parameters > 1_000_000
    assert entry.download > entry.parameters / 3
    assert entry.memory > entry.parameters
    assert entry.languages
    assert set(entry.descriptions) == {"en", "zh"}
    assert entry.license is None or find_license(entry.license) is not None
    assert entry.title
    assert entry.publisher


def test_names_are_unique_and_each_family_has_one_default() -> None:
    names = builtin.names()
    assert len(set(names)) == len(names)
    families = {name.partition(":")[0] for name in names}
    defaults = [entry.name.partition(":")[0] for entry in builtin.entries() if entry.default]
    assert sorted(defaults) == sorted(families)


def test_the_models_that_the_documentation_promises() -> None:
    for name in (
        "smollm2:135m-instruct",
        "minilm:l6-v2",
        "gemma3:270m",
        "qwen2.5-coder:1.5b-instruct",
        "opus-mt:en-fr",
    ):
        assert isinstance(builtin.get(name).parsed_source, PyPISource)
    for name in (
        "qwen3:0.6b", "qwen3:8b", "llama3.1:8b-instruct", "mistral:7b", "gemma3:1b-it", "phi:4-mini-instruct",
        "flan-t5:xl", "t5:small", "bert:base-uncased", "bert:base-uncased-sst2", "distilbert:sst2", "roberta:sentiment",
        "bge:m3", "multilingual-e5:small", "opus-mt:en-zh", "opus-mt:zh-en",
    ):  # fmt: skip
        assert isinstance(builtin.get(name).parsed_source, HubSource)
    assert builtin.find(Settings().default_model) is not None


def test_finding() -> None:
    assert builtin.get("smollm2").name == "smollm2:135m-instruct"
    assert builtin.get("smollm2:latest").name == "smollm2:135m-instruct"
    for text in ("smollm2:9b", "mine/smollm2:135m-instruct", "hf:a/b", "SMOLLM2", "smollm2@sha256:" + "0" * 64):
        assert builtin.find(text) is None
    with pytest.raises(NotFound) as caught:
        builtin.get("smollm2:135m-instrct")
    assert "smollm2:135m-instruct" in str(caught.value.hint)


def test_descriptions_follow_the_language() -> None:
    entry = builtin.get("opus-mt:en-fr")
    assert "French" in entry.description
    i18n.set_language("zh")
    assert "法语" in entry.description


def test_labels_that_the_files_lack_come_with_the_source() -> None:
    entry = builtin.from_source(builtin.get("bert:base-uncased-sst2").parsed_source)
    assert entry is not None and entry.labels == ("negative", "positive")
