"""Every planted fault is found and counted, and nothing else is lost."""

from __future__ import annotations

import random
from pathlib import Path

import stopwordsiso

import llmasos
import planted_faults

WORDS = sorted(word for word in stopwordsiso.stopwords("en") if word.isalpha() and len(word) > 2)


def made_set(count: int) -> list[dict[str, str]]:
    chance = random.Random(1)

    def text(length: int) -> str:
        sentences = []
        for _ in range(max(length // 10, 1)):
            words = [chance.choice(WORDS) for _ in range(10)]
            sentences.append(" ".join(words).capitalize() + ".")
        return " ".join(sentences)

    return [{"instruction": f"{text(10)}", "output": text(chance.choice([20, 50, 60, 80]))} for _ in range(count)]


def test_planted_faults_are_all_found(tmp_path: Path) -> None:
    planted = planted_faults.plant(made_set(300), each=6)
    planted_faults.write(planted, tmp_path)
    recipe = {**planted_faults.recipe(tmp_path), "execution": {"workers": 1}}
    prepared = llmasos.prepare(recipe)
    result = planted_faults.outcome(planted, prepared)
    assert not result.missed, "\n".join(result.missed)
    assert result.found == planted.faults
    totals = prepared.facts["totals"]
    assert totals["read"] == len(planted.lines) == totals["kept"] + totals["rejected"]
    assert sum(result.innocent.values()) == 0
