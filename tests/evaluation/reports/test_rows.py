from __future__ import annotations

import csv
import io
import math
from pathlib import Path

from llmasos.evaluation.reports.rows import as_csv, as_markdown, figure, interval
from llmasos.evaluation.result import ScoreEntry
from llmasos.i18n import set_language
from score_records import answered, texts, write_run


def test_figures_have_the_digits_that_count() -> None:
    values = (0.72504, 31.4159, 12345.0, -0.5, math.nan, math.inf)
    assert [figure(value) for value in values] == ["0.7250", "31.42", "1.234e+04", "-0.5000", "n/a", "inf"]
    assert interval(ScoreEntry(0.5, 0.25, 0.75)) == "[0.2500, 0.7500]"
    assert interval(ScoreEntry(0.5)) == ""


def test_csv_has_a_row_for_each_score(tmp_path: Path) -> None:
    one = write_run(tmp_path / "a", answered([True, False]), ["accuracy"], model="=cmd|' /C calc'!A0")
    two = write_run(tmp_path / "b", texts([("a b", "a b"), ("c", "d")]), ["bleu", "chrf"], model="名字,带逗号")
    rows = list(csv.DictReader(io.StringIO(as_csv([one, two]))))
    assert [(row["metric"], row["samples"]) for row in rows] == [("accuracy", "2"), ("bleu", "2"), ("chrf", "2")]
    assert float(rows[0]["value"]) == 0.5
    assert rows[0]["model"].startswith("'=")  # no formula for a spreadsheet
    assert rows[1]["model"] == "名字,带逗号"
    assert rows[1]["signature"].startswith("nrefs:1")


def test_markdown_is_a_section_of_a_card(tmp_path: Path) -> None:
    one = write_run(
        tmp_path / "a", answered([True, False]), ["accuracy"], task="a|b", notes=("4 of 9 prompts <cut>",),
    )  # fmt: skip
    text = as_markdown([one])
    assert text.startswith("## Evaluation\n\n| Task | Metric | Score | 95 % interval | Samples |\n")
    assert "| a\\|b | accuracy | 0.5000 | [0.0945, 0.9055] | 2 |" in text
    assert "- a\\|b: correct 1, wrong 1; few_shot 0; LLMasOS 1.0" in text
    assert "  - 4 of 9 prompts &lt;cut>" in text
    set_language("zh")
    assert as_markdown([one]).startswith("## 评测")
