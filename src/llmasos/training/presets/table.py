"""The presets: architectures and sizes that others have trained with success. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from llmasos.errors import InvalidRecipe, did_you_mean
from llmasos.i18n import t

PresetFamily: TypeAlias = Literal["llama", "t5", "marian", "bert"]


@dataclass(frozen=True)
class Preset:
    """An architecture and its sizes.

    Attributes:
        layers: of an encoder-decoder model, in the encoder and again in the decoder.
        heads: attention heads, ``kv_heads`` of them with keys and values of their own (grouped-query attention).
        head_size: width of a head where it is not ``hidden_size / heads``.
        context_length: tokens that the model reads.
        initializer_range: standard deviation of the first weights.
        rope_theta: base of the rotary position embeddings.
        source: where the sizes come from.
    """

    name: str
    family: PresetFamily
    layers: int
    hidden_size: int
    heads: int
    intermediate_size: int
    context_length: int
    source: str
    kv_heads: int | None = None
    head_size: int | None = None
    initializer_range: float = 0.02
    rope_theta: float = 10_000.0


_LLAMA2_C = "llama2.c (Karpathy 2023), TinyStories models"
_SMOLLM2 = "SmolLM2 (Allal et al. 2025), config.json"
_T5_1_1 = "T5 1.1 (Raffel et al. 2020), output tied as in T5 1.0"
_BERT = "BERT miniatures (Turc et al. 2019)"

_ALL = (
    Preset("llama-1m", "llama", 4, 128, 4, 352, 256, "nanoGPT (Karpathy 2022), Shakespeare on a CPU, with SwiGLU"),
    Preset("llama-15m", "llama", 6, 288, 6, 768, 256, _LLAMA2_C),
    Preset("llama-42m", "llama", 8, 512, 8, 1376, 1024, _LLAMA2_C),
    Preset("llama-110m", "llama", 12, 768, 12, 2048, 1024, _LLAMA2_C),
    Preset("llama-135m", "llama", 30, 576, 9, 1536, 8192, _SMOLLM2, kv_heads=3, initializer_range=576**-0.5,
           rope_theta=100_000.0),
    Preset("llama-360m", "llama", 32, 960, 15, 2560, 8192, _SMOLLM2, kv_heads=5, rope_theta=100_000.0),
    Preset("llama-1b", "llama", 16, 2048, 32, 8192, 8192, "Llama 3.2 1B (Meta 2024), config.json", kv_heads=8,
           rope_theta=500_000.0),
    Preset("t5-tiny", "t5", 4, 256, 4, 1024, 512, "T5-Efficient (Tay et al. 2021), gated as T5 1.1", head_size=64),
    Preset("t5-small", "t5", 8, 512, 6, 1024, 512, _T5_1_1, head_size=64),
    Preset("t5-base", "t5", 12, 768, 12, 2048, 512, _T5_1_1, head_size=64),
    Preset("marian-small", "marian", 4, 256, 4, 1024, 512, "OPUS-MT (Tiedemann and Thottingal 2020) at half its width"),
    Preset("bert-tiny", "bert", 2, 128, 2, 512, 512, _BERT),
    Preset("bert-mini", "bert", 4, 256, 4, 1024, 512, _BERT),
    Preset("bert-small", "bert", 4, 512, 8, 2048, 512, _BERT),
    Preset("bert-medium", "bert", 8, 512, 8, 2048, 512, _BERT),
    Preset("bert-base", "bert", 12, 768, 12, 3072, 512, "BERT base (Devlin et al. 2019)"),
)  # fmt: skip

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}
"""All presets by name."""

KINDS_OF_FAMILY: dict[PresetFamily, tuple[str, ...]] = {
    "llama": ("pretrain", "sft", "classify", "reward"),
    "t5": ("seq2seq",),
    "marian": ("seq2seq",),
    "bert": ("classify", "reward"),
}
"""The kinds of recipes that can train a family from scratch."""


def find(name: str) -> Preset:
    """The preset of a name.

    Raises:
        InvalidRecipe: there is none.
    """
    if name in PRESETS:
        return PRESETS[name]
    raise InvalidRecipe(
        t("model.preset = {name!r}: there is no such preset", name=name),
        hint=did_you_mean(name, PRESETS) or t("`llmasos recipe show presets` lists them."),
    )


def check_kind(preset: Preset, kind: str) -> None:
    """Raise unless a kind of recipe can train a preset.

    Raises:
        InvalidRecipe: it cannot.
    """
    if kind not in KINDS_OF_FAMILY[preset.family]:
        fitting = [name for name, other in PRESETS.items() if kind in KINDS_OF_FAMILY[other.family]]
        raise InvalidRecipe(
            t("model.preset = {name!r}: a recipe of kind {kind} cannot train it", name=preset.name, kind=kind),
            hint=t("It can train {names}.", names=", ".join(fitting)),
        )
