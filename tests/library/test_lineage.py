from typing import Any

from llmasos.library.kind import Kind
from llmasos.library.lineage import LineageNode, ancestors, descendants
from llmasos.library.metadata import Lineage, LineageInput, Metadata
from llmasos.library.store import Library

OUTSIDE = "sha256:" + "9" * 64


def outline(node: LineageNode) -> Any:
    return (node.role, node.name, [outline(child) for child in node.nodes])


def lineage(step: str, *inputs: tuple[str, str | None, str | None], source: str | None = None) -> Lineage:
    return Lineage(
        step=step,
        source=source,
        inputs=[LineageInput(role=role, digest=digest, reference=name) for role, digest, name in inputs],
    )


def test_the_tree_goes_both_ways(library: Library, publish: Any) -> None:
    base = publish("base", {"x": b"1"}, lineage=lineage("pull", ("source", OUTSIDE, "hf:o/r"), source="hf:o/r@1"))
    data = publish("data", {"x": b"2"}, metadata=Metadata(kind=Kind.DATASET))
    tuned = publish(
        "tuned",
        {"x": b"3"},
        lineage=lineage("train", ("base", base.digest, "base:latest"), ("data", data.digest, "data:latest")),
    )
    publish("small", {"x": b"4"}, lineage=lineage("quantize", ("base", tuned.digest, "tuned:latest")))
    up = ancestors(library, library.digest_of("small"))
    assert outline(up) == (
        None,
        "small:latest",
        [
            (
                "base",
                "tuned:latest",
                [("base", "base:latest", [("source", "hf:o/r", [])]), ("data", "data:latest", [])],
            )
        ],
    )
    assert (up.step, up.present) == ("quantize", True)
    pulled = up.nodes[0].nodes[0]
    assert (pulled.step, pulled.source, pulled.present) == ("pull", "hf:o/r@1", True)
    assert (pulled.nodes[0].digest, pulled.nodes[0].present) == (OUTSIDE, False)
    assert outline(descendants(library, base.digest)) == (
        None,
        "base:latest",
        [("base", "tuned:latest", [("base", "small:latest", [])])],
    )


def test_history_outlives_the_version(library: Library, publish: Any) -> None:
    base = publish("base", {"x": b"1"}, lineage=lineage("pull", source="pypi:x==1"))
    publish("tuned", {"x": b"2"}, lineage=lineage("train", ("base", base.digest, "base:latest")))
    library.remove("base")
    library.gc()
    node = ancestors(library, library.digest_of("tuned")).nodes[0]
    assert (node.name, node.step, node.source, node.present) == ("base:latest", "pull", "pypi:x==1", False)


def test_what_is_reached_twice_is_shown_once(library: Library, publish: Any) -> None:
    root = publish("root", {"x": b"0"}, lineage=lineage("pull", ("source", OUTSIDE, None)))
    left = publish("left", {"x": b"1"}, lineage=lineage("train", ("base", root.digest, None)))
    right = publish("right", {"x": b"2"}, lineage=lineage("train", ("base", root.digest, None)))
    merged = publish(
        "merged",
        {"x": b"3"},
        lineage=lineage("merge", ("base", left.digest, None), ("base", right.digest, None)),
    )
    first, second = ancestors(library, merged.digest).nodes
    assert [len(first.nodes[0].nodes), first.nodes[0].repeated] == [1, False]
    assert [second.nodes[0].nodes, second.nodes[0].repeated] == [[], True]


def test_adapters_without_lineage_still_show_their_base(library: Library, publish: Any) -> None:
    base = publish("base", {"x": b"1"})
    adapter = publish("adapter", {"x": b"2"}, metadata=Metadata(kind=Kind.ADAPTER, base=base.digest))
    assert outline(ancestors(library, adapter.digest))[2] == [("base", "base:latest", [])]
    assert outline(descendants(library, base.digest))[2] == [("base", "adapter:latest", [])]


def test_an_input_known_only_by_name(library: Library, publish: Any) -> None:
    version = publish("a", lineage=lineage("train", ("data", None, "my-file.jsonl")))
    [node] = ancestors(library, version.digest).nodes
    assert (node.digest, node.name, node.present) == (None, "my-file.jsonl", False)
