"""What a conversation needs of a model, and such a model made by ``llmasos.load``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from llmasos.cli.output import Output
from llmasos.errors import LicenseNotAccepted

if TYPE_CHECKING:
    from llmasos.modeling.model import Model
    from llmasos.modeling.options import SamplingOptions
    from llmasos.modeling.results import Delta

Message = Mapping[str, str]
"""``role`` (system, user or assistant) and ``content``."""


class ChatModel(Protocol):
    """A loaded model that can stream text."""

    @property
    def name(self) -> str:
        """The reference that it was loaded by."""

    @property
    def capabilities(self) -> frozenset[str]:
        """``chat`` when it has a chat template; ``generate`` when it can make text at all."""

    @property
    def context_length(self) -> int | None:
        """Tokens of prompt and output that fit; ``None`` if unknown."""

    @property
    def defaults(self) -> SamplingOptions:
        """The options in force when the caller sets none."""

    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens that a conversation takes in the context, with everything the chat template adds."""

    def stream(self, prompt: str | Sequence[Message], **options: Any) -> Iterator[Delta]:
        """Answer, piece by piece. Closing the iterator ends the work."""

    def close(self) -> None:
        """Free the memory."""


class LoadedModel:
    """A model of ``llmasos.load`` as a conversation sees it."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.name = model.reference
        self.capabilities: frozenset[str] = frozenset(model.capabilities)
        self.context_length = model.context_length

    @property
    def defaults(self) -> SamplingOptions:
        return self._model.defaults

    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        template = self._model.chat_template
        assert template is not None, "only asked of models that can chat"
        return len(self._model.tokenizer.encode_prompt(template.render(list(messages))))

    def stream(self, prompt: str | Sequence[Message], **options: Any) -> Iterator[Delta]:
        return self._model.stream(prompt, **options)

    def close(self) -> None:
        self._model.close()


def open_model(
    reference: str,
    out: Output,
    *,
    accept_license: bool = False,
    dtype: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    cache_dtype: str | None = None,
) -> LoadedModel:
    """Load a model, fetching it first if need be, with progress; a licence that must be accepted is asked about.

    Raises:
        LicenseNotAccepted: the person declines, or cannot be asked.
        LLMasOSError: whatever stands in the way of fetching or loading.
    """
    from llmasos.sdk import load

    def attempt(accepted: bool) -> LoadedModel:
        with out.progress():
            model = load(
                reference,
                dtype=dtype,
                device=device,
                threads=threads,
                cache_dtype=cache_dtype,
                accept_license=accepted,
            )
            return LoadedModel(model)

    try:
        return attempt(accept_license)
    except LicenseNotAccepted as error:
        if not out.confirm(error.message, flag="--accept-license"):
            raise
    return attempt(True)
