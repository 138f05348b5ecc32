"""How weights are changed: optimisers and learning-rate schedules."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from llmasos.training.recipe.options import Options


class _Optimizer(Options):
    weight_decay: float = Field(
        0.0, ge=0, description="Decoupled weight decay of matrices; vectors (biases, normalisations) have none."
    )


class _Moments(_Optimizer):
    beta1: float = Field(0.9, ge=0, lt=1, description="Decay of the mean of gradients.")
    beta2: float = Field(0.999, ge=0, lt=1, description="Decay of the mean of squared gradients.")
    epsilon: float = Field(1e-8, gt=0, description="Added to the denominator.")


class AdamW(_Moments):
    """AdamW (Loshchilov and Hutter 2019), PyTorch's fused kernel."""

    kind: Literal["adamw"] = "adamw"


class AdamW8bit(_Moments):
    """AdamW with 8-bit states: a quarter of the memory for states (Dettmers et al. 2022)."""

    kind: Literal["adamw-8bit"] = "adamw-8bit"


class Adafactor(_Optimizer):
    """Row and column means instead of squared gradients (Shazeer and Stern 2018): almost no memory for states."""

    kind: Literal["adafactor"] = "adafactor"
    clip_threshold: float = Field(1.0, gt=0, description="Most root mean square of an update.")


class Lion(_Optimizer):
    """Sign of an interpolated momentum (Chen et al. 2023): half the memory of AdamW; use a third to a tenth of its
    learning rate."""

    kind: Literal["lion"] = "lion"
    beta1: float = Field(0.9, ge=0, lt=1, description="Weight of the momentum in an update.")
    beta2: float = Field(0.99, ge=0, lt=1, description="Decay of the momentum.")


class Sgd(_Optimizer):
    """Gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum.")
    nesterov: bool = Field(False, description="Nesterov's momentum.")

    @model_validator(mode="after")
    def _momentum_for_nesterov(self) -> Sgd:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class Muon(_Optimizer):
    """Orthogonalised momentum for matrices, AdamW for all else (Jordan et al. 2024), PyTorch's implementation."""

    kind: Literal["muon"] = "muon"
    momentum: float = Field(0.95, ge=0, lt=1, description="Momentum.")
    adamw_learning_rate: float | None = Field(
        None, gt=0, description="Learning rate of embeddings, heads and vectors; default: 3e-4."
    )


Optimizer: TypeAlias = Annotated[AdamW | AdamW8bit | Adafactor | Lion | Sgd | Muon, Field(discriminator="kind")]


class _Schedule(Options):
    warmup: float = Field(
        0.03, ge=0, description="Steps in which the rate rises from zero: below 1 a share of all steps, else a number."
    )

    @field_validator("warmup")
    @classmethod
    def _share_or_number(cls, warmup: float) -> float:
        if warmup > 1 and warmup != int(warmup):
            raise ValueError(f"{warmup} is neither a share below 1 nor a whole number of steps")
        return warmup


class Constant(_Schedule):
    """The highest rate after warm-up."""

    kind: Literal["constant"] = "constant"


class _Decaying(_Schedule):
    final: float = Field(0.0, ge=0, le=1, description="Rate at the end as a share of the highest.")


class Linear(_Decaying):
    """Falls in a straight line."""

    kind: Literal["linear"] = "linear"


class Cosine(_Decaying):
    """Falls as half a cosine."""

    kind: Literal["cosine"] = "cosine"


class WarmupStableDecay(_Decaying):
    """Constant, then falls at the end (Hu et al. 2024)."""

    kind: Literal["wsd"] = "wsd"
    decay: float = Field(0.2, gt=0, le=1, description="Share of all steps in which it falls.")


class InverseSquareRoot(_Schedule):
    """Falls with the square root of the step (Vaswani et al. 2017)."""

    kind: Literal["inverse-sqrt"] = "inverse-sqrt"


Schedule: TypeAlias = Annotated[
    Constant | Linear | Cosine | WarmupStableDecay | InverseSquareRoot, Field(discriminator="kind")
]
