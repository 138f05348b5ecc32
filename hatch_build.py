"""Compiles the native kernels while the package is built; the package works without them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NativeKernels(BuildHookInterface):
    """Adds the compiled library to wheels and, for editable installs, leaves it beside its sources."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        folder = Path(self.root) / "src" / "llmasos" / "engine" / "kernels"
        spec = importlib.util.spec_from_file_location("llmasos_kernel_build", folder / "build.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        try:
            library = module.build(folder / module.LIBRARY_NAME)
        except module.BuildError as error:
            self.app.display_warning(f"native kernels not built, the torch kernels will be used: {error}")
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["artifacts"].append(str(library.relative_to(self.root)))
