"""Two versions side by side: facts, scores, tokenizer, files, tensors, as far as they differ."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nicegui import ui

from llmasos.i18n import t
from llmasos.library.diff import FileDifference, TensorDifference, VersionDifference, compare
from llmasos.library.digest import short
from llmasos.library.scores import attached_scores
from llmasos.library.store import Library
from llmasos.library.version import Version
from llmasos.studio.components import parts
from llmasos.studio.components.table import table
from llmasos.studio.versions.vocabulary import VocabularyDifference, compare_vocabularies
from llmasos.units import format_bytes

MOST_ROWS = 100
Scores = Mapping[tuple[str, str], float]


@dataclass(frozen=True)
class Comparison:
    """What is equal and what differs. Pairs are the first version's value and the second's."""

    versions: tuple[Version, Version]
    difference: VersionDifference
    scores: tuple[Scores, Scores]
    vocabulary: VocabularyDifference | None


def look(library: Library, first: str, second: str) -> Comparison:
    """Compare two versions; this reads the weights of both.

    Raises:
        NotFound: the library lacks one.
        IntegrityError: a file is missing or damaged.
    """
    left, right = library.resolve(first), library.resolve(second)
    return Comparison(
        (left, right),
        compare(library, left, right),
        (_scores(library, left), _scores(library, right)),
        compare_vocabularies(library, left, right),
    )


def _scores(library: Library, version: Version) -> dict[tuple[str, str], float]:
    """The newest figure of each task and metric."""
    found: dict[tuple[str, str], float] = {}
    for entry in attached_scores(library, version.digest):
        for metric, value in entry.metrics.items():
            if isinstance(value, int | float):
                found.setdefault((entry.task, metric), float(value))
    return found


def show(found: Comparison, names: tuple[str, str]) -> None:
    """All of it."""
    difference = found.difference
    if difference.before == difference.after:
        with parts.card():
            ui.label(t("Both names mean the same version."))
        return
    heads = ("", *names)
    with parts.card():
        parts.title_line(2, t("Facts"))
        rows = _facts(found.versions)
        table(heads, rows, label=t("Facts"), marked=_different(rows))
    with parts.card():
        parts.title_line(2, t("Scores"))
        _show_scores(found.scores, heads)
    with parts.card():
        parts.title_line(2, t("Tokenizer"))
        _show_vocabulary(found.vocabulary, heads)
    with parts.card():
        parts.title_line(2, t("Files"))
        _show_files(difference, heads)
    with parts.card():
        parts.title_line(2, t("Tensors"))
        _show_tensors(difference, heads)


def _different(rows: Sequence[Sequence[object]]) -> list[int]:
    return [number for number, row in enumerate(rows) if row[1] != row[2]]


def _facts(versions: tuple[Version, Version]) -> list[tuple[str, str, str]]:
    from llmasos.studio.versions.facts import facts

    left, right = (dict(facts(version)) for version in versions)
    rows = [(name, left.get(name) or "", right.get(name) or "") for name in dict.fromkeys((*left, *right))]
    return [row for row in rows if row[1] or row[2]]


def _show_scores(scores: tuple[Scores, Scores], heads: Sequence[str]) -> None:
    left, right = scores
    if not left and not right:
        ui.label(t("Neither has been evaluated.")).classes("soft")
        return
    rows = [
        (f"{task} · {metric}", _figure(left.get((task, metric))), _figure(right.get((task, metric))))
        for task, metric in sorted(left.keys() | right.keys())
    ]
    table(heads, rows, label=t("Scores"), marked=_different(rows))


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _show_vocabulary(found: VocabularyDifference | None, heads: Sequence[str]) -> None:
    if found is None:
        ui.label(t("Only one has a tokenizer that can be read, or neither.")).classes("soft")
        return
    if found.same:
        ui.label(t("The same: {count} tokens.", count=f"{found.sizes[0]:,}"))
        return
    rows = [
        (t("Tokens"), *(f"{size:,}" for size in found.sizes)),
        (t("Only there"), *(f"{count:,}" for count in found.alone)),
        (t("For example"), *(" ".join(examples) for examples in found.examples)),
    ]
    table(heads, rows, label=t("Tokenizer"))
    if found.moved:
        ui.label(t("{count} tokens are in both under other numbers.", count=f"{found.moved:,}")).classes("soft")


def _show_files(difference: VersionDifference, heads: Sequence[str]) -> None:
    ui.label(t("{count} are equal, byte for byte.", count=difference.equal_files)).classes("soft")
    if difference.files:
        table(heads, [_file(item) for item in difference.files[:MOST_ROWS]], label=t("Files"))
        _left_out(len(difference.files))


def _file(item: FileDifference) -> tuple[str, str, str]:
    def one(digest: str | None, size: int | None) -> str:
        return t("not there") if digest is None or size is None else f"{format_bytes(size)} · {short(digest)}"

    return item.path, one(item.before, item.size_before), one(item.after, item.size_after)


def _show_tensors(difference: VersionDifference, heads: Sequence[str]) -> None:
    ui.label(t("{count} are equal, byte for byte.", count=difference.equal_tensors)).classes("soft")
    groups = tensor_groups(difference.tensors)
    if groups:
        shown = [(_named(pattern, count), *forms) for (pattern, *forms), count in groups[:MOST_ROWS]]
        table((*heads, t("Differs")), shown, label=t("Tensors"))
        _left_out(len(groups))


def tensor_groups(tensors: Sequence[TensorDifference]) -> list[tuple[_Line, int]]:
    """Tensors that differ in the same way and whose names differ in numbers only, as those of all layers do.

    Returns:
        What is shown of each group, with ``*`` for the numbers in its name, and how many tensors it has.
    """
    groups: dict[_Line, list[str]] = {}
    for item in tensors:
        name, before, after, differs = _tensor(item)
        groups.setdefault((_NUMBER.sub("*", name), before, after, differs), []).append(name)
    return [
        ((pattern if len(names) > 1 else names[0], before, after, differs), len(names))
        for (pattern, before, after, differs), names in groups.items()
    ]


_Line = tuple[str, str, str, str]
"""Name, form in the first version, form in the second, what differs."""
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


def _named(pattern: str, count: int) -> str:
    return pattern if count == 1 else f"{pattern} ({count} ×)"


def _tensor(item: TensorDifference) -> _Line:
    def one(dtype: str | None, shape: Sequence[int] | None) -> str:
        return t("not there") if dtype is None else f"{dtype} {' × '.join(map(str, shape or ())) or '()'}"

    words = {"dtype": t("type"), "shape": t("shape"), "values": t("values")}
    differs = ", ".join(words[word] for word in item.differs) or t("not there")
    return item.name, one(item.dtype_before, item.shape_before), one(item.dtype_after, item.shape_after), differs


def _left_out(count: int) -> None:
    if count > MOST_ROWS:
        ui.label(t("{count} more; `llmasos diff` lists all of them.", count=f"{count - MOST_ROWS:,}")).classes(
            "small soft"
        )
