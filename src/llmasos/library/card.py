"""Cards: Markdown with a YAML head, the Hugging Face convention, so that a card reads the same there and here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from llmasos.errors import IntegrityError
from llmasos.i18n import t
from llmasos.library.digest import short
from llmasos.library.kind import Kind
from llmasos.library.manifest import Descriptor
from llmasos.library.metadata import Lineage, Metadata
from llmasos.library.reference import Reference
from llmasos.units import format_bytes, format_count

CARD_PATH = "README.md"

_PIPELINES = {
    "causal": "text-generation",
    "seq2seq": "text2text-generation",
    "encoder": "fill-mask",
    "classifier": "text-classification",
    "token-classifier": "token-classification",
    "embedder": "feature-extraction",
    "reward": "text-classification",
}


def split_card(text: str) -> tuple[dict[str, Any], str]:
    """The YAML head of a card, empty if it has none, and the Markdown after it.

    Raises:
        IntegrityError: the head is not a YAML mapping.
    """
    # Only "\n" ends a line here: str.splitlines would also cut at characters that YAML texts may hold.
    lines = [f"{line}\n" for line in text.removeprefix("\ufeff").split("\n")]
    if not lines or lines[0].strip() != "---":
        return {}, text
    for end in range(1, len(lines)):
        if lines[end].strip() == "---":
            break
    else:
        return {}, text
    try:
        head = yaml.safe_load("".join(lines[1:end]))
    except yaml.YAMLError as error:
        raise _invalid(error) from error
    except RecursionError as error:
        raise _invalid(t("it is nested too deeply")) from error
    if head is None:
        head = {}
    if not isinstance(head, dict):
        raise _invalid(t("it is not a mapping"))
    return head, "".join(lines[end + 1 :])[:-1].lstrip("\r\n")


def _invalid(reason: object) -> IntegrityError:
    return IntegrityError(
        t("the head of the card is not valid YAML: {reason}", reason=reason),
        hint=t("The head lies between two lines of '---' at the top of README.md."),
    )


def join_card(head: dict[str, Any], body: str) -> str:
    """A card from its head and its Markdown."""
    text = yaml.safe_dump(head, sort_keys=False, allow_unicode=True, default_flow_style=False, width=100)
    return f"---\n{text}---\n\n{body.strip()}\n"


def default_card(
    metadata: Metadata,
    lineage: Lineage | None,
    *,
    name: Reference | None,
    files: Iterable[Descriptor],
) -> str:
    """The card of an artefact whose maker wrote none: what is known and where it came from, nothing invented.

    Cards are documents that travel with the artefact, so they are in English whatever the user's language is.
    """
    title = name.without_digest() if name is not None else metadata.architecture or metadata.kind.value
    parts = [f"# {title}"]
    if metadata.description:
        parts.append(metadata.description)
    parts.append(_table([("Property", "Value"), *_facts(metadata)]))
    if metadata.labels:
        parts.append("## Labels\n\n" + "\n".join(f"{number}. {label}" for number, label in enumerate(metadata.labels)))
    if metadata.metrics:
        figures = [(key, _figure(value)) for key, value in metadata.metrics.items()]
        parts.append("## Metrics\n\n" + _table([("Metric", "Value"), *figures]))
    if lineage is not None:
        parts.append("## Lineage\n\n" + _lineage_text(lineage))
    rows = [(f"`{file.path}`", format_bytes(file.size), f"`{short(file.digest)}`") for file in files]
    parts.append("## Files\n\n" + _table([("File", "Size", "SHA-256"), *sorted(rows)]))
    return join_card(_head(metadata, lineage), "\n\n".join(parts))


def _head(metadata: Metadata, lineage: Lineage | None) -> dict[str, Any]:
    head: dict[str, Any] = {}
    if metadata.license:
        head["license"] = metadata.license.lower()
    if metadata.license_url:
        head["license_link"] = metadata.license_url
    if metadata.languages:
        head["language"] = list(metadata.languages)
    if metadata.kind in (Kind.MODEL, Kind.ADAPTER):
        head["library_name"] = "peft" if metadata.kind is Kind.ADAPTER else "transformers"
        if metadata.task_family is not None:
            head["pipeline_tag"] = _PIPELINES[metadata.task_family]
    base = (
        next((item.reference for item in lineage.inputs if item.role == "base" and item.reference), None)
        if lineage is not None
        else None
    )
    if base or metadata.base:
        head["base_model"] = base or metadata.base
    if metadata.data:
        head["datasets"] = list(metadata.data)
    head["tags"] = ["llmasos", metadata.kind.value]
    return head


def _facts(metadata: Metadata) -> list[tuple[str, str]]:
    facts = [
        ("Kind", metadata.kind.value),
        ("Architecture", metadata.architecture),
        ("Task", metadata.task_family),
        ("Parameters", format_count(metadata.parameters) if metadata.parameters is not None else None),
        ("Context length", f"{metadata.context_length:,} tokens" if metadata.context_length is not None else None),
        ("Languages", ", ".join(metadata.languages)),
        ("Precision", metadata.precision),
        ("Quantisation", metadata.quantization),
        ("Chat template", "yes" if metadata.chat_template else None),
        ("Licence", metadata.license),
        ("Base", metadata.base),
        ("Data", ", ".join(metadata.data)),
        ("Created", metadata.created.isoformat(timespec="seconds") if metadata.created is not None else None),
    ]
    return [(label, str(value)) for label, value in facts if value]


def _lineage_text(lineage: Lineage) -> str:
    origin = f" from `{lineage.source}`" if lineage.source else ""
    lines = [f"Made by the step **{lineage.step}**{origin} with LLMasOS {lineage.code_version}."]
    if lineage.inputs:
        rows = [
            (item.role, f"`{item.reference}`" if item.reference else "", f"`{item.digest}`" if item.digest else "")
            for item in lineage.inputs
        ]
        lines.append(_table([("Input", "Reference", "Digest"), *rows]))
    if lineage.recipe is not None:
        recipe = yaml.safe_dump(lineage.recipe, sort_keys=False, allow_unicode=True, width=100)
        lines.append(f"```yaml\n{recipe}```")
    if lineage.metrics:
        rows_of_metrics = [(key, _figure(value)) for key, value in lineage.metrics.items()]
        lines.append(_table([("Metric", "Value"), *rows_of_metrics]))
    return "\n\n".join(lines)


def _figure(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _table(rows: list[tuple[str, ...]]) -> str:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"

    return "\n".join([line(rows[0]), line("---" for _ in rows[0]), *(line(row) for row in rows[1:])])
