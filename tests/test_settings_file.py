"""Changing config.toml: what is asked for, and nothing else."""

from __future__ import annotations

import stat
import threading
import tomllib
from pathlib import Path

import pytest

from llmasos.errors import InvalidRecipe, InvalidRequest
from llmasos.settings import Settings, get_settings, origin_of
from llmasos.settings_file import change_setting, changed_text

FILE = """# mine
threads = 3  # for the fan
registries = [
  "a.example",  # ours
  "b.example/x",
]

# the model = of the house
default_model = "a = b"
"""


@pytest.fixture
def path(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("LLMASOS_THREADS")
    home.mkdir()
    (home / "config.toml").write_text(FILE, encoding="utf-8")
    get_settings.cache_clear()
    return home / "config.toml"


def test_one_key_changes_and_the_rest_stays(path: Path) -> None:
    change_setting("threads", "5")
    assert path.read_text() == FILE.replace("threads = 3  # for the fan", "threads = 5")
    assert get_settings().threads == 5 and origin_of("threads") == "config.toml"
    change_setting("registries", "c.example, d.example/y")
    assert 'registries = ["c.example", "d.example/y"]\n\n# the model = of the house\n' in path.read_text()
    change_setting("registries", None)
    assert "registries" not in path.read_text() and get_settings().registries == ()
    change_setting("lang", "zh")
    assert path.read_text().endswith('default_model = "a = b"\nlang = "zh"\n')


@pytest.mark.parametrize(("name", "value", "kept"), [
    ("download_timeout", "1.5", 1.5), ("verify_on_load", False, False), ("registries", ["a.example"], ["a.example"]),
    ("evaluation_data", "/data/中文 \"x\"\\y", "/data/中文 \"x\"\\y"), ("studio_sign_in", "always", "always"),
    ("default_model", "a\x7fb\tc", "a\x7fb\tc"),
])  # fmt: skip
def test_values_are_written_as_their_type(path: Path, name: str, value: object, kept: object) -> None:
    change_setting(name, value)
    assert tomllib.loads(path.read_text())[name] == kept
    assert getattr(get_settings(), name) in (kept, tuple(kept) if isinstance(kept, list) else Path(str(kept)))


@pytest.mark.parametrize(("name", "value", "message"), [
    ("threads", "0", "threads"), ("threads", "many", "threads"), ("lang", "fr", "lang"),
    ("thread", "3", "no setting 'thread'"), ("home", "/x", "cannot be changed"), ("database", "x", "cannot be changed"),
    ("verify_on_load", "perhaps", "verify_on_load"),
])  # fmt: skip
def test_what_is_not_allowed_changes_nothing(path: Path, name: str, value: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        change_setting(name, value)
    assert path.read_text() == FILE


def test_a_new_file(home: Path) -> None:
    change_setting("download_retries", 9)
    assert (home / "config.toml").read_text() == "download_retries = 9\n" and get_settings().download_retries == 9


def test_a_file_that_others_may_not_read_stays_so(path: Path) -> None:
    path.chmod(0o600)
    change_setting("threads", 4)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [item.name for item in path.parent.iterdir() if "partial" in item.name] == []


def test_a_damaged_file_is_left_alone(path: Path) -> None:
    path.write_text("threads = ")
    with pytest.raises(InvalidRecipe, match="not valid TOML"):
        change_setting("threads", 4)
    assert path.read_text() == "threads = "


def test_a_file_written_in_an_odd_way_is_written_anew() -> None:
    text = '"th\\u0072eads" = 3\nlang = "en"\n'
    after = {"lang": "en", "threads": 4}
    assert tomllib.loads(changed_text(text, tomllib.loads(text), after, "threads")) == after


def test_many_at_once_lose_nothing(path: Path) -> None:
    changes = {"threads": 7, "download_retries": 8, "parallel_downloads": 9, "upload_limit": 10, "lang": "zh"}
    workers = [threading.Thread(target=change_setting, args=pair) for pair in changes.items()]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert changes.items() <= tomllib.loads(path.read_text()).items()


def test_every_setting_but_those_of_the_place_can_be_set_to_its_default(path: Path) -> None:
    for name, field in Settings.model_fields.items():
        if name not in ("home", "database", "lang"):  # a variable of the tests decides on the language
            change_setting(name, field.default)
            assert getattr(get_settings(), name) == field.default
