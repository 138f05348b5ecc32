"""Reading weights into a module that is to be trained, with a new head where the objective needs one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from llmasos.errors import IntegrityError, Unsupported
from llmasos.i18n import t
from llmasos.modeling.folder import Family, ModelFolder
from llmasos.modeling.weights import model_class


def classifier_class(folder: ModelFolder) -> Any:
    """The class of transformers that puts a classifier's head on a model.

    Raises:
        Unsupported: there is none for this architecture.
    """
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

    if folder.family is Family.CLASSIFIER:
        return model_class(folder)
    name = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.get(folder.model_type)
    found = getattr(transformers, str(name), None)
    if found is None:
        raise Unsupported(
            t("transformers has no classifier for models of type {type}", type=folder.model_type),
            hint=t("Choose another model, such as an encoder of the BERT family."),
        )
    return found


def head_arguments(folder: ModelFolder, kind: Any, labels: Sequence[str], *, padding: int | None) -> dict[str, Any]:
    """Changes of the configuration for a head with these classes.

    Args:
        padding: the tokenizer's padding token. Decoder-only classifiers find the end of a text by the padding id in
            their configuration; a model without one gets this, or its end token.
    """
    changes: dict[str, Any] = {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: number for number, label in enumerate(labels)},
    }
    if len(labels) > 1:
        changes["problem_type"] = "single_label_classification"
    if folder.text_config.get("pad_token_id") is None:
        end = folder.text_config.get("eos_token_id")
        first = end[0] if isinstance(end, list) and end else end
        chosen = padding if padding is not None else first
        changes["pad_token_id"] = int(chosen) if isinstance(chosen, int) else 0
    return changes


def empty_model(folder: ModelFolder, kind: Any, dtype: str, changes: Mapping[str, Any]) -> nn.Module:
    """The module on torch's meta device: shapes without memory."""
    config = kind.config_class.from_pretrained(folder.path, local_files_only=True, **changes)
    with torch.device("meta"):
        module: nn.Module = kind(config)
    return module.to(getattr(torch, dtype))


def read_weights(
    folder: ModelFolder, kind: Any, dtype: str, changes: Mapping[str, Any], *, new_head: bool, replace_head: bool
) -> tuple[nn.Module, tuple[str, ...]]:
    """The module with the weights of the files.

    Args:
        new_head: whether weights of the head may be missing; they get random values.
        replace_head: whether those in the files are not used.

    Returns:
        The module on the CPU, and the names of weights with random values.

    Raises:
        IntegrityError: the files lack weights of the body, or hold some of another shape.
    """
    _ = folder.weight_files  # refuses pickles
    try:
        module, report = kind.from_pretrained(
            folder.path,
            dtype=getattr(torch, dtype),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=new_head,
            **changes,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise IntegrityError(
            t("{model} cannot be loaded: {problem}", model=folder.reference, problem=str(error).split("\n")[0]),
            hint=t("Its configuration and weights do not fit together; pull or import it again."),
        ) from error
    mismatched = [item[0] if isinstance(item, tuple) else item for item in report["mismatched_keys"]]
    missing = sorted({str(name) for name in [*report["missing_keys"], *mismatched]})
    body = f"{module.base_model_prefix}."
    lost = [name for name in missing if name.startswith(body) and ".pooler." not in name] if new_head else missing
    if lost:
        raise IntegrityError(
            t("the weights of {model} lack {count} tensors of {architecture}: {names}",
              model=folder.reference, count=len(lost), architecture=kind.__name__, names=", ".join(lost[:5])),
            hint=t("The files are incomplete or belong to another model; pull or import it again."),
        )  # fmt: skip
    if replace_head:
        missing = sorted({*missing, *_renewed(module, body, set(missing))})
    return module, tuple(missing)


def _renewed(module: Any, body: str, done: set[str]) -> list[str]:
    """Give the weights of the head new random values, as transformers begins with; returns their names."""
    head = {name: layer for name, layer in module.named_modules() if name and not f"{name}.".startswith(body)}
    names = [name for name, _ in module.named_parameters() if not name.startswith(body)]
    if set(names) <= done:
        return names
    for layer in head.values():
        for parameter in layer.parameters(recurse=False):
            parameter._is_hf_initialized = False
        layer._is_hf_initialized = False
        module._init_weights(layer)
    return names
