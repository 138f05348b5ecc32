"""What the machine offers, and the choices that follow from it: device, number format, threads.

No other module asks torch or the operating system what it runs on. Nothing here imports torch, except
:func:`choose_device` and :func:`available_memory` of a GPU, whose callers are about to use it anyway.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import psutil

from llmasos import cgroups
from llmasos.accelerators import Gpu as Gpu
from llmasos.accelerators import apple_chip, ask_system
from llmasos.accelerators import gpus as gpus
from llmasos.errors import InvalidRequest, MissingDependency, OutOfMemory, Unsupported, did_you_mean
from llmasos.i18n import t
from llmasos.settings import get_settings
from llmasos.units import format_bytes

Dtype = Literal["float32", "bfloat16", "float16"]
DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16", "float16")
_DTYPE_ALIASES: dict[str, Dtype] = {"fp32": "float32", "f32": "float32", "bf16": "bfloat16", "fp16": "float16",
                                    "f16": "float16", "half": "float16", "float": "float32"}  # fmt: skip

#: Instruction sets that kernels care about: our name, and how Linux (x86, Arm) or macOS calls it.
_INSTRUCTION_SETS: dict[str, tuple[str, ...]] = {
    "sse4_2": ("sse4_2",),
    "avx": ("avx",),
    "avx2": ("avx2", "hw.optional.avx2_0"),
    "fma": ("fma", "hw.optional.fma"),
    "f16c": ("f16c", "hw.optional.f16c"),
    "avx_vnni": ("avx_vnni",),
    "avx512f": ("avx512f", "hw.optional.avx512f"),
    "avx512bw": ("avx512bw", "hw.optional.avx512bw"),
    "avx512vl": ("avx512vl", "hw.optional.avx512vl"),
    "avx512_vnni": ("avx512_vnni",),
    "avx512_bf16": ("avx512_bf16",),
    "avx512_fp16": ("avx512_fp16",),
    "amx_tile": ("amx_tile",),
    "amx_int8": ("amx_int8",),
    "amx_bf16": ("amx_bf16",),
    "neon": ("asimd", "neon", "hw.optional.neon", "hw.optional.AdvSIMD"),
    "dotprod": ("asimddp", "hw.optional.arm.FEAT_DotProd"),
    "i8mm": ("i8mm", "hw.optional.arm.FEAT_I8MM"),
    "bf16": ("bf16", "hw.optional.arm.FEAT_BF16"),
    "sve": ("sve",),
    "sve2": ("sve2",),
    "sme": ("sme", "hw.optional.arm.FEAT_SME"),
}


@dataclass(frozen=True)
class Processor:
    """The CPU. ``usable`` is the number of physical cores that affinity and quota leave to this process."""

    model: str
    architecture: str
    physical: int
    logical: int
    usable: int
    quota: float | None
    instruction_sets: tuple[str, ...]


@dataclass(frozen=True)
class Memory:
    """Bytes of main memory; ``total`` and ``available`` respect ``limit``, the container's, if there is one."""

    total: int
    available: int
    limit: int | None


@dataclass(frozen=True)
class Disk:
    """The disk that holds ``path``, in bytes."""

    path: Path
    total: int
    free: int


@lru_cache
def processor() -> Processor:
    """The CPU and what of it this process may use."""
    facts = _cpuinfo() if sys.platform == "linux" else {}
    physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    logical = os.cpu_count() or 1
    quota = cgroups.cpu_quota()
    return Processor(
        model=facts.get("model name") or _processor_name(),
        architecture=platform.machine(),
        physical=physical,
        logical=logical,
        usable=usable_cores(_allowed_processors(), _core_of_processor(), quota),
        quota=quota,
        instruction_sets=_instruction_sets(facts),
    )


