"""Lineage as a graph, tokenizers and tensors side by side, looks into files, uploads: what needs no browser."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from llmasos.errors import InUse, Unsupported
from llmasos.i18n import speaking
from llmasos.library import delivery
from llmasos.library.diff import TensorDifference
from llmasos.library.lineage import LineageNode, ancestors, descendants
from llmasos.library.metadata import Lineage, LineageInput, Metadata
from llmasos.library.reference import Reference
from llmasos.library.store import Library
from llmasos.library.version import Version
from llmasos.studio.transfers import Transfers
from llmasos.studio.versions import files
from llmasos.studio.versions.comparison import tensor_groups
from llmasos.studio.versions.drawing import NARROW, WIDE, draw, in_words, shortened
from llmasos.studio.versions.graph import MOST_IN_A_LAYER, Graph, graph
from llmasos.studio.versions.vocabulary import compare_vocabularies

Publish = Callable[..., Version]
HOSTILE = '<script>alert("&")</script>'


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    opened = Library(tmp_path / "home")
    yield opened
    opened.close()


@pytest.fixture
def publish(library: Library) -> Publish:
    def run(name: str, files: dict[str, bytes], *inputs: tuple[str, Version], step: str = "train") -> Version:
        used = [LineageInput(role=role, digest=version.digest, reference="x") for role, version in inputs]
        with library.draft() as draft:
            for path, data in files.items():
                draft.add_bytes(path, data)
            return draft.publish(Reference.parse(name), Metadata(), lineage=Lineage(step=step, inputs=used))

    return run


def of(library: Library, name: str) -> Graph:
    digest = library.digest_of(name)
    return graph(ancestors(library, digest), descendants(library, digest))


def outline(found: Graph) -> list[tuple[int, set[str | None]]]:
    return [(layer[0].layer, {node.name for node in layer}) for layer in found.layers()]


def test_layers_follow_the_longest_way(library: Library, publish: Publish) -> None:
    base = publish("base", {"x": b"1"}, step="import")
    tuned = publish("tuned", {"x": b"2"}, ("base", base))
    merged = publish("merged", {"x": b"3"}, ("base", base), ("adapter", tuned), step="merge")
    publish("small", {"x": b"4"}, ("base", merged))
    publish("tiny", {"x": b"5"}, ("base", library.resolve("small")), ("teacher", merged))
    publish("scored", {"x": b"6"}, ("model", merged), step="evaluate")
    found = of(library, "merged")
    assert outline(found) == [
        (-2, {"base:latest"}), (-1, {"tuned:latest"}), (0, {"merged:latest"}), (1, {"small:latest"}),
        (2, {"tiny:latest"}),
    ]  # fmt: skip
    assert found.evaluations == 1
    assert found.nodes[merged.digest].inputs == {base.digest: "base", tuned.digest: "adapter"}
    assert in_words(found, found.nodes[merged.digest]) == (
        "merged:latest · merged · made from base:latest (base), tuned:latest (adapter)"
    )
    with speaking("zh"):
        assert "合并" in in_words(found, found.nodes[merged.digest])


@pytest.mark.parametrize("measure", [WIDE, NARROW])
def test_boxes_do_not_overlap_and_stay_inside(library: Library, publish: Publish, measure: Any) -> None:
    base = publish("base", {"x": b"1"}, step="import")
    for number in range(7):
        publish(f"my/a-tuned-model-with-a-long-name-{number}", {"x": bytes([number])}, ("base", base))
    drawn = ElementTree.fromstring(draw(of(library, "base"), measure))
    boxes = [tuple(float(box.attrib[key]) for key in ("x", "y", "width", "height")) for box in drawn.iter("rect")]
    assert len(boxes) == 8 and len(list(drawn.iter("path"))) == 7
    for number, (x, y, width, height) in enumerate(boxes):
        assert x >= 0 and x + width <= float(drawn.attrib["width"]) and y + height <= float(drawn.attrib["height"])
        for other in boxes[number + 1 :]:
            assert abs(other[0] - x) >= width or abs(other[1] - y) >= height
    links = [link.attrib["href"] for link in drawn.iter("a")]
    assert "/studio/models/my~a-tuned-model-with-a-long-name-0:latest" in links and len(links) == 7
    assert all(element.attrib["aria-label"] for element in (*drawn.iter("a"), *drawn.iter("g")))


def test_what_names_hold_is_text() -> None:
    up = LineageNode("sha256:1", name="m", nodes=[LineageNode("sha256:2", HOSTILE, HOSTILE, HOSTILE, HOSTILE, True)])
    drawn = draw(graph(up, LineageNode("sha256:1")), NARROW)
    assert "<script" not in drawn and ElementTree.fromstring(drawn) is not None


def test_many_are_told_as_one() -> None:
    users = [LineageNode(f"sha256:{number}", "base", f"m{number}", "train") for number in range(40)]
    found = graph(LineageNode("sha256:base"), LineageNode("sha256:base", nodes=users))
    below = [node for node in found.nodes.values() if node.layer == 1]
    assert len(below) == MOST_IN_A_LAYER and sum(node.hidden for node in below) == 40 - MOST_IN_A_LAYER + 1
    assert all("sha256:base" in node.inputs for node in below)


def test_a_circle_in_the_lineage_ends() -> None:
    """Lineage is what somebody wrote into a manifest."""
    up = LineageNode("a", nodes=[LineageNode("b", "base", nodes=[LineageNode("a", "base", repeated=True)])])
    down = LineageNode("a", nodes=[LineageNode("b", "base", nodes=[LineageNode("a", "base", repeated=True)])])
    found = graph(up, down)
    assert set(found.nodes) == {"a", "b"} and draw(found, WIDE)


def test_what_has_no_digest_is_there_too() -> None:
    up = LineageNode("a", nodes=[LineageNode(None, "data", "texts"), LineageNode(None, "base", None)])
    found = graph(up, LineageNode("a"))
    assert {node.name for node in found.nodes.values()} == {None, "texts"}
    assert len(list(ElementTree.fromstring(draw(found, WIDE)).iter("rect"))) == 3


@pytest.mark.parametrize(("text", "most", "expected"), [
    ("short", 10, "short"), ("samples/customer-messages:latest", 16, "samples/c…latest"),
    ("顾客留言的分类器", 9, "顾客…类器"),
])  # fmt: skip
def test_long_names_lose_their_middle(text: str, most: int, expected: str) -> None:
    assert shortened(text, most) == expected


def tokenizer(vocabulary: Any, *added: tuple[str, int]) -> bytes:
    tokens = [{"content": token, "id": number} for token, number in added]
    return json.dumps({"model": {"vocab": vocabulary}, "added_tokens": tokens}).encode()


def test_tokenizers(library: Library, publish: Publish) -> None:
    first = publish("a", {"tokenizer.json": tokenizer({"x": 0, "y": 1}, ("<s>", 2))})
    second = publish("b", {"tokenizer.json": tokenizer([["y", -1.0], ["x", -2.0], ["z", -3.0]])})
    same = publish("c", {"tokenizer.json": tokenizer({"x": 0, "y": 1}, ("<s>", 2)), "more": b""})
    found = compare_vocabularies(library, first, second)
    assert found is not None and not found.same
    assert (found.sizes, found.alone, found.examples, found.moved) == ((3, 3), (1, 1), (("<s>",), ("z",)), 2)
    equal = compare_vocabularies(library, first, same)
    assert equal is not None and equal.same
    for content in (b"{}", b"no JSON", b'{"model": {"vocab": 3}}'):
        assert compare_vocabularies(library, first, publish("d", {"tokenizer.json": content})) is None
    assert compare_vocabularies(library, first, publish("e", {"x": b""})) is None


def test_tensors_of_all_layers_are_one_line() -> None:
    def changed(name: str, dtype: str = "F32") -> TensorDifference:
        return TensorDifference(name, "changed", ("dtype",), "F16", dtype, (2, 3), (2, 3))

    found = tensor_groups([
        changed("layers.0.a.weight"), changed("layers.1.a.weight"), changed("layers.1.b.weight"),
        changed("layers.2.a.weight", "BF16"), TensorDifference("head", "added", dtype_after="F32", shape_after=()),
    ])  # fmt: skip
    assert found == [
        (("layers.*.a.weight", "F16 2 × 3", "F32 2 × 3", "type"), 2),
        (("layers.1.b.weight", "F16 2 × 3", "F32 2 × 3", "type"), 1),
        (("layers.2.a.weight", "F16 2 × 3", "BF16 2 × 3", "type"), 1),
        (("head", "not there", "F32 ()", "not there"), 1),
    ]


def test_a_look_into_files(library: Library, publish: Publish) -> None:
    long = "é".encode() * files.MOST  # the last character that fits is cut in two by an odd beginning
    version = publish(
        "m", {"a.txt": "ü".encode(), "long.txt": b"x" + long, "b.dat": b"a\0b", "c.dat": b"\xff\xfe", "e": b""}
    )
    read = {path: version.manifest.files[path] for path in ("a.txt", "long.txt", "b.dat", "c.dat", "e")}
    assert files.beginning(library, "a.txt", read["a.txt"]) == "ü"
    assert files.beginning(library, "e", read["e"]) == ""
    assert files.beginning(library, "long.txt", read["long.txt"]) == "x" + "é" * (files.MOST // 2 - 1)
    for path in ("b.dat", "c.dat"):
        with pytest.raises(Unsupported, match=path):
            files.beginning(library, path, read[path])


def test_an_upload_is_told_apart_from_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(delivery, "push", lambda *_, **__: go_on.wait(10))
    transfers = Transfers(Library(tmp_path / "home"))
    first = transfers.push("a:b", "oci:h/a:b")
    with pytest.raises(InUse, match="oci:h/a:b"):
        transfers.push("a:b", "oci:h/a:b")
    second = transfers.push("a:b", "oci:h/other:b")
    assert transfers.of("a:b") is None and transfers.of("a:b", "oci:h/a:b") is first is not second
    go_on.set()
    for thread in threading.enumerate():
        if thread.name == "push a:b":
            thread.join(10)
    assert first.outcome == second.outcome == "done"
