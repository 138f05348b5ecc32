"""The engines, the settings that each is tried with, and the process that runs one of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from comparison.scenarios import SCHEMA, Scenario

Form = Literal["folder", "q8_0", "q4_0"]


@dataclass(frozen=True)
class Engine:
    """A program of :mod:`peers` with the form of the model that it reads."""

    name: str
    module: str
    form: Form
    bits: int
    """Of a weight, to compare like with like."""
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def ours(self) -> bool:
        return self.module == "ours"


ENGINES: tuple[Engine, ...] = (
    Engine("llmasos-int8", "ours", "folder", 8, {"precision": "int8"}),
    Engine("llmasos-int4", "ours", "folder", 4, {"precision": "int4"}),
    Engine("llama.cpp-q8_0", "llama_cpp", "q8_0", 8),
    Engine("llama.cpp-q4_0", "llama_cpp", "q4_0", 4),
    Engine("openvino-q8_0", "openvino_genai", "q8_0", 8),
    Engine("openvino-q4_0", "openvino_genai", "q4_0", 4),
    Engine("transformers-bf16", "transformers", "folder", 16),
)


@dataclass(frozen=True)
class Contestant:
    """An engine in one role: a row of the result. The best of its settings counts."""

    engine: Engine
    label: str
    settings: tuple[dict[str, Any], ...]

    @property
    def speculates(self) -> bool:
        return any(setting.get("lookup") for setting in self.settings)


def contestants(engine: Engine, scenario: Scenario) -> list[Contestant]:
    """The rows of an engine in a scenario; none where it cannot take part.

    Speculation gets a row of its own, and so does a prefix that the caller shares by hand: these are things that a
    user chooses, not tuning.
    """
    if engine.module == "transformers" and scenario.kind in ("json", "adapters"):
        return []  # no constrained output, and one adapter for a whole batch
    tuning: list[dict[str, Any]] = [{}]
    if engine.module == "llama_cpp":
        tuning = [{"flash_attention": True}, {"flash_attention": False}]
    roles: list[tuple[str, dict[str, Any]]] = [("", {})]
    if engine.ours and scenario.name.startswith("unrelated") and engine.bits == 8:
        roles.append((", speculation", {"lookup": True}))
    if scenario.kind == "copy" and (engine.module != "transformers" or scenario.streams == 1):
        roles.append((", speculation", {"lookup": True}))
    if scenario.prefix_tokens and engine.module == "llama_cpp":
        roles.append((", prefix copied by the caller", {"share": True}))
    if scenario.prefix_tokens and engine.module == "openvino_genai":
        roles.append((", prefix cached first", {"share": True, "prefix_caching": True}))
    return [
        Contestant(engine, engine.name + suffix, tuple({**engine.options, **options, **chosen} for chosen in tuning))
        for suffix, options in roles
    ]


@dataclass(frozen=True)
class Workplace:
    """Where things are: the interpreters, and the model in all its forms."""

    own_python: str
    peers_python: str
    forms: dict[Form, Path]
    adapters: list[Path]
    threads: int
    values_per_token: int
    read_share: float
    warm_up: list[int]
    timeout: float

    def python(self, engine: Engine) -> str:
        return self.own_python if engine.form == "folder" else self.peers_python

    def adapter_files(self, engine: Engine) -> list[str]:
        names = {"llama_cpp": "adapter.gguf", "openvino_genai": "adapter_model.safetensors"}
        return [str(folder / names.get(engine.module, "")) for folder in self.adapters]


class EngineError(Exception):
    """An engine did not finish; the message has the last lines that it wrote."""


def run_once(
    place: Workplace, engine: Engine, setting: dict[str, Any], scenario: Scenario, prompts: list[list[list[int]]]
) -> dict[str, Any]:
    """Start the engine's program, give it the job and wait for its report.

    Raises:
        EngineError: it ended with an error or took too long.
    """
    job = {
        "model": str(place.forms[engine.form]),
        "runs": prompts,
        "new_tokens": scenario.new_tokens,
        "threads": place.threads,
        "warm_up": place.warm_up,
        "values_per_token": place.values_per_token,
        "read_share": place.read_share,
        "setting": setting,
        "prefix_tokens": scenario.prefix_tokens,
        "adapters": place.adapter_files(engine)[: scenario.streams] if scenario.kind == "adapters" else [],
        "schema": SCHEMA if scenario.kind == "json" else None,
    }
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    try:
        done = subprocess.run(
            [place.python(engine), "-P", "-m", f"peers.{engine.module}"],
            input=json.dumps({**job, "spawned_at": time.time()}),
            capture_output=True,
            text=True,
            env=environment,
            timeout=place.timeout,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"no result after {place.timeout:.0f} s") from error
    if done.returncode != 0 or not done.stdout:
        lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
        code = done.returncode
        ended = f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise EngineError(f"{ended}: " + " | ".join(lines[-3:])[-400:])
    report: dict[str, Any] = json.loads(done.stdout)
    return report
