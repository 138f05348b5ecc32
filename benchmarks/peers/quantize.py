"""GGUF files of one quantisation, made with llama.cpp's own function: ``{"source", "target", "type", "threads"}``."""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path

import llama_cpp

TYPES = {"q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0, "q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0}


def quantize(source: Path, target: Path, kind: str, threads: int) -> None:
    """Write ``target``; what is quantised already is dequantised first, as a comparison of speed allows."""
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.nthread = threads
    parameters.ftype = TYPES[kind]
    parameters.allow_requantize = True
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    code = llama_cpp.llama_model_quantize(str(source).encode(), str(partial).encode(), ctypes.byref(parameters))
    if code != 0:
        partial.unlink(missing_ok=True)
        raise SystemExit(f"llama.cpp could not quantise {source.name} to {kind}: code {code}")
    partial.rename(target)


if __name__ == "__main__":
    job = json.load(sys.stdin)
    quantize(Path(job["source"]), Path(job["target"]), job["type"], job["threads"])