def usable_cores(allowed: Sequence[int], core_of: dict[int, tuple[int, int]], quota: float | None) -> int:
    """Physical cores among the ``allowed`` logical processors, at most the quota rounded up to whole cores.

    ``core_of`` maps a logical processor to (package, core); one that is missing counts as a core of its own.
    """
    cores = len({core_of.get(number, (-1, number)) for number in allowed})
    return max(1, min(cores, -int(-quota // 1)) if quota else cores)


def _allowed_processors() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(psutil.cpu_count(logical=False) or os.cpu_count() or 1))


def _core_of_processor() -> dict[int, tuple[int, int]]:
    """Linux: which package and core each logical processor belongs to; two threads of one core share both."""
    found: dict[int, tuple[int, int]] = {}
    for folder in Path("/sys/devices/system/cpu").glob("cpu[0-9]*"):
        try:
            package = int((folder / "topology/physical_package_id").read_text())
            found[int(folder.name[3:])] = (package, int((folder / "topology/core_id").read_text()))
        except (OSError, ValueError):
            continue
    return found


def _cpuinfo() -> dict[str, str]:
    """The first processor's block of ``/proc/cpuinfo``."""
    facts: dict[str, str] = {}
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return facts
    for line in text.split("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        facts[key.strip()] = value.strip()
    return facts


def _processor_name() -> str:
    if sys.platform == "darwin":
        return apple_chip()
    if sys.platform == "linux":
        for line in ask_system("lscpu").splitlines():  # Arm's cpuinfo has numbers only
            if line.startswith("Model name:"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _instruction_sets(facts: dict[str, str]) -> tuple[str, ...]:
    if sys.platform == "darwin":
        lines = (line.partition(":") for line in ask_system("sysctl", "hw.optional").splitlines())
        present = {key for key, _, value in lines if value.strip() == "1"}
    else:
        present = set((facts.get("flags") or facts.get("Features") or "").split())
    return tuple(name for name, spellings in _INSTRUCTION_SETS.items() if present.intersection(spellings))


def memory() -> Memory:
    """Main memory now."""
    system = psutil.virtual_memory()
    group = cgroups.memory_limit()
    if group is None or group[0] >= system.total:
        return Memory(system.total, system.available, None)
    limit, used = group
    return Memory(limit, max(min(system.available, limit - used), 0), limit)


def disk(path: Path) -> Disk:
    """The disk that holds ``path`` or, if that does not exist yet, its nearest parent."""
    existing = path
    while not existing.exists():
        existing = existing.parent
    usage = shutil.disk_usage(existing)
    return Disk(path, usage.total, usage.free)


def choose_device(requested: str | None = None) -> str:
    """The torch device to compute on: ``requested`` if it is there, else a GPU, else the CPU.

    Raises:
        MissingDependency: torch is not installed.
        InvalidRequest: ``requested`` is not the name of a device.
        Unsupported: ``requested`` is not on this machine, or this torch was built without it.
    """
    if importlib.util.find_spec("torch") is None:
        raise MissingDependency(
            t("running a model needs PyTorch, which is not installed"), hint='pip install "llmasos[local]"'
        )
    import torch

    present = ["cpu"]
    if torch.backends.mps.is_available():
        present.insert(0, "mps")
    present[:0] = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if requested is None:
        return present[0]
    kind, _, index = requested.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not index.isdigit()):
        raise InvalidRequest(
            t("{device!r} is not a device; allowed: cpu, cuda, cuda:N, mps", device=requested),
            hint=did_you_mean(requested, ["cpu", "cuda", "mps"])
            or t("`llmasos doctor` shows what the hardware offers and what the installed PyTorch can use."),
        )
    wanted = f"{kind}:{index or 0}" if kind == "cuda" else kind
    if wanted not in present:
        raise Unsupported(
            t("there is no device {device} here; there is: {present}", device=requested, present=", ".join(present)),
            hint=t("`llmasos doctor` shows what the hardware offers and what the installed PyTorch can use."),
        )
    return wanted


def choose_dtype(requested: str | None = None, *, device: str = "cpu") -> Dtype:
    """The number format for weights and arithmetic, as torch names it.

    Half-width formats halve the memory that decoding reads, but only where the arithmetic is in hardware: bfloat16
    on CPUs with AVX512-BF16, AMX or Arm BF16 and on GPUs from CUDA capability 8.0; float16 on older GPUs and Apple's.

    Raises:
        InvalidRequest: ``requested`` is not a number format.
    """
    if requested is not None and requested != "auto":
        name = _DTYPE_ALIASES.get(requested, requested)
        for dtype in DTYPES:
            if dtype == name:
                return dtype
        raise InvalidRequest(
            t("{dtype!r} is not a number format; allowed: auto, {allowed}", dtype=requested, allowed=", ".join(DTYPES)),
            hint=did_you_mean(requested, DTYPES),
        )
    kind, _, index = device.partition(":")
    if kind == "cpu":
        fast = {"avx512_bf16", "amx_bf16", "bf16"}.intersection(processor().instruction_sets)
        return "bfloat16" if fast else "float32"
    if kind == "cuda":
        cards = [card for card in gpus() if card.backend == "cuda"]
        number = int(index or 0)
        capability = cards[number].capability if number < len(cards) else None
        return "float16" if capability is not None and capability < (8, 0) else "bfloat16"
    return "float16"


def choose_threads(requested: int | None = None) -> int:
    """Threads for computing: ``requested``, else the setting ``threads``, else the usable physical cores.

    Raises:
        InvalidRequest: fewer than one.
    """
    if requested is not None:
        if requested < 1:
            raise InvalidRequest(
                t("threads = {value}: at least 1 is needed", value=requested),
                hint=t("Leave it out to use the {count} usable cores.", count=processor().usable),
            )
        return requested
    return get_settings().threads or processor().usable


def available_memory(device: str = "cpu") -> int:
    """Bytes that can be taken now on a device that :func:`choose_device` gave; Apple's GPUs share main memory."""
    if device.partition(":")[0] != "cuda":
        return memory().available
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return int(free)


def require_memory(needed: int, purpose: str, *, device: str = "cpu") -> None:
    """Refuse work that cannot fit before it starts.

    Raises:
        OutOfMemory: ``needed`` bytes exceed what is available now.
    """
    available = available_memory(device)
    if needed > available:
        raise OutOfMemory(
            t(
                "{purpose} needs about {needed} of memory and {available} is available",
                purpose=purpose,
                needed=format_bytes(needed),
                available=format_bytes(available),
            ),
            needed=needed,
            available=available,
            hint=t("Close other programs, or take a smaller or quantised model."),
        )


def memory_bandwidth(*, refresh: bool = False) -> float | None:
    """Bytes per second that all usable cores together read from memory; the ceiling of token-by-token decoding.

    Measured once in about half a second and kept in ``cache/hardware.json`` of the home folder for this CPU and
    number of cores. ``None`` without numpy.
    """
    cpu = processor()
    key = f"{cpu.model} x {cpu.usable}"
    path = get_settings().home / "cache" / "hardware.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = None
    known = content if isinstance(content, dict) else {}
    before = known.get(key)
    before = before if isinstance(before, float) else 0.0
    if before and not refresh:
        return before
    if importlib.util.find_spec("numpy") is None:
        return None
    # Other work on the machine makes a measurement too low, never too high.
    measured = max(_measure_bandwidth(cpu.usable), before)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**known, key: measured}), encoding="utf-8")
    return measured


def _measure_bandwidth(threads: int, *, seconds: float = 0.4) -> float:
    """The best pass of several over buffers far larger than the caches; numpy releases the GIL in ``max``."""
    import numpy

    size = max(min(256 * 2**20, memory().available // 8) // threads, 2**20)
    buffers = [numpy.ones(size // 8, dtype=numpy.int64) for _ in range(threads)]
    best = 0.0
    end = time.perf_counter() + seconds
    with ThreadPoolExecutor(threads) as pool:
        while time.perf_counter() < end:
            start = time.perf_counter()
            list(pool.map(numpy.max, buffers))
            best = max(best, threads * buffers[0].nbytes / (time.perf_counter() - start))
    return best
