"""Read a decoder's weights from safetensors, layer by layer, in the form the kernels take.

Tensors are memory-mapped one layer at a time and stay in the stored dtype until the kernels pack them, so that loading
needs little more memory than the packed model. No mapping is kept: its pages would count as memory of this process.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmasos.engine.architecture import DecoderSpec
from llmasos.errors import IntegrityError
from llmasos.i18n import t

if TYPE_CHECKING:
    import torch


@dataclass
class Projection:
    """A linear map: ``weight`` (out, in) in the stored dtype and ``bias`` (out,), float32, or ``None``."""

    weight: torch.Tensor
    bias: torch.Tensor | None = None


@dataclass
class LayerWeights:
    """One layer. Norm weights have the family's offset already added."""

    query: Projection
    key: Projection
    value: Projection
    output: Projection
    gate: Projection
    up: Projection
    down: Projection
    input_norm: torch.Tensor
    post_attention_norm: torch.Tensor
    query_norm: torch.Tensor | None
    key_norm: torch.Tensor | None
    attention_out_norm: torch.Tensor | None
    mlp_out_norm: torch.Tensor | None


@dataclass
class HeadWeights:
    """Final norm and the map from hidden states to logits: ``weight`` (vocabulary, hidden)."""

    norm: torch.Tensor
    projection: Projection


class DecoderWeights:
    """The tensors of a model folder under their Hugging Face names."""

    def __init__(self, directory: Path, spec: DecoderSpec) -> None:
        from safetensors import safe_open

        self._open: Any = safe_open  # it has no types
        self._spec = spec
        self._directory = directory
        index = directory / "model.safetensors.index.json"
        if index.exists():
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        else:
            names = ["model.safetensors"]
        self._files: dict[str, str] = {}
        for name in names:
            with self._open(directory / name, framework="pt") as handle:
                self._files.update(dict.fromkeys(handle.keys(), name))

    def _take(self, name: str) -> torch.Tensor:
        if name not in self._files:
            raise IntegrityError(
                t(
                    "{directory} has no tensor {name}, which this architecture needs",
                    directory=self._directory,
                    name=name,
                ),
                hint=t("Pull or import the model again."),
            )
        with self._open(self._directory / self._files[name], framework="pt") as handle:
            tensor: torch.Tensor = handle.get_tensor(name)
        return tensor

    def _projection(self, name: str) -> Projection:
        bias = self._take(f"{name}.bias").float() if f"{name}.bias" in self._files else None
        return Projection(self._take(f"{name}.weight"), bias)

    def _norm(self, name: str) -> torch.Tensor:
        return self._take(f"{name}.weight").float() + self._spec.norm_offset

    def embedding(self) -> torch.Tensor:
        """(vocabulary, hidden) in the stored dtype, not scaled."""
        return self._take("model.embed_tokens.weight").clone()

    def head(self) -> HeadWeights:
        name = "model.embed_tokens" if self._spec.tied_embeddings or "lm_head.weight" not in self._files else "lm_head"
        return HeadWeights(self._norm("model.norm"), self._projection(name))

    def layers(self) -> Iterator[LayerWeights]:
        """The layers in order, each read when it is asked for."""
        spec = self._spec
        for index in range(len(spec.layers)):
            prefix = f"model.layers.{index}"
            attention, mlp = f"{prefix}.self_attn", f"{prefix}.mlp"
            yield LayerWeights(
                query=self._projection(f"{attention}.q_proj"),
                key=self._projection(f"{attention}.k_proj"),
                value=self._projection(f"{attention}.v_proj"),
                output=self._projection(f"{attention}.o_proj"),
                gate=self._projection(f"{mlp}.gate_proj"),
                up=self._projection(f"{mlp}.up_proj"),
                down=self._projection(f"{mlp}.down_proj"),
                input_norm=self._norm(f"{prefix}.input_layernorm"),
                post_attention_norm=self._norm(
                    f"{prefix}.{'pre_feedforward_layernorm' if spec.branch_norms else 'post_attention_layernorm'}"
                ),
                query_norm=self._norm(f"{attention}.q_norm") if spec.query_key_norm else None,
                key_norm=self._norm(f"{attention}.k_norm") if spec.query_key_norm else None,
                attention_out_norm=self._norm(f"{prefix}.post_attention_layernorm") if spec.branch_norms else None,
                mlp_out_norm=self._norm(f"{prefix}.post_feedforward_layernorm") if spec.branch_norms else None,
            )
