"""What becomes of a model when a method is applied to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn

if TYPE_CHECKING:
    from llmasos.training.recipe.methods import Method

Artefact = Literal["model", "adapter"]
HEAD_FACTOR = 0.1
"""Learning rate of a classifier's head beside trained vectors, as a multiple of theirs: what vectors need is ten times
what matrices bear."""


@dataclass(frozen=True)
class ParameterGroup:
    """Weights that are changed alike.

    Attributes:
        parameters: by their names in :attr:`Applied.module`.
        factor: their learning rate, as a multiple of the run's.
        decay: whether matrices among them have weight decay; vectors never have.
    """

    parameters: Mapping[str, nn.Parameter]
    factor: float = 1.0
    decay: bool = True


@dataclass
class Applied:
    """A model that a method has been applied to.

    Attributes:
        module: what computes. Always the module of transformers that was given, with new layers or hooks inside, so
            that whoever calls it, or its backbone without the head, need not know the method. Virtual tokens come and
            go within the backbone: what goes in has T tokens and what comes out T positions.
        method: the method.
        groups: all weights that are trained now or later in the run, each in one group.
        trainable: numbers in the weights that are trained at the first step.
        total: numbers in all weights, the new ones included.
        learning_rate: the recipe's, else the method's default for this kind of recipe.
        artefact: what the result is: a whole model, or an adapter in PEFT's format.
        warnings: what the user should know, in sentences.
        adapter: PEFT's handle on the new weights; ``None`` for methods that train the model's own.
        requires_unpacked: whether every row may hold only one document: the virtual tokens stand before each row.
        forbids_checkpointing: whether activation checkpointing must be off.
        virtual_tokens: positions that virtual tokens take: texts may be so much shorter than the context length.
        on_step: to be called with the number of steps done, before the first step with 0 and after each; makes further
            weights trainable. It depends on nothing but that number. Gives ``True`` if the set of trained weights
            has changed. ``None`` if it never changes.
        initial: PiSSA's factors before the first step, by name; with them the update becomes one of the original base.
    """

    module: nn.Module
    method: Method
    groups: list[ParameterGroup]
    trainable: int
    total: int
    learning_rate: float
    artefact: Artefact
    warnings: list[str] = field(default_factory=list)
    adapter: Any = None
    requires_unpacked: bool = False
    forbids_checkpointing: bool = False
    virtual_tokens: int = 0
    on_step: Callable[[int], bool] | None = None
    initial: Mapping[str, Tensor] = field(default_factory=dict)

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names in the module and weights of all groups."""
        for group in self.groups:
            yield from group.parameters.items()
