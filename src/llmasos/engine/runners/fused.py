"""Runner for the Llama family on the fused decoders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llmasos.engine.architecture import DecoderSpec, read_spec
from llmasos.engine.cache_dtype import CacheDtype, choose_cache_dtype
from llmasos.engine.graphs.options import DecodeOptions, DecodePath, path_name
from llmasos.engine.hooks import Intervention, run_with_interventions
from llmasos.engine.kernels import native
from llmasos.engine.kernels.decoder import BLOCK_SIZE, PRECISIONS, AdapterLayers, Decoder, Precision
from llmasos.engine.kernels.memory import release_freed
from llmasos.engine.weights import DecoderWeights
from llmasos.errors import InvalidRequest, did_you_mean
from llmasos.hardware import choose_dtype, choose_threads
from llmasos.i18n import t

if TYPE_CHECKING:
    import torch

    from llmasos.engine.batch import Batch
    from llmasos.engine.graphs.capture import GraphCapture
    from llmasos.engine.graphs.decode import DecodeCounts, StaticDecode


def choose_precision(requested: str | None, *, device: str) -> Precision:
    """The precision asked for, else int8 where the native kernels run, else what the hardware computes fast.

    Raises:
        InvalidRequest: not the name of a precision.
    """
    if requested is not None and requested != "auto":
        for precision in PRECISIONS:
            if requested == precision:
                return precision
        raise InvalidRequest(
            t("{value!r} is not a precision; allowed: auto, {allowed}", value=requested, allowed=", ".join(PRECISIONS)),
            hint=did_you_mean(requested, PRECISIONS),
        )
    if device == "cpu" and native.load() is not None:
        return "int8"
    return "fp32" if choose_dtype(device=device) == "float32" else "bf16"


def _exact_cache(precision: Precision) -> CacheDtype:
    """The format of keys and values that a precision computes with."""
    return "float32" if precision == "fp32" else "bfloat16"


class FusedRunner:
    """Token ids in, logits out, over a :class:`~llmasos.engine.kernels.decoder.Decoder`."""

    block_size = BLOCK_SIZE

    def __init__(
        self,
        directory: Path,
        *,
        precision: str | None = None,
        cache_dtype: str | None = None,
        device: str = "cpu",
        threads: int | None = None,
        context_length: int | None = None,
        kernels: str | None = None,
        decode: DecodeOptions | None = None,
        max_sequences: int = 64,
        capture: GraphCapture | None = None,
    ) -> None:
        """Load the model in ``directory``.

        Args:
            precision: ``int8``, ``int4``, ``bf16``, ``fp32`` or ``None`` for the best of this machine.
            cache_dtype: ``bfloat16``, ``int8`` or ``None`` for that of the model's arithmetic.
            device: torch device.
            threads: computing threads; default: the usable cores.
            context_length: a limit below the model's own.
            kernels: ``native`` or ``torch``; default: native where it runs.
            decode: how passes that only decode are run; default: graphs on CUDA, eagerly elsewhere.
            max_sequences: rows of the largest static shape; larger passes are run eagerly.
            capture: what repeats a pass over a static shape; default: CUDA graphs or plain calls, as ``decode`` says.

        Raises:
            InvalidRequest: ``decode`` names what these kernels or this device cannot do.
        """
        self._decode, self._max_sequences, self._capture = decode or DecodeOptions(), max_sequences, capture
        self.decode_path: DecodePath = self._decode.path(device)
        self._static: StaticDecode | None = None
        self.spec: DecoderSpec = read_spec(directory)
        weights = DecoderWeights(directory, self.spec)
        chosen = choose_precision(precision, device=device)
        self.decoder: Decoder = build_decoder(
            self.spec,
            weights,
            precision=chosen,
            cache_dtype=choose_cache_dtype(cache_dtype, exact=_exact_cache(chosen)),
            device=device,
            threads=choose_threads(threads),
            kernels=kernels,
        )
        self._embedding = weights.embedding().to(device)
        release_freed()
        self.device = self._device = device
        if self.decode_path != "eager" and self.decoder.kernels != "torch":
            raise InvalidRequest(
                t("decode = {path} needs PyTorch's kernels; here the native ones compute", path=self.decode_path),
                hint=t("Leave it at auto: static shapes gain nothing on this processor."),
            )
        self.vocabulary_size = self.spec.vocabulary
        self.context_length = min(context_length or self.spec.context_length, self.spec.context_length)
        self.bytes_per_block = self.decoder.bytes_per_block
        self.capabilities = frozenset({"logits", "adapters", "hidden_states", "attention", "steering"})

    @property
    def description(self) -> str:
        """Kernels and precision, for people."""
        cache = "" if self.cache_dtype == _exact_cache(self.decoder.precision) else f", {self.cache_dtype} cache"
        text = f"fused, {self.decoder.kernels} kernels, {self.decoder.precision}{cache}"
        said = self.device != "cpu" or self.decode_path != "eager"
        return f"{text}, {path_name(self.decode_path)}" if said else text

    @property
    def decode_counts(self) -> DecodeCounts | None:
        """What was run over static shapes and what was not; ``None`` when all is run eagerly."""
        return None if self._static is None else self._static.counts

    @property
    def precision(self) -> str:
        """The number format of the weights."""
        return self.decoder.precision

    @property
    def cache_dtype(self) -> CacheDtype:
        """The number format of keys and values."""
        return self.decoder.cache_dtype

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that one pass reads."""
        return self.decoder.weight_bytes

    def allocate_cache(self, blocks: int) -> None:
        if self.decode_path == "eager":
            self.decoder.allocate_cache(blocks)
        else:
            self._allocate_static(blocks)

    def _allocate_static(self, blocks: int) -> None:
        """A cache with one block more than the engine knows of, and shapes that decode in it."""
        from llmasos.engine.graphs.capture import open_capture
        from llmasos.engine.graphs.decode import StaticDecode

        if self._static is not None:
            self._static.release()
        self.decoder.allocate_cache(blocks + 1)
        self._static = StaticDecode(
            self,
            self._capture or open_capture(self.decode_path, self.device),
            rows=self._max_sequences,
            columns=min(-(-self.context_length // BLOCK_SIZE), blocks),
            scratch=blocks,
            max_graphs=self._decode.max_graphs,
            max_bytes=self._decode.max_graph_bytes,
        )
        if self._decode.capture == "start":
            self._static.prepare_all()

    def copy_block(self, source: int, target: int) -> None:
        self.decoder.copy_block(source, target)

    def embed_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        """(rows,) token ids -> (rows, hidden) float32."""
        import torch

        hidden = torch.nn.functional.embedding(tokens, self._embedding).float()
        if self.spec.embedding_scale != 1.0:
            # The factor is rounded as the reference implementation rounds it: to the dtype of the embedding.
            hidden *= torch.tensor(self.spec.embedding_scale, dtype=self._embedding.dtype).float()
        return hidden

    def forward(self, batch: Batch) -> torch.Tensor:
        if self._static is not None:
            logits = self._static.forward(batch)
            if logits is not None:
                return logits
        hidden = self.embed_tokens(batch.tokens.to(self._device))
        self.decoder.start(hidden, batch.positions, batch.sequences)
        if any(piece.steering is not None for piece in batch.sequences):
            run_with_interventions(self.decoder, len(self.spec.layers), hidden, batch.sequences)
        else:
            self.decoder.run_layers(0, len(self.spec.layers))
        wanted = hidden if batch.logits_rows.shape[0] == hidden.shape[0] else hidden[batch.logits_rows]
        return self.decoder.head(wanted)

    def static_logits(self, tokens: torch.Tensor, positions: torch.Tensor, tables: torch.Tensor) -> torch.Tensor:
        """See :class:`~llmasos.engine.graphs.decode.StaticModel`."""
        from llmasos.engine.kernels.torch_decoder import TorchDecoder

        assert isinstance(self.decoder, TorchDecoder)
        hidden = self.embed_tokens(tokens)
        self.decoder.start_static(hidden, tables, positions)
        self.decoder.run_layers(0, len(self.spec.layers))
        return self.decoder.head(hidden)

    def logits_of(self, hidden: torch.Tensor) -> torch.Tensor:
        """Final norm and logits of recorded hidden states: (rows, hidden) -> (rows, vocabulary) float32 on the CPU."""
        return self.decoder.head(hidden.to(self._device).float().contiguous()).cpu()

    def check_intervention(self, intervention: object) -> None:
        """Refuse an intervention that does not fit this model.

        Raises:
            InvalidRequest: it is none, or names a layer or vector that does not fit.
        """
        if not isinstance(intervention, Intervention):
            raise InvalidRequest(t("steering = {value}: allowed is an Intervention", value=type(intervention).__name__))
        intervention.check(len(self.spec.layers), self.spec.hidden)

    def add_adapter(self, name: str, layers: AdapterLayers) -> None:
        """Make a LoRA adapter usable by name."""
        self.decoder.add_adapter(name, layers)

    def remove_adapter(self, name: str) -> None:
        """Forget an adapter; no batch may use it afterwards."""
        self.decoder.remove_adapter(name)

    def close(self) -> None:
        if self._static is not None:
            self._static.release()
        self.decoder.close()


def build_decoder(
    spec: DecoderSpec,
    weights: DecoderWeights,
    *,
    precision: Precision,
    cache_dtype: CacheDtype,
    device: str,
    threads: int,
    kernels: str | None = None,
) -> Decoder:
    """The decoder for a precision and device: native where it can, torch elsewhere."""
    from llmasos.engine.kernels.native_decoder import NativeDecoder
    from llmasos.engine.kernels.torch_decoder import TorchDecoder

    library = native.load() if device == "cpu" and precision != "fp32" and kernels != "torch" else None
    if library is not None:
        return NativeDecoder(library, spec, weights, precision=precision, cache_dtype=cache_dtype, threads=threads)
    if kernels == "native":
        raise InvalidRequest(
            t("the native kernels cannot compute {precision} on {device} here", precision=precision, device=device),
            hint=t("`llmasos doctor` says what this machine offers."),
        )
    return TorchDecoder(spec, weights, precision=precision, cache_dtype=cache_dtype, device=device)
