"""A loaded model and its verbs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack, overload

from llmasos.errors import InvalidRequest, Unsupported
from llmasos.i18n import t
from llmasos.modeling.arguments import conversation, each, kind_of, texts_and_pairs, where_to_look
from llmasos.modeling.chat_template import ChatTemplate, missing_template
from llmasos.modeling.folder import Family, ModelFolder
from llmasos.modeling.messages import Message
from llmasos.modeling.options import (
    GenerateOptions,
    SamplingOptions,
    Seq2SeqOptions,
    Truncation,
    check_truncate,
    refuse_unknown,
)
from llmasos.modeling.results import Classification, Delta, Embedding, Generation, Tokens
from llmasos.modeling.text_generation import TextGenerator, TokenPrompt
from llmasos.modeling.tokenizer import Encoded, Tokenizer

if TYPE_CHECKING:
    from llmasos.modeling.backend import EncoderBackend, GenerationBackend
    from llmasos.modeling.classification import Classifier
    from llmasos.modeling.embedding import Embedder
    from llmasos.modeling.languages import Languages

Verb = Literal["generate", "chat", "stream", "classify", "embed", "tokenize"]
Conversation = Sequence[Message]
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Parts:
    """What a model is made of; the parts that are there decide what it can do."""

    folder: ModelFolder
    tokenizer: Tokenizer
    generator: TextGenerator | None = None
    chat_template: ChatTemplate | None = None
    classifier: Classifier | None = None
    embedder: Embedder | None = None
    languages: Languages | None = None
    metadata: object | None = None
    """The library's description of the version; ``None`` for a model loaded from a folder."""


