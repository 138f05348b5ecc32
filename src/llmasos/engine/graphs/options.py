"""How passes that only decode are run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from llmasos.errors import InvalidRequest
from llmasos.i18n import t
from llmasos.settings import get_settings

DecodeMode = Literal["auto", "eager", "static", "graphs"]
DecodePath = Literal["eager", "static", "graphs"]
DECODE_MODES: tuple[DecodeMode, ...] = get_args(DecodeMode)


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How passes that only decode are run. Prompts, adapters and interventions are always computed eagerly."""

    mode: DecodeMode = "auto"
    """``graphs``: captured once per shape and replayed, on CUDA. ``static``: the same shapes and buffers without
    capture, on any device with PyTorch's kernels; it finds out whether a fault is the capture's. ``eager``: every
    pass in its own shape. ``auto``: graphs on CUDA unless the setting ``cuda_graphs`` says no, eager elsewhere."""
    capture: Literal["lazy", "start"] = "lazy"
    """Whether a shape is captured when it is first met, or all of them before the first request."""
    max_graphs: int = 96
    """Shapes kept; beyond that the one unused for longest is forgotten. Each holds driver memory."""
    max_graph_bytes: int | None = None
    """Memory that the graphs' intermediate results may take together; ``None``: a tenth of the device's."""

    def path(self, device: str) -> DecodePath:
        """What the mode means on a device.

        Raises:
            InvalidRequest: graphs were asked for where there are none.
        """
        cuda = device.partition(":")[0] == "cuda"
        if self.mode == "auto":
            return "graphs" if cuda and get_settings().cuda_graphs else "eager"
        if self.mode == "graphs" and not cuda:
            raise InvalidRequest(
                t("decode = graphs needs a CUDA device; this is {device}", device=device),
                hint=t("Leave it at auto, or take static to run the same shapes without capture."),
            )
        return self.mode

    def problems(self) -> list[tuple[str, object, str]]:
        """(name, value, what is allowed) of every value that cannot work."""
        checks = (
            ("decode.mode", self.mode, ", ".join(DECODE_MODES), self.mode in DECODE_MODES),
            ("decode.capture", self.capture, "lazy, start", self.capture in ("lazy", "start")),
            ("decode.max_graphs", self.max_graphs, t("a whole number from {low}", low=1), self.max_graphs >= 1),
            ("decode.max_graph_bytes", self.max_graph_bytes, t("a whole number from {low}", low=1),
             self.max_graph_bytes is None or self.max_graph_bytes >= 1),
        )  # fmt: skip
        return [(name, value, allowed) for name, value, allowed, good in checks if not good]


def path_name(path: DecodePath) -> str:
    """A path for people."""
    return {"eager": t("eager"), "static": t("static shapes"), "graphs": t("CUDA graphs")}[path]
