"""From a folder to a :class:`~llmasos.modeling.model.Model`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmasos import hardware
from llmasos.errors import Unsupported
from llmasos.i18n import t
from llmasos.modeling import generation_defaults
from llmasos.modeling.folder import Family, ModelFolder
from llmasos.modeling.languages import Languages
from llmasos.modeling.model import Model, Parts
from llmasos.modeling.text_generation import PromptFitter, TextGenerator
from llmasos.modeling.tokenizer import Tokenizer
from llmasos.modeling.tokenizer_files import load_chat_template, load_tokenizer
from llmasos.modeling.weights import choose_dtype, load_weights, prepare_transformers

if TYPE_CHECKING:
    from llmasos.modeling.backend import GenerationBackend


@dataclass(frozen=True)
class Placement:
    """Where and how to compute; ``None`` leaves the choice to :mod:`llmasos.hardware`."""

    dtype: str | None = None
    device: str | None = None
    threads: int | None = None
    cache_dtype: str | None = None
    """Number format of the engine's keys and values: ``auto``, ``bfloat16`` or ``int8``."""


CausalBackendFactory = Callable[[ModelFolder, Tokenizer, Placement], "GenerationBackend"]
"""Builds the backend of a decoder-only model; see :mod:`llmasos.modeling.backend`."""


def build_model(
    folder: ModelFolder,
    placement: Placement,
    *,
    causal_backend: CausalBackendFactory | None = None,
    metadata: object | None = None,
) -> Model:
    """Load tokenizer, template and weights, and put together what the model can do.

    Args:
        folder: an opened folder whose files are verified.
        placement: number format, device and threads.
        causal_backend: what runs decoder-only models; default: transformers.
        metadata: the library's description, kept as :attr:`Model.metadata`.

    Raises:
        Unsupported, UnsafeContent: this model cannot be run.
        IntegrityError: files are damaged or do not fit together.
        OutOfMemory: the weights do not fit.
        MissingDependency: torch or transformers is not installed.
    """
    family = folder.family  # refuses what cannot be run before anything slow
    if family is not Family.CAUSAL or causal_backend is None:
        _refuse_cache_dtype(folder, placement)
    tokenizer = load_tokenizer(folder)
    if family is Family.CAUSAL:
        make = causal_backend or transformers_backend
        return _generating(folder, tokenizer, make(folder, tokenizer, placement), metadata)
    if family is Family.SEQ2SEQ:
        return _generating(folder, tokenizer, transformers_backend(folder, tokenizer, placement), metadata)
    device, dtype = resolve(folder, placement)
    if family is Family.CLASSIFIER:
        model = load_weights(folder, dtype, device)
        from llmasos.modeling.classification import Classifier

        return Model(Parts(folder, tokenizer, classifier=Classifier(model, tokenizer, folder), metadata=metadata))
    prepare_transformers()
    from llmasos.modeling.embedding import Embedder
    from llmasos.modeling.pooling import read_recipe

    recipe = read_recipe(folder, device)
    embedder = Embedder(load_weights(folder, dtype, device, base=True), tokenizer, folder, recipe)
    return Model(Parts(folder, tokenizer, embedder=embedder, metadata=metadata))


def _refuse_cache_dtype(folder: ModelFolder, placement: Placement) -> None:
    if placement.cache_dtype not in (None, "auto"):
        raise Unsupported(
            t("{model} is not run by the engine: cache_dtype = {value} means nothing to it", model=folder.reference,
              value=placement.cache_dtype),
            hint=t("Leave cache_dtype out."),
        )  # fmt: skip


def resolve(folder: ModelFolder, placement: Placement) -> tuple[str, str]:
    """Device and number format for a model; also sets torch's threads."""
    prepare_transformers()
    import torch

    device = hardware.choose_device(placement.device)
    torch.set_num_threads(hardware.choose_threads(placement.threads))
    return device, choose_dtype(folder, placement.dtype, device)


def transformers_backend(folder: ModelFolder, tokenizer: Tokenizer, placement: Placement) -> GenerationBackend:
    """The backend that runs any generating model through transformers."""
    device, dtype = resolve(folder, placement)
    model = load_weights(folder, dtype, device)
    from llmasos.modeling.transformers_backend import TransformersBackend

    ends = generation_defaults.end_ids(folder, tokenizer)
    return TransformersBackend(
        model,
        tokenizer,
        end_ids=ends,
        policy=generation_defaults.policy(folder, tokenizer, ends),
        languages=_languages(folder, tokenizer),
    )


def _generating(
    folder: ModelFolder, tokenizer: Tokenizer, backend: GenerationBackend, metadata: object | None
) -> Model:
    shared = folder.family is Family.CAUSAL
    limit = folder.context_length
    fitter = PromptFitter(tokenizer, limit, shared, None if shared or limit is None else _output_limit(folder, limit))
    generator = TextGenerator(
        backend,
        fitter,
        generation_defaults.default_options(folder),
        generation_defaults.default_max_tokens(folder),
    )
    return Model(
        Parts(
            folder,
            tokenizer,
            generator=generator,
            chat_template=load_chat_template(folder, tokenizer),
            languages=_languages(folder, tokenizer),
            metadata=metadata,
        )
    )


def _output_limit(folder: ModelFolder, limit: int) -> int:
    """Longest output of an encoder-decoder model: the decoder's positions without its start token."""
    decoder = folder.config.get("max_decoder_position_embeddings")
    return (decoder if isinstance(decoder, int) else limit) - 1


def _languages(folder: ModelFolder, tokenizer: Tokenizer) -> Languages | None:
    return Languages(folder.model_type, tokenizer) if folder.family is Family.SEQ2SEQ else None


def refuse_other_kinds(kind: str, reference: str) -> None:
    """Raise unless an artefact of the library is a model.

    Raises:
        Unsupported: it is an adapter, a data set or a report.
    """
    if kind != "model":
        raise Unsupported(
            t("{reference} is an artefact of kind {kind}, not a model", reference=reference, kind=kind),
            hint=t("`llmasos list --kind model` shows the models."),
        )
