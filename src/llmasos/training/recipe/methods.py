"""Which weights are trained: all, some, or new ones beside them."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from llmasos.training.recipe.options import Options


class _Method(Options):
    learning_rate: float | None = Field(
        None, gt=0, description="Highest learning rate; default: what the method is known to work with."
    )


class Full(_Method):
    """Train every weight."""

    kind: Literal["full"] = "full"


class Freeze(_Method):
    """Train some of the model's own weights and leave the others as they are."""

    kind: Literal["freeze"] = "freeze"
    last_layers: int | None = Field(None, ge=0, description="Train the last n layers; default: 2 if nothing is named.")
    patterns: tuple[str, ...] = Field(
        (), description="Also train weights whose name matches one of these patterns (*, ?), such as *.mlp.*."
    )
    embeddings: bool = Field(False, description="Also train the token embeddings.")
    head: bool = Field(True, description="Also train the head and the last normalisation.")
    unfreeze_every: int | None = Field(
        None,
        ge=1,
        description="Gradual unfreezing (Howard and Ruder, 2018): after every n steps one more layer, from the last, "
        "is trained too.",
    )


class _LowRank(_Method):
    rank: int = Field(16, ge=1, description="Rank of the update matrices.")
    alpha: float | None = Field(None, gt=0, description="Scale of the update; default: twice the rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the update.")
    targets: tuple[str, ...] | Literal["all-linear", "attention"] = Field(
        "all-linear",
        description="Which layers get an update: all linear ones but the head, those of attention, or names.",
    )
    train_also: tuple[str, ...] = Field(
        (), description="Modules that are trained whole and saved with the adapter; a new head always is."
    )
    rank_stabilized: bool = Field(
        False, description="Scale by alpha / sqrt(rank) instead of alpha / rank (rsLoRA, Kalajdzievski 2023)."
    )
    dora: bool = Field(False, description="Train magnitude and direction apart (DoRA, Liu et al. 2024).")
    initialization: Literal["zero", "gaussian", "pissa"] = Field(
        "zero",
        description="zero: Kaiming for A and zeros for B; gaussian: A from a normal distribution; pissa: the largest "
        "singular values of the weight (Meng et al. 2024).",
    )
    b_ratio: float = Field(
        1.0,
        ge=1,
        description="How many times higher the learning rate of B is (LoRA+, Hayou et al. 2024; they use 16).",
    )


class Lora(_LowRank):
    """Train low-rank updates of weight matrices (LoRA, Hu et al. 2021)."""

    kind: Literal["lora"] = "lora"


class Qlora(_LowRank):
    """LoRA over a quantised base (Dettmers et al. 2023): 4-bit NF4 on a GPU, 8-bit integers on a CPU."""

    kind: Literal["qlora"] = "qlora"
    base: Literal["auto", "nf4", "int8"] = Field(
        "auto", description="Format of the frozen weights; auto: nf4 on a GPU (bitsandbytes), int8 on a CPU."
    )


class PromptTuning(_Method):
    """Train vectors that stand before the text (Lester et al. 2021)."""

    kind: Literal["prompt-tuning"] = "prompt-tuning"
    tokens: int = Field(20, ge=1, description="Vectors before the text.")
    initialization: Literal["vocabulary", "text", "random"] = Field(
        "vocabulary", description="Where they begin: at embeddings of the vocabulary, of a text, or at random."
    )
    text: str | None = Field(None, description="The text whose embeddings they begin at.")

    @model_validator(mode="after")
    def _text_given(self) -> PromptTuning:
        if (self.initialization == "text") != (self.text is not None):
            raise ValueError("initialization: text and the key text go together")
        return self


class PrefixTuning(_Method):
    """Train keys and values that stand before the text in every layer (Li and Liang 2021)."""

    kind: Literal["prefix-tuning"] = "prefix-tuning"
    tokens: int = Field(20, ge=1, description="Vectors before the text.")
    projection: bool = Field(False, description="Make them with a small network while training.")
    projection_size: int | None = Field(None, ge=1, description="Width of that network; default: that of the model.")


class PTuning(_Method):
    """Train vectors that a small network makes and that stand before the text (Liu et al. 2021)."""

    kind: Literal["p-tuning"] = "p-tuning"
    tokens: int = Field(20, ge=1, description="Vectors before the text.")
    encoder: Literal["mlp", "lstm"] = Field("mlp", description="The network that makes them.")
    encoder_size: int | None = Field(None, ge=1, description="Its width; default: that of the model.")


class Ia3(_Method):
    """Train vectors that scale keys, values and feed-forward activations (Liu et al. 2022)."""

    kind: Literal["ia3"] = "ia3"
    targets: tuple[str, ...] | None = Field(None, description="Scaled layers; default: those of the paper.")
    feedforward: tuple[str, ...] | None = Field(
        None, description="Those of the scaled layers whose input is scaled; default: those of the paper."
    )
    train_also: tuple[str, ...] = Field((), description="Modules that are trained whole; a new head always is.")


Method: TypeAlias = Annotated[
    Full | Freeze | Lora | Qlora | PromptTuning | PrefixTuning | PTuning | Ia3, Field(discriminator="kind")
]
