"""Makes the environment of the engines that ours is compared with; a second call has nothing to do.

    python benchmarks/setup_peers.py [--peers build/peers] [--python python3.12]

llama.cpp is compiled for this very processor from the source package of llama-cpp-python, which takes some minutes and
needs a C++ compiler; OpenVINO GenAI brings kernels for many processors and chooses among them when it starts.
transformers is compared from the environment of the product itself.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

PACKAGES = {
    "numpy": ["numpy>=2"],
    "llama_cpp": ["--no-binary", "llama-cpp-python", "llama-cpp-python==0.3.36"],
    "openvino_genai": ["openvino-genai==2026.4.1.0"],
}
BUILD_FLAGS = "-DGGML_NATIVE=ON -DCMAKE_BUILD_TYPE=Release"


def has(python: Path, module: str) -> bool:
    """Whether the environment can import a module; seeing it in a folder proves less."""
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, default=Path(__file__).parent.parent / "build" / "peers")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the environment (3.11 or later)")
    options = parser.parse_args()
    python = options.peers.absolute() / "bin" / "python"
    if not python.exists():
        subprocess.run([options.python, "-m", "venv", options.peers], check=True)
    environment = {**os.environ, "CMAKE_ARGS": f"{BUILD_FLAGS} {os.environ.get('CMAKE_ARGS', '')}".strip()}
    for module, requirement in PACKAGES.items():
        if has(python, module):
            print(f"{module} is there")
            continue
        print(f"installing {module} ...", flush=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirement],
            check=True,
            env=environment,
        )
        if not has(python, module):
            raise SystemExit(f"{module} was installed and cannot be imported")
    print(f"ready: {options.peers}")


if __name__ == "__main__":
    main()
