"""Accelerators of this machine, asked of the drivers' own tools, so that no torch is needed."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import psutil


@dataclass(frozen=True)
class Gpu:
    """One accelerator. Memory in bytes; ``capability`` is CUDA's (major, minor)."""

    name: str
    backend: Literal["cuda", "rocm", "mps"]
    memory_total: int
    memory_free: int | None
    driver: str | None
    capability: tuple[int, int] | None


def ask_system(*command: str) -> str:
    """Standard output of a program of the system; empty when it is not there or fails."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def apple_chip() -> str:
    """The name of the chip of a Mac."""
    return ask_system("sysctl", "-n", "machdep.cpu.brand_string").strip() or platform.machine()


@lru_cache
def gpus() -> tuple[Gpu, ...]:
    """All accelerators, NVIDIA first."""
    return (*_nvidia_gpus(), *_amd_gpus(), *_apple_gpus())


def _nvidia_gpus() -> list[Gpu]:
    fields = "name,memory.total,memory.free,driver_version,compute_cap"
    found = []
    for line in ask_system("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits").splitlines():
        values = [value.strip() for value in line.split(",")]
        if len(values) != 5 or not values[1].isdigit():
            continue
        name, total, free, driver, capability = values
        major, _, minor = capability.partition(".")
        found.append(
            Gpu(
                name,
                "cuda",
                int(total) * 2**20,
                int(free) * 2**20 if free.isdigit() else None,
                driver,
                (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None,
            )
        )
    return found


def _amd_gpus() -> list[Gpu]:
    text = ask_system("rocm-smi", "--showproductname", "--showmeminfo", "vram", "--json")
    try:
        cards: dict[str, dict[str, str]] = json.loads(text) if text else {}
        return [
            Gpu(
                facts.get("Card Series") or facts.get("Card series") or card,
                "rocm",
                int(facts["VRAM Total Memory (B)"]),
                int(facts["VRAM Total Memory (B)"]) - int(facts["VRAM Total Used Memory (B)"]),
                None,
                None,
            )
            for card, facts in cards.items()
            if "VRAM Total Memory (B)" in facts
        ]
    except (ValueError, KeyError):
        return []


def _apple_gpus() -> list[Gpu]:
    if sys.platform != "darwin" or platform.machine() != "arm64":
        return []
    return [Gpu(apple_chip(), "mps", psutil.virtual_memory().total, None, None, None)]
