"""The weights that are trained: in the module in the number format of the computation, and apart in full precision.

Small updates would be lost in bfloat16, and casting float32 weights in every forward pass costs time. So the optimiser
changes float32 masters, and the module computes with copies that are made once a step ("Mixed Precision Training",
Micikevicius et al., 2018). Gradients are summed in float32 as soon as the backward pass has each one ready.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from llmasos.errors import IntegrityError
from llmasos.i18n import t


@dataclass(frozen=True)
class Weight:
    """One trained parameter.

    Attributes:
        name: in the module.
        parameter: what computes.
        master: what the optimiser changes; the parameter itself where both have one format.
    """

    name: str
    parameter: torch.nn.Parameter
    master: torch.Tensor

    @property
    def has_copy(self) -> bool:
        """Whether the module computes with a copy of the master."""
        return self.master is not self.parameter


class Weights:
    """All parameters of a module that a run trains, by name.

    Args:
        trained: the parameters that are trained now or later in the run, by name.
        compute_dtype: the format in which copies compute, while masters are float32; ``None``: parameters are their own
            masters.
    """

    def __init__(
        self,
        trained: Mapping[str, torch.nn.Parameter],
        *,
        compute_dtype: torch.dtype | None = None,
    ) -> None:
        self._by_name = {name: _weight(name, parameter, compute_dtype) for name, parameter in trained.items()}
        self._copied = [weight for weight in self._by_name.values() if weight.has_copy]
        for weight in self._copied:
            now = weight.parameter.requires_grad
            weight.parameter.requires_grad_(True)  # torch takes no hooks on frozen weights, and some thaw later
            weight.parameter.register_post_accumulate_grad_hook(_adding_to(weight.master))  # type: ignore[no-untyped-call]  # torch gives it no types
            weight.parameter.requires_grad_(now)

    def __iter__(self) -> Iterator[Weight]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def __getitem__(self, name: str) -> Weight:
        return self._by_name[name]

    def masters(self) -> dict[str, torch.Tensor]:
        """The weights in full precision, by name."""
        return {weight.name: weight.master for weight in self}

    def gradients(self) -> list[torch.Tensor]:
        """The gradients of the masters that have one; they are changed in place to clip them."""
        return [weight.master.grad for weight in self if weight.master.grad is not None]

    def zero_gradients(self) -> None:
        """Forget all gradients."""
        for weight in self:
            weight.master.grad = None
            weight.parameter.grad = None

    @torch.no_grad()
    def refresh(self) -> None:
        """Take the masters over into the copies that compute; after every change of masters."""
        if self._copied:
            torch._foreach_copy_(
                [weight.parameter.data for weight in self._copied], [weight.master for weight in self._copied]
            )

    @torch.no_grad()
    def load(self, values: Mapping[str, torch.Tensor]) -> None:
        """Set masters and copies.

        Args:
            values: a tensor for every weight, by name.

        Raises:
            IntegrityError: they are not those of these weights.
        """
        shapes = {name: value.shape for name, value in values.items()}
        if shapes != {weight.name: weight.master.shape for weight in self}:
            raise IntegrityError(
                t("the checkpoint holds other weights than those that are trained here"),
                hint=t("Resume with the version of LLMasOS that wrote it."),
            )
        for weight in self:
            weight.master.copy_(values[weight.name])
        self.refresh()

    @contextmanager
    def computing_with(self, values: Mapping[str, torch.Tensor]) -> Iterator[None]:
        """Inside the block the module computes with other values, in its own format, such as moving averages."""
        before = {weight.name: weight.parameter.detach().clone() for weight in self if not weight.has_copy}
        with torch.no_grad():
            for weight in self:
                weight.parameter.data.copy_(values[weight.name])
        try:
            yield
        finally:
            with torch.no_grad():
                for weight in self:
                    weight.parameter.data.copy_(before.get(weight.name, weight.master))

    @contextmanager
    def in_full_precision(self) -> Iterator[None]:
        """Inside the block the module holds the masters themselves, to be saved."""
        copies = {weight.name: weight.parameter.data for weight in self._copied}
        for weight in self._copied:
            weight.parameter.data = weight.master.data
        try:
            yield
        finally:
            for weight in self._copied:
                weight.parameter.data = copies[weight.name]


def _weight(name: str, parameter: torch.nn.Parameter, compute_dtype: torch.dtype | None) -> Weight:
    if compute_dtype is None:
        return Weight(name, parameter, parameter)
    master = parameter.detach().float()
    parameter.data = master.to(compute_dtype, copy=True)
    return Weight(name, parameter, master)


def _adding_to(master: torch.Tensor) -> Callable[[torch.Tensor], None]:
    def add(parameter: torch.Tensor) -> None:
        gradient = parameter.grad
        assert gradient is not None
        if master.grad is None:
            master.grad = gradient.to(master.dtype)
        else:
            master.grad.add_(gradient)
        parameter.grad = None

    return add
