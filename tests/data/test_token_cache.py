from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from chat_models import chat_model
from llmasos.data.rendering import RejectedRow, RenderedRow, Renderer, RenderingOptions
from llmasos.data.row import Message, Messages, Origin, Preference, Row, Sample, Text
from llmasos.data.token_cache import TokenCache, cache_key, digest_of_rows
from llmasos.errors import InvalidRequest
from llmasos.library.digest import hex_of


def talk(number: int) -> Messages:
    """Some answers are empty, and every seventh row has none."""
    answer = Message("assistant" if number % 7 else "user", "It is fine. " * (number % 5))
    return Messages((Message("user", f"What is {number}?"), answer))


def rows(count: int = 40) -> list[Row]:
    return [Row(str(number), Origin("s", "f", number), talk(number)) for number in range(count)]


def renderer(**options: object) -> Renderer:
    model = chat_model("chatml")
    return Renderer(model.tokenizer, model.template, RenderingOptions.model_validate(options))


def test_what_was_rendered_is_found_again(tmp_path: Path) -> None:
    cache = TokenCache(tmp_path)
    made, found = (cache.tokens(renderer(), rows) for _ in range(2))
    assert (made.reused, found.reused) == (False, True)
    expected = list(renderer().render(rows()))
    samples = [item for item in expected if isinstance(item, RenderedRow)]
    for tokens in (made, found):
        assert len(tokens) == len(samples)
        assert tokens.rows.tolist() == [item.row for item in samples]
        for mine, item in zip(tokens.parts["text"], samples, strict=True):
            assert mine.ids.tolist() == item.parts["text"].ids.tolist()
            assert mine.trained.tolist() == item.parts["text"].trained.tolist()
        assert tokens.parts["text"].lengths.tolist() == [len(item.parts["text"]) for item in samples]
        assert tokens.labels is None
        assert list(tokens.rejected) == [item for item in expected if isinstance(item, RejectedRow)]
        assert tokens.account.rows == 40
        assert tokens.account.rejected == {"nothing_trained": 6}
    assert made.account == found.account
    assert isinstance(found.parts["text"][0].ids.base, np.memmap)
    assert len(found.parts["text"][1:4]) == 3
    assert found.parts["text"][-1].ids.tolist() == samples[-1].parts["text"].ids.tolist()


def test_pairs_and_labels(tmp_path: Path) -> None:
    answers = [(Message("assistant", text),) for text in ("good", "bad")]
    pair = [Row("0", Origin("s", "f", 1), Preference((Message("user", "a"),), *answers))]
    tokens = TokenCache(tmp_path).tokens(renderer(), lambda: pair)
    assert list(tokens.parts) == ["chosen", "rejected"]
    assert len(tokens.parts["chosen"]) == len(tokens.parts["rejected"]) == 1


def test_kinds_cannot_be_mixed(tmp_path: Path) -> None:
    answers = [(Message("assistant", text),) for text in ("good", "bad")]
    samples: list[Sample] = [Text("a text"), Preference((Message("user", "a"),), *answers)]
    mixed = [Row(str(number), Origin("s", "f", number), sample) for number, sample in enumerate(samples)]
    with pytest.raises(InvalidRequest, match="cannot be mixed"):
        TokenCache(tmp_path).tokens(renderer(), lambda: mixed)
    assert list(tmp_path.glob("*.building")) == []
    assert TokenCache(tmp_path).entries() == []


def test_no_row_at_all(tmp_path: Path) -> None:
    for _ in range(2):
        tokens = TokenCache(tmp_path).tokens(renderer(), list)
        assert len(tokens) == 0
        assert tokens.parts == {}


