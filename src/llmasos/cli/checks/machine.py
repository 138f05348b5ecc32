"""What the hardware offers, what is chosen from it, and the compiler for native kernels."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from dataclasses import asdict

from llmasos import hardware
from llmasos.cli.checks import Problem, Section
from llmasos.engine.graphs.options import DecodeOptions, path_name
from llmasos.home import home_directory
from llmasos.i18n import t
from llmasos.units import format_bytes

_COMPILER_COMMANDS = {
    "apt-get": "apt-get install g++",
    "dnf": "dnf install gcc-c++",
    "apk": "apk add g++",
    "pacman": "pacman -S gcc",
    "zypper": "zypper install gcc-c++",
}


def check(*, measure: bool) -> Section:
    """The machine. ``measure`` times memory anew; otherwise an earlier measurement is used, or made the first time."""
    section = Section("hardware", t("Hardware"))
    processor, memory = hardware.processor(), hardware.memory()
    disk = hardware.disk(home_directory())
    cards = hardware.gpus()
    bandwidth = hardware.memory_bandwidth(refresh=measure)
    section.facts += [
        (t("processor"), f"{processor.model} ({processor.architecture})"),
        (t("cores"), _cores(processor)),
        (t("instruction sets"), " ".join(processor.instruction_sets) or "-"),
        (t("memory"), _memory(memory)),
        (t("memory bandwidth"), f"{format_bytes(bandwidth)}/s" if bandwidth else t("not measured: numpy is missing")),
        (t("disk"), t("{free} free of {total}", free=format_bytes(disk.free), total=format_bytes(disk.total))),
        (t("accelerators"), "; ".join(_card(card) for card in cards) or t("none")),
    ]
    device = _device(section, cards)
    dtype, threads = hardware.choose_dtype(device=device), hardware.choose_threads()
    section.facts.append(
        (t("models run on"), t("{device}, {dtype}, {threads} threads", device=device, dtype=dtype, threads=threads))
    )
    decode = DecodeOptions().path(device)
    section.facts.append((t("decoding"), path_name(decode)))
    compiler = _compiler(section)
    section.facts.append((t("C++ compiler"), compiler or t("none")))
    sandboxes = _sandboxes(section)
    section.data = {
        "processor": asdict(processor),
        "memory": asdict(memory),
        "memory_bandwidth": bandwidth,
        "disk": asdict(disk),
        "gpus": [asdict(card) for card in cards],
        "device": device,
        "dtype": dtype,
        "threads": threads,
        "decode": decode,
        "compiler": compiler,
        "sandbox": sandboxes,
    }
    if disk.free < 2 * 2**30:
        section.problems.append(
            Problem(
                "advice",
                t("the disk of {path} has only {free} free", path=disk.path, free=format_bytes(disk.free)),
                "llmasos rm MODEL && llmasos gc",
            )
        )
    return section


def _cores(processor: hardware.Processor) -> str:
    text = t("{usable} usable of {physical}", usable=processor.usable, physical=processor.physical)
    if processor.logical != processor.physical:
        text += ", " + t("{count} hardware threads", count=processor.logical)
    if processor.quota is not None:
        text += ", " + t("container quota {quota}", quota=f"{processor.quota:g}")
    return text


def _memory(memory: hardware.Memory) -> str:
    text = t("{available} available of {total}", available=format_bytes(memory.available),
             total=format_bytes(memory.total))  # fmt: skip
    return text + (" " + t("(limit of the container)") if memory.limit is not None else "")


def _card(card: hardware.Gpu) -> str:
    parts = [card.name, format_bytes(card.memory_total)]
    if card.memory_free is not None:
        parts.append(t("{size} free", size=format_bytes(card.memory_free)))
    if card.driver:
        parts.append(t("driver {version}", version=card.driver))
    return ", ".join(parts)


def _device(section: Section, cards: tuple[hardware.Gpu, ...]) -> str:
    """The device in use. torch is asked only where there is an accelerator: importing it takes seconds."""
    if not cards or importlib.util.find_spec("torch") is None:
        return "cpu"
    device = hardware.choose_device()
    if device == "cpu":
        section.problems.append(
            Problem(
                "advice",
                t("there is an accelerator ({name}) and the installed PyTorch cannot use it", name=cards[0].name),
                "pip install --force-reinstall torch",
            )
        )
    return device


def _compiler(section: Section) -> str | None:
    from llmasos.engine.kernels.build import find_compiler
    from llmasos.engine.kernels.native import INSTRUCTION_SETS

    compiler = find_compiler()
    fits = sys.platform == "linux" and platform.machine() in ("x86_64", "AMD64")
    if compiler is None and fits and INSTRUCTION_SETS.issubset(hardware.processor().instruction_sets):
        manager = next((name for name in _COMPILER_COMMANDS if shutil.which(name)), None)
        section.problems.append(
            Problem(
                "advice",
                t("there is no C++ compiler: the faster native kernels cannot be built"),
                _COMPILER_COMMANDS[manager] if manager else t("install g++ or clang++"),
            )
        )
    return compiler


def _sandboxes(section: Section) -> dict[str, str | None]:
    """What can shut in programs that a model wrote, each tried: ``None`` if it works, else why not."""
    from llmasos.evaluation.sandbox.isolation import available

    found = {isolation.value: reason for isolation, reason in available().items()}
    working = [name for name, reason in found.items() if reason is None]
    section.facts.append((t("sandbox for programs"), ", ".join(working) or t("none")))
    if not working:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in found.items())
        on_linux = sys.platform == "linux"
        section.problems.append(
            Problem(
                "advice",
                t("programs that a model writes cannot be run safely here ({reasons})", reasons=reasons),
                t("install bubblewrap") if on_linux else None,
            )
        )
    return found
