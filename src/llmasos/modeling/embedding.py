"""Vectors for texts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

import torch

from llmasos.errors import InvalidRequest, did_you_mean
from llmasos.i18n import t
from llmasos.modeling.backend import EncoderBackend, EncoderInput
from llmasos.modeling.classification import input_limit
from llmasos.modeling.encoding import encode_texts, has_type_embeddings, padded
from llmasos.modeling.folder import ModelFolder
from llmasos.modeling.options import Truncation
from llmasos.modeling.pooling import EmbeddingRecipe, pool
from llmasos.modeling.results import Embedding
from llmasos.modeling.tokenizer import Encoded, Tokenizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from transformers import PreTrainedModel


class VectorNetwork:
    """An encoder of transformers with the pooling that its files describe. See :class:`~.backend.EncoderNetwork`.

    Args:
        model: the loaded model, without a head.
        tokenizer: the model's tokenizer.
        recipe: how token vectors become the text's vector.
        limit: longest input in tokens.
    """

    task: Literal["embed"] = "embed"
    batchable = True

    def __init__(
        self, model: PreTrainedModel, tokenizer: Tokenizer, recipe: EmbeddingRecipe, limit: int | None
    ) -> None:
        self._model = cast(Any, model)  # what a model takes and returns differs from class to class
        self._recipe = recipe
        self.limit = limit
        self._types = has_type_embeddings(model.config)
        pad = model.config.get_text_config().pad_token_id
        self._pad = pad if pad is not None else tokenizer.special.id("pad") or 0
        self.vocabulary_size = int(self._model.get_input_embeddings().weight.shape[0])

    @cached_property
    def width(self) -> int:
        """Dimensions of the whole vector; one token tells, whatever the model's configuration calls them."""
        return self._vectors([EncoderInput([self._pad])]).shape[1]

    @property
    def device(self) -> str:
        return str(self._model.device)

    @property
    def dtype(self) -> str:
        return str(self._model.dtype).removeprefix("torch.")

    def kind(self, ids: Sequence[int]) -> int:
        return 0

    def forward(self, inputs: Sequence[EncoderInput]) -> list[NDArray[np.float32]]:
        return [self._finished(vector, item) for vector, item in zip(self._vectors(inputs).cpu(), inputs, strict=True)]

    @torch.inference_mode()
    def _vectors(self, inputs: Sequence[EncoderInput]) -> torch.Tensor:
        """(rows, width) float32."""
        arguments = padded(inputs, pad_id=self._pad, type_ids=self._types, device=self.device)
        hidden = self._model(**arguments).last_hidden_state.float()
        mask = arguments["attention_mask"].clone()
        for row, item in enumerate(inputs):
            mask[row, : item.unpooled_tokens] = 0
        vectors = pool(hidden, mask, self._recipe.poolings)
        for layer in self._recipe.dense:
            vectors = layer(vectors)
        return vectors

    def _finished(self, vector: torch.Tensor, item: EncoderInput) -> NDArray[np.float32]:
        vector = vector if item.dimensions is None else vector[: item.dimensions]
        if self._recipe.normalize if item.normalize is None else item.normalize:
            vector = torch.nn.functional.normalize(vector, dim=0)
        array: NDArray[np.float32] = vector.numpy()
        return array.copy()

    def close(self) -> None:
        self._model = None


class Embedder:
    """Turns texts into vectors: prompts and tokens, and a backend that computes.

    Args:
        network: the model, for what it is.
        backend: computes it.
        tokenizer: the model's tokenizer.
        recipe: what the model's files say about texts and prompts.
    """

    def __init__(
        self, network: VectorNetwork, backend: EncoderBackend, tokenizer: Tokenizer, recipe: EmbeddingRecipe
    ) -> None:
        self.backend = backend
        self._network = network
        self._tokenizer = tokenizer
        self._recipe = recipe

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
        batch_size: int | None,
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
        encoded, inputs = self.inputs(
            texts, prompt_name=prompt_name, normalize=normalize, dimensions=dimensions, truncate=truncate
        )
        found = self.backend.encode(inputs, batch_size)
        return [Embedding(vector, len(item.ids), item.truncated) for vector, item in zip(found, encoded, strict=True)]

    def inputs(
        self,
        texts: Sequence[str],
        *,
        prompt_name: str | None = None,
        normalize: bool | None = None,
        dimensions: int | None = None,
        truncate: Truncation | None = None,
    ) -> tuple[list[Encoded], list[EncoderInput]]:
        """Texts as tokens and as what a backend takes; arguments and errors as for :meth:`embed`."""
        prompt = self._prompt(prompt_name)
        prepared = [(self._prepared(prompt + text), None) for text in texts]
        encoded = encode_texts(self._tokenizer, prepared, self._network.limit, truncate)
        if dimensions is not None:
            check_dimensions(dimensions, self._network.width)
        skip = 0 if self._recipe.prompt_in_pooling or not prompt else self._prompt_tokens(prompt)
        return encoded, [EncoderInput(item.ids, item.type_ids, skip, dimensions, normalize) for item in encoded]

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


def vector_limit(folder: ModelFolder, tokenizer: Tokenizer, recipe: EmbeddingRecipe) -> int | None:
    """Longest input in tokens: the files' own max_seq_length wins over the tokenizer's, as in sentence-transformers."""
    own = (recipe.limit, folder.context_length) if recipe.limit is not None else (input_limit(folder, tokenizer),)
    return min((limit for limit in own if limit is not None), default=None)


def check_dimensions(dimensions: object, width: int) -> None:
    """Refuse a number of dimensions that the vector does not have.

    Raises:
        InvalidRequest: it is not a whole number from 1 to ``width``.
    """
    if not isinstance(dimensions, int) or isinstance(dimensions, bool) or not 1 <= dimensions <= width:
        raise InvalidRequest(
            t("{name} = {value}: allowed is {allowed}", name="dimensions", value=repr(dimensions),
              allowed=t("a whole number from {low} to {high}", low=1, high=width)),
            hint=t("Leave it out to get the whole vector."),
        )  # fmt: skip
