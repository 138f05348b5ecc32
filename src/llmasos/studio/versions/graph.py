"""The lineage of a version as a graph: what it was made from, and what was made from it.

Places are worked out here, in pixels, and drawn in :mod:`llmasos.studio.versions.drawing`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from llmasos.library.lineage import LineageNode
from llmasos.library.scores import EVALUATE

MOST_IN_A_LAYER = 12


@dataclass
class Node:
    """A version, or bytes from outside.

    Attributes:
        layer: 0 for the version that is looked at; ancestors are above it (negative), descendants below.
        inputs: what it was made from: the keys of those nodes and what each was used as.
        hidden: how many nodes it stands for, if there was no room for them.
    """

    key: str
    name: str | None = None
    digest: str | None = None
    step: str | None = None
    source: str | None = None
    present: bool = False
    layer: int = 0
    inputs: dict[str, str] = field(default_factory=dict)
    hidden: int = 0


@dataclass(frozen=True)
class Graph:
    """All nodes, and the one that is looked at.

    Attributes:
        evaluations: how many evaluations were left out: they are scores, shown elsewhere.
    """

    nodes: dict[str, Node]
    centre: str
    evaluations: int = 0

    def layers(self) -> Iterator[list[Node]]:
        """The nodes from the farthest ancestors down."""
        for layer in sorted({node.layer for node in self.nodes.values()}):
            yield [node for node in self.nodes.values() if node.layer == layer]

    def users(self, key: str) -> list[Node]:
        """What was made from a node."""
        return [node for node in self.nodes.values() if key in node.inputs]


def graph(up: LineageNode, down: LineageNode) -> Graph:
    """The graph of a version.

    Args:
        up: from :func:`llmasos.library.lineage.ancestors`.
        down: from :func:`llmasos.library.lineage.descendants`.
    """
    centre = up.digest or ""
    nodes: dict[str, Node] = {}
    _add(nodes, up, centre)
    _climb(nodes, up, centre)
    evaluations = _descend(nodes, down, centre)
    _layer(nodes, centre)
    _shorten(nodes, centre)
    return Graph(nodes, centre, evaluations)


def _add(nodes: dict[str, Node], item: LineageNode, key: str) -> Node:
    node = nodes.setdefault(key, Node(key, digest=item.digest))
    node.name, node.step, node.source = node.name or item.name, node.step or item.step, node.source or item.source
    node.present = node.present or item.present
    return node


def _key(item: LineageNode) -> str:
    """A name without a digest is the same thing wherever it was used in the same way."""
    return item.digest or f"{item.role} {item.name}"


def _climb(nodes: dict[str, Node], item: LineageNode, key: str) -> None:
    for made_from in item.nodes:
        above = _key(made_from)
        _add(nodes, made_from, above)
        if not _reaches(nodes, above, key):
            nodes[key].inputs.setdefault(above, made_from.role or "")
        _climb(nodes, made_from, above)


def _descend(nodes: dict[str, Node], item: LineageNode, key: str) -> int:
    evaluations = 0
    for user in item.nodes:
        if user.step == EVALUATE:
            evaluations += 1
            continue
        below = _key(user)
        node = _add(nodes, user, below)
        if not _reaches(nodes, key, below):
            node.inputs.setdefault(key, user.role or "")
        evaluations += _descend(nodes, user, below)
    return evaluations


def _reaches(nodes: dict[str, Node], key: str, goal: str) -> bool:
    """Whether ``goal`` is among the ancestors of ``key``, or is ``key``: lineage is what somebody wrote, and a circle
    in it must not catch us."""
    waiting, seen = [key], set()
    while waiting:
        found = waiting.pop()
        if found == goal:
            return True
        if found not in seen:
            seen.add(found)
            waiting += nodes[found].inputs
    return False


def _layer(nodes: dict[str, Node], centre: str) -> None:
    """Ancestors as far above the centre as their longest way to it, the others below what they were made from."""
    users: dict[str, list[str]] = {key: [] for key in nodes}
    for node in nodes.values():
        for key in node.inputs:
            users[key].append(node.key)
    above: dict[str, int] = {centre: 0}
    waiting = [centre]
    while waiting:
        key = waiting.pop()
        for made_from in nodes[key].inputs:
            if above.get(made_from, 0) < above[key] + 1:
                above[made_from] = above[key] + 1
                waiting.append(made_from)
    below: dict[str, int] = {centre: 0}
    waiting = [centre]
    while waiting:
        key = waiting.pop()
        for user in users[key]:
            if user not in above and below.get(user, 0) < below[key] + 1:
                below[user] = below[key] + 1
                waiting.append(user)
    for node in nodes.values():
        node.layer = -above[node.key] if node.key in above else below.get(node.key, 1)


def _shorten(nodes: dict[str, Node], centre: str) -> None:
    """Let one node stand for those that a layer has no room for."""
    for layer in {node.layer for node in nodes.values()}:
        here = [node for node in nodes.values() if node.layer == layer and node.key != centre]
        if len(here) <= MOST_IN_A_LAYER:
            continue
        gone = here[MOST_IN_A_LAYER - 1 :]
        more = Node(f"more {layer}", layer=layer, hidden=len(gone))
        keys = {node.key for node in gone}
        for node in gone:
            more.inputs |= node.inputs
            del nodes[node.key]
        for node in nodes.values():
            if keys & node.inputs.keys():
                node.inputs = {key: role for key, role in node.inputs.items() if key not in keys} | {more.key: ""}
        nodes[more.key] = more
    for node in nodes.values():
        node.inputs = {key: role for key, role in node.inputs.items() if key in nodes and key != node.key}
