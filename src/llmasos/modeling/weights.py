"""Loading a model's weights into the class of transformers that its configuration names."""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

from llmasos import hardware
from llmasos.errors import IntegrityError, MissingDependency, OutOfMemory
from llmasos.i18n import t
from llmasos.modeling.adapters import provided, put_on
from llmasos.modeling.folder import Family, ModelFolder
from llmasos.units import format_bytes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

_OVERHEAD = 96 * 2**20  # activations, tokenizer and buffers of a small request, beside the weights
_SMALL = 2 * 2**30  # bytes of float32 weights up to which exactness costs little
_OVERFLOWING = frozenset({"t5", "mt5", "umt5", "longt5", "switch_transformers"})
"""Models whose activations exceed the range of float16; they were trained in bfloat16."""
_ENCODERS = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}


def prepare_transformers() -> None:
    """Import what every model of transformers needs (the slow part of loading) and quiet its remarks to developers.

    Raises:
        MissingDependency: torch or transformers is not installed.
    """
    for name in ("torch", "transformers"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            if error.name not in (name, None):
                raise
            raise MissingDependency(
                t("running a model needs the package {name}", name=name), hint='pip install "llmasos[local]"'
            ) from error
    from transformers.utils import logging as transformers_logging

    quiet: Any = transformers_logging  # its functions are untyped
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()
    importlib.import_module("transformers.modeling_utils")


def choose_dtype(folder: ModelFolder, requested: str | None, device: str) -> str:
    """The number format to compute in.

    Encoders and small encoder-decoder models compute in float32 on the CPU: their results are compared and summed
    up (probabilities, vectors, beams), and half precision would make a batch differ from single texts.
    """
    if requested is None and device == "cpu":
        encoder = folder.family in (Family.ENCODER, Family.CLASSIFIER)
        if encoder or (folder.family is Family.SEQ2SEQ and folder.weight_bytes("float32") <= _SMALL):
            return "float32"
    chosen = hardware.choose_dtype(requested, device=device)
    if requested is None and chosen == "float16" and folder.model_type in _OVERFLOWING:
        return "float32"
    return chosen


def require_memory(folder: ModelFolder, dtype: str) -> None:
    """Refuse a model that cannot fit into main memory, which it passes through on its way to any device.

    Raises:
        OutOfMemory: with the estimate.
    """
    hardware.require_memory(folder.weight_bytes(dtype) + _OVERHEAD, t("loading {model}", model=folder.reference))


def model_class(folder: ModelFolder, *, base: bool = False) -> Any:
    """The class of transformers that the folder's configuration names.

    Args:
        base: the model without its head, for embeddings.

    Raises:
        Unsupported: the installed transformers does not know the architecture.
        UnsafeContent: only the repository's own code does.
    """
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_MAPPING_NAMES

    name: object = folder.architecture
    if base:
        name = _ENCODERS.get(folder.model_type) or MODEL_MAPPING_NAMES.get(folder.model_type)
        if not isinstance(name, str):  # several classes: none of them is a plain text encoder
            name = folder.architecture
    elif folder.family is Family.CAUSAL and not hasattr(transformers, folder.architecture):
        # Configurations of fine-tuned models sometimes name a class of their own for a known type of model.
        name = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(folder.model_type, folder.architecture)
    found = getattr(transformers, str(name), None)
    folder.refuse_foreign_code(found is not None)
    return found


def load_weights(
    folder: ModelFolder, dtype: str, device: str, *, base: bool = False, adapt: bool = True
) -> PreTrainedModel:
    """Build the model, read its safetensors files, and put the folder's adapter on it if it has one.

    Args:
        dtype: number format of the weights, such as ``bfloat16``.
        device: torch device.
        base: the model without its head, for embeddings.
        adapt: whether to put the folder's adapter on it; without that, weights that only the adapter has are random.

    Raises:
        IntegrityError: the files lack weights, or hold some of another shape; or the adapter does not fit.
        Unsupported, UnsafeContent: see :func:`model_class` and :func:`llmasos.modeling.adapters.put_on`.
        OutOfMemory: the weights do not fit.
    """
    import torch

    prepare_transformers()
    require_memory(folder, dtype)
    files = folder.weight_files
    kind = model_class(folder, base=base)
    extra: dict[str, Any] = {"add_pooling_layer": False} if base and _takes_pooling_layer(kind) else {}
    if folder.adapter is not None and folder.adapter.model_config is not None:
        extra["config"] = kind.config_class.from_dict(dict(folder.config))
        extra["ignore_mismatched_sizes"] = True  # of a head that the adapter replaces
    try:
        model, report = kind.from_pretrained(
            folder.path,
            dtype=getattr(torch, dtype),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **extra,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise IntegrityError(
            t("{model} cannot be loaded: {problem}", model=folder.reference, problem=_first_line(error)),
            hint=t("Its configuration and weights do not fit together; pull or import it again."),
        ) from error
    _check_complete(folder, report)
    if folder.adapter is not None and adapt:
        put_on(model, folder, folder.adapter)
    logger.debug("loaded %s from %d files as %s", folder.architecture, len(files), dtype)
    try:
        return model.to(device).eval()  # type: ignore[no-any-return]
    except torch.OutOfMemoryError as error:
        needed, free = folder.weight_bytes(dtype), torch.cuda.mem_get_info(device)[0]
        raise OutOfMemory(
            t("{model} needs about {needed} on {device} and {free} is free",
              model=folder.reference, needed=format_bytes(needed), device=device, free=format_bytes(free)),
            needed=needed,
            available=free,
            hint=t("Use device=\"cpu\", or take a smaller model."),
        ) from error  # fmt: skip


def _takes_pooling_layer(kind: Any) -> bool:
    import inspect

    return "add_pooling_layer" in inspect.signature(kind.__init__).parameters


def _check_complete(folder: ModelFolder, report: dict[str, Any]) -> None:
    """Weights that are missing would be random numbers, and the answers noise that looks like answers."""
    brought = provided(folder.adapter) if folder.adapter is not None else set()
    missing = sorted(set(report["missing_keys"]) - brought)
    mismatched = {str(item[0]) if isinstance(item, tuple) else str(item) for item in report["mismatched_keys"]}
    other = sorted(mismatched - brought)
    if missing or other:
        names = ", ".join([*missing, *other][:5])
        raise IntegrityError(
            t("the weights of {model} lack {count} tensors of {architecture}: {names}",
              model=folder.reference, count=len(missing) + len(other), architecture=folder.architecture, names=names),
            hint=t("The files are incomplete or belong to another model; pull or import it again."),
        )  # fmt: skip
    if report.get("unexpected_keys"):
        logger.info("%s: unused tensors: %s", folder.reference, ", ".join(sorted(report["unexpected_keys"])[:20]))


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
