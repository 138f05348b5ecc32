from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from llmasos.evaluation.store import attach
from llmasos.library.metadata import Metadata
from llmasos.library.reference import Reference
from llmasos.library.store import Library
from llmasos.settings import get_settings
from score_records import answered, write_run
from standin_judge import serving

pytestmark = pytest.mark.integration  # by its time: seconds, not milliseconds

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def library(home: Path) -> Iterator[Library]:
    opened = Library(home)
    yield opened
    opened.close()


def _evaluated(library: Library, folder: Path, name: str, share: float) -> None:
    """A model of the library with its scores."""
    with library.draft() as draft:
        draft.add_bytes("config.json", json.dumps({"name": name}).encode())
        version = draft.publish(Reference.parse(name), Metadata(architecture="llama", task_family="causal"))
    draw = random.Random(name)
    records = answered([draw.random() < share for _ in range(60)])
    evaluation = write_run(folder / name, records, ["accuracy"], model=name, model_digest=version.digest)
    attach(library, folder / name, evaluation)


@pytest.fixture
def models(library: Library, tmp_path: Path) -> Path:
    for name, share in (("weak", 0.2), ("strong", 0.9)):
        _evaluated(library, tmp_path / "runs", name, share)
    return tmp_path / "runs"


def test_models_of_the_library_are_compared(models: Path, llmasos: Run) -> None:
    code, out, err = llmasos("compare", "weak", "strong")
    assert code == 0
    assert "made, 60 samples that all models answered" in out
    assert "weak → strong" in out
    assert "strong is better" in out
    assert "accuracy, where strong is better than weak:" in out
    assert "corrected for 1 tests (Holm)" in err
    assert err.count("Expected") == 0
    assert "Expected: True" in out


def test_folders_are_compared_as_json(models: Path, llmasos: Run) -> None:
    code, out, _ = llmasos("compare", str(models / "strong"), str(models / "weak"), "--json", "--samples", "2")
    assert code == 0
    (task,) = json.loads(out)["tasks"]
    (test,) = task["tests"]
    assert (test["finding"], test["test"]) == ("worse", "mcnemar-mid-p")
    assert test["p_value"] == test["adjusted"] < 0.001
    assert len(test["regressions"]) == 2
    assert set(task["scores"]) == {"accuracy"}


def test_being_worse_may_be_a_failure(models: Path, llmasos: Run) -> None:
    code, _, err = llmasos("compare", "strong", "weak", "--fail-if-worse")
    assert code == 9
    assert "made: weak is worse than strong: accuracy -" in err
    assert llmasos("compare", "weak", "strong", "--fail-if-worse")[0] == 0


def test_mistakes_have_an_answer(models: Path, llmasos: Run) -> None:
    code, _, err = llmasos("compare", "weak", "stong")
    assert code == 3
    assert "there is no evaluation of stong" in err
    assert "strong" in err
    assert llmasos("compare", "weak")[0] == 2
    code, _, err = llmasos("compare", "weak", "weak")
    assert code == 2
    assert "named twice" in err
    code, _, err = llmasos("compare", "weak", "strong", "--task", "mad")
    assert code == 3
    assert "made" in err


def test_the_leaderboard_has_the_library_and_other_folders(models: Path, tmp_path: Path, llmasos: Run) -> None:
    code, out, _ = llmasos("leaderboard")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert [line[1] for line in lines[2:]] == ["strong", "weak"]
    write_run(tmp_path / "more/server", answered([True] * 60), ["accuracy"], model="server")
    code, out, _ = llmasos("leaderboard", "--runs", str(tmp_path / "more"), "--json")
    (table,) = json.loads(out)
    assert [place["model"] for place in table["places"]] == ["server", "strong", "weak"]
    # The same runs found again in a folder count once.
    (table,) = json.loads(llmasos("leaderboard", "--runs", str(models), "--json")[1])
    assert len(table["places"]) == 2


