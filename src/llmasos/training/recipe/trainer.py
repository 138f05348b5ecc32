"""How long, how much at once, in which precision, what is watched and kept."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, model_validator

from llmasos.training.recipe.options import Options


class EarlyStopping(Options):
    """Stop when a measure has not become better for a while."""

    patience: int = Field(3, ge=1, description="Evaluations without improvement before training stops.")
    minimum_change: float = Field(0.0, ge=0, description="Smaller improvements do not count.")


class TaskEvaluation(Options):
    """A task of `llmasos eval` as a measure during training."""

    task: str = Field(description="Name of a built-in task, or a YAML file relative to the recipe.")
    limit: int | None = Field(None, ge=1, description="Most samples.")


class Evaluation(Options):
    """What is measured during training, and when."""

    every: int | None = Field(None, ge=1, description="Steps between evaluations; default: ten times in the run.")
    at_start: bool = Field(True, description="Also before the first step, to know what training changes.")
    metric: str = Field(
        "loss",
        description="Which measure chooses the best checkpoint and stops early: loss, accuracy, f1_macro, or "
        "task.metric of one of the tasks.",
    )
    tasks: tuple[TaskEvaluation, ...] = Field((), description="Tasks of `llmasos eval` that are measured too.")
    samples: int = Field(0, ge=0, description="Validation prompts for which the model's own answer is shown.")
    prompts: tuple[str, ...] = Field((), description="Texts that the model continues at each evaluation.")
    sample_tokens: int = Field(64, ge=1, description="Most tokens of such an answer.")
    early_stopping: EarlyStopping | None = Field(None, description="When to stop early; default: never.")


class Checkpoints(Options):
    """Which states are kept to go on from."""

    every: int | None = Field(
        None, ge=1, description="Steps between checkpoints; default: at each evaluation, and at the end."
    )
    minutes: float | None = Field(10.0, gt=0, description="Also after so many minutes without one; null: never.")
    keep_last: int = Field(2, ge=1, description="How many of the newest are kept, beside the best.")
    keep_best: bool = Field(True, description="Keep the best by evaluation.metric, and publish it as the result.")


class Accelerate(Options):
    """One process, or those that `torchrun` or `accelerate launch` started: each has the whole model."""

    kind: Literal["data-parallel"] = "data-parallel"


class FullySharded(Options):
    """Weights, gradients and optimiser states are divided among the processes (FSDP version 2)."""

    kind: Literal["fsdp"] = "fsdp"
    reshard_after_forward: bool = Field(True, description="Free gathered weights between forward and backward.")


Distribution: TypeAlias = Annotated[Accelerate | FullySharded, Field(discriminator="kind")]


class Tracker(Options):
    """An experiment tracker that gets all metrics too."""

    kind: Literal["tensorboard", "trackio", "wandb", "mlflow"] = Field(description="Which one.")
    project: str = Field("llmasos", description="Name of the project there.")
    options: dict[str, Any] = Field(default_factory=dict, description="Further arguments of its start.")


class Trainer(Options):
    """The training loop."""

    epochs: float | None = Field(None, gt=0, description="Passes over the data; default: 3 if steps is not given.")
    steps: int | None = Field(None, ge=1, description="Optimiser steps, instead of epochs.")
    batch_size: int = Field(
        16, ge=1, description="Sequences of one optimiser step, over all processes and micro-batches."
    )
    micro_batch_size: int | None = Field(
        None, ge=1, description="Sequences of one forward pass; default: what memory and speed suggest."
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Number format of the computation; auto: bfloat16 where the hardware computes it fast."
    )
    weights_dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Number format of the weights; auto: float32 for those that are trained, that of the computation "
        "for those that are frozen.",
    )
    device: str | None = Field(None, description="Torch device; default: a GPU if there is one.")
    threads: int | None = Field(None, ge=1, description="CPU threads; default: the usable cores.")
    max_gradient_norm: float | None = Field(1.0, gt=0, description="Gradients are scaled down to it; null: never.")
    activation_checkpointing: bool = Field(
        False, description="Compute activations again in the backward pass: less memory, about a third more time."
    )
    compile: bool = Field(False, description="Compile the model with torch.compile: pays in long runs on a GPU.")
    loss_chunk: int = Field(
        1024, ge=16, description="Supervised positions whose logits are in memory at once; fewer need less memory."
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Share of probability spread over all tokens.")
    ema: float | None = Field(
        None, gt=0, lt=1, description="Decay of an exponential moving average of the weights, which becomes the result."
    )
    neftune: float | None = Field(
        None, gt=0, description="Noise on embeddings while training (NEFTune alpha, Jain et al. 2023; they use 5)."
    )
    on_bad_loss: Literal["stop", "skip"] = Field(
        "stop", description="What to do when loss or gradients are not finite: stop and name the batch, or skip it, "
        "at most 10 in a row, and count it."
    )  # fmt: skip
    log_every: int = Field(10, ge=1, description="Steps between metrics.")
    distribution: Distribution = Field(default_factory=Accelerate, description="How several processes share the work.")

    @model_validator(mode="after")
    def _one_length(self) -> Trainer:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("epochs and steps exclude each other")
        if self.micro_batch_size is not None and self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size ({self.batch_size}) is not a multiple of micro_batch_size ({self.micro_batch_size})"
            )
        return self
