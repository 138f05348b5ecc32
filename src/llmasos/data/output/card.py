"""The card of a prepared data set. It travels with the data, so it is in English whatever the user's language is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from llmasos.library.card import join_card

if TYPE_CHECKING:
    from llmasos.data.recipe import DataRecipe

_TASKS = {
    "text": "text-generation",
    "messages": "text-generation",
    "prompt_completion": "text-generation",
    "preference": "reinforcement-learning",
    "unpaired_preference": "reinforcement-learning",
    "label": "text-classification",
    "parallel": "text2text-generation",
}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"),
          (10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"))  # fmt: skip


def card_text(recipe: DataRecipe, facts: dict[str, Any]) -> str:
    """The card: a head that Hugging Face tools read (they find the splits by it), and what was done to the rows."""
    totals = facts["totals"]
    head: dict[str, Any] = {}
    if recipe.license:
        head["license"] = recipe.license.lower()
    if recipe.languages:
        head["language"] = list(recipe.languages)
    head["task_categories"] = [_TASKS[facts["kind"]]]
    head["size_categories"] = [next((name for limit, name in _SIZES if totals["kept"] < limit), "n>100M")]
    head["configs"] = [
        {
            "config_name": "default",
            "data_files": [
                {"split": split, "path": f"data/{split}-*.{recipe.output.format}"} for split in facts["splits"]
            ],
        }
    ]
    head["tags"] = ["llmasos", "dataset"]
    parts = [f"# {recipe.name or 'Prepared data set'}"]
    if recipe.description:
        parts.append(recipe.description)
    parts.append(
        f"{totals['read']:,} rows read, {totals['rejected']:,} rejected, {totals['added']:,} repeated, "
        f"{totals['kept']:,} kept. Samples are of the kind `{facts['kind']}`."
    )
    parts.append("## Splits\n\n" + _table(("Split", "Rows"), [(name, f"{n:,}") for name, n in facts["splits"].items()]))
    parts.append(
        "## Sources\n\n"
        + _table(
            ("Source", "Files", "Bytes", "Layout"),
            [
                (
                    item["name"],
                    str(len(item["files"])),
                    f"{item['bytes']:,}",
                    item["recognised"] or item["layout"]["kind"],
                )
                for item in facts["sources"]
            ],
        )
    )
    parts.append(
        "## Steps\n\n"
        + _table(
            ("Step", "Rows in", "Rows out", "Changed", "Rejected for"),
            [
                (
                    item["name"],
                    f"{item['rows_in']:,}",
                    f"{item['rows_out']:,}",
                    f"{item['changed']:,}",
                    ", ".join(f"{reason} ({count:,})" for reason, count in item["rejected"].items()),
                )
                for item in facts["steps"]
            ],
        )
    )
    if totals["rejected"]:
        parts.append("Every rejected row with its reason is in `rejected/rejected.jsonl.gz`.")
    document = recipe.model_dump(mode="json", exclude={"execution", "variables"}, exclude_none=True)
    parts.append("## Recipe\n\n```yaml\n" + yaml.safe_dump(document, sort_keys=False, allow_unicode=True) + "```")
    return join_card(head, "\n\n".join(parts))


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "| " + " | ".join("---" for _ in heads) + " |"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)
