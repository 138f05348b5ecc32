from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from llmasos.errors import InvalidRecipe
from llmasos.settings import Settings, get_settings


def configure(home: Path, text: str) -> None:
    home.mkdir(parents=True, exist_ok=True)
    (home / "config.toml").write_text(text, encoding="utf-8")


@pytest.mark.usefixtures("default_threads")
def test_defaults(home: Path) -> None:
    settings = get_settings()
    assert settings.home == home
    assert settings.default_model == "smollm2:135m-instruct"
    assert settings.threads is None
    assert settings.verify_on_load


def test_every_setting_is_documented() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_the_file_overrides_defaults_and_variables_override_the_file(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(home, 'threads = 3\ndownload_retries = 9\nregistries = ["a.example", "b.example/x"]\n')
    monkeypatch.setenv("LLMASOS_THREADS", "7")
    settings = get_settings()
    assert settings.threads == 7
    assert settings.download_retries == 9
    assert settings.registries == ("a.example", "b.example/x")


def test_lists_in_variables_have_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMASOS_REGISTRIES", "a.example, b.example/x,")
    monkeypatch.setenv("LLMASOS_INSECURE_REGISTRIES", "")
    assert get_settings().registries == ("a.example", "b.example/x")
    assert get_settings().insecure_registries == ()


def test_unknown_keys_are_refused_with_a_suggestion(home: Path) -> None:
    configure(home, "thread = 3\n")
    with pytest.raises(InvalidRecipe, match=r"thread: unknown key \(did you mean threads"):
        get_settings()


def test_all_problems_come_at_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(home, "parallel_downloads = 0\n")
    monkeypatch.setenv("LLMASOS_THREADS", "none")
    with pytest.raises(InvalidRecipe) as caught:
        get_settings()
    assert "2 problem(s)" in caught.value.message
    assert "parallel_downloads" in caught.value.message
    assert "threads = 'none'" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("text", ["threads = ", "\x00", "a = 1\na = 2\n"])
def test_a_file_that_is_not_toml(home: Path, text: str) -> None:
    configure(home, text)
    with pytest.raises(InvalidRecipe, match=r"config\.toml"):
        get_settings()


def test_a_file_that_is_not_utf8(home: Path) -> None:
    home.mkdir()
    (home / "config.toml").write_bytes(b'lang = "\xff"\n')
    with pytest.raises(InvalidRecipe, match=r"config\.toml"):
        get_settings()


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        get_settings().threads = 4  # type: ignore[misc]


def test_an_empty_home_variable_means_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from llmasos.home import home_directory

    monkeypatch.setenv("LLMASOS_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home_directory() == tmp_path / ".llmasos"
    monkeypatch.setenv("LLMASOS_HOME", "~/elsewhere")
    assert home_directory() == tmp_path / "elsewhere"
