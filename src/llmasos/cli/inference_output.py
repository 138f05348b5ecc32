"""How the one-shot commands show their results."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from llmasos.cli.output import Column, Output
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.cli.batch import Item
    from llmasos.modeling.model import Model
    from llmasos.modeling.results import Classification, Embedding, Generation


def write_stream(model: Model, prompt: Any, options: dict[str, Any], out: Output) -> None:
    """Write the output as it comes; on a terminal say afterwards how it went."""
    deltas = model.stream(prompt, **options)
    last = None
    try:
        for delta in deltas:
            sys.stdout.write(delta.text)
            sys.stdout.flush()
            last = delta
    finally:
        sys.stdout.write("\n")
        sys.stdout.flush()
        close = getattr(deltas, "close", None)
        if close is not None:
            close()
    if not sys.stderr.isatty() or last is None or last.usage is None or last.timings is None:
        return
    out.note(
        t("{count} tokens, {rate} tokens/s, first after {first} s, ended by {reason}",
          count=last.usage.completion_tokens, rate=f"{last.timings.tokens_per_second or 0:.1f}",
          first=f"{last.timings.first_token_seconds:.2f}", reason=last.finish_reason)
    )  # fmt: skip
    if isinstance(prompt, str) and "chat" in model.capabilities:
        out.note(t("This model is tuned for conversation: --chat, or `llmasos run`, lets it answer."))


def generation_record(item: Item, result: Generation) -> dict[str, Any]:
    """An output as JSON."""
    data: dict[str, Any] = {
        "prompt": item.text,
        "text": result.text,
        "finish_reason": result.finish_reason,
        "stop": result.stop,
        "usage": asdict(result.usage),
        "timings": asdict(result.timings),
    }
    if result.logprobs is not None:
        data["logprobs"] = [asdict(item) for item in result.logprobs]
    return data


def classification_record(item: Item, result: Classification) -> dict[str, Any]:
    """A classification as JSON."""
    return {
        "text": item.text,
        **({} if item.pair is None else {"pair": item.pair}),
        "label": result.label,
        "score": result.score,
        "labels": list(result.labels),
        "scores": dict(result.scores),
        "tokens": result.tokens,
        "truncated_tokens": result.truncated_tokens,
    }


def print_labels(out: Output, items: Sequence[Item], results: Sequence[Classification]) -> None:
    """All labels of one text, or the label of each of several."""
    if len(results) == 1:
        rows = [(label, f"{score:.4f}") for label, score in results[0].scores.items()]
        out.table([Column(t("Label"), style="bold"), Column(t("Score"), right=True)], rows)
        return
    table = [(result.label, f"{result.score:.4f}", item.text) for item, result in zip(items, results, strict=True)]
    out.table([Column(t("Label"), style="bold"), Column(t("Score"), right=True), t("Text")], table)


def embedding_record(item: Item, result: Embedding) -> dict[str, Any]:
    """A vector as JSON."""
    return {
        "text": item.text,
        "embedding": list(result),
        "tokens": result.tokens,
        "truncated_tokens": result.truncated_tokens,
    }


def print_vectors(out: Output, items: Sequence[Item], results: Sequence[Embedding]) -> None:
    """The beginning of each vector, and how near several texts are to each other."""
    import numpy as np

    for item, result in zip(items, results, strict=True):
        start = " ".join(f"{value:+.4f}" for value in list(result)[:6])
        out.print(t("{count} dimensions: {start} ...  {text}", count=len(result), start=start, text=item.text))
    if len(results) > 1:
        matrix = np.stack([np.asarray(result) for result in results])
        matrix = matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
        cosines = matrix @ matrix.T
        out.print()
        columns: list[str | Column] = [
            t("Cosine similarity"),
            *(Column(str(number + 1), right=True) for number in range(len(items))),
        ]
        rows = [
            (f"{number + 1} {item.text}", *(f"{value:.3f}" for value in line))
            for number, (item, line) in enumerate(zip(items, cosines, strict=True))
        ]
        out.table(columns, rows)
