"""The model in the forms that the engines read: our folder, and GGUF files of two quantisations."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from comparison.contestants import Form


@dataclass(frozen=True)
class ModelFiles:
    name: str
    """For file names and titles."""
    folder: Path
    config: dict[str, Any]
    forms: dict[Form, Path]

    @property
    def values_per_token(self) -> int:
        """Numbers in the key-value cache for one token."""
        config = self.config
        head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        return int(2 * config["num_hidden_layers"] * config["num_key_value_heads"] * head)

    @property
    def read_share(self) -> float:
        """Part of the weights that one pass reads: all but the embedding where the head is a matrix of its own."""
        sizes: dict[str, int] = {}
        for file in self.folder.glob("*.safetensors"):
            with safe_open(file, framework="np") as tensors:
                sizes |= {name: math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
        if "lm_head.weight" not in sizes:
            return 1.0
        return 1 - sizes["model.embed_tokens.weight"] / sum(sizes.values())


def find_model(reference: str, gguf: Path | None) -> tuple[Path, Path | None]:
    """The model's folder and the GGUF file it was made from, fetched if need be."""
    folder = Path(reference).expanduser()
    if not folder.is_dir():
        from llmasos.library.acquire import ensure
        from llmasos.library.store import Library

        library = Library()
        folder = library.view(ensure(reference, library=library), verify=False)
    if gguf is None:
        gguf = next(iter(sorted(folder.glob("original/*.gguf"))), None)
    return folder, gguf


def prepare(
    reference: str, gguf: Path | None, wanted: Collection[Form], *, cache: Path, peers_python: str, threads: int
) -> ModelFiles:
    """Find the model and quantise what is wanted and not there yet."""
    folder, source = find_model(reference, gguf)
    name = re.sub(r"[^a-z0-9.]+", "-", (folder.name if Path(reference).is_dir() else reference).lower()).strip("-")
    forms: dict[Form, Path] = {"folder": folder}
    for form in sorted(set(wanted) - {"folder"}):
        if source is None:
            raise SystemExit(f"{reference} has no GGUF file, which {form} is made from; name one with --gguf")
        target = cache / "gguf" / f"{source.stem}-to-{form}.gguf"
        if not target.exists():
            print(f"quantising {source.name} to {form} ...", flush=True)
            job = {"source": str(source), "target": str(target), "type": form, "threads": threads}
            done = subprocess.run(
                [peers_python, "-P", "-m", "peers.quantize"],
                input=json.dumps(job),
                text=True,
                capture_output=True,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
            )
            if done.returncode != 0:
                raise SystemExit(f"quantising failed:\n{done.stderr[-2000:]}")
        forms[form] = target
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return ModelFiles(name, folder, config, forms)