class Model:
    """A loaded model. Every verb takes one input or a list and returns one result or a list in the same order.

    A model may be used from several threads. ``with llmasos.load(...) as model:`` frees it at the end.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._closed = False

    @property
    def reference(self) -> str:
        """What the model was loaded as."""
        return self._parts.folder.reference

    @property
    def metadata(self) -> Any:
        """The library's description of the version; ``None`` for a model loaded from a folder."""
        return self._parts.metadata

    @property
    def family(self) -> Family:
        """``causal``, ``seq2seq``, ``classifier`` or ``encoder``."""
        return self._parts.folder.family

    @property
    def architecture(self) -> str:
        """Class name in transformers, such as ``LlamaForCausalLM``."""
        return self._parts.folder.architecture

    @property
    def context_length(self) -> int | None:
        """Longest input in tokens (for causal models input and output together); ``None``: no fixed limit."""
        return self._parts.folder.context_length

    @property
    def capabilities(self) -> frozenset[Verb]:
        """The verbs that this model can do."""
        verbs: set[Verb] = {"tokenize"}
        if self._parts.generator is not None:
            verbs |= {"generate", "stream"}
            verbs |= {"chat"} if self._parts.chat_template is not None else set()
        verbs |= {"classify"} if self._parts.classifier is not None else set()
        verbs |= {"embed"} if self._parts.embedder is not None else set()
        return frozenset(verbs)

    @property
    def device(self) -> str:
        """The torch device that computes."""
        return self.backend.device

    @property
    def dtype(self) -> str:
        """The number format of the arithmetic."""
        return self.backend.dtype

    @property
    def backend(self) -> GenerationBackend | EncoderBackend:
        """What computes the model; ``backend.engine`` is the engine, where one runs it."""
        parts = self._parts
        part = parts.generator or parts.classifier or parts.embedder
        assert part is not None
        return part.backend

    @property
    def engine(self) -> Any:
        """The engine that serves the model's requests, whatever its family: submit, streams for threads and asyncio,
        figures (:class:`llmasos.engine.service.Service`); ``None`` where transformers runs the model without one."""
        return getattr(self.backend, "engine", None)

    @property
    def embedder(self) -> Embedder | None:
        """Texts to what the model reads, and prompts by name; ``None`` for a model that gives no vectors."""
        return self._parts.embedder

    @property
    def classifier(self) -> Classifier | None:
        """Texts to what the model reads, and scores to labels; ``None`` for a model that is no classifier."""
        return self._parts.classifier

    @property
    def tokenizer(self) -> Tokenizer:
        return self._parts.tokenizer

    @property
    def chat_template(self) -> ChatTemplate | None:
        """``None`` for a model that is not tuned for conversation."""
        return self._parts.chat_template

    @property
    def defaults(self) -> SamplingOptions:
        """The options of :meth:`generate` that hold where the caller gives none.

        Raises:
            Unsupported: this model cannot generate text.
        """
        return self._need(self._parts.generator, "generate").defaults

    @property
    def labels(self) -> list[str]:
        """Names of a classifier's labels; empty for other models."""
        return list(self._parts.classifier.labels) if self._parts.classifier is not None else []

    @property
    def languages(self) -> list[str]:
        """Codes for ``source_language`` and ``target_language``; empty for models of one pair of languages."""
        return self._parts.languages.codes if self._parts.languages is not None else []

    # --- verbs -------------------------------------------------------------------------------------------------

    @overload
    def generate(self, prompt: str, **options: Unpack[GenerateOptions]) -> Generation: ...
    @overload
    def generate(self, prompt: list[str], **options: Unpack[GenerateOptions]) -> list[Generation]: ...
    def generate(
        self, prompt: str | Sequence[str], **options: Unpack[GenerateOptions]
    ) -> Generation | list[Generation]:
        """Continue a text (decoder-only models) or answer it (encoder-decoder models).

        Args:
            prompt: a text, or a list of texts that are worked on together.
            options: see :class:`~llmasos.modeling.options.SamplingOptions`,
                :class:`~llmasos.modeling.options.Seq2SeqOptions` and ``truncate`` (``start`` or ``end``). Defaults
                come from the model's ``generation_config.json``.

        Raises:
            InvalidRequest: an option is unknown or not allowed.
            ContextLengthExceeded: the prompt does not fit and ``truncate`` is not given.
            Unsupported: this model cannot generate text.
        """
        started = time.perf_counter()

        def complete(texts: list[str]) -> list[Generation]:
            generator, prompts, sampling = self._text_prompts(texts, options)
            return generator.complete(prompts, sampling, started)

        return each(prompt, complete)

    @overload
    def chat(
        self, messages: str | Conversation, *, tools: Sequence[Mapping[str, Any]] | None = None,
        template_variables: Mapping[str, Any] | None = None, **options: Unpack[GenerateOptions],
    ) -> Generation: ...  # fmt: skip
    @overload
    def chat(
        self, messages: Sequence[Conversation], *, tools: Sequence[Mapping[str, Any]] | None = None,
        template_variables: Mapping[str, Any] | None = None, **options: Unpack[GenerateOptions],
    ) -> list[Generation]: ...  # fmt: skip
    def chat(
        self,
        messages: str | Conversation | Sequence[Conversation],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        template_variables: Mapping[str, Any] | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Generation | list[Generation]:
        """Answer a conversation.

        Args:
            messages: messages such as ``{"role": "user", "content": "Hello"}``, oldest first; a text stands for one
                message of the user; a list of conversations is worked on together.
            tools: JSON schemas of functions that the model may call.
            template_variables: further variables of the chat template, such as ``enable_thinking``.
            options: as for :meth:`generate`; ``truncate="start"`` drops the oldest turns of a conversation that does
                not fit.

        Raises:
            Unsupported: this model cannot generate text, or has no chat template.
            InvalidRequest, ContextLengthExceeded: see :meth:`generate`.
        """
        many = not isinstance(messages, str) and bool(messages) and not isinstance(messages[0], Mapping)
        conversations = [conversation(item) for item in (messages if many else [messages])]
        started = time.perf_counter()
        generator, prompts, sampling = self._chat_prompts(conversations, tools, template_variables, options)
        results = generator.complete(prompts, sampling, started)
        return results if many else results[0]

    def stream(
        self,
        prompt: str | Conversation,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        template_variables: Mapping[str, Any] | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Iterator[Delta]:
        """Continue a text, or answer a conversation, piece by piece.

        The texts of all deltas make up what :meth:`generate` or :meth:`chat` return; the last has the finish reason,
        usage and timings. Closing the iterator stops the generation.

        Args:
            prompt: a text as for :meth:`generate`, or messages as for :meth:`chat`.
            tools, template_variables, options: as for these.
        """
        started = time.perf_counter()
        if isinstance(prompt, str):
            for_messages = {"tools": tools, "template_variables": template_variables}
            refuse_unknown({name: value for name, value in for_messages.items() if value is not None}, ["truncate"])
            generator, prompts, sampling = self._text_prompts([prompt], options)
        else:
            generator, prompts, sampling = self._chat_prompts(
                [conversation(prompt)], tools, template_variables, options
            )
        return generator.stream(prompts, sampling, started)

    @overload
    def classify(self, text: str | tuple[str, str], *, pair: str | None = None, truncate: Truncation | None = None,
                 batch_size: int | None = None) -> Classification: ...  # fmt: skip
    @overload
    def classify(self, text: list[str] | list[tuple[str, str]], *, pair: list[str] | None = None,
                 truncate: Truncation | None = None,
                 batch_size: int | None = None) -> list[Classification]: ...  # fmt: skip
    def classify(
        self,
        text: str | tuple[str, str] | Sequence[str] | Sequence[tuple[str, str]],
        *,
        pair: str | Sequence[str] | None = None,
        truncate: Truncation | None = None,
        batch_size: int | None = None,
        **unknown: object,
    ) -> Classification | list[Classification]:
        """Label a text or a pair of texts.

        Args:
            text: a text, a pair (tuple of two), or a list of either.
            pair: the second text of each pair, as another way to give pairs.
            truncate: cut a text that does not fit at its ``start`` or ``end`` instead of refusing it.
            batch_size: most texts that are worked on together.

        Raises:
            Unsupported: this model is not a classifier.
            InvalidRequest, ContextLengthExceeded: see :meth:`generate`.
        """
        from llmasos.modeling.encoding import check_batch_size

        refuse_unknown(unknown, ["pair", "truncate", "batch_size"])
        classifier = self._need(self._parts.classifier, "classify")
        cut, size = check_truncate(truncate), check_batch_size(batch_size)
        texts, many = texts_and_pairs(text, pair)
        results = classifier.classify(texts, truncate=cut, batch_size=size)
        return results if many else results[0]

    @overload
    def embed(self, text: str, *, prompt_name: str | None = None, normalize: bool | None = None,
              dimensions: int | None = None, truncate: Truncation | None = None,
              batch_size: int | None = None) -> Embedding: ...  # fmt: skip
    @overload
    def embed(self, text: list[str], *, prompt_name: str | None = None, normalize: bool | None = None,
              dimensions: int | None = None, truncate: Truncation | None = None,
              batch_size: int | None = None) -> list[Embedding]: ...  # fmt: skip
    def embed(
        self,
        text: str | Sequence[str],
        *,
        prompt_name: str | None = None,
        normalize: bool | None = None,
        dimensions: int | None = None,
        truncate: Truncation | None = None,
        batch_size: int | None = None,
        **unknown: object,
    ) -> Embedding | list[Embedding]:
        """Turn a text into a vector.

        Args:
            text: a text, or a list of texts.
            prompt_name, normalize, dimensions: see :meth:`~llmasos.modeling.embedding.Embedder.embed`.
            truncate, batch_size: as for :meth:`classify`.

        Raises:
            Unsupported: this model gives no vectors.
            InvalidRequest, ContextLengthExceeded: see :meth:`generate`.
        """
        from llmasos.modeling.encoding import check_batch_size

        refuse_unknown(unknown, ["prompt_name", "normalize", "dimensions", "truncate", "batch_size"])
        embedder = self._need(self._parts.embedder, "embed")
        cut, size = check_truncate(truncate), check_batch_size(batch_size)
        work = partial(
            embedder.embed, prompt_name=prompt_name, normalize=normalize, dimensions=dimensions, truncate=cut,
            batch_size=size,
        )  # fmt: skip
        return each(text, work)

    @overload
    def tokenize(self, text: str, *, pair: str | None = None, add_special_tokens: bool = True) -> Tokens: ...
    @overload
    def tokenize(
        self, text: list[str], *, pair: str | None = None, add_special_tokens: bool = True
    ) -> list[Tokens]: ...
    def tokenize(
        self, text: str | Sequence[str], *, pair: str | None = None, add_special_tokens: bool = True, **unknown: object
    ) -> Tokens | list[Tokens]:
        """Cut a text into the model's tokens; a text of any length.

        Args:
            text: a text, or a list of texts.
            pair: a second text that each is joined with.
            add_special_tokens: add what the model wants around a text, such as ``[CLS]`` or ``</s>``.
        """
        refuse_unknown(unknown, ["pair", "add_special_tokens"])
        tokenizer = self._parts.tokenizer

        def cut(texts: list[str]) -> list[Tokens]:
            encoded = [tokenizer.encode(item, pair, add_special_tokens=add_special_tokens) for item in texts]
            return [Tokens(item.ids, tokenizer.pieces(item.ids), item.offsets) for item in encoded]

        return each(text, cut)

    def detokenize(self, ids: Sequence[int], *, skip_special_tokens: bool = True, **unknown: object) -> str:
        """The text of token ids.

        Raises:
            InvalidRequest: an id is not in the vocabulary.
        """
        refuse_unknown(unknown, ["skip_special_tokens"])
        self._parts.tokenizer.check_ids(ids)
        return self._parts.tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)

    # --- life --------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Free the weights; the model is not used again."""
        self._closed = True
        self.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Model {self.reference}: {self.architecture}, {', '.join(sorted(self.capabilities))}>"

    # --- helpers -----------------------------------------------------------------------------------------------

    def _need(self, part: _Item | None, verb: Verb) -> _Item:
        if self._closed:
            raise InvalidRequest(t("{model} is closed", model=self.reference), hint=t("Load it again."))
        if part is not None:
            return part
        raise Unsupported(
            t("{model} cannot {verb}: it is {kind}; it can {verbs}", model=self.reference, verb=verb,
              kind=kind_of(self.family), verbs=", ".join(sorted(self.capabilities))),
            hint=where_to_look(verb),
        )  # fmt: skip

    def _text_prompts(
        self, texts: list[str], options: Mapping[str, object]
    ) -> tuple[TextGenerator, list[TokenPrompt], SamplingOptions]:
        generator = self._need(self._parts.generator, "generate")
        rest = dict(options)
        truncate = check_truncate(rest.pop("truncate", None))
        sampling = generator.defaults.updated(rest)
        languages = self._parts.languages
        mark: Callable[[Encoded], Encoded] | None = None
        if languages is not None and isinstance(sampling, Seq2SeqOptions):
            source = sampling.source_language
            texts = [languages.mark_text(text, sampling.target_language) for text in texts]
            mark = lambda encoded: languages.mark_source(encoded, source)  # noqa: E731
        asked = sampling.max_tokens
        return generator, [generator.fitter.text(text, truncate, asked, mark) for text in texts], sampling

    def _chat_prompts(
        self,
        conversations: list[list[Message]],
        tools: Sequence[Mapping[str, Any]] | None,
        variables: Mapping[str, Any] | None,
        options: Mapping[str, object],
    ) -> tuple[TextGenerator, list[TokenPrompt], SamplingOptions]:
        generator = self._need(self._parts.generator, "chat")
        template = self._parts.chat_template
        if template is None:
            if self.family is Family.CAUSAL:
                raise missing_template(self.reference)
            self._need(None, "chat")
        assert template is not None
        rest = dict(options)
        truncate = check_truncate(rest.pop("truncate", None))
        sampling = generator.defaults.updated(rest)
        prompts = [
            generator.fitter.conversation(
                template, messages, truncate, sampling.max_tokens, tools=tools, variables=variables
            )
            for messages in conversations
        ]
        return generator, prompts, sampling
