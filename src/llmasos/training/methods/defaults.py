"""What each method is known to work with, from whom, and which values are known to fail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from llmasos.i18n import t
from llmasos.training.recipe import methods

MethodName = Literal["full", "freeze", "lora", "qlora", "prompt-tuning", "prefix-tuning", "p-tuning", "ia3"]
METHODS: tuple[MethodName, ...] = (
    "full", "freeze", "lora", "qlora", "prompt-tuning", "prefix-tuning", "p-tuning", "ia3",
)  # fmt: skip
KIND_NAMES = ("pretrain", "sft", "classify", "seq2seq", "reward")


@dataclass(frozen=True)
class Default:
    """A learning rate and where it comes from."""

    learning_rate: float
    source: str


@dataclass(frozen=True)
class Range:
    """Learning rates outside of which training is known to fail: too slow to matter below, diverging above."""

    low: float
    high: float


_BERT = "Devlin et al. 2019, appendix A.3"
_LORA = "Hu et al. 2021, tables 9 to 12"
_PEFT = "PEFT method comparison on MetaMathQA"
_QLORA = "Dettmers et al. 2023, appendix B"
_REGRET = "Schulman et al., LoRA Without Regret, 2025: ten times that of full"

FROM_SCRATCH = Default(1e-3, "nanoGPT's small models; Brown et al. 2020 use 6e-4 at 125M")
"""For a model with random weights."""
LARGE_FROM_SCRATCH = Default(3e-4, "Brown et al. 2020, table 2.1, from 350M")
LARGE = 200_000_000
"""Weights from which a model with random weights gets the smaller rate."""

DEFAULTS: dict[MethodName, dict[str, Default]] = {
    "full": {
        "pretrain": Default(5e-5, "Gururangan et al. 2020 go on with 1e-4 to 5e-4 at batches of 2,048"),
        "sft": Default(2e-5, "Taori et al., Alpaca, 2023; TRL's default"),
        "classify": Default(5e-5, _BERT),
        "seq2seq": Default(1e-4, "documentation of T5 in transformers: 1e-4 to 3e-4 with AdamW"),
        "reward": Default(1e-5, "Ouyang et al. 2022, appendix C: 9e-6"),
    },
    "freeze": {
        "pretrain": Default(1e-4, "twice that of full: fewer layers move"),
        "sft": Default(5e-5, "twice that of full: fewer layers move"),
        "classify": Default(1e-4, "twice that of full: fewer layers move"),
        "seq2seq": Default(2e-4, "twice that of full: fewer layers move"),
        "reward": Default(2e-5, "twice that of full: fewer layers move"),
    },
    "lora": {
        "pretrain": Default(2e-4, _REGRET),
        "sft": Default(2e-4, f"{_QLORA}; {_REGRET}"),
        "classify": Default(5e-4, f"{_LORA}: RoBERTa on SST-2"),
        "seq2seq": Default(5e-4, f"{_LORA}; {_REGRET}"),
        "reward": Default(1e-4, _REGRET),
    },
    "qlora": {
        "pretrain": Default(2e-4, _QLORA),
        "sft": Default(2e-4, _QLORA),
        "classify": Default(5e-4, f"{_LORA}: RoBERTa on SST-2"),
        "seq2seq": Default(5e-4, f"{_LORA}; {_REGRET}"),
        "reward": Default(1e-4, _REGRET),
    },
    "prompt-tuning": {
        "pretrain": Default(1e-2, "Lester et al. 2021 use 0.3 with Adafactor; examples of PEFT 1e-3 to 3e-2"),
        "sft": Default(1e-2, "Lester et al. 2021 use 0.3 with Adafactor; examples of PEFT 1e-3 to 3e-2"),
        "classify": Default(1e-2, "Lester et al. 2021 use 0.3 with Adafactor; examples of PEFT 1e-3 to 3e-2"),
        "seq2seq": Default(3e-2, "Lester et al. 2021 use 0.3 with Adafactor"),
        "reward": Default(1e-2, "as sft"),
    },
    "prefix-tuning": {
        "pretrain": Default(5e-3, _PEFT),
        "sft": Default(5e-3, f"{_PEFT}: 41.6 % instead of 18.6 % at 1e-3"),
        "classify": Default(5e-3, "Liu et al., P-Tuning v2, 2022: 5e-3 to 1e-2"),
        "reward": Default(5e-3, "as sft"),
    },
    "p-tuning": {
        "pretrain": Default(1e-3, _PEFT),
        "sft": Default(1e-3, _PEFT),
        "classify": Default(1e-3, "documentation of PEFT, p-tuning of sequence classification"),
        "seq2seq": Default(1e-3, _PEFT),
        "reward": Default(1e-3, "as sft"),
    },
    "ia3": {
        "pretrain": Default(5e-3, _PEFT),
        "sft": Default(5e-3, f"{_PEFT}: 45.5 % instead of 31.1 %"),
        "classify": Default(5e-3, _PEFT),
        "seq2seq": Default(3e-3, "Liu et al. 2022 (T-Few): 3e-3 with Adafactor"),
        "reward": Default(5e-3, "as sft"),
    },
}  # fmt: skip
"""By method and kind of recipe. Prefix tuning is not for encoder-decoder models."""

WORKING: dict[MethodName, Range] = {
    "full": Range(1e-6, 5e-4),
    "freeze": Range(1e-6, 5e-3),
    "lora": Range(1e-5, 5e-3),
    "qlora": Range(1e-5, 2e-3),
    "prompt-tuning": Range(1e-3, 1.0),
    "prefix-tuning": Range(1e-3, 1e-1),
    "p-tuning": Range(1e-4, 1e-1),
    "ia3": Range(5e-4, 1e-1),
}
"""For models that have been trained before."""
WORKING_FROM_SCRATCH = Range(1e-5, 1e-2)


def default(method: MethodName, kind: str, *, scratch: bool = False, weights: int = 0) -> Default:
    """The learning rate of a method where the recipe gives none.

    Args:
        scratch: whether the model has random weights; ``weights`` is how many.
    """
    if scratch and method == "full":
        return LARGE_FROM_SCRATCH if weights >= LARGE else FROM_SCRATCH
    return DEFAULTS[method].get(kind, DEFAULTS[method]["sft"])


def warnings(method: methods.Method, kind: str, *, scratch: bool = False) -> Iterator[str]:
    """What in a method is known to fail, in sentences."""
    rate, limits = method.learning_rate, WORKING_FROM_SCRATCH if scratch else WORKING[method.kind]
    usual = default(method.kind, kind, scratch=scratch)
    if rate is not None and rate < limits.low:
        yield t("learning_rate = {rate:g}: {method} hardly learns below {low:g}; its default is {usual:g}.",
                rate=rate, method=method.kind, low=limits.low, usual=usual.learning_rate)  # fmt: skip
    if rate is not None and rate > limits.high:
        yield t("learning_rate = {rate:g}: {method} destroys what a model knows above {high:g}; its default is "
                "{usual:g}.", rate=rate, method=method.kind, high=limits.high,
                usual=usual.learning_rate)  # fmt: skip
    match method:
        case methods.Lora() | methods.Qlora():
            yield from _low_rank(method)
        case methods.PromptTuning(initialization="random"):
            yield t("initialization = random: prompts that begin at random vectors stay far behind those that begin "
                    "at embeddings of the vocabulary (Lester et al. 2021, figure 3).")  # fmt: skip
        case _:
            pass


def _low_rank(method: methods.Lora | methods.Qlora) -> Iterator[str]:
    alpha = method.alpha if method.alpha is not None else 2 * method.rank
    if not method.rank_stabilized and alpha / method.rank > 8:
        yield t("alpha = {alpha:g} is {factor:g} times the rank: updates that are scaled so high diverge; usual is 1 "
                "to 2.", alpha=alpha, factor=alpha / method.rank)  # fmt: skip
    if method.b_ratio > 64:
        yield t("b_ratio = {ratio:g}: Hayou et al. 2024 use 16; B runs away where its rate is far higher.",
                ratio=method.b_ratio)  # fmt: skip
    if method.initialization == "pissa" and method.dropout:
        yield t("initialization = pissa with dropout: dropout also leaves out what the weight itself was; the authors "
                "use none.")  # fmt: skip
