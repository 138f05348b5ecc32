"""Near duplicates: against brute force, over shards, against other data, of parts."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data_rows import labelled, prompt, removed, row, rows, run_corpus_step
from llmasos.data.deduplication.exact import ExactDuplicates
from llmasos.data.deduplication.near import NearDuplicates
from llmasos.data.row import Text
from llmasos.data.sources.config import FileSource

WORDS = [f"{a}{b}" for a in ("ba", "de", "fi", "go", "hu", "ka", "le", "mi", "no", "pu") for b in "bcdfglmnprst"]
CHARACTERS = [chr(0x4E00 + 7 * number) for number in range(300)]


def documents(count: int, seed: int = 3, chinese: bool = False) -> list[str]:
    """Made-up documents, a third of them changed copies of earlier ones."""
    chance = random.Random(seed)
    pool, joint = (CHARACTERS, "") if chinese else (WORDS, " ")
    made: list[list[str]] = []
    for _ in range(count):
        if made and chance.random() < 0.35:
            words = list(chance.choice(made))
            for _ in range(chance.randint(0, len(words) // 6)):
                place = chance.randrange(len(words))
                if chance.random() < 0.5:
                    words[place] = chance.choice(pool)
                else:
                    words.insert(place, chance.choice(pool))
        else:
            words = chance.choices(pool, k=chance.randint(10, 60))
        made.append(words)
    return [joint.join(words) for words in made]


def brute_force(texts: list[str], size: int, threshold: float, chinese: bool) -> set[int]:
    """Rows that go, by comparing all pairs of sets of strings."""
    sets = []
    for text in texts:
        words = list(text) if chinese else text.split()
        sets.append({tuple(words[place : place + size]) for place in range(max(1, len(words) - size + 1))})
    parents = list(range(len(texts)))

    def find(item: int) -> int:
        while parents[item] != item:
            item = parents[item]
        return item

    for first, left in enumerate(sets):
        for second in range(first + 1, len(sets)):
            right = sets[second]
            shared = len(left & right)
            if shared >= threshold * (len(left) + len(right) - shared):
                a, b = find(first), find(second)
                parents[max(a, b)] = min(a, b)
    return {item for item in range(len(texts)) if find(item) != item}


@pytest.mark.parametrize("chinese", [False, True])
@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9])
def test_recall_and_precision_against_brute_force(tmp_path: Path, chinese: bool, threshold: float) -> None:
    texts = documents(400, chinese=chinese)
    expected = brute_force(texts, 3, threshold, chinese)
    found = set(removed(run_corpus_step(NearDuplicates(threshold=threshold).build(), rows(texts), tmp_path)))
    assert len(expected) > 20
    assert len(found & expected) >= 0.95 * len(expected)
    assert len(found & expected) >= 0.95 * len(found)


def test_the_result_does_not_depend_on_the_shards(tmp_path: Path) -> None:
    data = rows(documents(300))
    config = NearDuplicates()
    one = run_corpus_step(config.build(), data, tmp_path / "one")
    many = run_corpus_step(config.build(), data, tmp_path / "many", shards=7)
    assert one == many
    assert removed(one)


def test_the_first_row_stays_and_the_others_name_it(tmp_path: Path) -> None:
    base = "the cat sat on the mat while the dog ran around the old oak tree in our garden today"
    data = rows(["something else entirely is written here", base, base + " again", base.replace("old", "big")])
    outcomes = run_corpus_step(NearDuplicates(threshold=0.6).build(), data, tmp_path)
    assert removed(outcomes) == [2, 3]
    rejection = outcomes[2].rejection
    assert rejection is not None
    assert rejection.reason == "near_duplicate"
    assert rejection.related == (data[1].id,)
    assert rejection.detail == f"similarity 0.944 to {data[1].id}"  # 17 of 18 shingles


def test_a_row_that_is_like_a_removed_one_names_both(tmp_path: Path) -> None:
    words = [f"w{number}" for number in range(40)]
    data = rows([" ".join(words), " ".join(words[5:] + ["x"] * 3), " ".join(words[10:] + ["x"] * 3 + ["y"] * 3)])
    outcomes = run_corpus_step(NearDuplicates(threshold=0.7, recall=0.9999).build(), data, tmp_path)
    assert removed(outcomes) == [1, 2]
    last = outcomes[2].rejection
    assert last is not None
    assert last.related == (data[0].id, data[1].id)
    assert "which is in one group with" in last.detail


def test_rows_without_words_are_no_duplicates(tmp_path: Path) -> None:
    outcomes = run_corpus_step(NearDuplicates().build(), rows(["", "!!!", "...", "", "word", "word"]), tmp_path)
    assert removed(outcomes) == [5]


def test_no_rows_and_empty_shards(tmp_path: Path) -> None:
    assert run_corpus_step(NearDuplicates().build(), [], tmp_path / "none") == []
    data = rows(["a b c", "a b c"])
    assert removed(run_corpus_step(NearDuplicates().build(), data, tmp_path / "empty", shards=4)) == [1]


def other_data(folder: Path, texts: list[str]) -> FileSource:
    file = folder / "other.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return FileSource(path=str(file))


def test_rows_like_other_data_go(tmp_path: Path) -> None:
    base = "a long enough sentence about the weather in the north of the country this week"
    source = other_data(tmp_path, ["nothing in common with it", base, base])
    data = rows(
        [
            base + " indeed",
            "quite another text is here to stay",
            "twice the same thing is said",
            "twice the same thing is said",
        ]
    )
    outcomes = run_corpus_step(NearDuplicates(against=(source,)).build(), data, tmp_path / "notes")
    assert removed(outcomes) == [0, 3]
    first = outcomes[0].rejection
    assert first is not None
    assert first.reason == "near_duplicate_of_other_data"
    assert first.related == ("other/other.jsonl:2",)
    only = NearDuplicates(against=(source,), within=False)
    assert removed(run_corpus_step(only.build(), data, tmp_path / "only", shards=2)) == [0]


def test_relative_paths_of_other_data_are_resolved() -> None:
    config = NearDuplicates(against=(FileSource(path=("a.jsonl", "/b.jsonl")),)).resolve_paths(Path("/folder"))
    assert config.against == (FileSource(path=("/folder/a.jsonl", "/b.jsonl")),)


def test_places_choose_what_is_compared(tmp_path: Path) -> None:
    data = [
        prompt("What is the capital of France?", f"answer {number} is quite different {number}", number)
        for number in (1, 2)
    ]
    assert removed(run_corpus_step(NearDuplicates().build(), data, tmp_path / "all")) == []
    by_prompt = NearDuplicates(places=("prompt",))
    assert removed(run_corpus_step(by_prompt.build(), data, tmp_path / "prompt")) == [1]


def test_repeated_paragraphs_are_cut_out(tmp_path: Path) -> None:
    notice = "This site uses cookies to offer you a better browsing experience on every page."
    close = notice.replace("better", "good")
    data = [
        row(f"First story about a red house.\n\n{notice}", 1),
        row(f"{close}\n\nSecond story of a blue boat.", 2),
        row(notice, 3),
    ]
    data.append(labelled(notice, "spam", 4))
    outcomes = run_corpus_step(NearDuplicates(unit="paragraph", threshold=0.6).build(), data, tmp_path, shards=2)
    assert outcomes[0].row == data[0]
    assert outcomes[1].row.sample == Text("Second story of a blue boat.")
    assert outcomes[1].counts == {"paragraphs_cut": 1, "characters_cut": len(close) + 2}
    assert outcomes[2].rejection is not None
    assert outcomes[2].rejection.reason == "only_near_duplicate_paragraphs"
    assert outcomes[3].rejection is None
    assert outcomes[3].counts == {"rows_without_parts": 1}


def test_a_phase_may_run_again(tmp_path: Path) -> None:
    data = rows(documents(100))
    step = NearDuplicates().build()
    first = run_corpus_step(step, data, tmp_path, shards=2)
    (tmp_path / "bands-00000.999.part").write_bytes(b"left by a process that was killed")
    assert run_corpus_step(step, data, tmp_path, shards=2) == first


def test_what_is_not_compared_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Texts that share most of their words in another order agree in short bands but are not alike."""
    chance = random.Random(1)
    data = rows([" ".join(chance.sample(WORDS[:12], 12)) for _ in range(60)])
    step = NearDuplicates(
        threshold=0.99, shingle_size=1, permutations=8, recall=0.5, most_leaders=1, places=None
    ).build()
    outcomes = run_corpus_step(step, data, tmp_path)
    assert len(removed(outcomes)) == 59  # as sets of single words all are equal
    different = [" ".join(chance.sample(WORDS, 30)) for _ in range(200)]
    low = NearDuplicates(threshold=0.3, shingle_size=1, permutations=8, recall=0.99, most_leaders=1)
    step = low.build()
    step.map_shard(rows(different), 0, tmp_path / "low")
    for partition in range(step.partitions):
        step.reduce_partition(partition, 1, tmp_path / "low")
    counts = step.conclude(1, tmp_path / "low")
    assert counts["pairs_not_compared"] > 0
    assert "raise most_leaders" in caplog.text


