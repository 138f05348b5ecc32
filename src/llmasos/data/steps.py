"""All steps that a recipe may name."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from llmasos.data.pipeline.complete import CompleteConfig

Step = Annotated[CompleteConfig, Field()]
