"""What CUDA graphs bring on a GPU, and whether they give the same answers there.

    python benchmarks/gpu.py smollm2:135m-instruct [--streams 1,4,16,32] [--output FILE]

Three ways of running passes that only decode are compared on one model, one after the other in this process: ``eager``,
``static`` (padded shapes, not captured) and ``graphs``. Logits are compared first, then speed: ``graphs`` should give
what ``static`` gives, since the same operations run; ``eager`` computes in other shapes and may round differently.

It needs an NVIDIA GPU and a PyTorch that can use it. ``--rehearse`` tries the script out on a CPU, without graphs.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from llmasos import __version__, hardware
from llmasos.engine.backend import EngineBackend
from llmasos.engine.batch import Batch, SequenceSlice
from llmasos.engine.benchmark import Workload, measure, warm_up
from llmasos.engine.graphs.options import DecodeMode, DecodeOptions
from llmasos.engine.kernels.decoder import BLOCK_SIZE
from llmasos.engine.opening import open_engine
from llmasos.engine.options import EngineOptions
from llmasos.engine.runners.fused import FusedRunner
from llmasos.modeling.folder import ModelFolder
from llmasos.modeling.loading import Placement
from llmasos.modeling.tokenizer import FastTokenizer
from llmasos.modeling.tokenizer_files import load_tokenizer
from llmasos.sdk import open_model_folder

NO_GPU = """This measures a GPU, and there is none that the installed PyTorch can use ({torch}).
`llmasos doctor` says what was found. What can be tested without one: pytest tests/engine/graphs
To try this script out on the CPU, where no figure means anything: add --rehearse"""
PASSES = 40
"""Decoding passes of the comparison of logits."""
LONGEST = 600
"""Tokens of the longest prompt in it."""
TOLERANCE = {"bfloat16": 0.03, "float32": 1e-4}
"""Largest difference of a logit over their range that rounding explains."""


@contextmanager
def opened(folder: ModelFolder, path: DecodeMode, device: str, dtype: str, sequences: int) -> Iterator[EngineBackend]:
    tokenizer = load_tokenizer(folder)
    assert isinstance(tokenizer, FastTokenizer)
    options = EngineOptions(max_sequences=sequences, prompt_lookup=False, decode=DecodeOptions(path))
    backend = open_engine(folder, tokenizer, Placement(dtype, device), options)
    try:
        yield backend
    finally:
        backend.close()
        del backend
        gc.collect()
        if device.startswith("cuda"):
            torch.cuda.empty_cache()


def logits_of(
    folder: ModelFolder, path: DecodeMode, device: str, dtype: str, sequences: int
) -> tuple[torch.Tensor, int]:
    """Logits (rows, vocabulary), and how many shapes were refused and ran eagerly instead.

    They come from the same passes whatever the path: prompts, then decoding in batches of many sizes. The runner is fed
    directly: in an engine the clock decides who meets whom in a pass, which changes its shape.
    """
    precision = {"bfloat16": "bf16", "float32": "fp32"}[dtype]
    runner = FusedRunner(
        folder.path, precision=precision, device=device, decode=DecodeOptions(path), max_sequences=sequences
    )
    draw = random.Random(0)
    blocks = -(-(min(LONGEST, runner.context_length - PASSES) + PASSES) // BLOCK_SIZE)
    runner.allocate_cache(sequences * blocks)
    numbers = draw.sample(range(sequences * blocks), sequences * blocks)
    tables = [numbers[index * blocks : (index + 1) * blocks] for index in range(sequences)]
    lengths = [0] * sequences
    found = []

    def feed(chosen: Sequence[int], rows: int) -> None:
        tokens = [draw.randrange(runner.vocabulary_size) for _ in range(len(chosen) * rows)]
        positions = [lengths[index] + row for index in chosen for row in range(rows)]
        slices = [
            SequenceSlice(place * rows, rows, lengths[index], tables[index], None, index)
            for place, index in enumerate(chosen)
        ]
        last = torch.arange(rows - 1, len(tokens), rows)
        found.append(runner.forward(Batch(torch.tensor(tokens), torch.tensor(positions), slices, last)).cpu().clone())
        for index in chosen:
            lengths[index] += rows

    for index in range(sequences):
        feed([index], draw.randint(1, (blocks * BLOCK_SIZE) - PASSES))
    for number in range(PASSES):
        count = sequences if number == 0 else draw.randint(1, sequences)
        feed(draw.sample(range(sequences), count), 1)
    counts = runner.decode_counts
    runner.close()
    return torch.cat(found), 0 if counts is None else counts.refused


def compared(one: torch.Tensor, other: torch.Tensor) -> dict[str, Any]:
    """How far logits are apart, over their range, and how many rows have the same best token."""
    best = one.argmax(-1) == other.argmax(-1)
    return {
        "rows": len(one),
        "same_best_token": int(best.sum()),
        "largest_difference": float((one - other).abs().max() / (one.max() - one.min())),
    }


def run(
    model: str,
    *,
    device: str,
    dtype: str,
    paths: Sequence[DecodeMode],
    streams: Sequence[int],
    prompt_tokens: int,
    new_tokens: int,
    repeat: int,
) -> dict[str, Any]:
    """All figures: logits first, then speed."""
    folder = open_model_folder(model)
    sequences = max(streams)
    logits = {path: logits_of(folder, path, device, dtype, sequences) for path in paths}
    pairs = [(one, other) for index, one in enumerate(paths) for other in paths[index + 1 :]]
    parity = {f"{one}, {other}": compared(logits[one][0], logits[other][0]) for one, other in pairs}
    refused = {path: count for path, (_, count) in logits.items()}
    del logits
    print("\n".join(verdict(parity, refused, dtype)), flush=True)
    rows = []
    for path in paths:
        if device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(device)
        with opened(folder, path, device, dtype, sequences) as backend:
            warm_up(backend.engine)
            for count in streams:
                workload = Workload(count, prompt_tokens, new_tokens)
                measure(backend.engine, workload, seed=99)  # captures its shapes, so that none is captured below
                runs = [measure(backend.engine, workload, seed=seed) for seed in range(repeat)]
                middle = sorted(runs, key=lambda item: item.tokens_per_second)[repeat // 2]
                rows.append(
                    {"path": path, "streams": count, "tokens_per_second": middle.tokens_per_second,
                     "decode_tokens_per_second": middle.decode_tokens_per_second,
                     "first_token": asdict(middle.first_token),
                     "pause": None if middle.pause is None else asdict(middle.pause)}
                )  # fmt: skip
                print(_line(rows[-1]), flush=True)
            counts = backend.decode_counts
            rows[-1]["decode_counts"] = None if counts is None else asdict(counts)
            if device.startswith("cuda"):
                rows[-1]["peak_device_bytes"] = torch.cuda.max_memory_allocated(device)
    return {
        "model": model,
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "dtype": dtype,
        "versions": {"llmasos": __version__, "torch": torch.__version__, "cuda": torch.version.cuda},
        "prompt_tokens": prompt_tokens,
        "new_tokens": new_tokens,
        "results": rows,
        "parity": parity,
        "refused_shapes": refused,
    }


def verdict(parity: dict[str, dict[str, Any]], refused: dict[DecodeMode, int], dtype: str) -> list[str]:
    """What the comparison says; lines that begin with WRONG mean more than rounding, or that a path was not taken."""
    lines = [
        f"{'' if found['largest_difference'] <= TOLERANCE[dtype] else 'WRONG: '}{pair}: logits differ by at most "
        f"{found['largest_difference']:.2g} of their range, the best token is the same in {found['same_best_token']} "
        f"of {found['rows']} rows"
        for pair, found in parity.items()
    ]
    lines += [
        f"WRONG: {path} refused {count} shapes, whose passes ran eagerly; the warnings say why"
        for path, count in refused.items()
        if count
    ]
    return lines


def _line(row: dict[str, Any]) -> str:
    decode = row["decode_tokens_per_second"]
    return (
        f"{row['path']:>7} {row['streams']:>3} streams: {row['tokens_per_second']:9.1f} tokens/s, decoding "
        f"{'-' if decode is None else f'{decode:.1f}'}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0; 1 when logits differ by more than rounding; 2 without a GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model by name, source or folder")
    parser.add_argument("--streams", default="1,4,16,32")
    parser.add_argument("--prompt-tokens", type=int, default=110)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each; the middle one counts")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16", help="bfloat16 or float32")
    parser.add_argument("--output", type=Path, help="write all figures as JSON")
    parser.add_argument("--rehearse", action="store_true", help="try the script out on the CPU, without graphs")
    chosen = parser.parse_args(arguments)
    paths: tuple[DecodeMode, ...] = ("eager", "static", "graphs")
    if chosen.rehearse:
        paths, device, dtype = ("eager", "static"), "cpu", "float32"
        print("A rehearsal on the CPU: nothing is captured, and no figure says anything about a GPU.")
    elif not torch.cuda.is_available():
        print(NO_GPU.format(torch=torch.__version__), file=sys.stderr)
        return 2
    else:
        device, dtype = hardware.choose_device(chosen.device), chosen.dtype
    report = run(
        chosen.model, device=device, dtype=dtype, paths=paths,
        streams=[int(word) for word in chosen.streams.split(",")], prompt_tokens=chosen.prompt_tokens,
        new_tokens=chosen.new_tokens, repeat=chosen.repeat,
    )  # fmt: skip
    if chosen.output is not None:
        chosen.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return (
        1 if any(line.startswith("WRONG") for line in verdict(report["parity"], report["refused_shapes"], dtype)) else 0
    )


if __name__ == "__main__":
    sys.exit(main())