def test_an_empty_leaderboard_says_what_to_do(llmasos: Run) -> None:
    code, out, err = llmasos("leaderboard")
    assert (code, out) == (0, "")
    assert "llmasos eval" in err


def test_scores_and_reports(models: Path, tmp_path: Path, llmasos: Run) -> None:
    page, card = tmp_path / "out/report.html", tmp_path / "out/card.md"
    code, out, err = llmasos("scores", "strong", "--report", str(page), "--report", str(card))
    assert code == 0
    assert "accuracy" in out
    assert str(page) in err
    assert "<!doctype html>" in page.read_text(encoding="utf-8")
    assert "| made | accuracy |" in card.read_text(encoding="utf-8")
    assert json.loads(llmasos("scores", str(models / "weak"), "--json")[1])[0]["model"] == "weak"
    code, _, err = llmasos("scores", "strong", "--report", "x.pdf")
    assert code == 2
    code, _, err = llmasos("scores", "strong", "--task", "mode")
    assert code == 3
    assert "made" in err


def test_evaluations_in_the_home_folder_are_found_by_the_name_of_the_model(home: Path, llmasos: Run) -> None:
    write_run(home / "evaluations/one", answered([True, False]), ["accuracy"], model="gpt-x")
    write_run(home / "evaluations/two", answered([True, True]), ["accuracy"], model="org/other")
    assert "0.5000" in llmasos("scores", "gpt-x")[1]
    assert llmasos("compare", "gpt-x", "org/other")[0] == 0


def test_it_speaks_chinese(models: Path, llmasos: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMASOS_LANG", "zh")
    get_settings.cache_clear()
    code, out, _ = llmasos("compare", "weak", "strong")
    assert code == 0
    assert "strong 更好" in out


def test_a_judge_says_what_it_prefers_and_how_far_it_can_be_trusted(models: Path, llmasos: Run) -> None:
    with serving(
        lambda first, second: f"Verdict: {'A' if 'True' in first else 'B' if 'True' in second else 'tie'}"
    ) as url:
        judge = ("--judge", "some-judge", "--judge-endpoint", url)
        code, out, err = llmasos("compare", "weak", "strong", *judge, "--judge-samples", "30")
        assert code == 0
        assert "some-judge" in out
        assert "made: 30 of 60 samples were judged" in err
        document = json.loads(llmasos("compare", "weak", "strong", *judge, "--json")[1])
    (pair,) = document["judged"]
    # Where both are right, the judge takes the first place, so its two verdicts contradict each other.
    weak, strong = ([draw.random() < share for _ in range(60)]
                    for draw, share in ((random.Random("weak"), 0.2), (random.Random("strong"), 0.9)))  # fmt: skip
    assert pair["second_wins"] == sum(good and not bad for bad, good in zip(weak, strong, strict=True))
    assert pair["first_wins"] == sum(bad and not good for bad, good in zip(weak, strong, strict=True))
    assert pair["favours_first_place"] == 1
    assert pair["unparsed"] == 0
    assert 0 < pair["consistency"] < 1
    assert pair["p_value"] < 0.001


def test_options_of_a_judge_need_a_judge(models: Path, llmasos: Run) -> None:
    code, _, err = llmasos("compare", "weak", "strong", "--judge-criteria", "short")
    assert code == 2
    assert "--judge" in err


def test_what_a_model_wrote_cannot_command_the_terminal(tmp_path: Path, llmasos: Run) -> None:
    evil = replace(answered([False])[0], output="\x1b[2J\x1b]0;owned\x07 [bold]text\u202e")
    write_run(tmp_path / "a", answered([True]), ["accuracy"], model="a")
    write_run(tmp_path / "b", [evil], ["accuracy"], model="b")
    code, out, _ = llmasos("compare", str(tmp_path / "a"), str(tmp_path / "b"))
    assert code == 0
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "[U+001B][2J[U+001B]]0;owned[U+0007] [bold]text[U+202E]" in out
