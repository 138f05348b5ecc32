"""What number formats cost in accuracy: the perplexity of a text for each format of the weights and of the cache.

    python benchmarks/perplexity.py --text test.txt [--model NAME] [--dtype bfloat16,int8] [--cache-dtype bfloat16,int8]

The text is cut into windows that have nothing to do with each other, as is usual; each token of a window but the first
is predicted from those before it, all through the engine and its cache. A format and its reference (the first of the
list) see the same tokens, so their ratio says more than either figure.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

from llmasos import hardware
from llmasos.engine.backend import EngineBackend
from llmasos.engine.opening import open_engine
from llmasos.engine.options import EngineOptions
from llmasos.engine.scoring import score
from llmasos.modeling.folder import ModelFolder
from llmasos.modeling.loading import Placement
from llmasos.modeling.tokenizer import FastTokenizer
from llmasos.modeling.tokenizer_files import load_tokenizer
from llmasos.sdk import open_model_folder

BATCH = 4  # windows in flight: their log-probabilities are kept until all are there


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2:135m-instruct", help="name in the library, or a model's folder")
    parser.add_argument("--text", type=Path, required=True, help="text file, for instance WikiText-2's test set")
    parser.add_argument("--dtype", default="bfloat16,int8", help="formats of the weights, with commas")
    parser.add_argument("--cache-dtype", default="bfloat16,int8", help="formats of the cache, with commas")
    parser.add_argument("--window", type=int, default=512, help="tokens of a window (default: 512)")
    parser.add_argument("--windows", type=int, default=12, help="windows, from the start of the text (default: 12)")
    parser.add_argument("--threads", type=int, help="computing threads; default: the usable cores")
    parser.add_argument("--json", action="store_true", help="write one JSON document")
    options = parser.parse_args()
    if options.window < 2 or options.windows < 1:
        parser.error("a window has at least 2 tokens, and there is at least one window")
    return options


def windows_of(text: str, tokenizer: FastTokenizer, length: int, count: int) -> list[list[int]]:
    """The first windows of a text, each of ``length`` tokens; a rest that fills none is left out."""
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    return [ids[begin : begin + length] for begin in range(0, len(ids) - length + 1, length)][:count]


def perplexity(backend: EngineBackend, windows: list[list[int]]) -> tuple[float, int]:
    """Perplexity and the number of tokens predicted."""
    total, predicted = 0.0, 0
    for begin in range(0, len(windows), BATCH):
        pairs = [(window[:1], window[1:]) for window in windows[begin : begin + BATCH]]
        for item in score(backend.engine, pairs):
            total += item.total
            predicted += len(item.logprobs)
    return math.exp(-total / predicted), predicted


def measure(folder: ModelFolder, dtype: str, cache_dtype: str, options: argparse.Namespace) -> dict[str, Any]:
    tokenizer = load_tokenizer(folder)
    if not isinstance(tokenizer, FastTokenizer):
        raise SystemExit(f"{folder.reference} has a tokenizer that the engine cannot use")
    windows = windows_of(options.text.read_text(encoding="utf-8"), tokenizer, options.window, options.windows)
    if len(windows) < options.windows:
        raise SystemExit(f"{options.text} fills {len(windows)} windows of {options.window} tokens")
    placement = Placement(dtype, "cpu", options.threads, cache_dtype)
    backend = open_engine(folder, tokenizer, placement, EngineOptions(prompt_lookup=False))
    try:
        began = time.perf_counter()
        found, predicted = perplexity(backend, windows)
        return {
            "dtype": backend.dtype,
            "cache_dtype": backend.cache_dtype,
            "runs_as": backend.description,
            "perplexity": found,
            "predicted_tokens": predicted,
            "cache_bytes_per_token": backend.engine.limits.bytes_per_token,
            "seconds": time.perf_counter() - began,
        }
    finally:
        backend.close()


def main() -> None:
    options = arguments()
    folder = open_model_folder(options.model)
    dtypes, cache_dtypes = options.dtype.split(","), options.cache_dtype.split(",")
    rows = [measure(folder, dtype, cache, options) for dtype in dtypes for cache in cache_dtypes]
    for row in rows:
        row["ratio"] = row["perplexity"] / rows[0]["perplexity"]
    if options.json:
        facts = {
            "model": folder.reference,
            "text": options.text.name,
            "window": options.window,
            "processor": hardware.processor().model,
        }
        print(json.dumps({**facts, "results": rows}, indent=2))
        return
    print(f"{folder.reference}, {options.text.name}: {rows[0]['predicted_tokens']} tokens, windows of {options.window}")
    print(f"{'weights':<10}{'cache':<10}{'perplexity':>11}{'to the first':>14}{'cache of a token':>18}{'seconds':>9}")
    for row in rows:
        print(
            f"{row['dtype']:<10}{row['cache_dtype']:<10}{row['perplexity']:>11.3f}{row['ratio'] - 1:>+13.2%} "
            f"{row['cache_bytes_per_token']:>16} B{row['seconds']:>9.1f}"
        )


if __name__ == "__main__":
    main()
