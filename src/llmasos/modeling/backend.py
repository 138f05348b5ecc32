"""The seam between verbs and whatever produces tokens.

The verbs (:mod:`llmasos.modeling.text_generation`) speak to a :class:`GenerationBackend`. One is here
(:mod:`llmasos.modeling.transformers_backend`); the engine offers another. Who builds a model chooses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from llmasos.modeling.options import SamplingOptions
from llmasos.modeling.results import Delta


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
