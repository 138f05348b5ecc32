from __future__ import annotations

from pathlib import Path

import pytest

from llmasos.errors import NotFound
from llmasos.evaluation.leaderboard import leaderboard
from llmasos.evaluation.result import Evaluation
from score_records import answered, record, write_run


@pytest.fixture
def evaluations(tmp_path: Path) -> list[Evaluation]:
    right = {"small": 20, "middle": 35, "large": 36, "twin": 35}
    found = [
        write_run(tmp_path / name, answered([place < count for place in range(40)]), ["accuracy"], model=name)
        for name, count in right.items()
    ]
    other = [write_run(tmp_path / "few", answered([True] * 5), ["accuracy"], model="small", settings={"limit": 5})]
    texts = [
        write_run(
            tmp_path / f"text-{name}",
            [record(0, loglikelihood=value, token_count=9, word_count=7, byte_count=30)],
            ["perplexity"], model=name, task="text", task_digest="sha256:text",
        )
        for name, value in (("small", -30.0), ("large", -20.0))
    ]  # fmt: skip
    return [*found, *other, *texts]


def test_models_are_ordered_and_equal_ones_share_a_rank(evaluations: list[Evaluation]) -> None:
    tables = leaderboard(evaluations)
    assert [(table.task, table.settings, len(table.places)) for table in tables] == [
        ("made", "few_shot 0", 4), ("made", "limit 5", 1), ("text", "few_shot 0", 2),
    ]  # fmt: skip
    assert [(place.rank, place.model) for place in tables[0].places] == [
        (1, "large"), (2, "middle"), (2, "twin"), (4, "small"),
    ]  # fmt: skip
    assert [place.tied for place in tables[0].places] == [True, True, True, False]
    assert [place.model for place in tables[2].places] == ["large", "small"]  # less is better


def test_the_newest_of_runs_made_alike_counts(evaluations: list[Evaluation], tmp_path: Path) -> None:
    newer = write_run(tmp_path / "new", answered([True] * 40), ["accuracy"], model="small")
    tables = leaderboard([newer, *evaluations])
    assert tables[0].places[0].model == "small"
    assert sum(place.model == "small" for place in tables[0].places) == 1


def test_tasks_and_scores_may_be_chosen(evaluations: list[Evaluation]) -> None:
    (table,) = leaderboard(evaluations, tasks=["text"], metric="bits_per_byte")
    assert (table.task, table.metric) == ("text", "bits_per_byte")
    with pytest.raises(NotFound, match="the task 'txt'") as caught:
        leaderboard(evaluations, tasks=["txt"])
    assert "text" in (caught.value.hint or "")
    with pytest.raises(NotFound, match="the score 'bleu'"):
        leaderboard(evaluations, metric="bleu")
    assert leaderboard([]) == []


def test_a_model_in_two_number_formats_is_two_contestants(tmp_path: Path) -> None:
    found = [
        write_run(tmp_path / dtype, answered([True] * count), ["accuracy"], model="small",
                  settings={"few_shot": 0, "model.dtype": dtype, "model.device": "cpu"}, data_digest="sha256:same")
        for dtype, count in (("int8", 3), ("float32", 3))
    ]  # fmt: skip
    (table,) = leaderboard(found)
    assert [place.variant for place in table.places] == ["dtype int8", "dtype float32"]
    (alone,) = leaderboard(found[:1])
    assert [place.variant for place in alone.places] == [""]
