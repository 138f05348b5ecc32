"""Puts an adapter on a model of transformers, through PEFT or as virtual tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from llmasos.errors import IntegrityError, MissingDependency
from llmasos.i18n import t
from llmasos.modeling.adapter_folder import PREFIX, VIRTUAL_TOKENS, WEIGHTS_FILE, AdapterFolder
from llmasos.modeling.folder import Family, ModelFolder

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

_VECTORS = "prompt_embeddings"


def put_on(model: PreTrainedModel, folder: ModelFolder, adapter: AdapterFolder) -> None:
    """Put an adapter on a model, which is changed in place and has the adapter's weights beside its own.

    Args:
        folder: of the model, for its family and for messages.

    Raises:
        IntegrityError: the adapter lacks weights, or was made for another base.
        Unsupported: the model cannot take it.
        MissingDependency: peft is not installed.
    """
    tensors = read_tensors(adapter)
    if adapter.kind in VIRTUAL_TOKENS:
        from llmasos.modeling.virtual_tokens import install, stored_tokens

        vectors = tensors.pop(_VECTORS, None)
        if vectors is None or (adapter.kind != PREFIX and vectors.shape[1] != _width(model)):
            raise _misfit(folder, [_VECTORS])
        _take_heads(model, {name.removeprefix("base_model."): tensor for name, tensor in tensors.items()}, folder)
        dtype = next(model.parameters()).dtype
        tokens = stored_tokens(vectors.to(dtype), prefix=adapter.kind == PREFIX)
        install(model, tokens, family_of(model, folder.family))
        return
    with_layers(model, folder, adapter)


def with_layers(model: PreTrainedModel, folder: ModelFolder, adapter: AdapterFolder) -> Any:
    """Put updates or scales into a model's layers and read their weights; PEFT's handle on them.

    Raises: as :func:`put_on`.
    """
    try:
        from peft import PeftConfig, get_peft_model, set_peft_model_state_dict
    except ImportError as error:
        raise MissingDependency(
            t("adapters need the package {name}", name="peft"), hint='pip install "llmasos[local]"'
        ) from error
    config: Any = PeftConfig.from_pretrained(str(adapter.path), local_files_only=True)
    config.inference_mode = True
    config.base_model_name_or_path = None
    if touches_ends(model, adapter):
        untie(model)
    try:
        handle = get_peft_model(cast(Any, model), config, autocast_adapter_dtype=False)
        report: Any = set_peft_model_state_dict(handle, read_tensors(adapter))
    except (ValueError, RuntimeError) as error:
        raise _misfit(folder, [str(error).splitlines()[0]]) from error
    lacking = [name for name in report.missing_keys if _is_adapters(name)]
    if lacking or report.unexpected_keys:
        raise _misfit(folder, [*lacking, *report.unexpected_keys])
    return handle.requires_grad_(False).eval()


def touches_ends(model: PreTrainedModel, adapter: AdapterFolder) -> bool:
    """Whether an adapter changes the token embeddings or the head, which may share one weight in the base."""
    ends = (model.get_input_embeddings(), cast(Any, model).get_output_embeddings())
    names = [name for name, part in model.named_modules() if any(part is end for end in ends)]
    return any(f".{name}." in tensor for name in names for tensor in adapter.tensors)


def untie(model: PreTrainedModel) -> bool:
    """Give the head weights of its own, equal to the token embeddings it shared; whether it did share them."""
    import torch

    head, table = cast(Any, model).get_output_embeddings(), cast(Any, model.get_input_embeddings())
    if head is None or head.weight is not table.weight:
        return False
    head.weight = torch.nn.Parameter(table.weight.detach().clone(), requires_grad=False)
    model.config.tie_word_embeddings = False
    model.config.get_text_config().tie_word_embeddings = False
    return True


def family_of(model: PreTrainedModel, family: Family) -> Family:
    """How text flows through a model: a classifier counts as what it is built on."""
    if family is not Family.CLASSIFIER:
        return family
    if model.config.is_encoder_decoder:
        return Family.SEQ2SEQ
    return Family.CAUSAL if hasattr(model, "score") else Family.ENCODER


def read_tensors(adapter: AdapterFolder) -> dict[str, Tensor]:
    """The tensors of an adapter by PEFT's names.

    Raises:
        IntegrityError: the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(adapter.path / WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise IntegrityError(
            t("the adapter in {path} cannot be read: {error}", path=adapter.path.name, error=error),
            hint=t("An adapter has adapter_config.json and adapter_model.safetensors, as PEFT saves them."),
        ) from error


def provided(adapter: AdapterFolder) -> set[str]:
    """Names of the model's own weights that an adapter brings, such as those of a head."""
    prefix = "base_model." if adapter.kind in VIRTUAL_TOKENS else "base_model.model."
    return {
        name.removeprefix(prefix) for name in adapter.tensors if not _is_adapters(name) and name != _VECTORS
    }  # fmt: skip


def _is_adapters(name: str) -> bool:
    """Whether a tensor belongs to an update or scale, rather than to a module of the model trained whole."""
    return any(mark in name for mark in ("lora_", "ia3_l", "modules_to_save"))


def _take_heads(model: PreTrainedModel, heads: dict[str, Tensor], folder: ModelFolder) -> None:
    own = dict(model.named_parameters())
    wrong = [name for name, tensor in heads.items() if name not in own or own[name].shape != tensor.shape]
    if wrong:
        raise _misfit(folder, wrong)
    for name, tensor in heads.items():
        own[name].data.copy_(tensor)


def _width(model: PreTrainedModel) -> int:
    return int(cast(Any, model.get_input_embeddings()).weight.shape[1])


def _misfit(folder: ModelFolder, names: list[str]) -> IntegrityError:
    return IntegrityError(
        t("{model}: the adapter does not fit its base: {names}", model=folder.reference, names=", ".join(names[:5])),
        hint=t("It was made for another model, or its files are damaged; pull or import it again."),
    )
