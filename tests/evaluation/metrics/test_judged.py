from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from llmasos.errors import InvalidRequest
from llmasos.evaluation.metrics.base import Context
from llmasos.modeling.model import Model
from llmasos.modeling.results import Embedding
from score_records import scores, texts


class _Embedder:
    """Stands for an embedding model: a text is the counts of its letters a, b and c."""

    def __init__(self) -> None:
        self.closed = False
        self.asked: list[dict[str, Any]] = []

    def __enter__(self) -> _Embedder:
        return self

    def __exit__(self, *unused: object) -> None:
        self.closed = True

    def embed(self, given: list[str], **options: Any) -> list[Embedding]:
        self.asked.append(options)
        counts = [np.asarray([text.count(letter) for letter in "abc"], dtype=np.float32) for text in given]
        return [Embedding(vector / np.linalg.norm(vector), tokens=1) for vector in counts]


def test_the_nearest_reference_counts() -> None:
    model = _Embedder()
    records = texts([("aa", ["b", "ab"]), ("abc", "abc"), ("c", "a"), ("", "a")])
    context = Context(open_model=lambda reference: cast(Model, model))
    found = scores(records, "embedding_similarity", context, model="made")["embedding_similarity"]
    assert found.per_sample is not None
    assert found.per_sample.tolist() == pytest.approx([1 / np.sqrt(2), 1, 0, 0], abs=1e-6)
    assert found.signature == "model:made|truncate:end"
    assert model.closed
    assert model.asked == [{"normalize": True, "truncate": "end"}]


def test_it_needs_a_way_to_load_the_model() -> None:
    with pytest.raises(InvalidRequest, match="none can be loaded here"):
        scores(texts([("a", "a")]), "embedding_similarity", model="made")
