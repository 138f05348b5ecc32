"""Labels for texts and pairs of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import torch

from llmasos.modeling.backend import EncoderBackend, EncoderInput
from llmasos.modeling.encoding import encode_texts, has_type_embeddings, padded
from llmasos.modeling.folder import ModelFolder
from llmasos.modeling.options import Truncation
from llmasos.modeling.results import Classification
from llmasos.modeling.tokenizer import Encoded, Tokenizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from transformers import PreTrainedModel

Activation = Literal["softmax", "sigmoid", "none"]


class ScoreNetwork:
    """A sequence classifier of transformers: a score for every label. See :class:`~.backend.EncoderNetwork`.

    Args:
        model: the loaded model.
        tokenizer: the model's tokenizer.
        limit: longest input in tokens.
    """

    task: Literal["classify"] = "classify"

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer, limit: int | None) -> None:
        self._model = cast(Any, model)  # what a model takes and returns differs from class to class
        self.limit = limit
        self.width = int(self._model.config.num_labels)
        self.vocabulary_size = int(self._model.get_input_embeddings().weight.shape[0])
        self._types = has_type_embeddings(model.config)
        pad = model.config.get_text_config().pad_token_id
        self._pad = pad if pad is not None else tokenizer.special.id("pad") or 0
        # Decoder-only classifiers find the last token of each row by the padding id in their configuration.
        self.batchable = pad is not None
        # Encoder-decoder classifiers read their answer off the last end token and want equally many in every row.
        self._end = model.config.eos_token_id if model.config.is_encoder_decoder else None
        self.activation = activation(model.config)

    @property
    def device(self) -> str:
        return str(self._model.device)

    @property
    def dtype(self) -> str:
        return str(self._model.dtype).removeprefix("torch.")

    def kind(self, ids: Sequence[int]) -> int:
        return 0 if self._end is None else sum(token == self._end for token in ids)

    @torch.inference_mode()
    def forward(self, inputs: Sequence[EncoderInput]) -> list[NDArray[np.float32]]:
        arguments = padded(inputs, pad_id=self._pad, type_ids=self._types, device=self.device)
        logits = self._model(**arguments).logits.float()
        if self.activation == "softmax":
            logits = logits.softmax(-1)
        elif self.activation == "sigmoid":
            logits = logits.sigmoid()
        return [scores.copy() for scores in logits.cpu().numpy()]

    def close(self) -> None:
        self._model = None


class Classifier:
    """Labels texts: their tokens, their scores from a backend, the names.

    Args:
        network: the model, for what it is.
        backend: computes it.
        tokenizer: the model's tokenizer.
        folder: its configuration.
    """

    def __init__(
        self, network: ScoreNetwork, backend: EncoderBackend, tokenizer: Tokenizer, folder: ModelFolder
    ) -> None:
        self.backend = backend
        self._tokenizer = tokenizer
        self._limit = network.limit
        self.labels = label_names(folder, network.width)
        self.activation = network.activation

    def classify(
        self, texts: Sequence[tuple[str, str | None]], *, truncate: Truncation | None, batch_size: int | None
    ) -> list[Classification]:
        """Label texts, or pairs such as premise and hypothesis, in the order given.

        Raises:
            ContextLengthExceeded: a text does not fit and ``truncate`` is not given.
        """
        encoded, inputs = self.inputs(texts, truncate=truncate)
        found = self.backend.encode(inputs, batch_size)
        return [self.result(item, scores.tolist()) for item, scores in zip(encoded, found, strict=True)]

    def inputs(
        self, texts: Sequence[tuple[str, str | None]], *, truncate: Truncation | None = None
    ) -> tuple[list[Encoded], list[EncoderInput]]:
        """Texts as tokens and as what a backend takes; errors as for :meth:`classify`."""
        encoded = encode_texts(self._tokenizer, texts, self._limit, truncate)
        return encoded, [EncoderInput(item.ids, item.type_ids) for item in encoded]

    def result(self, item: Encoded, scores: list[float]) -> Classification:
        """The labels of an encoded text from its scores in the model's order."""
        order = sorted(range(len(scores)), key=lambda label: -scores[label])
        ranked: Mapping[str, float] = {self.labels[label]: scores[label] for label in order}
        best = self.labels[order[0]]
        if self.activation == "sigmoid":
            holding = tuple(label for label, score in ranked.items() if score >= 0.5)
        else:
            holding = (best,)
        return Classification(best, scores[order[0]], ranked, holding, len(item.ids), item.truncated)


def input_limit(folder: ModelFolder, tokenizer: Tokenizer) -> int | None:
    """Longest input in tokens: what the positions allow and the tokenizer's configuration says."""
    limits = [limit for limit in (folder.context_length, tokenizer.maximum_length) if limit is not None]
    return min(limits) if limits else None


def activation(config: Any) -> Activation:
    """How logits become scores, by the rules of transformers' own text-classification pipeline."""
    kind = getattr(config, "problem_type", None)
    if kind == "regression":
        return "none"
    if kind == "multi_label_classification" or config.num_labels == 1:
        return "sigmoid"
    return "softmax"


def label_names(folder: ModelFolder, count: int) -> list[str]:
    """Names of the labels: the configuration's; where those are generic (``LABEL_0``), the library's if it has any."""
    named = folder.config.get("id2label")
    found = {int(key): str(value) for key, value in named.items()} if isinstance(named, Mapping) else {}
    labels = [found.get(index, f"LABEL_{index}") for index in range(count)]
    generic = all(label == f"LABEL_{index}" for index, label in enumerate(labels))
    if generic and len(folder.labels) == count:
        return list(folder.labels)
    if len(set(labels)) < count:  # names that repeat would hide scores
        return [f"{label} ({index})" for index, label in enumerate(labels)]
    return labels
