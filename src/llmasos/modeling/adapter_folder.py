"""The folder of an adapter in PEFT's format. No torch here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from llmasos.errors import IntegrityError, Unsupported
from llmasos.i18n import t
from llmasos.library.safetensors_header import TensorEntry, read_header

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
PREFIX = "PREFIX_TUNING"
VIRTUAL_TOKENS = frozenset({"PROMPT_TUNING", "P_TUNING", PREFIX})
_APPLIED = frozenset({"LORA", "IA3"}) | VIRTUAL_TOKENS
_HEAD_CONFIG = "config.json"


@dataclass(frozen=True)
class AdapterFolder:
    """An adapter's files.

    Attributes:
        config: content of ``adapter_config.json``.
        model_config: configuration of the model with the adapter, where it differs from that of the base: a
            classifier's has the labels; else ``None``.
    """

    path: Path
    config: Mapping[str, Any]
    model_config: Mapping[str, Any] | None = None

    @classmethod
    def open(cls, path: Path) -> AdapterFolder:
        """Read the configuration.

        Raises:
            IntegrityError: it is missing or damaged.
            Unsupported: an adapter of a kind that cannot be put on a model here.
        """
        config = _read(path / CONFIG_FILE)
        kind = config.get("peft_type")
        if kind not in _APPLIED:
            raise Unsupported(
                t("adapters of type {kind} cannot be used", kind=kind),
                hint=t("Types are: {kinds}.", kinds=", ".join(sorted(_APPLIED))),
            )
        head = path / _HEAD_CONFIG
        return cls(path, config, _read(head) if head.is_file() else None)

    @property
    def kind(self) -> str:
        """PEFT's name of the method, such as ``LORA``."""
        return str(self.config["peft_type"])

    @property
    def virtual_tokens(self) -> int:
        """Positions that the adapter takes before every text."""
        return int(self.config.get("num_virtual_tokens") or 0) if self.kind in VIRTUAL_TOKENS else 0

    @cached_property
    def tensors(self) -> Mapping[str, TensorEntry]:
        """The tensors of the file, from its header.

        Raises:
            IntegrityError: it is missing or damaged.
        """
        path = self.path / WEIGHTS_FILE
        if not path.is_file():
            raise _damaged(path, t("it is missing"))
        return read_header(path)[0]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if not isinstance(content, dict):
        raise _damaged(path, t("not a JSON object"))
    return content


def _damaged(path: Path, problem: object) -> IntegrityError:
    return IntegrityError(
        t("the adapter in {path} cannot be read: {error}", path=path.name, error=problem),
        hint=t("An adapter has adapter_config.json and adapter_model.safetensors, as PEFT saves them."),
    )
