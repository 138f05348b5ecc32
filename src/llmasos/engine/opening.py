"""From a model folder to a running engine: which runner, which precision, how much memory."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from llmasos import hardware
from llmasos.engine.adapters import AdapterPool, refuse_adapter
from llmasos.engine.architecture import MODEL_TYPES
from llmasos.engine.backend import EncoderEngineBackend, EngineBackend
from llmasos.engine.cache_dtype import choose_cache_dtype
from llmasos.engine.engine import Engine
from llmasos.engine.intake import Edges
from llmasos.engine.options import EngineOptions
from llmasos.engine.runners.fused import FusedRunner, choose_precision
from llmasos.errors import InvalidRequest, Unsupported, did_you_mean
from llmasos.i18n import t
from llmasos.modeling import generation_defaults
from llmasos.modeling.folder import ModelFolder
from llmasos.modeling.loading import Backends, languages_of, output_limit, resolve, transformers_backend
from llmasos.modeling.tokenizer import FastTokenizer, Tokenizer
from llmasos.modeling.weights import load_weights

if TYPE_CHECKING:
    from llmasos.engine.runners.transformers import TransformersRunner
    from llmasos.engine.text_decoder import TextDecoder
    from llmasos.modeling.backend import EncoderBackend, EncoderNetwork, GenerationBackend
    from llmasos.modeling.loading import Placement

logger = logging.getLogger(__name__)

_PRECISION_OF_DTYPE = {"float32": "fp32", "bfloat16": "bf16"}
_BYTES_PER_WEIGHT = {"int8": 1.0, "int4": 0.625, "bf16": 2.0, "fp32": 4.0}


def causal_backend(
    folder: ModelFolder, tokenizer: Tokenizer, placement: Placement, options: EngineOptions | None = None
) -> GenerationBackend:
    """What runs a decoder-only model: the engine, or transformers for a model that no runner of the engine takes.

    Raises:
        Unsupported, OutOfMemory, InvalidRequest: see :func:`open_engine`.
    """
    if isinstance(tokenizer, FastTokenizer) and not (folder.adapter is not None and folder.adapter.virtual_tokens):
        try:
            return open_engine(folder, tokenizer, placement, options)
        except Unsupported as error:
            # Nothing but the engine computes in these, or has a cache of its own.
            if placement.dtype in ("int8", "int4") or placement.cache_dtype not in (None, "auto"):
                raise
            logger.warning("%s: %s", folder.reference, error.message)
    return transformers_backend(folder, tokenizer, placement)


def open_engine(
    folder: ModelFolder,
    tokenizer: FastTokenizer,
    placement: Placement,
    options: EngineOptions | None = None,
) -> EngineBackend[Engine]:
    """Load a decoder-only model into an engine: fused where the family is known, else through transformers.

    Raises:
        Unsupported: no runner of the engine takes this model.
        OutOfMemory: weights or cache do not fit; the message has the estimate.
        InvalidRequest: a precision or device that does not exist.
    """
    options = options or EngineOptions()
    options.check()
    device = hardware.choose_device(placement.device)
    choose_cache_dtype(placement.cache_dtype, exact="bfloat16")  # refuses a wrong name before anything slow
    runner: FusedRunner | TransformersRunner
    adapters = None
    try:
        if folder.adapter is not None:
            refuse_adapter(folder.adapter.config, folder.adapter.tensors)
        runner = _fused(folder, placement, device, options)
        adapters = AdapterPool(runner.spec)
    except Unsupported as error:
        if placement.dtype in ("int8", "int4"):
            raise
        if options.decode.mode in ("static", "graphs"):
            raise InvalidRequest(
                t("decode = {path} needs the fused runner: {reason}", path=options.decode.mode, reason=error.message)
            ) from error
        logger.info("%s: %s", folder.reference, error.message)
        runner = _through_transformers(folder, placement)
    engine = Engine(
        runner,
        tokenizer.backend,
        eos_token_ids=generation_defaults.end_ids(folder, tokenizer),
        options=options,
        adapters=adapters.names if adapters is not None else None,
    )
    if not isinstance(runner, FusedRunner):
        return EngineBackend(
            engine,
            device=device,
            precision=runner.precision,
            cache_dtype=runner.cache_dtype,
            description=runner.description,
        )
    fused = runner
    backend = EngineBackend(
        engine,
        device=device,
        precision=runner.precision,
        cache_dtype=runner.cache_dtype,
        description=runner.description,
        adapters=adapters,
        decode_path=runner.decode_path,
        decode_counts=lambda: fused.decode_counts,
    )
    if folder.adapter is not None and adapters is not None:
        engine.default_adapter = adapters.load(folder.reference, folder.adapter.path).name
    return backend


def seq2seq_backend(folder: ModelFolder, tokenizer: Tokenizer, placement: Placement) -> GenerationBackend:
    """What runs an encoder-decoder model: the engine, or transformers alone for a model that does not fit it.

    Raises:
        Unsupported, OutOfMemory, IntegrityError: the model cannot be loaded.
    """
    backend = transformers_backend(folder, tokenizer, placement)
    from llmasos.engine.encoder_decoder.engine import EncoderDecoderEngine, ModelFacts
    from llmasos.engine.encoder_decoder.runner import EncoderDecoderRunner

    policy, limit = backend.policy, folder.context_length
    start = policy["decoder_start_token_id"]
    try:
        if start is None:
            raise Unsupported(t("{model} names no token that its outputs begin after", model=folder.reference))
        runner = EncoderDecoderRunner(
            backend.model, name=folder.reference, start_id=start, pad_id=policy["pad_token_id"], limit=limit
        )
    except Unsupported as error:
        logger.warning("%s; it is run by transformers, without batching across callers", error.message)
        return backend
    facts = ModelFacts(
        start_id=start,
        end_ids=generation_defaults.end_ids(folder, tokenizer),
        policy=policy,
        input_limit=limit,
        output_limit=None if limit is None else output_limit(folder, limit),
        default_max_tokens=generation_defaults.default_max_tokens(folder),
        edges=_edges(tokenizer),
        languages=languages_of(folder, tokenizer),
    )
    engine = EncoderDecoderEngine(runner, _text_decoder(tokenizer), facts, backend)
    return EngineBackend(engine, device=runner.device, precision=runner.precision, description=runner.description)


def encoder_backend(network: EncoderNetwork, folder: ModelFolder, tokenizer: Tokenizer) -> EncoderBackend:
    """The engine that runs an encoder."""
    from llmasos.engine.encoder.engine import EncoderEngine

    return EncoderEngineBackend(EncoderEngine(network, edges=_edges(tokenizer)), network)


def _edges(tokenizer: Tokenizer) -> Edges:
    sample = tokenizer.encode("a")
    return Edges.of(sample.ids, sample.special)


def _text_decoder(tokenizer: Tokenizer) -> TextDecoder:
    from llmasos.engine.text_decoder import WindowDecoder, text_decoder

    if isinstance(tokenizer, FastTokenizer):
        return text_decoder(tokenizer.backend)
    named = set(tokenizer.special.ids.values())
    added = {tokenizer.token_id(text) for text, special in tokenizer.added_tokens.items() if special}
    return WindowDecoder(tokenizer.decode, frozenset(named | {token for token in added if token is not None}))


BACKENDS = Backends(causal_backend, seq2seq_backend, encoder_backend)
"""The engine for the models of every family."""


def _through_transformers(folder: ModelFolder, placement: Placement) -> TransformersRunner:
    from llmasos.engine.runners.transformers import TransformersRunner

    device, dtype = resolve(folder, placement)
    model = load_weights(folder, dtype, device)
    return TransformersRunner(
        model, context_length=folder.context_length, name=folder.reference, cache_dtype=placement.cache_dtype
    )


def _precision_name(requested: str | None, device: str) -> str | None:
    """The engine's name of a number format.

    Raises:
        InvalidRequest: there is no such format.
        Unsupported: the fused decoders do not compute in it.
    """
    if requested in (None, "auto", "int8", "int4"):
        return requested
    try:
        dtype = hardware.choose_dtype(requested, device=device)
    except InvalidRequest as error:
        names = (*hardware.DTYPES, "int8", "int4")
        raise InvalidRequest(
            t("{dtype!r} is not a number format; allowed: auto, {allowed}", dtype=requested, allowed=", ".join(names)),
            hint=did_you_mean(requested or "", names) or t("Leave it out for what suits this machine."),
        ) from error
    if dtype not in _PRECISION_OF_DTYPE:
        raise Unsupported(t("the fused decoder does not support {option} = {value}", option="dtype", value=dtype))
    return _PRECISION_OF_DTYPE[dtype]


def _fused(folder: ModelFolder, placement: Placement, device: str, options: EngineOptions) -> FusedRunner:
    if folder.model_type not in MODEL_TYPES:
        raise Unsupported(t("the fused decoder does not support {option} = {value}", option="model_type",
                            value=folder.model_type))  # fmt: skip
    precision = choose_precision(_precision_name(placement.dtype, device), device=device)
    needed = int(folder.weight_bytes("bfloat16") / 2 * _BYTES_PER_WEIGHT[precision])
    purpose = t("loading {model} in {precision}", model=folder.reference, precision=precision)
    hardware.require_memory(needed, purpose, device=device)
    return FusedRunner(
        folder.path,
        precision=precision,
        cache_dtype=placement.cache_dtype,
        device=device,
        threads=placement.threads,
        decode=options.decode,
        max_sequences=options.max_sequences,
    )
