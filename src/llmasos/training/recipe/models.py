"""Which model a recipe trains: one that exists, or a new one of a preset size with random weights."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from llmasos.data.sources.config import Source
from llmasos.recipe.unions import default_tag
from llmasos.training.recipe.options import Options


class BaseModelSource(Options):
    """A model that exists: in the library, of the catalogue, of Hugging Face, or in a folder."""

    start: Literal["pretrained"] = "pretrained"
    reference: str = Field(description="Model by name, source or folder, such as smollm2:135m.")


class ExistingTokenizer(Options):
    """The tokenizer of a model that exists."""

    kind: Literal["existing"] = "existing"
    model: str = Field(description="Model whose tokenizer and chat template are used.")


class TrainTokenizer(Options):
    """A new tokenizer, trained on the data of the recipe or on other sources."""

    kind: Literal["train"] = "train"
    algorithm: Literal["bpe", "unigram", "wordpiece"] = Field(
        "bpe",
        description="bpe: byte-level byte-pair encoding, loses no character; unigram: as SentencePiece, for T5; "
        "wordpiece: as BERT.",
    )
    vocabulary_size: int = Field(8192, ge=260, description="Tokens, special ones included.")
    sources: tuple[Source, ...] = Field((), description="What it is trained on; default: the training data.")


class CharacterTokenizer(Options):
    """One token for each character of the training data; other characters become the unknown token."""

    kind: Literal["characters"] = "characters"


TokenizerSource: TypeAlias = Annotated[
    ExistingTokenizer | TrainTokenizer | CharacterTokenizer, Field(discriminator="kind")
]


class PresetModel(Options):
    """A new model with random weights, of a size that works."""

    start: Literal["preset"] = "preset"
    preset: str = Field(description="Architecture and size, such as llama-15m; see `llmasos recipe show presets`.")
    tokenizer: TokenizerSource = Field(
        default_factory=lambda: TrainTokenizer(), description="Where the tokenizer comes from."
    )
    context_length: int | None = Field(None, ge=8, description="Tokens that it can read; default: that of the preset.")
    layers: int | None = Field(None, ge=1, description="Layers, instead of the preset's.")
    hidden_size: int | None = Field(None, ge=8, description="Width, instead of the preset's.")
    heads: int | None = Field(None, ge=1, description="Attention heads, instead of the preset's.")
    intermediate_size: int | None = Field(
        None, ge=8, description="Width of the feed-forward layers; default: the preset's, growing with hidden_size."
    )
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Dropout while training: of attention in Llama, of all layers and embeddings in the others.",
    )


def _from_text(given: object) -> object:
    if isinstance(given, str):
        return {"start": "pretrained", "reference": given}
    if isinstance(given, dict) and "preset" in given and "start" not in given:
        return {"start": "preset", **given}
    return given


ModelSource: TypeAlias = Annotated[
    Annotated[BaseModelSource | PresetModel, Field(discriminator="start")],
    default_tag("start", "pretrained"),
    BeforeValidator(_from_text),
]
