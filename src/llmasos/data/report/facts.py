"""The report as data: deterministic, so that it can be part of the version; pages follow from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmasos.data.pipeline.account import StepAccount
from llmasos.data.report.statistics import bin_edges
from llmasos.data.sources.plan import Plan

if TYPE_CHECKING:
    from llmasos.data.recipe import DataRecipe

FORMAT = 1


def make_facts(
    recipe: DataRecipe,
    plan: Plan,
    kind: str,
    accounts: Sequence[StepAccount],
    statistics: Mapping[str, Any],
    rows_by_split: Mapping[str, int],
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """All facts about a preparation.

    ``totals`` holds ``read + added == kept + rejected``. ``steps`` are in order, each with rows in and out, reasons of
    rejections and examples. Lengths are histograms of ``[from, to, rows]``.
    """
    read, kept = accounts[0].rows_in, accounts[-1].rows_out
    added = sum(account.added for account in accounts)
    rejected = sum(account.rows_rejected for account in accounts)
    assert read + added == kept + rejected, "rows are missing from the account"
    return {
        "format": FORMAT,
        "name": recipe.name,
        "description": recipe.description,
        "kind": kind,
        "seed": recipe.seed,
        "totals": {"read": read, "added": added, "rejected": rejected, "kept": kept},
        "splits": {name: count for name, count in rows_by_split.items() if count},
        "sources": [_source(source.model_dump(mode="json")) for source in plan.sources],
        "steps": [step_facts(account) for account in accounts],
        "warnings": list(warnings),
        **measured_facts(statistics),
        "tokens": _tokens(recipe, statistics),
    }


def measured_facts(statistics: Mapping[str, Any]) -> dict[str, Any]:
    """What the rows themselves say, from :func:`llmasos.data.report.statistics.merge_statistics`."""
    return {
        "lengths": _histogram(statistics["lengths"]),
        "characters": statistics["characters"],
        "languages": _shares(statistics["languages"], statistics["sampled"]),
        "sampled": statistics["sampled"],
        "labels": dict(sorted(statistics["labels"].items(), key=lambda item: (-item[1], item[0]))),
        "rows_by_source": statistics["sources"],
    }


def _source(plan: dict[str, Any]) -> dict[str, Any]:
    files = plan["files"]
    return {
        "name": plan["name"],
        "layout": {key: value for key, value in plan["layout"].items() if value is not None},
        "recognised": plan["recognised"],
        "into": plan["into"],
        "unused_columns": plan["unused_columns"],
        "skipped_files": plan["skipped_files"],
        "reference": plan["reference"],
        "bytes": sum(file["size"] for file in files),
        "files": [
            {
                key: file[key]
                for key in (
                    "name", "size", "digest", "format", "compression", "encoding", "encoding_certain",
                    "undecodable_lines",
                )
            }
            for file in files
        ],
    }  # fmt: skip


def step_facts(account: StepAccount) -> dict[str, Any]:
    """What one step did, with examples."""
    return {
        "name": account.name,
        "rows_in": account.rows_in,
        "rows_out": account.rows_out,
        "added": account.added,
        "changed": account.changed,
        "rejected": dict(sorted(account.rejected.items(), key=lambda item: (-item[1], item[0]))),
        "counts": dict(sorted(account.counts.items())),
        "changes": [value for _, value in account.changes.entries()],
        "rejections": {
            reason: [value for _, value in examples.entries()] for reason, examples in account.rejections.items()
        },
    }


def _histogram(bins: Mapping[str, int]) -> list[list[int]]:
    return [[*bin_edges(int(number)), count] for number, count in sorted(bins.items(), key=lambda item: int(item[0]))]


def _shares(counts: Mapping[str, int], total: int) -> dict[str, float]:
    """Shares, the largest first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {name: round(count / total, 4) for name, count in ordered} if total else {}


def _tokens(recipe: DataRecipe, statistics: Mapping[str, Any]) -> dict[str, Any] | None:
    if recipe.tokens is None:
        return None
    sampled = statistics["sampled_tokens"]
    return {
        "model": recipe.tokens.model,
        "total": statistics["token_total"],
        "trained": statistics["trained_total"],
        "lengths": _histogram(statistics["tokens"]),
        "vocabulary_size": statistics["vocabulary_size"],
        "vocabulary_used": statistics["vocabulary_used"],
        "unknown_share": round(statistics["unknown_tokens"] / sampled, 6) if sampled else 0.0,
        "tokens_per_word": round(sampled / statistics["sampled_words"], 3) if statistics["sampled_words"] else None,
        "characters_per_token": round(statistics["sampled_characters"] / sampled, 3) if sampled else None,
        "sampled_tokens": sampled,
    }
