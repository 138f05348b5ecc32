"""Every text for people has a translation, and every translation has a text."""

from __future__ import annotations

import ast
import contextvars
import json
import string
import threading
from collections import Counter
from dataclasses import fields
from functools import cache
from importlib import resources
from pathlib import Path

import pytest

import llmasos
from llmasos import errors, i18n
from llmasos.i18n import set_language, t, translate

SOURCE = Path(llmasos.__file__).parent
FILES = sorted(path for path in SOURCE.rglob("*.py") if path.name != "i18n.py")


@cache
def catalogue_files() -> dict[str, dict[str, str]]:
    folder = resources.files("llmasos") / "locale" / "zh"
    return {
        item.name: json.loads(item.read_text(encoding="utf-8"))
        for item in folder.iterdir()
        if item.name.endswith(".json")
    }


@cache
def catalogue() -> dict[str, str]:
    return {key: value for content in catalogue_files().values() for key, value in content.items()}


@cache
def calls(path: Path) -> list[ast.Call]:
    """Calls of ``t`` in a source file."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "t" and node.args
    ]


def literal(call: ast.Call) -> str | None:
    first = call.args[0]
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


@cache
def literals() -> dict[str, list[str]]:
    """Every text passed to ``t``, with the places."""
    found: dict[str, list[str]] = {}
    for path in FILES:
        for call in calls(path):
            text = literal(call)
            if text is not None:
                found.setdefault(text, []).append(f"{path.relative_to(SOURCE)}:{call.lineno}")
    return found


@cache
def data_texts() -> set[str]:
    """Texts that are data rather than literals: help of commands, descriptions of settings, options of sampling."""
    from llmasos.cli import app
    from llmasos.cli import help as help_pages
    from llmasos.cli.chat import options
    from llmasos.cli.commands import command_table
    from llmasos.data.recipe import DataRecipe
    from llmasos.evaluation.recipe import EvaluateRecipe
    from llmasos.evaluation.task import TASKS
    from llmasos.evaluation.tasks.find import builtin_tasks
    from llmasos.modeling.options import Seq2SeqOptions
    from llmasos.recipe.explain import explain
    from llmasos.runs.events import METRICS
    from llmasos.server.anthropic import routes as anthropic
    from llmasos.server.configuration import ServerConfiguration, UpstreamConfiguration
    from llmasos.server.ollama import routes as ollama
    from llmasos.server.ollama.embed import EmbedOptions
    from llmasos.server.openai import routes as openai
    from llmasos.server.openai.responses import routes as responses
    from llmasos.settings import Settings
    from llmasos.training.recipe.kinds import KINDS

    set_language("en")
    described = (Settings, ServerConfiguration, UpstreamConfiguration)
    found = {str(field.description) for model in described for field in model.model_fields.values()}
    found |= {
        key.description
        for model in (DataRecipe, EvaluateRecipe, *KINDS.values(), *TASKS.values())
        for key in explain(model)
    }
    found |= {metric.description for metric in METRICS.values()}
    tasks = [item.task for item in builtin_tasks()]
    found |= {task.description for task in tasks if task.description}
    found |= {task.data.license for task in tasks if task.data.license and " " in task.data.license}
    found |= {options.explanation(Seq2SeqOptions(), field.name) for field in fields(Seq2SeqOptions)}
    apis = (ollama.BODIES, openai.BODIES, responses.BODIES, anthropic.BODIES)
    for body in (*(body for api in apis for body in api.values()), EmbedOptions):
        found |= {field.description for field in body.model_fields.values() if field.description}
        found.update(body.NOT_SUPPORTED.values())
    rows = [app.load_command(row.name, row.module) for row in command_table("en")]
    for row in rows:
        found.update(help_pages.paragraphs(row.help))
    commands = [leaf for row in rows for _, leaf in app.leaves(row)]
    for command in commands:
        found.update(help_pages.paragraphs(command.help))
    for command in [app.build(), *commands]:
        for parameter in command.params:
            found.update(help_pages.paragraphs(getattr(parameter, "help", None)))
            if isinstance(getattr(parameter, "show_default", None), str):
                found.add(parameter.show_default)
    kinds = [item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, errors.LLMasOSError)]
    found |= {str(kind.__doc__).split("\n")[0] for kind in (*kinds, app.OperatingSystemError)} - {
        str(errors.LLMasOSError.__doc__)
    }
    return {text for text in found if any(char.isalpha() for char in text)}


def placeholders(text: str) -> Counter[str]:
    """Names of the placeholders, with their conversions and formats."""
    return Counter(
        f"{name}!{conversion or ''}:{form or ''}"
        for _, name, form, conversion in string.Formatter().parse(text)
        if name is not None
    )


def test_the_first_argument_is_always_a_literal() -> None:
    computed = [
        f"{path.relative_to(SOURCE)}:{call.lineno}" for path in FILES for call in calls(path) if literal(call) is None
    ]
    assert computed == [], "a text that is computed cannot be found by translators; use translate() for data"


def test_every_literal_is_translated() -> None:
    known = catalogue()
    assert [f"{places[0]}: {text}" for text, places in literals().items() if text not in known] == []


def test_every_help_text_is_translated() -> None:
    known = catalogue()
    assert sorted(text for text in data_texts() if text not in known) == []


def test_no_translation_is_dead() -> None:
    alive = literals().keys() | data_texts()
    dead = {name: [text for text in content if text not in alive] for name, content in catalogue_files().items()}
    assert {name: texts for name, texts in dead.items() if texts} == {}


def test_both_sides_have_the_same_placeholders() -> None:
    different = [
        text
        for text, translation in catalogue().items()
        if text in literals() and {*placeholders(text)} != {*placeholders(translation)}
    ]
    assert different == []


def test_the_placeholders_are_what_the_call_passes() -> None:
    wrong = []
    for path in FILES:
        for call in calls(path):
            text = literal(call)
            if text is None or any(keyword.arg is None for keyword in call.keywords):
                continue
            named = {name.partition("!")[0].partition(".")[0].partition("[")[0] for name in placeholders(text)}
            passed = {str(keyword.arg) for keyword in call.keywords}
            if passed and named != passed:
                wrong.append(f"{path.relative_to(SOURCE)}:{call.lineno}: {sorted(named)} but {sorted(passed)} passed")
            if named and not passed:
                wrong.append(f"{path.relative_to(SOURCE)}:{call.lineno}: nothing passed for {sorted(named)}")
    assert wrong == []


def test_translations_are_chinese() -> None:
    """A copied English sentence is no translation; names, options and formats alone may stay."""
    english = [
        text
        for text, translation in catalogue().items()
        if translation == text and len([word for word in text.split() if word.isalpha()]) > 2
    ]
    assert english == []


def test_no_text_is_translated_twice_differently() -> None:
    seen: dict[str, tuple[str, str]] = {}
    twice = []
    for name, content in catalogue_files().items():
        for text, translation in content.items():
            if text in seen and seen[text][1] != translation:
                twice.append((text, seen[text][0], name))
            seen[text] = (name, translation)
    assert twice == []


def test_a_text_in_both_languages() -> None:
    assert t("did you mean {names}?", names="x") == "did you mean x?"
    set_language("zh")
    assert t("did you mean {names}?", names="x") == "您是不是想用 x？"
    assert translate("not in the catalogue") == "not in the catalogue"


@pytest.mark.parametrize(
    ("variables", "language"),
    [
        ({"LLMASOS_LANG": "zh"}, "zh"),
        ({"LLMASOS_LANG": "en", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LC_ALL": "zh_TW", "LANG": "en_GB.UTF-8"}, "zh"),
        ({"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LANG": "fr_FR.UTF-8"}, "en"),
    ],
)
def test_the_language_is_detected(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], language: str) -> None:
    for name in ("LLMASOS_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("locale.getlocale", lambda: (None, None))
    assert i18n.language() == language


def test_a_server_speaks_with_each_in_their_language() -> None:
    with i18n.speaking("zh"):
        assert i18n.language() == "zh"
        heard: list[str] = []
        thread = threading.Thread(target=contextvars.copy_context().run, args=(lambda: heard.append(i18n.language()),))
        thread.start()
        thread.join()
        with i18n.speaking("en"):
            assert i18n.language() == "en"
        assert i18n.language() == "zh" and heard == ["zh"]
    assert i18n.language() == "en"
    with pytest.raises(ValueError, match="unknown language"), i18n.speaking("xx"):
        pass


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown language 'fr'"):
        set_language("fr")
