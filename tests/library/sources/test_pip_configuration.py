from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="only there does setuptools give up its distutils for pip")
def test_looking_for_pip_leaves_distutils_alone() -> None:
    code = """
from llmasos.library.sources.pip_configuration import pip_command
assert pip_command()[-1].endswith("pip")
import setuptools  # as torch.compile does
import distutils
assert "_distutils" in distutils.__file__, distutils.__file__
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
