"""Chance as a function of where training is: nothing about it has to be saved, and evaluation cannot disturb it.

Before every micro-batch all generators are seeded from the seed of the recipe, the step and the number of the
micro-batch. So dropout and noise are the same in a run that was interrupted, and with any number of processes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_all(*numbers: int, device: str = "cpu") -> None:
    """Seed the generators of Python, numpy and torch (for the CPU and a device) from some numbers."""
    seeds = np.random.SeedSequence(numbers).generate_state(3)
    random.seed(int(seeds[0]))
    np.random.seed(int(seeds[1]))
    # Ten times as fast as torch.manual_seed, which looks for all devices that there might be.
    torch.default_generator.manual_seed(int(seeds[2]))
    if not device.startswith("cpu"):
        torch.get_device_module(device).manual_seed(int(seeds[2]))


@contextmanager
def keeping_generators(device: str = "cpu") -> Iterator[None]:
    """Put the generators back after the block as they were: a program that trains may use chance of its own."""
    states = random.getstate(), np.random.get_state()
    kind = torch.device(device).type
    devices = [] if kind == "cpu" else [torch.device(device)]
    with torch.random.fork_rng(devices=devices, device_type="cuda" if kind == "cpu" else kind):
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
