"""Fully sharded training (FSDP version 2): every process keeps a part of each weight, gradient and optimiser state.

Zhao et al., "PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel", 2023. Each layer is gathered when it
computes, and so is what lies outside of the layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from llmasos.errors import InvalidRecipe
from llmasos.i18n import t
from llmasos.training.distributed.processes import Processes
from llmasos.training.methods.layers import stacks
from llmasos.training.recipe import optimizers
from llmasos.training.recipe.kinds import Training
from llmasos.training.recipe.methods import Freeze, Full, Lora
from llmasos.training.recipe.trainer import FullySharded

_Result = TypeVar("_Result")
_ELEMENTWISE = (optimizers.AdamW, optimizers.Lion, optimizers.Sgd)


class Root(nn.Module):
    """The network as one module in whose forward pass anything can be computed with gathered weights.

    FSDP gathers what lies outside of the layers when the outermost module is called. Objectives call parts of the
    network, and so do measures and generation; here they do it within one call.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, compute: Callable[[], _Result]) -> _Result:
        """What ``compute`` gives; a tensor in it that is to be differentiated must be the result or in a tuple."""
        return compute()


def check_sharding(recipe: Training, processes: Processes) -> None:
    """Refuse what cannot be combined with sharded weights.

    Raises:
        InvalidRecipe: there is one process; or the optimiser or the method needs whole weights.
    """
    if processes.world == 1:
        raise InvalidRecipe(
            t("trainer.distribution: fsdp divides weights among processes, and there is one"),
            hint=t("Start several: `torchrun --nproc-per-node N -m llmasos.cli.app train RECIPE`; or leave it out."),
        )
    if not isinstance(recipe.optimizer, _ELEMENTWISE):
        raise InvalidRecipe(
            t("optimizer {kind} needs whole weights, and fsdp divides them", kind=recipe.optimizer.kind),
            hint=t("With fsdp choose adamw, lion or sgd."),
        )
    gradual = isinstance(recipe.method, Freeze) and recipe.method.unfreeze_every is not None
    if not isinstance(recipe.method, Full | Freeze | Lora) or gradual:
        name = "freeze.unfreeze_every" if gradual else recipe.method.kind
        raise InvalidRecipe(
            t("method {kind} cannot be combined with fsdp", kind=name),
            hint=t("With fsdp choose full, freeze or lora; or distribution: data-parallel."),
        )


def shard(
    module: nn.Module, options: FullySharded, processes: Processes, dtype: torch.dtype
) -> Callable[[Callable[[], _Result]], _Result]:
    """Divide the weights of a module among the processes; its parameters are other objects afterwards.

    Args:
        dtype: format in which gathered weights compute; gradients are summed in float32.

    Returns:
        What has to be called to compute anything with the module.
    """
    mesh = init_device_mesh(torch.device(processes.device).type, (processes.world,))
    policy = MixedPrecisionPolicy(
        param_dtype=None if dtype == torch.float32 else dtype, reduce_dtype=torch.float32
    )  # fmt: skip
    for stack in stacks(module).values():
        for layer in stack:
            fully_shard(layer, mesh=mesh, mp_policy=policy, reshard_after_forward=options.reshard_after_forward)
    root = Root(module)
    fully_shard(root, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
    parts = [part for part in root.modules() if isinstance(part, FSDPModule)]
    for part in parts:
        part.set_gradient_divide_factor(1.0)  # losses are divided by the units of all processes already
        part.set_force_sum_reduction_for_comms(True)

    def gathering(compute: Callable[[], _Result]) -> _Result:
        result: _Result = root(compute)
        if not torch.is_grad_enabled():
            # No backward pass frees the gathered weights, and they may be changed before the next call.
            for part in parts:
                part.reshard()
        return result

    return gathering
