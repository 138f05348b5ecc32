"""What every instruction has: a name, checked arguments, and a test of an answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict

_CHINESE_RELATIONS = {"至少": "at least", "少于": "less than", "不少于": "at least"}


def _in_english(given: object) -> object:
    return _CHINESE_RELATIONS.get(given, given) if isinstance(given, str) else given


Relation: TypeAlias = Annotated[Literal["at least", "less than"], BeforeValidator(_in_english)]
"""How a count is compared."""


class Instruction(BaseModel, ABC):
    """One instruction with its arguments."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ClassVar[str]

    @abstractmethod
    def followed(self, answer: str, prompt: str) -> bool:
        """Whether an answer that is not empty follows the instruction.

        Args:
            prompt: what the model was asked.
        """


def compare(count: int, relation: Relation, wanted: int) -> bool:
    """Whether a count stands in the relation to what is wanted."""
    return count >= wanted if relation == "at least" else count < wanted
