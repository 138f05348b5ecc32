"""Vectors for texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch

from llmasos.errors import InvalidRequest, did_you_mean
from llmasos.i18n import t
from llmasos.modeling.classification import input_limit
from llmasos.modeling.encoding import batches, encode_texts, has_type_embeddings, padded
from llmasos.modeling.folder import ModelFolder
from llmasos.modeling.options import Truncation
from llmasos.modeling.pooling import EmbeddingRecipe, pool
from llmasos.modeling.results import Embedding
from llmasos.modeling.tokenizer import Encoded, Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Embedder:
    """An encoder of transformers with the pooling that its files describe.

    Args:
        model: the loaded model, without a head.
        tokenizer: the model's tokenizer.
        folder: its configuration.
        recipe: how token vectors become the text's vector.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: Tokenizer, folder: ModelFolder, recipe: EmbeddingRecipe
    ) -> None:
        self._model = cast(Any, model)  # what a model takes and returns differs from class to class
        self._tokenizer = tokenizer
        self._recipe = recipe
        # The files' own max_seq_length wins over the tokenizer's, as in sentence-transformers.
        own = (recipe.limit, folder.context_length) if recipe.limit is not None else (input_limit(folder, tokenizer),)
        self._limit = min((limit for limit in own if limit is not None), default=None)
        self._types = has_type_embeddings(model.config)
        pad = model.config.get_text_config().pad_token_id
        self._pad = pad if pad is not None else tokenizer.special.id("pad") or 0

    @property
    def device(self) -> str:
        return str(self._model.device)

    @property
    def dtype(self) -> str:
        return str(self._model.dtype).removeprefix("torch.")

    @property
    def prompts(self) -> list[str]:
        """Names of the prompts that the model was trained with."""
        return sorted(self._recipe.prompts or ())

    def embed(
        self,
        texts: Sequence[str],
        *,
        prompt_name: str | None,
        normalize: bool | None,
        dimensions: int | None,
        truncate: Truncation | None,
        batch_size: int,
    ) -> list[Embedding]:
        """Vectors of texts, in the order given.

        Args:
            prompt_name: which of the model's prompts to put before each text; default: the one the model names.
            normalize: scale vectors to length 1; default: what the model's files say.
            dimensions: keep the first dimensions only (for models trained that way), scaled to length 1 again where
                the whole vector is.

        Raises:
            InvalidRequest: an option is not allowed.
            ContextLengthExceeded: a text does not fit and ``truncate`` is not given.
        """
        prompt = self._prompt(prompt_name)
        prepared = [(self._prepared(prompt + text), None) for text in texts]
        encoded = encode_texts(self._tokenizer, prepared, self._limit, truncate)
        skip = 0 if self._recipe.prompt_in_pooling or not prompt else self._prompt_tokens(prompt)
        scaled = self._recipe.normalize if normalize is None else normalize
        results: dict[int, Embedding] = {}
        for batch in batches(encoded, batch_size):
            items = [encoded[index] for index in batch]
            vectors = self._vectors(items, skip)
            if dimensions is not None:
                vectors = _shortened(vectors, dimensions)
            if scaled:
                vectors = torch.nn.functional.normalize(vectors, dim=1)
            for index, item, vector in zip(batch, items, vectors.cpu().numpy(), strict=True):
                results[index] = Embedding(vector.copy(), len(item.ids), item.truncated)
        return [results[index] for index in range(len(texts))]

    @torch.inference_mode()
    def _vectors(self, items: Sequence[Encoded], skip: int) -> torch.Tensor:
        """(rows, width) float32."""
        inputs = padded(items, pad_id=self._pad, type_ids=self._types, left=False, device=self.device)
        hidden = self._model(**inputs).last_hidden_state.float()
        mask = inputs["attention_mask"].clone()
        mask[:, :skip] = 0
        vectors = pool(hidden, mask, self._recipe.poolings)
        for layer in self._recipe.dense:
            vectors = layer(vectors)
        return vectors

    def _prompt(self, name: str | None) -> str:
        prompts = self._recipe.prompts or {}
        chosen = self._recipe.default_prompt if name is None else name
        if chosen is None:
            return ""
        if chosen not in prompts:
            raise InvalidRequest(
                t("{name} = {value}: the model has no such prompt", name="prompt_name", value=repr(chosen)),
                hint=did_you_mean(chosen, prompts) or t("Its prompts: {names}.", names=", ".join(self.prompts) or "-"),
            )
        return prompts[chosen]

    def _prompt_tokens(self, prompt: str) -> int:
        """Tokens at the beginning that belong to the prompt; the end token of the prompt alone is not among them."""
        encoded = self._tokenizer.encode(self._prepared(prompt))
        return len(encoded.ids) - (1 if encoded.special and encoded.special[-1] else 0)

    def _prepared(self, text: str) -> str:
        # sentence-transformers strips each text before it is encoded
        return text.strip().lower() if self._recipe.lower_case else text.strip()

    def close(self) -> None:
        """Free the weights."""
        self._model = None


def _shortened(vectors: torch.Tensor, dimensions: int) -> torch.Tensor:
    width = vectors.shape[1]
    if not isinstance(dimensions, int) or isinstance(dimensions, bool) or not 1 <= dimensions <= width:
        raise InvalidRequest(
            t("{name} = {value}: allowed is {allowed}", name="dimensions", value=repr(dimensions),
              allowed=t("a whole number from {low} to {high}", low=1, high=width)),
            hint=t("Leave it out to get the whole vector."),
        )  # fmt: skip
    return vectors[:, :dimensions]
