"""What README and docs say is true: generated pages are fresh, links lead somewhere, commands and programs run."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


@dataclass
class Command:
    """A line after ``$ ``, and the lines expected from it."""

    line: str
    expected: list[str]


def blocks(page: Path, language: str) -> list[str]:
    return [body for kind, body in BLOCK.findall(page.read_text(encoding="utf-8")) if kind == language]


def commands(page: Path) -> Iterator[Command]:
    for block in blocks(page, "console"):
        command: Command | None = None
        for line in block.splitlines():
            if line.startswith("$ "):
                if command is not None:
                    yield command
                command = Command(line[2:], [])
            else:
                assert command is not None, f"{page.name}: a console block begins with `$ `"
                command.expected.append(line)
        if command is not None:
            yield command


def pattern(line: str) -> re.Pattern[str]:
    """``...`` stands for any text."""
    return re.compile(".*".join(re.escape(part) for part in line.split("...")) + r"\s*")


def check_output(command: Command, code: int, output: str) -> None:
    """Every expected line is in the output, in that order; an ``error:`` is expected to fail."""
    fails = any(line.startswith(("error:", "错误：")) for line in command.expected)
    assert (code != 0) == fails, f"$ {command.line}\nexit code {code}\n{output}"
    lines = iter(output.splitlines())
    for expected in command.expected:
        if expected.strip() == "...":
            continue
        wanted = pattern(expected)
        assert any(wanted.fullmatch(line) for line in lines), f"$ {command.line}\nno line {expected!r} in\n{output}"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One home folder for all pages, so that models are fetched once; and this environment's programs first."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("LLMASOS_")}
    home = tmp_path_factory.mktemp("documentation") / "home"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**variables, "LLMASOS_HOME": str(home), "LLMASOS_LANG": "en", "PATH": path, "COLUMNS": "100"}


def with_blocks(language: str) -> list[Path]:
    return [page for page in PAGES if blocks(page, language)]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.integration
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", with_blocks("console"), ids=name_of)
def test_every_command_runs_and_shows_what_the_page_says(
    page: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    for command in commands(page):
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command.line],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )
        check_output(command, done.returncode, done.stdout)


@pytest.mark.integration
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", with_blocks("python"), ids=name_of)
def test_every_python_block_runs(page: Path, environment: dict[str, str], tmp_path: Path) -> None:
    program = "\n".join(blocks(page, "python"))
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_there_is_something_to_run() -> None:
    assert sum(1 for page in PAGES for _ in commands(page)) > 30
    assert len(with_blocks("python")) >= 4


def generator() -> ModuleType:
    specification = importlib.util.spec_from_file_location("reference_pages", ROOT / "scripts" / "reference_pages.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_generated_pages_are_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    stale = [
        name_of(path)
        for path, content in generator().pages().items()
        if not path.exists() or path.read_text(encoding="utf-8") != content
    ]
    assert stale == [], "run `python scripts/reference_pages.py`"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in LINK.findall(text):
        if "://" in target or target.startswith(("#", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        goal = (page.parent / path).resolve()
        assert goal.exists(), f"{name_of(page)}: {target}"
        if anchor:
            text_there = goal.read_text("utf-8")
            headings = re.findall(r"^#+ (.+)$", text_there, re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
            explicit = re.search(rf"#{re.escape(anchor)}\b", text_there)
            assert anchor in slugs or explicit, f"{name_of(page)}: {target}: there is {', '.join(sorted(slugs))}"


def test_both_languages_have_the_same_pages() -> None:
    only_english = {"architecture.md", "contributing.md"}
    english = {path.name for path in (ROOT / "docs").glob("*.md")} - only_english
    assert english == {path.name for path in (ROOT / "docs" / "zh").glob("*.md")}


@pytest.mark.parametrize("page", [page for page in PAGES if "zh" in page.parts], ids=name_of)
def test_translations_have_the_same_sections_and_tables(page: Path) -> None:
    """A page that was changed in one language only shows here."""
    original = ROOT / "docs" / page.name
    shape = [
        [line[: line.index(" ")] for line in BLOCK.sub("", text).splitlines() if line.startswith("#")]
        for text in (page.read_text(encoding="utf-8"), original.read_text(encoding="utf-8"))
    ]
    assert shape[0] == shape[1]
    tables = [
        sum(line.startswith("|") for line in BLOCK.sub("", path.read_text(encoding="utf-8")).splitlines())
        for path in (page, original)
    ]
    assert tables[0] == tables[1]


def test_the_commands_of_the_makefile_are_documented() -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    documented = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for target in set(targets) - {"help", "clean", "docs-serve"}:
        assert f"`make {target}`" in documented
