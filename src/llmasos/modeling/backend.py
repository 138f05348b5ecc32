"""The seams between verbs and whatever computes.

Verbs that write (:mod:`llmasos.modeling.text_generation`) speak to a :class:`GenerationBackend`, those of encoders to
an :class:`EncoderBackend`. One of each is here (:mod:`llmasos.modeling.transformers_backend`,
:mod:`llmasos.modeling.encoding`); the engine offers others. Who builds a model chooses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from llmasos.modeling.options import SamplingOptions
from llmasos.modeling.results import Delta

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One prompt, already fitted to the model's context, and how to go on from it."""

    prompt_ids: Sequence[int]
    options: SamplingOptions
    max_tokens: int
    """Most tokens of output; at least 1, and prompt and output together fit the context."""


@runtime_checkable
class GenerationBackend(Protocol):
    """Produces tokens and their text. May be used from several threads at once."""

    @property
    def device(self) -> str:
        """The torch device that computes."""

    @property
    def dtype(self) -> str:
        """The number format of the arithmetic, such as ``bfloat16`` or ``int8``."""

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Delta]:
        """Work on all requests at once and yield news of them as they come.

        :attr:`Delta.index` says which request a delta belongs to. The last delta of each request has a
        ``finish_reason``. End tokens are in ``token_ids`` and, unless ``skip_special_tokens`` is off, not in the
        text; a stop text is cut off. ``usage`` and ``timings`` may be left out. Closing the iterator cancels all
        requests that are not finished.
        """

    def close(self) -> None:
        """Free the weights; the backend is not used again."""


@dataclass(frozen=True, slots=True)
class EncoderInput:
    """One text, already fitted to what the model reads, and what is wanted of its vector."""

    ids: Sequence[int]
    type_ids: Sequence[int] = ()
    """Which text of a pair each token belongs to; empty: all to the first."""
    unpooled_tokens: int = 0
    """Tokens at the beginning that the model reads and the vector leaves out."""
    dimensions: int | None = None
    """Keep the first dimensions of the vector only."""
    normalize: bool | None = None
    """Scale the vector to length 1; ``None``: as the model's files say."""


class EncoderNetwork(Protocol):
    """A model that turns each text of a batch into numbers: its vector, or a score for every label.

    :meth:`forward` may be called from several threads at once.
    """

    vocabulary_size: int
    """Rows of the model's table of tokens."""
    limit: int | None
    """Longest input in tokens; ``None``: no fixed limit."""
    batchable: bool
    """Whether several texts may share a pass."""

    @property
    def task(self) -> Literal["embed", "classify"]:
        """What the numbers are."""

    @property
    def width(self) -> int:
        """Numbers per text, before ``dimensions`` cuts them."""

    @property
    def device(self) -> str:
        """The torch device that computes."""

    @property
    def dtype(self) -> str:
        """The number format of the arithmetic."""

    def kind(self, ids: Sequence[int]) -> int:
        """Texts share a pass only if this gives the same for them."""

    def forward(self, inputs: Sequence[EncoderInput]) -> list[NDArray[np.float32]]:
        """One array of numbers per input, in their order."""

    def close(self) -> None:
        """Free the weights."""


class EncoderBackend(Protocol):
    """Computes texts in batches of its choice. May be used from several threads at once."""

    @property
    def device(self) -> str:
        """The torch device that computes."""

    @property
    def dtype(self) -> str:
        """The number format of the arithmetic."""

    def encode(self, inputs: Sequence[EncoderInput], batch_size: int | None) -> list[NDArray[np.float32]]:
        """What :meth:`EncoderNetwork.forward` gives for each input, at most ``batch_size`` of them in one pass."""

    def close(self) -> None:
        """Free the weights; the backend is not used again."""
