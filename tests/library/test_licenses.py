from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmasos.errors import InvalidRecipe, LicenseNotAccepted
from llmasos.library.licenses import accepted, find_license, require_acceptance


@pytest.mark.parametrize(
    ("text", "name", "terms"),
    [
        ("apache-2.0", "Apache-2.0", None),
        ("Apache 2.0", "Apache-2.0", None),
        ("MIT", "MIT", None),
        ("cc-by-sa-4.0", "CC-BY-SA-4.0", None),
        ("cc-by-nc-4.0", "CC-BY-NC-4.0", "non-commercial"),
        ("qwen-research", "qwen-research", "non-commercial"),
        ("gemma", "gemma", "terms"),
        ("Gemma Terms of Use", "gemma", "terms"),
        ("llama3.1", "llama3.1", "terms"),
        ("bigscience-bloom-rail-1.0", "bigscience-bloom-rail-1.0", "terms"),
        ("my-non-commercial-license", "my-non-commercial-license", "non-commercial"),
        ("acme-nc", "acme-nc", "non-commercial"),
        ("francophone", "francophone", None),
    ],
)
def test_licences(text: str, name: str, terms: str | None) -> None:
    found = find_license(text)
    assert found is not None
    assert (found.name, found.terms) == (name, terms)


def test_nothing_stated() -> None:
    for text in (None, "", "other", "unknown"):
        assert find_license(text) is None
        require_acceptance(text, "m", Path("/nonexistent"))


def test_asked_once_for_every_model_of_a_licence(tmp_path: Path) -> None:
    with pytest.raises(LicenseNotAccepted) as caught:
        require_acceptance("gemma", "gemma3:270m", tmp_path)
    assert "gemma3:270m" in caught.value.message
    assert "--accept-license" in str(caught.value.hint)
    assert "https://ai.google.dev/gemma/terms" in str(caught.value.hint)
    assert accepted(tmp_path) == {}
    require_acceptance("gemma", "gemma3:270m", tmp_path, accept=True)
    require_acceptance("Gemma", "gemma3:1b", tmp_path)
    assert accepted(tmp_path)["gemma"]["model"] == "gemma3:270m"
    with pytest.raises(LicenseNotAccepted, match="commercial"):
        require_acceptance("cc-by-nc-4.0", "x", tmp_path)


def test_free_licences_leave_no_trace(tmp_path: Path) -> None:
    require_acceptance("MIT", "x", tmp_path, accept=True)
    assert list(tmp_path.iterdir()) == []


def test_several_at_once_lose_nothing(tmp_path: Path) -> None:
    names = ["gemma", "llama2", "llama3", "llama3.1", "llama3.2", "cc-by-nc-4.0", "openrail", "mrl"]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: require_acceptance(name, "m", tmp_path, accept=True), names))
    assert set(accepted(tmp_path)) == set(names)


@pytest.mark.parametrize("text", ["{", "[]", '{"gemma": 1}'])
def test_a_damaged_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "licenses.json").write_text(text)
    with pytest.raises(InvalidRecipe, match=r"licenses\.json"):
        require_acceptance("gemma", "m", tmp_path)
