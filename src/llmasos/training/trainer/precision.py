"""In which number formats weights are kept and computed with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from llmasos.errors import InvalidRecipe
from llmasos.hardware import choose_dtype
from llmasos.i18n import t
from llmasos.training.recipe.methods import Freeze, Full, Method
from llmasos.training.recipe.trainer import Trainer


@dataclass(frozen=True)
class Precision:
    """The formats of a run.

    Attributes:
        compute: of matrix products.
        opened: in which the model is loaded.
        copies: of the copies of trained weights that compute while their masters are float32; ``None``: trained weights
            compute themselves.
        frozen: to which the weights that are not trained are converted; ``None``: they stay as they are.
        autocast: whether operations convert float32 weights each time.
    """

    compute: torch.dtype
    opened: torch.dtype
    copies: torch.dtype | None
    frozen: torch.dtype | None
    autocast: bool

    @property
    def trains_rounded(self) -> bool:
        """Whether trained weights have fewer bits than float32 and no masters that have them."""
        return self.copies is None and self.opened != torch.float32

    @contextmanager
    def computing(self, device: str) -> Iterator[None]:
        """Inside the block modules compute in :attr:`compute`."""
        with torch.autocast(torch.device(device).type, dtype=self.compute, enabled=self.autocast):
            yield

    def convert_frozen(self, module: nn.Module, trained: set[int]) -> None:
        """Convert the floating-point parameters whose ``id`` is not in ``trained``."""
        if self.frozen is None:
            return
        for parameter in module.parameters():
            if id(parameter) not in trained and parameter.is_floating_point():
                parameter.data = parameter.data.to(self.frozen)


def choose_precision(trainer: Trainer, method: Method, device: str) -> Precision:
    """The formats that a recipe asks for on a device.

    Raises:
        InvalidRecipe: float32 cannot be computed with weights in bfloat16.
    """
    name = choose_dtype(trainer.dtype, device=device)
    compute = torch.bfloat16 if name == "bfloat16" else torch.float32  # float16 would need its loss scaled
    if compute == torch.float32:
        if trainer.weights_dtype == "bfloat16":
            raise InvalidRecipe(
                t("trainer.weights_dtype: bfloat16 needs trainer.dtype: bfloat16, and it is float32"),
                hint=t("Set trainer.dtype: bfloat16 too; it is slow on a CPU without bfloat16 arithmetic."),
            )
        return Precision(compute, torch.float32, None, None, False)
    match trainer.weights_dtype:
        case "float32":
            return Precision(compute, torch.float32, None, None, True)
        case "bfloat16":
            return Precision(compute, compute, None, None, False)
        case _:
            own = isinstance(method, Full | Freeze)  # trains weights of the model, whose last bits must not be lost
            return Precision(compute, torch.float32 if own else compute, compute, compute, False)
