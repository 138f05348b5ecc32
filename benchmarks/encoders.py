"""Embeddings and translations per second for 1, 8 and 32 concurrent callers, each with one text at a time.

Three ways to serve them: LLMasOS as it comes (callers share batches), LLMasOS without its engine (each caller computes
alone, as a library in threads does), and a loop over transformers, one text after the other.

``python benchmarks/encoders.py [--embedder minilm:l6-v2] [--translator opus-mt:en-fr] [--json FILE]``; without
``--translator`` only embeddings are measured. Results agree before they are timed.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch

import llmasos
from llmasos import hardware
from llmasos.modeling.loading import Placement, build_model
from llmasos.modeling.model import Model
from llmasos.sdk import open_model_folder

CALLERS = (1, 8, 32)
SUBJECTS = ("The old man", "A young scientist", "My sister", "The committee", "Nobody in the village", "The black cat")
VERBS = ("reads", "has lost", "would like to buy", "is looking for", "cannot find", "remembers", "talks about")
OBJECTS = ("a book", "the key of the house", "two tickets for the train", "his only friend", "an answer to this")
ENDINGS = ("", " in the morning", " because it rains", " before the others come home from work", " and smiles",
           ", although everybody told them that it would be better to wait until next year")  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """Texts per second of one way to serve."""

    work: str
    served_by: str
    callers: int
    texts_per_second: float
    texts_per_cpu_second: float
    """Per second of processor time, which other programs on the machine disturb least; exact with one thread only,
    since threads that wait for each other spin."""
    runs: list[float]


def sentences(count: int, seed: int = 1) -> list[str]:
    """Texts of 6 to about 60 tokens; every fourth is several sentences long."""
    chance = random.Random(seed)

    def one() -> str:
        return f"{' '.join(chance.choice(part) for part in (SUBJECTS, VERBS, OBJECTS))}{chance.choice(ENDINGS)}."

    return [" ".join(one() for _ in range(1 if index % 4 else chance.randint(2, 4))) for index in range(count)]


def served(work: Callable[[str], Any], texts: Sequence[str], callers: int) -> tuple[float, float]:
    """Seconds, and seconds of processor time, until ``callers`` threads have worked on all texts one by one."""
    with ThreadPoolExecutor(callers) as pool:
        begin, busy = time.perf_counter(), time.process_time()
        list(pool.map(work, texts))
        return time.perf_counter() - begin, time.process_time() - busy


def without_engine(reference: str, dtype: str | None, threads: int | None) -> Model:
    return build_model(open_model_folder(_source(reference)), Placement(dtype, threads=threads))


def _source(reference: str) -> str | Path:
    return Path(reference) if Path(reference).is_dir() else reference


def embedding_loop(model: Model, reference: str, dtype: str) -> Callable[[str], Any]:
    """A transformers model and mean pooling, as its card shows."""
    from transformers import AutoModel

    path = open_model_folder(_source(reference)).path
    network = AutoModel.from_pretrained(path, dtype=getattr(torch, dtype)).eval()

    @torch.inference_mode()
    def embed(text: str) -> Any:
        encoded = model.tokenizer.encode(text)
        out = network(
            input_ids=torch.tensor([encoded.ids]), attention_mask=torch.ones(1, len(encoded.ids), dtype=torch.long)
        )
        return torch.nn.functional.normalize(out.last_hidden_state.float().mean(1), dim=1)[0].numpy()

    return embed


def translation_loop(model: Model, reference: str, dtype: str, options: dict[str, Any]) -> Callable[[str], Any]:
    from transformers import AutoModelForSeq2SeqLM

    path = open_model_folder(_source(reference)).path
    network = AutoModelForSeq2SeqLM.from_pretrained(path, dtype=getattr(torch, dtype)).eval()

    @torch.inference_mode()
    def translate(text: str) -> list[int]:
        ids = torch.tensor([model.tokenizer.encode(text).ids])
        return network.generate(ids, attention_mask=torch.ones_like(ids), **options)[0].tolist()  # type: ignore[no-any-return]

    return translate


def measure(work: str, ways: dict[str, Callable[[str], Any]], texts: Sequence[str], repeat: int) -> list[Figure]:
    """All ways one after the other in every round, so that a machine that drifts does so for all."""
    for way in ways.values():
        served(way, texts[:16], 4)  # warm up
    seconds: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for _ in range(repeat):
        for callers in CALLERS:
            for name, way in ways.items():
                if name == "transformers, one by one" and callers > 1:
                    continue  # a loop has one caller
                seconds.setdefault((name, callers), []).append(served(way, texts, callers))
    figures = []
    for (name, callers), taken in seconds.items():
        rate, busy = (len(texts) / statistics.median(values) for values in zip(*taken, strict=True))
        runs = [round(len(texts) / wall, 1) for wall, _ in taken]
        figures.append(Figure(work, name, callers, round(rate, 1), round(busy, 1), runs))
    return figures


def embeddings(reference: str, count: int, repeat: int, dtype: str, threads: int | None) -> Iterator[list[Figure]]:
    texts = sentences(count)
    with (
        llmasos.load(_source(reference), dtype=dtype, threads=threads) as model,
        without_engine(reference, dtype, threads) as alone,
    ):
        loop = embedding_loop(model, reference, dtype)
        for text in texts[:8]:
            assert float(model.embed(text).vector @ loop(text)) > 0.999
        ways = {
            "LLMasOS": model.embed,
            "LLMasOS without its engine": alone.embed,
            "transformers, one by one": loop,
        }
        yield measure("embed", ways, texts, repeat)


def translations(reference: str, count: int, repeat: int, dtype: str, threads: int | None) -> Iterator[list[Figure]]:
    texts = sentences(count, seed=2)
    with (
        llmasos.load(_source(reference), dtype=dtype, threads=threads) as model,
        without_engine(reference, dtype, threads) as alone,
    ):
        for work, options in (("translate, greedy", {"num_beams": 1}), ("translate, beams of the model", {})):
            loop = translation_loop(model, reference, dtype, options)
            for text in texts[:4]:
                found = model.generate(text, **options).token_ids  # type: ignore[arg-type]
                assert loop(text)[1 : 1 + len(found)] == found, text
            ways = {
                "LLMasOS": lambda text, options=options: model.generate(text, **options),
                "LLMasOS without its engine": lambda text, options=options: alone.generate(text, **options),
                "transformers, one by one": loop,
            }
            yield measure(work, ways, texts, repeat)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--embedder", default="minilm:l6-v2", help="name or folder of an embedding model")
    parser.add_argument("--translator", help="name or folder of a translation model")
    parser.add_argument("--texts", type=int, default=512, help="texts to embed; an eighth as many are translated")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, help="threads of torch; default: the usable cores")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    arguments = parser.parse_args()
    work = [embeddings(arguments.embedder, arguments.texts, arguments.repeat, arguments.dtype, arguments.threads)]
    if arguments.translator:
        work.append(
            translations(
                arguments.translator, arguments.texts // 8, arguments.repeat, arguments.dtype, arguments.threads
            )
        )
    figures: list[Figure] = []
    print(f"{'texts/s':>9}  {'per CPU s':>9}  {'callers':>7}  served by")
    for found in chain(*work):
        figures += found
        for figure in found:
            rates = f"{figure.texts_per_second:9.1f}  {figure.texts_per_cpu_second:9.1f}"
            print(f"{rates}  {figure.callers:7}  {figure.work}: {figure.served_by}", flush=True)
        if arguments.json:
            _write(arguments, figures)


def _write(arguments: argparse.Namespace, figures: Sequence[Figure]) -> None:
    machine = {"processor": hardware.processor().model, "threads": torch.get_num_threads(),
               "torch": torch.__version__, "python": platform.python_version()}  # fmt: skip
    settings = {"texts": arguments.texts, "repeat": arguments.repeat, "dtype": arguments.dtype}
    content = {"machine": machine, "settings": settings, "figures": [asdict(figure) for figure in figures]}
    arguments.json.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
