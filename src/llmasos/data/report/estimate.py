"""How long training on the data would take on this machine: a rule of thumb, with its assumptions stated.

One pass of a model with N parameters over T tokens takes about 2 N T operations forward, 2 N T for the gradients of
activations and, if all weights are trained, 2 N T for those of weights (Kaplan et al., 2020). Training reaches about a
third of the speed of large matrix products, which is measured here.
"""

from __future__ import annotations

import importlib.util
import time
from typing import TYPE_CHECKING, Any

from llmasos import hardware
from llmasos.errors import LLMasOSError

if TYPE_CHECKING:
    from llmasos.library.store import Library

UTILISATION = 0.35


def estimate_training(facts: dict[str, Any], library: Library) -> dict[str, Any] | None:
    """Seconds for one pass over the train split, fully and by LoRA; ``None`` where model or torch are missing."""
    tokens = facts["tokens"]
    if tokens is None or importlib.util.find_spec("torch") is None:
        return None
    try:
        parameters = library.resolve(tokens["model"]).metadata.parameters
    except LLMasOSError:
        return None
    if not parameters:
        return None
    share = facts["splits"].get("train", 0) / max(facts["totals"]["kept"], 1)
    device = hardware.choose_device()
    speed = matrix_speed(device)
    count = tokens["total"] * share
    return {
        "device": device,
        "parameters": parameters,
        "tokens": round(count),
        "operations_per_second": speed,
        "utilisation": UTILISATION,
        "full_seconds": 6 * parameters * count / (speed * UTILISATION),
        "lora_seconds": 4 * parameters * count / (speed * UTILISATION),
    }


def matrix_speed(device: str, *, seconds: float = 0.3) -> float:
    """Operations per second of large matrix products in the number format that suits the device."""
    import torch

    dtype = getattr(torch, hardware.choose_dtype(device=device))
    left, right = (torch.randn(1024, 1024, device=device).to(dtype) for _ in range(2))

    def once() -> None:
        torch.matmul(left, right)
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    once()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        once()
        count += 1
    return float(2 * 1024**3 * count / (time.perf_counter() - start))