IGNORED = ({"unit": "line", "places": ["text"]}, {"shortest_part": 3}, {"within": False})
"""Options that would have no effect."""


def test_wrong_configurations_are_refused() -> None:
    for kind in (NearDuplicates, ExactDuplicates):
        assert kind.model_validate(kind().model_dump()) == kind()
    for wrong in IGNORED:
        with pytest.raises(ValidationError, match="Value error"):
            ExactDuplicates.model_validate(wrong)
    for wrong in (
        {"threshold": 0},
        {"threshold": 1.2},
        {"unit": "page"},
        {"shingles": 3},
        {"permutations": 4},
        *IGNORED,
    ):
        with pytest.raises(ValidationError):
            NearDuplicates.model_validate(wrong)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.text(alphabet="ab 今\n.\ud800", max_size=12), max_size=12), st.sampled_from(["row", "line", "sentence"])
)
def test_any_rows_can_be_compared(tmp_path_factory: pytest.TempPathFactory, texts: list[str], unit: str) -> None:
    shortest = {} if unit == "row" else {"shortest_part": 1}
    config = NearDuplicates.model_validate({"unit": unit, "permutations": 16, **shortest})
    outcomes = run_corpus_step(config.build(), rows(texts), tmp_path_factory.mktemp("any"), shards=2)
    assert len(outcomes) == len(texts)
    for text, outcome in zip(texts, outcomes, strict=True):
        if outcome.rejection is None and not outcome.counts:
            assert outcome.row.text() == text
