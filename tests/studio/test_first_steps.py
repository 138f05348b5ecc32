"""The sample data and its recipes, which ship with the program."""

from __future__ import annotations

import csv
from collections import Counter

import pytest

from llmasos.i18n import speaking
from llmasos.library.metadata import Metadata
from llmasos.library.reference import Reference
from llmasos.library.store import Library
from llmasos.runs.states import State
from llmasos.runs.store import RunStore
from llmasos.studio import first_steps
from llmasos.training.launch import read_recipe


@pytest.mark.parametrize(("language", "model"), [("en", "minilm:l6-v2"), ("zh", None)])
def test_the_sample_data_are_worth_learning_from(language: str, model: str | None) -> None:
    with speaking(language):
        assert first_steps.sample_model() == model
        recipe = read_recipe(first_steps.sample_recipe())
    (source,) = recipe.data.train
    with first_steps.SAMPLES.joinpath(f"customer-messages.{language}.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert str(source.path).endswith(f"customer-messages.{language}.csv")  # type: ignore[union-attr]  # a file
    counts = Counter(row["label"] for row in rows)
    assert len(counts) == 4 and min(counts.values()) == max(counts.values()) >= 50
    assert len({row["text"] for row in rows}) == len(rows)


def test_training_and_evaluation_are_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmasos.runs.queue.Queue.dispatch", lambda _: [])
    library = Library()
    with speaking("zh"):
        trained = first_steps.fine_tune(library)
    with library.draft() as draft:
        draft.add_bytes("config.json", b"{}")
        draft.publish(Reference.parse("my/model"), Metadata())
    evaluated = first_steps.evaluate(library, "my/model")
    found = {run.id: (run.kind, run.state) for run in RunStore(library).all()}
    assert found == {trained.id: ("classify", State.QUEUED), evaluated.id: ("evaluate", State.QUEUED)}


def test_a_family_means_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    assert first_steps.is_here(library, None) and not first_steps.is_here(library, "minilm")
    with library.draft() as draft:
        draft.add_bytes("config.json", b"{}")
        draft.publish(Reference.parse("minilm:l6-v2"), Metadata())
    assert first_steps.is_here(library, "minilm") and first_steps.is_here(library, "minilm:l6-v2")
    assert not first_steps.is_here(library, "my/other")
