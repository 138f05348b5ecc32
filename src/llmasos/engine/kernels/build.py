"""Compile the native kernels with the system's C++ compiler.

Runs when the package is built (``hatch_build.py``) and by hand: ``python -m llmasos.engine.kernels.build``. Imports
nothing outside the standard library, so that a build environment without torch can use it. Without a compiler, or on
another processor, nothing is built and the engine uses its torch kernels.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = Path(__file__).parent / "csrc"
LIBRARY_NAME = "_native.so"
# The result may run on a machine other than this one: instruction sets are named, never "native".
FLAGS = (
    "-O3",
    "-std=c++20",
    "-fPIC",
    "-shared",
    "-fopenmp",
    "-fno-math-errno",
    "-mtune=icelake-server",
    *("-mavx2", "-mfma", "-mf16c", "-mbmi2", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"),
    *("-mavx512vnni", "-mavx512bf16"),
)


class BuildError(Exception):
    """The kernels could not be compiled; the message says why."""


def source_digest() -> str:
    """Identity of the sources and flags; compiled in, so that a stale library is recognised."""
    digest = hashlib.sha256(" ".join(FLAGS).encode())
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def find_compiler() -> str | None:
    """The C++ compiler: ``$CXX``, else g++ or clang++ on the path."""
    for name in (os.environ.get("CXX"), "g++", "clang++", "c++"):
        if name and shutil.which(name):
            return name
    return None


def build(target: Path) -> Path:
    """Compile into ``target`` (replaced atomically) and return it.

    Raises:
        BuildError: not Linux on x86-64, no compiler, or the compiler failed.
    """
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        raise BuildError(f"the native kernels are for Linux on x86-64; this is {sys.platform} on {platform.machine()}")
    compiler = find_compiler()
    if compiler is None:
        raise BuildError("no C++ compiler found; install g++ (Debian: apt install g++) or set CXX")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        output = Path(folder) / "library.so"
        command = [
            compiler,
            *FLAGS,
            f'-DLLMASOS_SOURCE_DIGEST="{source_digest()}"',
            "-o",
            str(output),
            *(str(path) for path in sorted(SOURCES.glob("*.cpp"))),
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            lines = result.stderr.strip().splitlines()
            raise BuildError(f"{compiler} failed with exit code {result.returncode}:\n" + "\n".join(lines[:20]))
        output.replace(target)
    return target


if __name__ == "__main__":
    try:
        print(build(Path(__file__).parent / LIBRARY_NAME))
    except BuildError as error:
        sys.exit(f"native kernels not built: {error}")
