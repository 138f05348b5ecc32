"""From the class name in config.json to what a model can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmasos.library.metadata import TaskFamily

# Endings of class names in ``architectures``; the first that fits counts.
_ENDINGS: tuple[tuple[str, TaskFamily], ...] = (
    ("ForSequenceClassification", "classifier"),
    ("ForTokenClassification", "token-classifier"),
    ("ForCausalLM", "causal"),
    ("LMHeadModel", "causal"),
    ("ForSeq2SeqLM", "seq2seq"),
    ("MTModel", "seq2seq"),
    ("ForMaskedLM", "encoder"),
    ("ForPreTraining", "encoder"),
    ("EncoderModel", "encoder"),
)
# Encoder-decoders whose class is called ...ForConditionalGeneration; the same ending names models of pictures too.
_SEQ2SEQ_TYPES = frozenset(
    {
        "t5", "mt5", "umt5", "longt5", "switch_transformers", "bart", "mbart", "plbart", "marian", "pegasus",
        "pegasus_x", "blenderbot", "blenderbot-small", "m2m_100", "nllb-moe", "led", "prophetnet", "fsmt",
        "bigbird_pegasus", "encoder-decoder", "t5gemma",
    }
)  # fmt: skip
_ENCODER_TYPES = frozenset(
    {
        "bert", "roberta", "xlm-roberta", "xlm-roberta-xl", "distilbert", "albert", "electra", "deberta", "deberta-v2",
        "mpnet", "camembert", "modernbert", "nomic_bert", "roformer", "big_bird", "funnel", "xlm", "ernie", "flaubert",
        "squeezebert", "mobilebert", "longformer", "convbert", "nystromformer", "megatron-bert", "esm", "eurobert",
        "layoutlm", "rembert", "xmod", "new",
    }
)  # fmt: skip
_CAUSAL_TYPES = frozenset(
    {
        "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi", "phi3", "gpt2", "gpt_neo",
        "gpt_neox", "gptj", "opt", "bloom", "falcon", "mpt", "stablelm", "starcoder2", "olmo", "olmo2", "smollm3",
    }
)  # fmt: skip


def task_family(config: Mapping[str, Any], *, embedder: bool = False) -> TaskFamily | None:
    """What a model with this config.json is for; ``None`` where nothing says.

    Args:
        embedder: the folder describes a pipeline of sentence-transformers.
    """
    if embedder:
        return "embedder"
    kind = config.get("model_type")
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
    for ending, family in _ENDINGS:
        if name.endswith(ending):
            if family == "classifier" and len(labels(config)) == 1 and kind in _CAUSAL_TYPES:
                return "reward"  # one number for a whole answer
            return family
    if name.endswith("ForConditionalGeneration") or not name:
        if config.get("is_encoder_decoder") is True or kind in _SEQ2SEQ_TYPES:
            return "seq2seq"
        if name:
            return None
    if kind in _SEQ2SEQ_TYPES:
        return "seq2seq"
    if kind in _ENCODER_TYPES:
        return "encoder"
    if kind in _CAUSAL_TYPES:
        return "causal"
    return None


def labels(config: Mapping[str, Any]) -> list[str]:
    """The classes in the order of the outputs. transformers writes LABEL_0, LABEL_1, ... where nobody named them."""
    table = config.get("id2label")
    if isinstance(table, dict):
        try:
            entries = sorted((int(number), str(label)) for number, label in table.items())
        except ValueError:
            return []
        if [number for number, _ in entries] == list(range(len(entries))):
            return [label for _, label in entries]
        return []
    count = config.get("num_labels")
    if isinstance(count, int) and not isinstance(count, bool) and 0 < count <= 100_000:
        return [f"LABEL_{number}" for number in range(count)]
    return []
