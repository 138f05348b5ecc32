"""The card of a trained model or adapter. It travels with it, so it is in English whatever the user's language is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from llmasos.library.card import join_card
from llmasos.training.result.summary import RunSummary, curve
from llmasos.units import format_count, format_duration

if TYPE_CHECKING:
    from llmasos.library.metadata import LineageInput, Metadata
    from llmasos.library.reference import Reference
    from llmasos.training.methods.applied import Applied

_PIPELINES = {
    "causal": "text-generation",
    "seq2seq": "text2text-generation",
    "classifier": "text-classification",
    "reward": "text-classification",
}
_COMMANDS = {
    "causal": 'llmasos run {name} "..."',
    "seq2seq": 'llmasos generate {name} "..."',
    "classifier": 'llmasos classify {name} "..."',
    "reward": 'llmasos classify {name} "..."',
}
_VERBS = {
    "pretrain": "Trained on text", "sft": "Fine-tuned on prompts and answers", "classify": "Trained to classify",
    "seq2seq": "Trained on pairs of source and target", "reward": "Trained to score answers",
}  # fmt: skip


def card_text(
    name: Reference | None,
    kind: str,
    metadata: Metadata,
    base: str | None,
    applied: Applied,
    summary: RunSummary,
    inputs: Sequence[LineageInput],
    recipe: dict[str, Any],
) -> str:
    """The card: a head that Hugging Face tools read, and how the weights came to be.

    Args:
        name: of the version; ``kind`` of the recipe.
        base: name of the model that was trained; ``None`` for random weights.
        inputs: of the lineage.
        recipe: as JSON has it.
    """
    title = str(name.without_digest()) if name is not None else f"{kind} {summary.run}"
    parts = [f"# {title}"]
    if metadata.description:
        parts.append(metadata.description)
    adapter = applied.artefact == "adapter"
    start = f"from `{base}`" if base else "from random weights"
    parts.append(f"{_VERBS[kind]}, {start}, by the method `{applied.method.kind}`.")
    command = _COMMANDS.get(metadata.task_family or "")
    if name is not None and command is not None:
        parts.append(f"```sh\n{command.format(name=title)}\n```")
    parts.append("## Training\n\n" + _table(("Property", "Value"), _facts(applied, summary)))
    if summary.after:
        parts.append("## Scores\n\n" + _scores(summary))
    if points := curve(summary):
        measures = list(dict.fromkeys(key for _, _, scores in points for key in scores))
        parts.append(
            "## Curve\n\nTraining loss is the mean since the line before.\n\n"
            + _table(
                ("Step", "Training loss", *measures),
                [
                    (f"{step:,}", _figure(loss), *(_figure(scores.get(key)) for key in measures))
                    for step, loss, scores in points
                ],
            )
        )
    if metadata.labels:
        parts.append("## Labels\n\n" + "\n".join(f"{number}. {label}" for number, label in enumerate(metadata.labels)))
    data = [item for item in inputs if item.role not in ("base", "recipe")]
    if data:
        rows = "".join(f"\n\n{name}: {count:,} rows." for name, count in summary.rows.items())
        parts.append(
            "## Data\n\n"
            + _table(
                ("Set", "Source", "Digest"),
                [(item.role, f"`{item.reference}`", f"`{item.digest}`") for item in data],
            )
            + rows
        )
    parts.append("## Recipe\n\n```yaml\n" + yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True) + "```")
    return join_card(_head(metadata, base, adapter=adapter), "\n\n".join(parts))


def _head(metadata: Metadata, base: str | None, *, adapter: bool) -> dict[str, Any]:
    head: dict[str, Any] = {}
    if metadata.license:
        head["license"] = metadata.license.lower()
    if metadata.license_url:
        head["license_link"] = metadata.license_url
    if metadata.languages:
        head["language"] = list(metadata.languages)
    head["library_name"] = "peft" if adapter else "transformers"
    if (pipeline := _PIPELINES.get(metadata.task_family or "")) is not None:
        head["pipeline_tag"] = pipeline
    if base is not None:
        head["base_model"] = base
    if metadata.data:
        head["datasets"] = list(metadata.data)
    head["tags"] = ["llmasos", metadata.kind.value]
    return head


def _facts(applied: Applied, summary: RunSummary) -> list[tuple[str, str]]:
    share = f"{applied.trainable / applied.total:.2%}" if applied.total else "-"
    speed = f" ({summary.tokens / summary.seconds:,.0f} tokens/s)" if summary.seconds else ""
    steps = f"{summary.steps:,}" + (f" of {summary.total_steps:,}" if summary.steps != summary.total_steps else "")
    facts = [
        ("Trained weights", f"{format_count(applied.trainable)} of {format_count(applied.total)} ({share})"),
        ("Highest learning rate", f"{applied.learning_rate:g}"),
        ("Steps", steps),
        ("Tokens", f"{summary.tokens:,}"),
        ("Time", format_duration(summary.seconds) + speed),
        ("Computed in", f"{summary.precision} on {summary.device}"),
        ("Run", summary.run),
    ]
    if summary.best_step is not None:
        facts.insert(3, ("Weights of step", f"{summary.best_step:,} (the best)"))
    return facts


def _scores(summary: RunSummary) -> str:
    return _table(
        ("Measure", "Before", "After"),
        [(key, _figure(summary.before.get(key)), _figure(value)) for key, value in summary.after.items()],
    )


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"

    return "\n".join([line(head), line("---" for _ in head), *(line(row) for row in rows)])
