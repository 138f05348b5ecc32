"""How positions are rotated: from GGUF keys and factor tensors to transformers' ``rope_parameters``.

llama.cpp stores Llama 3's scaling not as its four numbers but as the factor of every frequency that follows from
them; the numbers are recovered here and checked against all factors.
"""

from __future__ import annotations

import math
import struct
from typing import Any

from llmasos.errors import Unsupported
from llmasos.i18n import t
from llmasos.library.formats.gguf.architectures import Dimensions
from llmasos.library.formats.gguf.fields import Fields, shortest
from llmasos.library.formats.gguf.header import Header, damaged

_LLAMA3_ORIGINAL_CONTEXT = 8192  # what Llama 3 was pretrained with; GGUF files do not store it
_TOLERANCE = 1e-4  # relative; the factors are float32 and were computed in float32

RopeParameters = dict[str, Any]


def rope_parameters(header: Header, dimensions: Dimensions, context: int) -> RopeParameters:
    """The rotation of a model that rotates all layers alike, in transformers' form.

    Raises:
        IntegrityError: keys or factors are impossible.
        Unsupported: a kind of scaling that transformers does not have.
    """
    fields = Fields(header)
    theta = _positive(fields, ".rope.freq_base", 10_000.0)
    rotated = fields.integer(".rope.dimension_count", dimensions.head)
    partial = rotated / dimensions.head
    if rotated % 2 or not 0 < partial <= 1:
        raise damaged(
            header.path,
            t("{rotated} of {head} dimensions of a head cannot be rotated", rotated=rotated, head=dimensions.head),
        )
    parameters: RopeParameters = {"rope_type": "default", "rope_theta": theta}
    if partial != 1:
        if header.architecture != "phi3":
            raise Unsupported(
                t(
                    "{path} rotates {rotated} of {head} dimensions, which {name} in transformers does not do",
                    path=header.path,
                    rotated=rotated,
                    head=dimensions.head,
                    name=header.architecture,
                ),
                hint=t("Import the model from its original safetensors repository instead."),
            )
        parameters["partial_rotary_factor"] = partial
    original = fields.integer(".rope.scaling.original_context_length", least=1)
    frequencies = _factors(header, "rope_freqs.weight", rotated // 2)
    long = _factors(header, "rope_factors_long.weight", rotated // 2)
    short = _factors(header, "rope_factors_short.weight", rotated // 2)
    if long is not None or short is not None:
        if long is None or short is None:
            raise damaged(header.path, t("of the long and the short rotation factors one is missing"))
        return parameters | _longrope(fields, long, short, original or context, context)
    scaling = _scaling(fields, original or context)
    if frequencies is None or all(abs(value - 1) <= _TOLERANCE for value in frequencies):
        return parameters | scaling
    if scaling:
        raise Unsupported(
            t(
                "{path} scales its rotation twice, by factors and by {kind}",
                path=header.path,
                kind=scaling["rope_type"],
            ),
            hint=t("Import the model from its original safetensors repository instead."),
        )
    return parameters | (
        llama3_parameters(frequencies, theta, rotated, original or _LLAMA3_ORIGINAL_CONTEXT)
        or _fixed_factors(frequencies, context)
    )


def gemma3_parameters(header: Header) -> dict[str, RopeParameters]:
    """Gemma 3 rotates its sliding layers by a base of their own and never scales them (llama.cpp, gemma3.cpp)."""
    fields = Fields(header)
    context = fields.required(".context_length")
    full: RopeParameters = {"rope_type": "default", "rope_theta": _positive(fields, ".rope.freq_base", 1_000_000.0)}
    return {
        "full_attention": full | _scaling(fields, context),
        "sliding_attention": {
            "rope_type": "default",
            "rope_theta": _positive(fields, ".rope.freq_base_swa", 10_000.0),
        },
    }


def _positive(fields: Fields, name: str, default: float) -> float:
    value = fields.number(name, default)
    if value <= 0:
        raise damaged(
            fields.header.path, t("{key} is {value}, a positive number is needed", key=fields.key(name), value=value)
        )
    return value


def _factors(header: Header, name: str, count: int) -> list[float] | None:
    """A small float32 tensor of ``count`` positive numbers."""
    tensor = header.tensors.get(name)
    if tensor is None:
        return None
    if tensor.type.name != "F32" or tensor.shape != (count,):
        raise damaged(
            header.path,
            t(
                "tensor {name!r} has the shape {shape}, the metadata promises {expected}",
                name=name,
                shape=list(tensor.shape),
                expected=[count],
            ),
        )
    with tensor.path.open("rb") as file:
        file.seek(tensor.offset)
        values = struct.unpack(f"<{count}f", file.read(tensor.size))
    if not all(math.isfinite(value) and value > 0 for value in values):
        raise damaged(
            header.path, t("tensor {name!r} has factors that are not positive numbers", name=name), tensor.offset
        )
    return [shortest(value) for value in values]


def _scaling(fields: Fields, original: int) -> RopeParameters:
    """Scaling by the keys ``rope.scaling.*``; empty if there is none."""
    legacy = _positive(fields, ".rope.scale_linear", 1.0)
    factor = _positive(fields, ".rope.scaling.factor", legacy)
    kind = fields.text(".rope.scaling.type") or "linear"
    if kind == "none" or (kind == "linear" and factor == 1):
        return {}
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor}
    if kind != "yarn" or fields.number(".rope.scaling.attn_factor", 1.0) != 1:
        raise Unsupported(
            t(
                "{path} scales its rotation by {kind!r}; linear, yarn, longrope and Llama 3's can be imported",
                path=fields.header.path,
                kind=kind,
            ),
            hint=t("Import the model from its original safetensors repository instead."),
        )
    if factor == 1:
        return {}
    yarn: RopeParameters = {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": original,
    }
    for key, name in (
        (".rope.scaling.yarn_attn_factor", "attention_factor"),
        (".rope.scaling.yarn_beta_fast", "beta_fast"),
        (".rope.scaling.yarn_beta_slow", "beta_slow"),
    ):
        if (value := fields.number(key)) is not None:
            yarn[name] = value
    return yarn


def _longrope(fields: Fields, long: list[float], short: list[float], original: int, context: int) -> RopeParameters:
    parameters: RopeParameters = {
        "rope_type": "longrope",
        "long_factor": long,
        "short_factor": short,
        "original_max_position_embeddings": original,
    }
    scale = context / original
    # What transformers computes by itself; stored only where the file says otherwise.
    usual = math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 and original > 1 else 1.0
    factor = fields.number(".rope.scaling.attn_factor", usual)
    if abs(factor - usual) > _TOLERANCE:
        parameters["attention_factor"] = factor
    return parameters


def llama3_parameters(factors: list[float], theta: float, rotated: int, original: int) -> RopeParameters | None:
    """The numbers of Llama 3's scaling that give these ``factors`` of the ``rotated / 2`` frequencies, if any do.

    Frequencies of wavelength below original/high stay, above original/low they are divided by ``factor``; between
    them the inverse factor grows linearly with the inverse wavelength. That line is found by least squares.
    """
    factor = max(factors)
    if factor <= 1:
        return None
    inverse_wavelengths = [theta ** (-2 * i / rotated) / (2 * math.pi) for i in range(len(factors))]
    points = [
        (x, (1 / value - 1 / factor) / (1 - 1 / factor))
        for x, value in zip(inverse_wavelengths, factors, strict=True)
        if 1 + _TOLERANCE < value < factor * (1 - _TOLERANCE)
    ]
    candidates = [(1.0, 4.0)]  # all released Llama models
    if len(points) >= 2:
        mean_x = sum(x for x, _ in points) / len(points)
        mean_y = sum(y for _, y in points) / len(points)
        slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
        if slope > 0:
            width = original / slope
            low = (slope * mean_x - mean_y) * width
            candidates.append((round(low, 4), round(low + width, 4)))
    for low, high in candidates:
        expected = [_llama3_factor(x, factor, low, high, original) for x in inverse_wavelengths]
        if all(math.isclose(a, b, rel_tol=_TOLERANCE) for a, b in zip(expected, factors, strict=True)):
            return {
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low,
                "high_freq_factor": high,
                "original_max_position_embeddings": original,
            }
    return None


def _llama3_factor(inverse_wavelength: float, factor: float, low: float, high: float, original: int) -> float:
    ratio = original * inverse_wavelength
    if ratio > high:
        return 1.0
    if ratio < low or high <= low:
        return factor
    smooth = (ratio - low) / (high - low)
    return 1 / ((1 - smooth) / factor + smooth)


def _fixed_factors(factors: list[float], context: int) -> RopeParameters:
    """Any other factors, exactly: longrope with the same factors for short and long texts."""
    return {
        "rope_type": "longrope",
        "long_factor": factors,
        "short_factor": factors,
        "attention_factor": 1.0,
        "original_max_position_embeddings": context,
    }
