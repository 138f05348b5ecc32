"""Kinds of artefacts."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What an artefact is."""

    MODEL = "model"
    ADAPTER = "adapter"
    DATASET = "dataset"
    REPORT = "report"
    STEERING_VECTOR = "steering-vector"

    @property
    def needs_base(self) -> bool:
        """Whether the artefact cannot be used without the model that it names as its base."""
        return self in (Kind.ADAPTER, Kind.STEERING_VECTOR)
