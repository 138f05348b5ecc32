"""What is known of a prepared folder, for the catalogue, `llmasos show` and cards. Nothing is guessed.

Sources, in this order: config.json and the headers of the weights; the tokenizer's files; the head of README.md; the
header of the GGUF file that the folder was made from. No optional package is needed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from llmasos.errors import IntegrityError
from llmasos.library.card import split_card
from llmasos.library.formats.detect import ADAPTER_CONFIG, detect, is_embedder
from llmasos.library.formats.families import labels, task_family
from llmasos.library.formats.gguf import GGUFInfo, describe_header, is_gguf, read_header
from llmasos.library.formats.json_file import read_object
from llmasos.library.kind import Kind
from llmasos.library.metadata import Metadata
from llmasos.library.safetensors_header import TensorEntry
from llmasos.library.safetensors_header import read_header as read_safetensors

ORIGINAL = "original"
_CARD_BYTES = 2**20
_PRECISIONS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64", "F8_E4M3": "float8",
               "F8_E5M2": "float8"}  # fmt: skip
_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length", "max_sequence_length",
                 "model_max_length")  # fmt: skip
# Positions begin behind the padding token's, so two of them are lost (transformers, RobertaEmbeddings).
_OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "longformer", "xmod"})
# Relative positions: the number in the configuration is not a limit.
_WITHOUT_LIMIT = frozenset({"t5", "mt5", "umt5", "longt5", "switch_transformers", "bloom", "mpt", "xlnet"})
_LANGUAGE = re.compile(r"[a-z]{2,3}([-_][A-Za-z0-9]{2,8})*")


def describe(directory: Path) -> Metadata:
    """The metadata of a folder that :func:`llmasos.library.formats.prepare.prepare` has written, or of one like it.

    Raises:
        NotFound, IntegrityError: it is not a model or adapter, or a file is damaged.
    """
    detected = detect(directory)
    head = _card_head(directory)
    gguf = _original(directory)
    if detected.kind is Kind.ADAPTER:
        return _describe_adapter(directory, head, detected.base)
    config = read_object(directory / "config.json")
    nested = config.get("text_config")
    family = task_family(config, embedder=is_embedder(directory))
    quantized = _quantization(config)
    tensors = list(_tensors(directory))
    return Metadata(
        kind=Kind.MODEL,
        architecture=detected.architecture,
        task_family=family,
        # Quantised formats pack several weights into one number of the file.
        parameters=None if quantized or not tensors else _count(tensors),
        context_length=_context_length(nested if isinstance(nested, dict) else config),
        languages=_languages(head, directory) or (gguf.languages if gguf else []),
        license=_license(head) or (gguf.license if gguf else None),
        license_url=_text(head.get("license_link")) or (gguf.license_url if gguf else None),
        format="transformers",
        precision=_precision(tensors),
        quantization=quantized or (gguf.quantization if gguf else None),
        chat_template=_has_chat_template(directory),
        base=_base(head) or (gguf.base if gguf else None),
        labels=labels(config) if family in ("classifier", "token-classifier", "reward") else [],
        metrics=_metrics(head),
        data=_texts(head.get("datasets")) or (gguf.data if gguf else []),
        description=_text(head.get("description")) or (gguf.description if gguf else None),
    )


def _describe_adapter(directory: Path, head: Mapping[str, Any], base: str | None) -> Metadata:
    config = read_object(directory / ADAPTER_CONFIG)
    kind = _text(config.get("peft_type"))
    families = {"CAUSAL_LM": "causal", "SEQ_2_SEQ_LM": "seq2seq", "SEQ_CLS": "classifier",
                "TOKEN_CLS": "token-classifier", "FEATURE_EXTRACTION": "encoder"}  # fmt: skip
    tensors = list(_tensors(directory))
    return Metadata.model_validate(
        {
            "kind": Kind.ADAPTER,
            "architecture": kind.lower() if kind else None,
            "task_family": families.get(_text(config.get("task_type")) or ""),
            "parameters": _count(tensors) if tensors else None,
            "languages": _languages(head, directory),
            "license": _license(head),
            "license_url": _text(head.get("license_link")),
            "format": "adapter",
            "precision": _precision(tensors),
            "chat_template": _has_chat_template(directory),
            "base": base or _base(head),
            "metrics": _metrics(head),
            "data": _texts(head.get("datasets")),
            "description": _text(head.get("description")),
        }
    )


def _tensors(directory: Path) -> Iterable[TensorEntry]:
    """The tensors of all weights beside the configuration (not of modules in folders below)."""
    for path in sorted(directory.glob("*.safetensors")):
        tensors, _ = read_safetensors(path)
        yield from tensors.values()


def _count(tensors: list[TensorEntry]) -> int:
    """Weights; integers such as position ids are none."""
    return sum(tensor.elements for tensor in tensors if tensor.dtype in _PRECISIONS)


def _precision(tensors: list[TensorEntry]) -> str | None:
    """The type that most weights are stored in."""
    weights: Counter[str] = Counter()
    for tensor in tensors:
        if tensor.dtype in _PRECISIONS:
            weights[tensor.dtype] += tensor.elements
    return _PRECISIONS[weights.most_common(1)[0][0]] if weights else None


def _quantization(config: Mapping[str, Any]) -> str | None:
    """The method of a model that was quantised for transformers, with its bits where it says."""
    settings = config.get("quantization_config")
    if not isinstance(settings, dict):
        return None
    method = _text(settings.get("quant_method"))
    bits = settings.get("bits")
    if method == "bitsandbytes":
        bits = 4 if settings.get("load_in_4bit") else 8 if settings.get("load_in_8bit") else None
    return f"{method}-{bits}bit" if method and isinstance(bits, int) else method


def _context_length(config: Mapping[str, Any]) -> int | None:
    kind = config.get("model_type")
    if kind in _WITHOUT_LIMIT:
        return None
    for key in _CONTEXT_KEYS:
        value = config.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31:
            return value - 2 if kind in _OFFSET_POSITIONS and value > 2 else value
    return None


def _has_chat_template(directory: Path) -> bool:
    if (directory / "chat_template.jinja").is_file() or (directory / "chat_template.json").is_file():
        return True
    path = directory / "tokenizer_config.json"
    return path.is_file() and bool(read_object(path).get("chat_template"))


def _languages(head: Mapping[str, Any], directory: Path) -> list[str]:
    found = _texts(head.get("language"))
    path = directory / "tokenizer_config.json"
    if not found and path.is_file():  # Marian's tokenizer names what it translates from and to
        config = read_object(path)
        found = [*_texts(config.get("source_lang")), *_texts(config.get("target_lang"))]
    return list(dict.fromkeys(code for code in found if _LANGUAGE.fullmatch(code)))


def _license(head: Mapping[str, Any]) -> str | None:
    name = next(iter(_texts(head.get("license"))), None)
    if name in (None, "other", "unknown"):
        return _text(head.get("license_name"))
    return name


def _base(head: Mapping[str, Any]) -> str | None:
    return next(iter(_texts(head.get("base_model"))), None)


def _metrics(head: Mapping[str, Any]) -> dict[str, Any]:
    """Figures that the card states, by "data set/metric" (the ``model-index`` of the Hugging Face convention)."""
    figures: dict[str, Any] = {}
    for model in _objects(head.get("model-index")):
        for result in _objects(model.get("results")):
            dataset = result.get("dataset")
            where = _text(dataset.get("name")) if isinstance(dataset, dict) else None
            for metric in _objects(result.get("metrics")):
                name, value = _text(metric.get("name")) or _text(metric.get("type")), metric.get("value")
                if name and isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:
                    figures[f"{where}/{name}" if where else name] = value
    return figures


def _card_head(directory: Path) -> dict[str, Any]:
    path = directory / "README.md"
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        text = file.read(_CARD_BYTES).decode("utf-8", "replace")
    try:
        return split_card(text)[0]
    except IntegrityError:  # cards are written by people; a slip in one does not make the weights worse
        return {}


def _original(directory: Path) -> GGUFInfo | None:
    """What the GGUF file says that the folder was made from."""
    for path in sorted((directory / ORIGINAL).glob("*.gguf")):
        if is_gguf(path):
            return describe_header(read_header(path))
    return None


def _text(value: Any) -> str | None:
    return value.strip() if isinstance(value, str) and value.strip() else None


def _texts(value: Any) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [item.strip() for item in items if isinstance(item, str) and item.strip()]


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
