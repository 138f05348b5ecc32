"""Labels for texts and pairs of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import torch

from llmasos.modeling.encoding import batches, encode_texts, has_type_embeddings, padded
from llmasos.modeling.folder import ModelFolder
from llmasos.modeling.options import Truncation
from llmasos.modeling.results import Classification
from llmasos.modeling.tokenizer import Encoded, Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Activation = Literal["softmax", "sigmoid", "none"]


class Classifier:
    """A sequence classifier of transformers.

    Args:
        model: the loaded model.
        tokenizer: the model's tokenizer.
        folder: its configuration.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer, folder: ModelFolder) -> None:
        self._model = cast(Any, model)  # what a model takes and returns differs from class to class
        self._tokenizer = tokenizer
        self._limit = input_limit(folder, tokenizer)
        self._types = has_type_embeddings(model.config)
        pad = model.config.get_text_config().pad_token_id
        self._pad = pad if pad is not None else tokenizer.special.id("pad") or 0
        # Decoder-only classifiers find the last token of each row by the padding id in their configuration.
        self._batchable = pad is not None
        # Encoder-decoder classifiers read their answer off the last end token and want equally many in every row.
        self._end = model.config.eos_token_id if model.config.is_encoder_decoder else None
        self.labels = label_names(folder, self._model.config.num_labels)
        self.activation = activation(self._model.config)

    @property
    def device(self) -> str:
        return str(self._model.device)

    @property
    def dtype(self) -> str:
        return str(self._model.dtype).removeprefix("torch.")

    def classify(
        self, texts: Sequence[tuple[str, str | None]], *, truncate: Truncation | None, batch_size: int
    ) -> list[Classification]:
        """Label texts, or pairs such as premise and hypothesis, in the order given.

        Raises:
            ContextLengthExceeded: a text does not fit and ``truncate`` is not given.
        """
        encoded = encode_texts(self._tokenizer, texts, self._limit, truncate)
        results: dict[int, Classification] = {}
        size = batch_size if self._batchable else 1
        for batch in batches(encoded, size, lambda item: sum(token == self._end for token in item.ids)):
            items = [encoded[index] for index in batch]
            for index, item, scores in zip(batch, items, self._scores(items).tolist(), strict=True):
                results[index] = self._result(item, scores)
        return [results[index] for index in range(len(texts))]

    @torch.inference_mode()
    def _scores(self, items: Sequence[Encoded]) -> torch.Tensor:
        """(rows, labels) float32."""
        inputs = padded(items, pad_id=self._pad, type_ids=self._types, left=False, device=self.device)
        logits = self._model(**inputs).logits.float()
        if self.activation == "softmax":
            return logits.softmax(-1)  # type: ignore[no-any-return]
        return logits.sigmoid() if self.activation == "sigmoid" else logits  # type: ignore[no-any-return]

    def _result(self, item: Encoded, scores: list[float]) -> Classification:
        order = sorted(range(len(scores)), key=lambda label: -scores[label])
        ranked: Mapping[str, float] = {self.labels[label]: scores[label] for label in order}
        best = self.labels[order[0]]
        if self.activation == "sigmoid":
            holding = tuple(label for label, score in ranked.items() if score >= 0.5)
        else:
            holding = (best,)
        return Classification(best, scores[order[0]], ranked, holding, len(item.ids), item.truncated)

    def close(self) -> None:
        """Free the weights."""
        self._model = None


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
