"""Evaluations read from files of lm-evaluation-harness as folders of ours, so that they can be compared and shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llmasos.evaluation.contributions import SCORES_FILE, write_contributions
from llmasos.evaluation.harness.reading import Imported, our_name
from llmasos.evaluation.metrics.aggregation import BITS, Aggregation
from llmasos.evaluation.metrics.score import Score, aggregated, mean
from llmasos.evaluation.parquet import write_records
from llmasos.evaluation.store import SAMPLES_FILE, remove_results, write_evaluation

_LOSS = Aggregation("exponential_loss")
_OF_LIKELIHOODS: Mapping[str, Aggregation] = {
    "perplexity": _LOSS, "word_perplexity": _LOSS, "byte_perplexity": _LOSS, "bits_per_byte": BITS,
}  # fmt: skip
"""Metrics of the harness whose samples hold a log-likelihood, or one and its units."""


def write_imported(folder: Path, imported: Imported) -> None:
    """Write what `llmasos eval` leaves, but for the journal. What an earlier import left there is replaced.

    Raises:
        OutOfDisk: it does not fit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_results(folder)
    write_records(folder / SAMPLES_FILE, imported.records)
    if imported.records:
        ids = [record.sample_id for record in imported.records]
        write_contributions(folder / SCORES_FILE, ids, contributions(imported))
    write_evaluation(folder, imported.evaluation)


def contributions(imported: Imported) -> dict[str, Score]:
    """The scores that can be computed from what the files say of each sample: means, and perplexities.

    Others, such as BLEU, are of the whole, and a comparison cannot take them apart.
    """
    given = [record.details.get("metrics", {}) for record in imported.records]
    keys = list(dict.fromkeys(key for metrics in given for key in metrics))
    by_name = {our_name(key, keys): key for key in keys}
    found: dict[str, Score] = {}
    for name, entry in imported.evaluation.scores.items():
        key = by_name.get(name)
        if key is None:
            continue
        values = [metrics.get(key) for metrics in given]
        theirs = key.partition(",")[0]
        score = (
            _of_likelihoods(values, _OF_LIKELIHOODS[theirs])
            if theirs in _OF_LIKELIHOODS
            else _mean(values, entry.higher_is_better)
        )
        # What does not come to the score that the files name is aggregated in another way.
        if score is not None and math.isclose(score.value, entry.value, rel_tol=1e-6, abs_tol=1e-9):
            found[name] = score
    return found


def _mean(values: Sequence[Any], higher_is_better: bool) -> Score | None:
    numbers = np.asarray([value if isinstance(value, int | float) else math.nan for value in values], dtype=np.float64)
    return None if np.isnan(numbers).all() else mean(numbers, higher_is_better=higher_is_better)


def _of_likelihoods(values: Sequence[Any], aggregation: Aggregation) -> Score | None:
    pairs = [value if isinstance(value, list) and len(value) == 2 else [value, 1] for value in values]
    if not all(isinstance(part, int | float) for pair in pairs for part in pair):
        return None
    sums = np.asarray(pairs, dtype=np.float64)
    return aggregated(sums, aggregation, per_sample=aggregation(sums), higher_is_better=False)
