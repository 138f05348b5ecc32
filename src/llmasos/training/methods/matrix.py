"""Which method is for which models and what follows from it, found out by applying every method to small models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch

from llmasos.errors import InvalidRecipe
from llmasos.i18n import t
from llmasos.modeling.folder import Family
from llmasos.training.methods.applied import Applied
from llmasos.training.methods.apply import apply_method
from llmasos.training.methods.defaults import DEFAULTS, KIND_NAMES, WORKING, MethodName
from llmasos.training.recipe import methods

_SIZES: dict[str, Any] = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 64,
                          "intermediate_size": 64}  # fmt: skip


@dataclass(frozen=True)
class MethodFacts:
    """What holds for a method.

    Attributes:
        families: the families of models that it is for.
        artefact: what it makes.
        packs: whether documents may share a sequence.
        checkpoints: whether activation checkpointing is possible.
        merges: whether the result can be merged into its base.
        shares_batches: whether the engine serves the result beside its base and other adapters of it, in one batch.
    """

    method: MethodName
    families: frozenset[Family]
    artefact: str
    packs: bool
    checkpoints: bool
    merges: bool
    shares_batches: bool


def method_facts() -> Iterator[MethodFacts]:
    """The facts of every method, in the order of the recipe's union."""
    for model in get_args(get_args(methods.Method)[0]):
        method = model()
        found = {family: applied for family in _MODULES if (applied := _applied(method, family)) is not None}
        first = next(iter(found.values()))
        adapter = first.artefact == "adapter"
        layers = adapter and not first.virtual_tokens
        yield MethodFacts(
            method=method.kind,
            families=frozenset(found),
            artefact=first.artefact,
            packs=not first.requires_unpacked,
            checkpoints=not first.forbids_checkpointing,
            merges=layers,
            shares_batches=layers and method.kind != "ia3",
        )


def _applied(method: methods.Method, family: Family) -> Applied | None:
    kind, make = _MODULES[family]
    with torch.device("meta"):
        module = make()
    try:
        return apply_method(module, method, family=family, kind=kind, seed=0)
    except InvalidRecipe:
        return None


def _llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**_SIZES, max_position_embeddings=64))


def _bert() -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    return BertForSequenceClassification(BertConfig(**_SIZES, max_position_embeddings=64))


def _t5() -> Any:
    from transformers import T5Config, T5ForConditionalGeneration

    return T5ForConditionalGeneration(T5Config(d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, vocab_size=64))


_MODULES = {Family.CAUSAL: ("sft", _llama), Family.ENCODER: ("classify", _bert), Family.SEQ2SEQ: ("seq2seq", _t5)}


def matrix_table() -> str:
    """The facts as a table in Markdown."""
    head = (
        t("Method"), t("Decoder-only"), t("Encoder"), t("Encoder-decoder"), t("Result"), t("Packing"),
        t("Activation checkpointing"), t("Merges"), t("Served in the batch of its base"),
    )  # fmt: skip
    artefacts = {"model": t("model"), "adapter": t("adapter")}
    rows = [
        (
            f"`{facts.method}`",
            *(_mark(family in facts.families) for family in _MODULES),
            artefacts[facts.artefact],
            _mark(facts.packs),
            _mark(facts.checkpoints),
            _mark(facts.merges) if facts.artefact == "adapter" else "-",
            _mark(facts.shares_batches) if facts.artefact == "adapter" else "-",
        )
        for facts in method_facts()
    ]
    return _table(head, rows)


def defaults_table() -> str:
    """Learning rates by method and kind of recipe, and the range outside of which a warning is given."""
    rows = [
        (
            f"`{method}`",
            *(f"{by_kind[kind].learning_rate:g}" if kind in by_kind else "-" for kind in KIND_NAMES),
            f"{WORKING[method].low:g} - {WORKING[method].high:g}",
        )
        for method, by_kind in DEFAULTS.items()
    ]
    return _table((t("Method"), *(f"`{kind}`" for kind in KIND_NAMES), t("Without warning")), rows)


def sources_table() -> str:
    """Where the learning rates come from; kinds with the same source share a line."""
    rows = []
    for method, by_kind in DEFAULTS.items():
        sources: dict[str, list[str]] = {}
        for kind, found in by_kind.items():
            sources.setdefault(found.source, []).append(f"`{kind}`")
        rows += [(f"`{method}`", ", ".join(kinds), source) for source, kinds in sources.items()]
    return _table((t("Method"), t("Kinds"), t("Source")), rows)


def _mark(value: bool) -> str:
    return "✓" if value else "✗"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))
