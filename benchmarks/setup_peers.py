"""Makes the environments of the programs that ours are compared with; a second call has nothing to do.

    python benchmarks/setup_peers.py [--only engines|trainers] [--peers build/peers] [--trainers build/trainers]

Engines: llama.cpp is compiled for this very processor from the source package of llama-cpp-python, which takes some
minutes and needs a C++ compiler; OpenVINO GenAI brings kernels for many processors and chooses among them when it
starts. transformers is compared from the environment of the product itself.

Trainers: TRL with the versions of torch and of all else that the product is tested with.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
ENGINES = {
    "numpy": ["numpy>=2"],
    "llama_cpp": ["--no-binary", "llama-cpp-python", "llama-cpp-python==0.3.36"],
    "openvino_genai": ["openvino-genai==2026.4.1.0"],
}
TRAINERS = {
    "trl": ["trl==1.16.0", "transformers", "peft", "accelerate", "datasets", "torch", "psutil",
            "-c", str(ROOT / "constraints.txt")],
}  # fmt: skip
# AMX off: the tile kernels of this version end in an illegal instruction (tilezero before the tiles are configured).
_NO_AMX = "'-mno-amx-tile -mno-amx-int8 -mno-amx-bf16'"
BUILD_FLAGS = f"-DGGML_NATIVE=ON -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS={_NO_AMX} -DCMAKE_CXX_FLAGS={_NO_AMX}"


def has(python: Path, module: str) -> bool:
    """Whether the environment can import a module; seeing it in a folder proves less."""
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0


def install(environment: Path, packages: Mapping[str, Sequence[str]], interpreter: str) -> None:
    """Make the environment unless it is there, and install what it lacks."""
    python = environment.absolute() / "bin" / "python"
    if not python.exists():
        subprocess.run([interpreter, "-m", "venv", environment], check=True)
    variables = {**os.environ, "CMAKE_ARGS": f"{BUILD_FLAGS} {os.environ.get('CMAKE_ARGS', '')}".strip()}
    for module, requirement in packages.items():
        if has(python, module):
            print(f"{module} is there")
            continue
        print(f"installing {module} ...", flush=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirement],
            check=True,
            env=variables,
        )
        if not has(python, module):
            raise SystemExit(f"{module} was installed and cannot be imported")
    print(f"ready: {environment}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("engines", "trainers"), help="default: both")
    parser.add_argument("--peers", type=Path, default=ROOT / "build" / "peers")
    parser.add_argument("--trainers", type=Path, default=ROOT / "build" / "trainers")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the environments (3.11 or later)")
    options = parser.parse_args()
    if options.only != "trainers":
        install(options.peers, ENGINES, options.python)
    if options.only != "engines":
        install(options.trainers, TRAINERS, options.python)


if __name__ == "__main__":
    main()
