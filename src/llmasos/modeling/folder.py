"""A model's folder: its configuration files, and what kind of model they describe. No torch here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from llmasos.errors import IntegrityError, NotFound, UnsafeContent, Unsupported
from llmasos.i18n import t
from llmasos.library.safetensors_header import TensorEntry, read_header
from llmasos.modeling.adapter_folder import AdapterFolder


class Family(StrEnum):
    """What a model is built to do."""

    CAUSAL = "causal"
    """Decoder-only: continues text."""
    SEQ2SEQ = "seq2seq"
    """Encoder-decoder: turns one text into another."""
    CLASSIFIER = "classifier"
    """Labels a text or a pair of texts."""
    ENCODER = "encoder"
    """Turns a text into a vector."""


_TEXT_SEQ2SEQ = frozenset({
    "bart", "barthez", "bigbird_pegasus", "blenderbot", "blenderbot-small", "encoder-decoder", "fsmt", "led", "longt5",
    "m2m_100", "marian", "mbart", "mt5", "mvp", "nllb-moe", "pegasus", "pegasus_x", "plbart", "prophetnet",
    "switch_transformers", "t5", "t5gemma", "umt5",
})  # fmt: skip
_SHIFTED_POSITIONS = frozenset({
    "camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta",
    "xlm-roberta-xl", "xmod",
})  # fmt: skip
"""Models whose positions start after the padding id, so that the last of ``max_position_embeddings`` are unused."""
_RELATIVE_POSITIONS = frozenset({"t5", "mt5", "umt5", "longt5", "switch_transformers", "bloom", "mpt"})
"""Models without position embeddings: no fixed limit on the length."""


@dataclass(frozen=True)
class ModelFolder:
    """The folder and the content of its configuration files.

    Attributes:
        reference: what the user called the model; for messages.
        labels: names of a classifier's labels that win over generic ones (``LABEL_0``) in its configuration.
        adapter: an adapter that is put on the weights; ``config`` is that of the model with it.
    """

    path: Path
    config: Mapping[str, Any]
    reference: str
    labels: tuple[str, ...] = ()
    adapter: AdapterFolder | None = None

    @classmethod
    def open(cls, path: Path, *, reference: str | None = None, labels: tuple[str, ...] = ()) -> ModelFolder:
        """Read the folder's ``config.json``.

        Raises:
            NotFound: there is no such folder.
            Unsupported: the folder holds no model of the transformers layout.
            IntegrityError: ``config.json`` is damaged.
        """
        name = reference or str(path)
        if not path.is_dir():
            raise NotFound(t("there is no folder {path}", path=path), hint=t("Check the path."))
        config = read_json(path / "config.json")
        if config is None:
            raise Unsupported(
                t("{model} holds no model: config.json is missing", model=name),
                hint=t("`llmasos import PATH` turns GGUF files and checkpoints into a model of the library."),
            )
        return cls(path, config, name, labels)

    def adapted(self, adapter: AdapterFolder, *, reference: str, labels: tuple[str, ...] = ()) -> ModelFolder:
        """This model with an adapter."""
        return replace(
            self,
            config=self.config if adapter.model_config is None else adapter.model_config,
            reference=reference,
            labels=labels or self.labels,
            adapter=adapter,
        )

    @cached_property
    def text_config(self) -> Mapping[str, Any]:
        """The configuration of the language part; models that also see images keep it apart."""
        inner = self.config.get("text_config")
        return inner if isinstance(inner, Mapping) else self.config

    @property
    def model_type(self) -> str:
        return str(self.config.get("model_type") or "")

    @cached_property
    def architecture(self) -> str:
        """The class name of the model, such as ``LlamaForCausalLM``.

        Raises:
            Unsupported: the configuration names none.
        """
        names = self.config.get("architectures")
        if isinstance(names, list) and names and isinstance(names[0], str):
            return names[0]
        raise Unsupported(
            t("{model} does not say what it is: config.json has no architectures", model=self.reference),
            hint=t("Add the class name, for example \"architectures\": [\"LlamaForCausalLM\"]."),
        )  # fmt: skip

    @cached_property
    def family(self) -> Family:
        """What the model can be used for, by its architecture and its sentence-transformers files.

        Raises:
            Unsupported: it is a model for something that LLMasOS does not do.
        """
        name = self.architecture
        made_classifier = self.adapter is not None and self.adapter.model_config is not None
        if (self.path / "modules.json").is_file() and not made_classifier:
            return Family.ENCODER
        if name.endswith("ForSequenceClassification"):
            return Family.CLASSIFIER
        if self.config.get("is_encoder_decoder") or self.model_type in _TEXT_SEQ2SEQ:
            if self.model_type in _TEXT_SEQ2SEQ and name.endswith(("ForConditionalGeneration", "MTModel", "LMHeadModel",
                                                                   "EncoderDecoderModel")):  # fmt: skip
                return Family.SEQ2SEQ
            if name.endswith("EncoderModel"):
                return Family.ENCODER
        elif name.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")):
            return Family.CAUSAL
        elif name.endswith(("ForMaskedLM", "ForPreTraining", "Model")):
            return Family.ENCODER
        raise Unsupported(
            t("{model} is a {architecture}, which LLMasOS cannot run", model=self.reference, architecture=name),
            hint=t("It runs models that continue text (…ForCausalLM), turn one text into another "
                   "(T5, BART, Marian, …), classify (…ForSequenceClassification) or embed text."),
        )  # fmt: skip

    @cached_property
    def generation_config(self) -> Mapping[str, Any]:
        """Content of ``generation_config.json``; for older models the same keys in ``config.json``."""
        found = read_json(self.path / "generation_config.json")
        return found if found is not None else self.config

    @cached_property
    def tokenizer_config(self) -> Mapping[str, Any]:
        """Content of ``tokenizer_config.json``, completed by ``special_tokens_map.json``."""
        extra = read_json(self.path / "special_tokens_map.json") or {}
        return {**extra, **(read_json(self.path / "tokenizer_config.json") or {})}

    @cached_property
    def context_length(self) -> int | None:
        """Longest input in tokens; for causal models input and output together. ``None``: no fixed limit."""
        if self.model_type in _RELATIVE_POSITIONS:
            return None
        names = ("max_position_embeddings", "max_encoder_position_embeddings", "n_positions", "n_ctx", "max_seq_len")
        found = [self.text_config[name] for name in names if isinstance(self.text_config.get(name), int)]
        if not found:
            return None
        limit = int(found[0])
        if self.model_type in _SHIFTED_POSITIONS:
            limit -= int(self.config.get("pad_token_id") or 1) + 1
        return limit - (self.adapter.virtual_tokens if self.adapter is not None else 0)

    @cached_property
    def weight_files(self) -> tuple[Path, ...]:
        """The safetensors files of the model itself.

        Raises:
            Unsupported: there are none, or only pickled ones, which are not opened here.
            IntegrityError: the index names a file that is missing.
        """
        index = read_json(self.path / "model.safetensors.index.json")
        if index is not None:
            names = sorted(set(index.get("weight_map", {}).values()))
            files = tuple(self.path / name for name in names)
            missing = [file.name for file in files if not file.is_file()]
            if missing or not files:
                raise IntegrityError(
                    t("{model} lacks weight files: {names}", model=self.reference, names=", ".join(missing) or "-"),
                    hint=t("Pull or import the model again."),
                )
            return files
        single = self.path / "model.safetensors"
        if single.is_file():
            return (single,)
        pickled = sorted(file.name for file in self.path.glob("*.bin"))
        if pickled:
            raise Unsupported(
                t("{model} has pickled weights ({names}), which could run code when opened",
                  model=self.reference, names=", ".join(pickled)),
                hint=t("`llmasos import PATH` converts them safely; then use the imported model."),
            )  # fmt: skip
        raise Unsupported(
            t("{model} has no weights: model.safetensors is missing", model=self.reference),
            hint=t("`llmasos import PATH` turns GGUF files and checkpoints into a model of the library."),
        )

    @cached_property
    def tensors(self) -> Mapping[str, TensorEntry]:
        """Every tensor of the weight files, from their headers.

        Raises:
            IntegrityError: a weight file is damaged.
        """
        found: dict[str, TensorEntry] = {}
        for file in self.weight_files:
            found |= read_header(file)[0]
        return found

    def weight_bytes(self, dtype: str) -> int:
        """Bytes that the weights take in memory when floating-point tensors are held as ``dtype``."""
        width = {"float32": 4, "bfloat16": 2, "float16": 2}[dtype]
        return sum(
            entry.elements * width if entry.dtype.startswith(("F", "BF")) else entry.end - entry.begin
            for entry in self.tensors.values()
        )

    def refuse_foreign_code(self, known: bool) -> None:
        """Raise if the model needs program code from its own repository.

        Args:
            known: whether the installed transformers has the model's class itself.

        Raises:
            UnsafeContent: the class is only in the repository's own code.
            Unsupported: nobody knows the class.
        """
        if known:
            return
        if self.config.get("auto_map"):
            raise UnsafeContent(
                t("{model} needs program code from its own repository ({architecture}), which LLMasOS never runs",
                  model=self.reference, architecture=self.architecture),
                hint=t("Choose a model whose architecture transformers has built in."),
            )  # fmt: skip
        raise Unsupported(
            t("the installed transformers does not know {architecture}", architecture=self.architecture),
            hint=t("A newer transformers may: pip install -U transformers"),
        )


def read_json(file: Path) -> dict[str, Any] | None:
    """The mapping in a JSON file, ``None`` if there is no such file.

    Raises:
        IntegrityError: the file is not a JSON mapping.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise damaged(file, error) from error
    if not isinstance(content, dict):
        raise damaged(file, t("not a JSON object"))
    return content


def damaged(file: Path, problem: object) -> IntegrityError:
    """The error for a file of the model that cannot be read."""
    return IntegrityError(
        t("{path} is damaged: {problem}", path=file.name, problem=problem), hint=t("Pull or import the model again.")
    )
