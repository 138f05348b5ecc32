"""The optimiser of a run: one or two of torch's, whose states are known by the names of their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from llmasos.errors import IntegrityError
from llmasos.i18n import t

Number = int | float


class NamedOptimizer:
    """Optimisers that together change all trained weights.

    Every group of their parameters has a ``factor``, by which its learning rate differs from that of the run.

    Args:
        parts: the optimisers.
        weights: all tensors that they change, by name.
    """

    def __init__(self, parts: Sequence[torch.optim.Optimizer], weights: Mapping[str, torch.Tensor]) -> None:
        self._parts = tuple(parts)
        self._weights = dict(weights)
        self._names = {id(weight): name for name, weight in weights.items()}

    def step(self, rate: float) -> None:
        """Change the weights that have a gradient, at a learning rate."""
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = rate * group["factor"]
            part.step()

    def tensors(self) -> dict[str, torch.Tensor]:
        """All states that are tensors, as ``name of weight/name of state``."""
        return {key: value for key, value in self._states().items() if isinstance(value, torch.Tensor)}

    def numbers(self) -> dict[str, Number]:
        """All states that are plain numbers, such as counts of steps, named as :meth:`tensors`."""
        return {key: value for key, value in self._states().items() if isinstance(value, int | float)}

    def load(self, tensors: Mapping[str, torch.Tensor], numbers: Mapping[str, Number]) -> None:
        """Take over what :meth:`tensors` and :meth:`numbers` gave, in their formats.

        Raises:
            IntegrityError: a state belongs to a weight that is not trained here.
        """
        owner = {id(weight): part for part in self._parts for group in part.param_groups for weight in group["params"]}
        for part in self._parts:
            part.state.clear()
        for key, value in {**tensors, **numbers}.items():
            name, _, state = key.rpartition("/")
            if name not in self._weights:
                raise IntegrityError(
                    t("the checkpoint has an optimiser state of {name}, which is not trained here", name=name),
                    hint=t("Resume with the recipe that the run was started with."),
                )
            weight = self._weights[name]
            if isinstance(value, torch.Tensor):
                value = value.to(weight.device, copy=True)
            owner[id(weight)].state[weight][state] = value

    def _states(self) -> dict[str, torch.Tensor | Number | None]:
        return {
            f"{self._names[id(weight)]}/{key}": value
            for part in self._parts
            for weight, states in part.state.items()
            for key, value in states.items()
        }
