"""Draws a lineage as SVG: boxes that lead to the pages of their models, lines from what went in to what came out.

Texts are escaped here: what is drawn is HTML. Each box says in words what the lines show, for screen readers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from unicodedata import east_asian_width

from llmasos.i18n import t
from llmasos.library.digest import short
from llmasos.studio import address
from llmasos.studio.versions.graph import Graph, Node

_HEIGHT = 58
_GAP = 14
_BETWEEN = 46
_PADDING = 12


@dataclass(frozen=True)
class Measure:
    """How wide a drawing is, how many boxes stand beside each other, and how many half-width characters fit a line."""

    width: int
    columns: int

    @property
    def box(self) -> float:
        """The width of a box."""
        return (self.width - _GAP * (self.columns - 1)) / self.columns

    @property
    def characters(self) -> int:
        """What fits into a line of a box."""
        return int((self.box - 2 * _PADDING) / 7.9)


WIDE = Measure(1000, 4)
NARROW = Measure(300, 2)


def draw(graph: Graph, measure: Measure) -> str:
    """The lineage as an SVG element."""
    places, height = _places(graph, measure)
    lines = [_line(places[key], places[node.key], measure) for node in graph.nodes.values() for key in node.inputs]
    boxes = [_box(graph, node, places[node.key], measure) for layer in graph.layers() for node in layer]
    return (
        f'<svg class="lineage" width="{measure.width}" height="{height:g}" viewBox="0 0 {measure.width} {height:g}" '
        f'role="group" aria-label="{escape(t("Lineage"))}">{"".join(lines)}{"".join(boxes)}</svg>'
    )


_Place = tuple[float, float]


def _places(graph: Graph, measure: Measure) -> tuple[dict[str, _Place], float]:
    """The upper left corner of every box, layer below layer, each in as many rows as it needs and centred."""
    places: dict[str, _Place] = {}
    y = 1.0
    for layer in graph.layers():
        for start in range(0, len(layer), measure.columns):
            row = layer[start : start + measure.columns]
            left = (measure.width - len(row) * measure.box - (len(row) - 1) * _GAP) / 2
            for number, node in enumerate(row):
                places[node.key] = (left + number * (measure.box + _GAP), y)
            y += _HEIGHT + _GAP
        y += _BETWEEN - _GAP
    return places, y - _BETWEEN + 1


def _line(upper: _Place, lower: _Place, measure: Measure) -> str:
    x1, y1 = upper[0] + measure.box / 2, upper[1] + _HEIGHT
    x2, y2 = lower[0] + measure.box / 2, lower[1]
    bend = max((y2 - y1) / 2, 12)
    return f'<path d="M{x1:g} {y1:g} C{x1:g} {y1 + bend:g} {x2:g} {y2 - bend:g} {x2:g} {y2:g}"/>'


def _box(graph: Graph, node: Node, place: _Place, measure: Measure) -> str:
    x, y = place
    centre = node.key == graph.centre
    kind = "centre" if centre else "here" if node.present else "outside"
    texts = [
        f'<text x="{x + _PADDING:g}" y="{y + 24 + 20 * number:g}" class="{look}">'
        f"{escape(shortened(text, measure.characters))}</text>"
        for number, (text, look) in enumerate(((title(node), "name"), (_origin(graph, node), "from")))
    ]
    inner = (
        f'<rect x="{x + 0.5:g}" y="{y + 0.5:g}" width="{measure.box - 1:g}" height="{_HEIGHT - 1}" rx="10"/>'
        f"{''.join(texts)}<title>{escape(_whole(node))}</title>"
    )
    spoken = escape(in_words(graph, node))
    name = node.name if node.present else None
    if centre or not node.present:
        current = ' aria-current="true"' if centre else ""
        return f'<g class="{kind}" role="img" aria-label="{spoken}"{current}>{inner}</g>'
    target = escape(address.ROOT + address.model(name or node.digest or ""))
    return f'<a class="{kind}" href="{target}" aria-label="{spoken}">{inner}</a>'


def title(node: Node) -> str:
    """What a node is called."""
    if node.hidden:
        return t("{count} more", count=node.hidden)
    return node.name or node.source or (short(node.digest) if node.digest else t("unknown"))


def _origin(graph: Graph, node: Node) -> str:
    """The second line: the step that made it, else what it was used as."""
    if node.step:
        return step_text(node.step)
    roles = dict.fromkeys(user.inputs[node.key] for user in graph.users(node.key))
    return ", ".join(_roles().get(role, role) for role in roles if role)


def _whole(node: Node) -> str:
    return "\n".join(dict.fromkeys(text for text in (node.name, node.source, node.digest) if text))


def in_words(graph: Graph, node: Node) -> str:
    """What a box and its lines show, as one sentence."""
    words = [title(node)]
    if origin := _origin(graph, node):
        words.append(origin)
    if node.digest and not node.present:
        words.append(t("not in the library"))
    if node.inputs:
        made_from = (_used(graph.nodes[key], role) for key, role in node.inputs.items())
        words.append(t("made from {inputs}", inputs=", ".join(made_from)))
    return " · ".join(words)


def _used(node: Node, role: str) -> str:
    return f"{title(node)} ({_roles().get(role, role)})" if role else title(node)


def shortened(text: str, most: int) -> str:
    """A text that fits a line; its middle is left out, for names differ at both ends. Wide characters count twice."""
    if _cells(text) <= most:
        return text
    head, tail = text, text
    while _cells(head) > (most - 1) * 0.6:
        head = head[:-1]
    while _cells(tail) > most - 1 - _cells(head):
        tail = tail[1:]
    return f"{head}…{tail}"


def _cells(text: str) -> int:
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def step_text(step: str) -> str:
    """What a step did, in the language in force."""
    known = {
        "pull": t("pulled"), "import": t("imported"), "train": t("training"), "merge": t("merged"),
        "create": t("created"), "prepare": t("prepared"), "convert": t("converted"), "quantize": t("quantised"),
    }  # fmt: skip
    return known.get(step, step)


def _roles() -> Mapping[str, str]:
    return {
        "base": t("base"), "data": t("data"), "train": t("training data"), "validation": t("validation data"),
        "recipe": t("recipe"), "source": t("source"), "adapter": t("adapter"), "tokenizer": t("tokenizer"),
        "model": t("model"),
    }  # fmt: skip
