"""The report as one HTML file that needs no network, and its parts for other pages. Every text in them is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from importlib import resources
from typing import Any

from llmasos import __version__
from llmasos.data.report.html import bars, columns, number, share, table, text
from llmasos.data.report.step_details import rejection_tags, step_details
from llmasos.i18n import language, t
from llmasos.units import format_bytes, format_count, format_duration

_MOST_FILES = 50
_MOST_BARS = 15


def page(facts: Mapping[str, Any], estimate: Mapping[str, Any] | None) -> str:
    """The page, in the language in force."""
    title = facts["name"] or t("Prepared data set")
    style = (resources.files("llmasos.data.report") / "style.css").read_text(encoding="utf-8")
    return (
        f'<!doctype html><html lang="{language()}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>"
        f"<body><main>{_head(facts, title)}{body(facts, estimate)}</main></body></html>\n"
    )


def body(facts: Mapping[str, Any], estimate: Mapping[str, Any] | None) -> str:
    """Everything below the title."""
    made = t("Made by LLMasOS {version}. Seed {seed}.", version=__version__, seed=facts["seed"])
    parts = [
        _figures(facts, estimate),
        warnings(facts.get("warnings", ())),
        steps(facts),
        step_details(facts),
        lengths(facts),
        content(facts),
        _tokens(facts, estimate) if facts["tokens"] else "",
        _sources(facts),
        f'<p class="soft">{text(made)}</p>',
    ]
    return "".join(parts)


def warnings(sentences: Iterable[str]) -> str:
    """What should be known before anything else."""
    return "".join(f'<p class="warn">{text(sentence)}</p>' for sentence in sentences)


def _head(facts: Mapping[str, Any], title: str) -> str:
    description = f"<p>{text(facts['description'])}</p>" if facts["description"] else ""
    kind = t("Data report. Samples are of the kind {kind}.", kind=facts["kind"])
    return f'<h1>{text(title)}</h1><p class="soft">{text(kind)}</p>{description}'


def _figures(facts: Mapping[str, Any], estimate: Mapping[str, Any] | None) -> str:
    totals = facts["totals"]
    entries = [(number(totals["read"]), t("rows read"))]
    if totals["added"]:
        entries.append((f"+ {number(totals['added'])}", t("rows repeated by the mixture")))
    entries += [
        (
            f"- {number(totals['rejected'])}",
            t("rows rejected ({share})", share=share(totals["rejected"], totals["read"])),
        ),
        (f"= {number(totals['kept'])}", t("rows kept")),
    ]
    if facts["tokens"]:
        entries.append((format_count(facts["tokens"]["total"]), t("tokens")))
    if estimate:
        entries.append((format_duration(estimate["lora_seconds"]), t("to train once by LoRA here (estimate)")))
    boxes = "".join(
        f'<div class="figure"><b>{text(value)}</b><span>{text(name)}</span></div>' for value, name in entries
    )
    return f'<div class="figures">{boxes}</div>'


def steps(facts: Mapping[str, Any]) -> str:
    """How many rows went into each step and came out of it."""
    rows = []
    for step in facts["steps"]:
        added = f" + {number(step['added'])}" if step["added"] else ""
        rows.append(
            (
                f"<code>{text(step['name'])}</code>",
                number(step["rows_in"]) + added,
                number(step["rows_out"]),
                number(step["changed"]) if step["changed"] else "",
                rejection_tags(step["rejected"]),
            )
        )
    heads = [t("Step"), t("Rows in"), t("Rows out"), t("Changed"), t("Rejected")]
    note = t("In every step, rows in (and repeated) are rows out and rejected; no row is lost.")
    body = table([text(head) for head in heads], rows, right=(1, 2, 3))
    return f'<section><h2>{text(t("What happened to the rows"))}</h2>{body}<p class="soft">{text(note)}</p></section>'


def _histogram(bins: list[list[int]], *, label: str, axis: str, unit: str) -> str:
    entries = [(_short(low), count, f"{low:,} - {high:,} {unit}: {count:,}") for low, high, count in _filled(bins)]
    return columns(entries, label=label, axis=axis)


def _filled(bins: list[list[int]]) -> list[list[int]]:
    """The bins, with empty ones where there is a gap, so that the axis is even."""
    from llmasos.data.report.statistics import bin_edges, length_bin

    if not bins:
        return []
    counts = {length_bin(high): count for _, high, count in bins}
    return [[*bin_edges(index), counts.get(index, 0)] for index in range(min(counts), max(counts) + 1)
            if bin_edges(index)[0] <= bin_edges(index)[1]]  # fmt: skip


def _short(value: int) -> str:
    return f"{value / 1000:g}k" if value >= 10_000 else str(value)


def lengths(facts: Mapping[str, Any]) -> str:
    """How long the rows are, in characters and, where they were counted, in tokens."""
    label = t("Length of the rows in characters")
    left = f"<div><h3>{text(label)}</h3>" + _histogram(
        facts["lengths"], label=label,
        axis=t("characters (logarithmic); {total} in all", total=number(facts["characters"])), unit=t("characters"),
    ) + "</div>"  # fmt: skip
    right = ""
    if facts["tokens"]:
        label = t("Length of the samples in tokens")
        right = f"<div><h3>{text(label)}</h3>" + _histogram(
            facts["tokens"]["lengths"], label=label,
            axis=t("tokens of {model} (logarithmic)", model=facts["tokens"]["model"]), unit=t("tokens"),
        ) + "</div>"  # fmt: skip
    return f'<section><h2>{text(t("Lengths"))}</h2><div class="two">{left}{right}</div></section>'


def content(facts: Mapping[str, Any]) -> str:
    """Splits, sources, classes and languages."""
    kept = facts["totals"]["kept"]

    def block(title: str, counts: Mapping[str, int]) -> str:
        entries = [
            (name, count, f"{count:,} ({share(count, kept)})") for name, count in list(counts.items())[:_MOST_BARS]
        ]
        more = len(counts) - len(entries)
        rest = f'<p class="soft">{text(t("and {count} more", count=more))}</p>' if more > 0 else ""
        return f"<div><h3>{text(title)}</h3>{bars(entries, label=title)}{rest}</div>"

    blocks = [block(t("Splits"), facts["splits"])] if facts["splits"] else []
    if len(facts["rows_by_source"]) > 1:
        blocks.append(block(t("Sources"), facts["rows_by_source"]))
    if facts["labels"]:
        blocks.append(block(t("Classes"), facts["labels"]))
    title = t("Languages (of {count} rows looked at)", count=number(facts["sampled"]))
    shown = [
        (name, round(part * 10_000), f"{100 * part:.1f} %") for name, part in list(facts["languages"].items())[:10]
    ]
    blocks.append(f"<div><h3>{text(title)}</h3>{bars(shown, label=title)}</div>")
    return f'<section><h2>{text(t("What is in it"))}</h2><div class="two">{"".join(blocks)}</div></section>'


def _tokens(facts: Mapping[str, Any], estimate: Mapping[str, Any] | None) -> str:
    tokens = facts["tokens"]
    rows = [
        (t("Model"), tokens["model"]),
        (t("Tokens"), number(tokens["total"])),
        (t("of which learned"), f"{number(tokens['trained'])} ({share(tokens['trained'], tokens['total'])})"),
        (
            t("Vocabulary in use"),
            t("{used} of {size} ({share}), in {sampled} tokens looked at",
              used=number(tokens["vocabulary_used"]), size=number(tokens["vocabulary_size"]),
              share=share(tokens["vocabulary_used"], tokens["vocabulary_size"]),
              sampled=number(tokens["sampled_tokens"])),
        ),
        (t("Unknown tokens"), share(tokens["unknown_share"], 1)),
        (t("Characters per token"), number(tokens["characters_per_token"]) if tokens["characters_per_token"] else "-"),
    ]  # fmt: skip
    if estimate:
        rows += [
            (t("One pass, all weights trained"), "≈ " + format_duration(estimate["full_seconds"])),
            (t("One pass by LoRA"), "≈ " + format_duration(estimate["lora_seconds"])),
        ]
    body = table([text(t("Property")), text(t("Value"))], [(text(name), text(value)) for name, value in rows])
    note = ""
    if estimate:
        note = t(
            "Estimated for {device} from {parameters} parameters, {tokens} tokens of train and {speed} operations per "
            "second measured in matrix products, of which training reaches about {utilisation} %.",
            device=estimate["device"], parameters=format_count(estimate["parameters"]),
            tokens=number(estimate["tokens"]),
            speed=format_count(estimate["operations_per_second"]), utilisation=round(100 * estimate["utilisation"]),
        )  # fmt: skip
    return f'<section><h2>{text(t("Tokens"))}</h2>{body}<p class="soft">{text(note)}</p></section>'


def _sources(facts: Mapping[str, Any]) -> str:
    parts = []
    for source in facts["sources"]:
        layout = ", ".join(f"{key}: {value}" for key, value in source["layout"].items() if key not in ("join",))
        lines = [
            t("recognised as {name}", name=source["recognised"]) if source["recognised"] else t("layout given"),
            layout,
        ]
        if source["unused_columns"]:
            lines.append(t("columns not used: {names}", names=", ".join(source["unused_columns"])))
        if source["skipped_files"]:
            lines.append(t("files of unknown format left out: {names}", names=", ".join(source["skipped_files"][:20])))
        rows = [
            (
                f"<code>{text(file['name'])}</code>",
                text(format_bytes(file["size"])),
                text(file["format"] if file["compression"] == "none" else f"{file['format']}, {file['compression']}"),
                _encoding(file),
                f"<code>{text(file['digest'].removeprefix('sha256:')[:12])}</code>",
            )
            for file in source["files"][:_MOST_FILES]
        ]
        more = len(source["files"]) - len(rows)
        rest = f'<p class="soft">{text(t("and {count} more", count=more))}</p>' if more > 0 else ""
        heads = [text(head) for head in (t("File"), t("Size"), t("Format"), t("Encoding"), "SHA-256")]
        notes = "".join(f'<p class="soft">{text(line)}</p>' for line in lines)
        parts.append(f"<h3>{text(source['name'])}</h3>{notes}{table(heads, rows, right=(1,))}{rest}")
    return f"<section><h2>{text(t('Sources'))}</h2>{''.join(parts)}</section>"


def _encoding(file: Mapping[str, Any]) -> str:
    if file["encoding"] is None:
        return ""
    name = file["encoding"] if file["encoding_certain"] else t("{name} (guessed)", name=file["encoding"])
    if file["undecodable_lines"]:
        name += ", " + t("{count} lines do not fit", count=file["undecodable_lines"])
    return text(name)
