from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos.errors import InvalidRequest
from llmasos.evaluation.metrics.base import Context
from llmasos.evaluation.records import Status
from llmasos.evaluation.reports.page import Scheme, page
from llmasos.evaluation.reports.samples import browser
from llmasos.evaluation.reports.write import write_report
from llmasos.evaluation.runs import runs_in
from llmasos.i18n import set_language
from score_records import answered, classified, record, write_run

EVIL = "</pre><script>alert(1)</script><img src=https://example.org/x onerror=alert(2)>\u202e"
VOID = ("meta", "input", "img", "br")


class _Reader(HTMLParser):
    """The tags of a page, which must be balanced."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _read(markup: str) -> _Reader:
    reader = _Reader()
    reader.feed(markup)
    reader.close()
    assert reader.open == []
    return reader


def _folder(tmp_path: Path) -> Path:
    records = classified([0, 1, 1, 0, 1], [0, 1, None, 1, 1], ("no", "yes"))
    records.append(record(5, prompt=EVIL, output=EVIL, references=(EVIL,), status=Status.ERROR, error=EVIL))
    write_run(tmp_path / "run", records, ["accuracy", "mcc"], model=EVIL, context=Context(labels=("no", "yes")),
              notes=(EVIL,))  # fmt: skip
    return tmp_path / "run"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_nothing_that_a_model_wrote_is_markup_and_nothing_is_requested(tmp_path: Path, language: str) -> None:
    set_language(language)
    markup = page(runs_in(_folder(tmp_path)))
    tags = _read(markup).seen
    assert {tag for tag, _ in tags} <= {
        "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "h3", "p", "div", "span", "b", "i",
        "pre", "section", "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "dl", "dt", "dd", "input",
        "label",
    }  # fmt: skip
    for _, attributes in tags:
        assert not any(name.startswith("on") or name in ("src", "href") for name in attributes)
    assert "url(" not in markup
    assert "@import" not in markup
    policy = next(attributes for tag, attributes in tags if tag == "meta" and "http-equiv" in attributes)
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert ("html", {"lang": language}) in tags
    assert "U+202E" in markup  # what cannot be seen is shown


def test_every_status_has_a_button_and_a_rule_that_hides_the_others(tmp_path: Path) -> None:
    markup = page(runs_in(_folder(tmp_path)))
    tags = _read(markup).seen
    buttons = [str(attributes["class"]) for tag, attributes in tags if tag == "input"]
    assert buttons == ["f-all", "f-correct", "f-wrong", "f-unparsed", "f-error"]
    for name in ("correct", "wrong", "unparsed", "truncated", "error", "scored"):
        assert f".f-{name}:checked ~ .samples > :not(.{name})" in markup
    ids = [attributes["id"] for tag, attributes in tags if tag == "input"]
    assert [attributes["for"] for tag, attributes in tags if tag == "label"] == ids


def test_prompt_output_and_what_was_read_are_all_there() -> None:
    markup = browser(
        [record(3, prompt="<|user|>\nQ?", output="It is 7.", parsed="7", references=("7", "seven"), prompt_tokens=12,
                details={"finish_reason": "stop"}, choice_logprobs=(-1.0, -2.5), target=1)],
        name="x", most=9,
    )  # fmt: skip
    plain = unescape(re.sub(r"<[^>]+>", "\n", markup))
    for part in ("Prompt as sent (12 tokens)", "<|user|>\nQ?", "It is 7.", "Read in it", "seven", "finish_reason",
                 "1  -2.500  ← right"):  # fmt: skip
        assert part in plain


def test_what_is_left_out_is_said() -> None:
    records = answered([True] * 30 + [False] * 3)
    markup = browser(records, name="x", most=10)
    assert markup.count("<details") == 13
    assert "13 of 33 samples are shown, at most 10 of each status" in markup
    assert "are shown" not in browser(records, name="x", most=30)
    long = browser([record(0, output="a" * 25_000)], name="x", most=1)
    assert "… 5,000 more characters" in long


def test_classes_have_scores_and_a_matrix(tmp_path: Path) -> None:
    markup = page(runs_in(_folder(tmp_path)))
    plain = re.sub(r"<[^>]+>", "|", markup)
    assert "Confusion matrix" in plain
    # Of three samples of yes two were found, and one more was given it: precision and recall 2/3.
    assert re.search(r"\|yes\|+3\|+0\.6667\|+0\.6667\|+0\.6667\|", plain)
    assert re.search(r"\|yes\|+0\|+2\|+1\|", plain)  # given: no, yes, none


def test_choices_of_questions_are_no_classes(tmp_path: Path) -> None:
    records = [record(index, target=0, references=(f"text {index}",), details={"chosen": 0}, parsed=f"text {index}",
                      status=Status.CORRECT, choice_logprobs=(-1.0, -2.0)) for index in range(3)]  # fmt: skip
    write_run(tmp_path / "run", records, ["accuracy"])
    assert "Confusion matrix" not in page(runs_in(tmp_path / "run"))


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=80), st.text(max_size=80), st.sampled_from(list(Status)))
def test_any_text_gives_a_balanced_page(prompt: str, output: str, status: Status) -> None:
    one = record(0, prompt=prompt, output=output, parsed=output or None, references=(prompt,), status=status,
                 error=output if status is Status.ERROR else None)  # fmt: skip
    reader = _read(browser([one], name="x", most=1))
    assert "script" not in {tag for tag, _ in reader.seen}


def test_reports_are_written_by_the_name_of_the_file(tmp_path: Path) -> None:
    runs = runs_in(_folder(tmp_path))
    for name in ("a.html", "deep/er/a.md", "a.csv", "a.JSON"):
        write_report(runs, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 100
    assert orjson.loads((tmp_path / "a.JSON").read_bytes())[0]["scores"]["accuracy"]["value"] == 0.5
    with pytest.raises(InvalidRequest, match=r"a report ends in \.html"):
        write_report(runs, tmp_path / "a.pdf")


@pytest.mark.parametrize(("scheme", "query"), [
    ("auto", "(prefers-color-scheme: dark)"), ("dark", "all"), ("light", "not all"),
])  # fmt: skip
def test_the_colours_are_the_readers_or_those_asked_for(tmp_path: Path, scheme: Scheme, query: str) -> None:
    records = [record(0, output="@media (prefers-color-scheme: dark)", status=Status.WRONG)]
    write_run(tmp_path / "run", records, ["accuracy"])
    shown = page(runs_in(tmp_path), scheme=scheme)
    assert f"@media {query} {{" in shown
    assert shown.count("(prefers-color-scheme: dark)") >= 1, "what a model wrote stays"
