"""What a model wrote, in pieces that hide nothing."""

from __future__ import annotations

import pytest

from llmasos.studio.evaluation.text_pieces import Piece, pieces


@pytest.mark.parametrize(("content", "found"), [
    ("", []),
    ("plain\n\ttext", [Piece("plain\n\ttext", "plain")]),
    ("<|im_start|>user\nHi<|im_end|>", [Piece("<|im_start|>", "template"), Piece("user\nHi", "plain"),
                                        Piece("<|im_end|>", "template")]),
    ("<s>[INST] x [/INST]", [Piece("<s>", "template"), Piece("[INST]", "template"), Piece(" x ", "plain"),
                             Piece("[/INST]", "template")]),
    ("<start_of_turn>a</s>", [Piece("<start_of_turn>", "template"), Piece("a", "plain"), Piece("</s>", "template")]),
    ("<｜User｜>", [Piece("<｜User｜>", "template")]),
    ("a\u202eb\x00", [Piece("a", "plain"), Piece("U+202E", "hidden"), Piece("b", "plain"), Piece("U+0000", "hidden")]),
    ("<script>x</script>", [Piece("<script>x</script>", "plain")]),
    ("a < b | c > d", [Piece("a < b | c > d", "plain")]),
])  # fmt: skip
def test_pieces(content: str, found: list[Piece]) -> None:
    assert list(pieces(content)) == found


def test_many_marks_become_one_piece_without_hidden_characters() -> None:
    found = list(pieces("a\u200b" * 5000))
    assert len(found) < 500
    assert "\u200b" not in "".join(piece.text for piece in found)
    assert "".join(piece.text for piece in found).count("U+200B") == 5000
