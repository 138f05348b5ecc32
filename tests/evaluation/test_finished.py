"""All finished evaluations of a home folder, wherever they lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmasos.errors import NotFound
from llmasos.evaluation.finished import FinishedEvaluations, key_of
from llmasos.evaluation.store import attach
from llmasos.library.metadata import Metadata
from llmasos.library.reference import Reference
from llmasos.library.store import Library
from score_records import answered, write_run


def test_evaluations_are_found_in_folders_runs_and_the_library(home: Path) -> None:
    library = Library(home)
    with library.draft() as draft:
        draft.add_bytes("weights.txt", b"none")
        digest = draft.publish(Reference.parse("my/model"), Metadata()).digest
    old = write_run(home / "evaluations" / "one", answered([True, False]), ["accuracy"], model="endpoint",
                    created="2026-01-01T00:00:00+00:00")  # fmt: skip
    folder = home / "runs" / "run-1" / "results" / "made"
    new = write_run(folder, answered([True]), ["accuracy"], model="my/model:latest", model_digest=digest)
    attach(library, folder, new)  # the same twice
    known = FinishedEvaluations(library)
    assert [item.key for item in known.all()] == [key_of(new), key_of(old)]
    found = known.get(key_of(new))
    assert len(found.samples().statuses()) == len(found.run().records) == 1
    assert len(known.get(key_of(old)).samples().statuses()) == 2
    with pytest.raises(NotFound, match="no evaluation"):
        known.get("../../etc/passwd")
    library.close()


def test_a_damaged_evaluation_does_not_hide_the_others(home: Path) -> None:
    library = Library(home)
    good = write_run(home / "evaluations" / "good", answered([True]), ["accuracy"])
    write_run(home / "evaluations" / "bad", answered([False]), ["accuracy"], model="bad")
    (home / "evaluations" / "bad" / "evaluation.json").write_text("{")
    known = FinishedEvaluations(library)
    assert [item.key for item in known.all()] == [key_of(good)]
    assert len(known.damaged) == 1 and "bad" in known.damaged[0]
    library.close()


def test_what_is_new_is_seen(home: Path) -> None:
    library = Library(home)
    known = FinishedEvaluations(library)
    assert known.all() == []
    write_run(home / "evaluations" / "one", answered([True]), ["accuracy"])
    assert len(known.all()) == 1
    library.close()