def test_the_key_follows_from_everything_that_matters() -> None:
    digest = digest_of_rows(rows())
    assert digest == digest_of_rows(rows())
    other_ids = [Row("x", Origin("t", "g", 0), row.sample, {"a": 1}) for row in rows()]
    assert digest == digest_of_rows(other_ids)
    model, other = chat_model("chatml"), chat_model("llama3")
    keys = {
        cache_key(renderer(), digest),
        cache_key(renderer(), digest_of_rows(rows(41))),
        cache_key(renderer(max_length=9), digest),
        cache_key(renderer(overlong={"kind": "split"}), digest),
        cache_key(Renderer(model.tokenizer, model.marked_template), digest),
        cache_key(Renderer(model.tokenizer, None), digest),
        cache_key(Renderer(model.tokenizer, model.template, stop_ids=(3,)), digest),
        cache_key(Renderer(model.tokenizer, model.template, labels=("a",)), digest),
        cache_key(Renderer(other.tokenizer, model.template), digest),
    }
    assert len(keys) == 9
    assert cache_key(renderer(), digest) == cache_key(renderer(), digest)


@pytest.mark.parametrize("file", ["text.ids.bin", "text.trained.bin", "text.starts.bin", "rows.bin", "index.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damage_is_found_and_repaired(tmp_path: Path, file: str, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    cache = TokenCache(tmp_path)
    made = cache.tokens(renderer(), rows)
    path = tmp_path / made.key.removeprefix("sha256:") / file
    content = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        middle = len(content) // 2
        changed = bytes([content[middle] ^ 1])
        path.write_bytes(content[:middle] + (changed + content[middle + 1 :] if damage == "flip" else b""))
    with caplog.at_level(logging.WARNING):
        again = cache.tokens(renderer(), rows)
    assert not again.reused
    missing_entry = (file, damage) == ("index.json", "remove")
    assert ("damaged" in caplog.text) == (not missing_entry)
    assert cache.tokens(renderer(), rows).reused
    assert path.read_bytes() == content


def test_writers_side_by_side_make_the_tokens_once(tmp_path: Path) -> None:
    started = 0

    def counted() -> Iterable[Row]:
        nonlocal started
        started += 1
        return rows(600)

    cache = TokenCache(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        tokens = list(pool.map(lambda _: cache.tokens(renderer(), counted, rows_digest="sha256:x"), range(4)))
    assert sorted(item.reused for item in tokens) == [False, True, True, True]
    assert started == 1
    assert len({item.parts["text"][5].ids.tobytes() for item in tokens}) == 1


def test_a_killed_writer_leaves_nothing_that_is_taken_for_tokens(tmp_path: Path) -> None:
    script = f"""
import os, sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from chat_models import chat_model
from llmasos.data.rendering import Renderer
from llmasos.data.row import Origin, Row, Text
from llmasos.data.token_cache import TokenCache

def rows():
    for number in range(2000):
        if number == 1500:
            os.kill(os.getpid(), 9)
        yield Row(str(number), Origin("s", "f", number), Text("What is the weather?"))

TokenCache(Path({str(tmp_path)!r})).tokens(Renderer(chat_model("chatml").tokenizer, None), rows, rows_digest="sha256:x")
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=120)
    assert done.returncode == -9
    assert len(list(tmp_path.glob("*.building"))) == 1
    text = [Row(str(number), Origin("s", "f", number), Text("What is the weather?")) for number in range(2000)]
    tokens = TokenCache(tmp_path).tokens(
        Renderer(chat_model("chatml").tokenizer, None), lambda: text, rows_digest="sha256:x"
    )
    assert not tokens.reused
    assert len(tokens) == 2000
    assert list(tmp_path.glob("*.building")) == []


def test_pruning_removes_what_was_unused_for_longest(tmp_path: Path) -> None:
    cache = TokenCache(tmp_path)
    keys = [cache.tokens(renderer(max_length=length), rows).key for length in (100, 101, 102)]
    for age, key in enumerate(reversed(keys)):  # clocks of file systems may be too coarse to tell them apart
        moment = time.time() - 60 - age
        os.utime(tmp_path / hex_of(key) / "index.json", (moment, moment))
    cache.tokens(renderer(max_length=100), rows)
    entries = cache.entries()
    assert [key for key, _ in entries] == [keys[1], keys[2], keys[0]]
    freed = cache.prune(entries[2][1] + entries[1][1])
    assert freed == entries[0][1]
    assert [key for key, _ in cache.entries()] == [keys[2], keys[0]]
    cache.prune(0)
    assert cache.entries() == []
