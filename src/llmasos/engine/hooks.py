"""Looking into a request and changing it on the way: hidden states, attention, steering vectors.

An :class:`Intervention` goes with a request (``Request.steering``). The runner stops after the layers that are named,
for the whole batch, and hands the rows of this request over; other requests in the batch are not touched.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from llmasos.errors import InvalidRequest
from llmasos.i18n import t

if TYPE_CHECKING:
    import torch

    from llmasos.engine.batch import SequenceSlice


@dataclass(frozen=True, eq=False)
class SteeringVector:
    """Adds ``strength * vector`` to the residual stream after layer ``layer``, at every position of the request.

    ``vector``: (hidden,). Source of the idea: activation addition, Turner et al. 2023.
    """

    layer: int
    vector: torch.Tensor
    strength: float = 1.0


@dataclass(eq=False)
class Recorder:
    """Collects what the layers show for one request; read it when the request has ended.

    Positions that came from the prefix cache are not computed and so not seen: set ``Request.reuse_prefix`` to
    ``False`` to see the whole prompt.
    """

    hidden_layers: Collection[int] = ()
    """Layers after which hidden states are kept; -1 is the embedding."""
    attention_layers: Collection[int] = ()
    """Layers whose attention weights are kept."""
    _hidden: dict[int, list[tuple[int, torch.Tensor]]] = field(default_factory=dict)
    _attention: dict[int, list[tuple[int, torch.Tensor]]] = field(default_factory=dict)

    def hidden_states(self, layer: int) -> torch.Tensor:
        """(positions, hidden) float32 after ``layer``, in the order of the positions computed."""
        return _joined(self._hidden, layer)

    def attention(self, layer: int) -> list[torch.Tensor]:
        """Attention weights of ``layer``: one (heads, rows, keys) float32 for each piece that was computed."""
        if layer not in self._attention:
            raise InvalidRequest(t("layer {layer} was not recorded", layer=layer))
        return [piece for _, piece in self._attention[layer]]

    def add_hidden(self, layer: int, position: int, rows: torch.Tensor) -> None:
        """Keep a copy of (rows, hidden) whose first row is at ``position``."""
        _keep(self._hidden.setdefault(layer, []), position, rows.clone())

    def add_attention(self, layer: int, position: int, weights: torch.Tensor) -> None:
        """Keep (heads, rows, keys) of rows that begin at ``position``."""
        _keep(self._attention.setdefault(layer, []), position, weights)


@dataclass(frozen=True, eq=False)
class Intervention:
    """What happens to one request beside generating."""

    vectors: Sequence[SteeringVector] = ()
    recorder: Recorder | None = None

    def check(self, layers: int, hidden: int) -> None:
        """Refuse layers and vectors that do not fit the model, all at once.

        Raises:
            InvalidRequest: a layer is out of range or a vector has another width.
        """
        lines = [
            t("layer {layer} does not exist; the model has layers 0 to {last}", layer=layer, last=layers - 1)
            for layer in [
                *(vector.layer for vector in self.vectors),
                *(self.recorder.attention_layers if self.recorder else ()),
                *(layer for layer in (self.recorder.hidden_layers if self.recorder else ()) if layer != -1),
            ]
            if not 0 <= layer < layers
        ]
        lines += [
            t("a steering vector has the shape {shape}, the model needs ({hidden},)", shape=tuple(item.vector.shape),
              hidden=hidden)
            for item in self.vectors
            if tuple(item.vector.shape) != (hidden,)
        ]  # fmt: skip
        if lines:
            raise InvalidRequest("\n".join(lines))

    @property
    def stops(self) -> set[int]:
        """Layers after which the runner has to stop; -1 is the embedding."""
        wanted = {vector.layer for vector in self.vectors}
        if self.recorder is not None:
            wanted.update(self.recorder.hidden_layers, self.recorder.attention_layers)
        return wanted


class LayeredDecoder(Protocol):
    """The part of a decoder that interventions need."""

    def run_layers(self, first: int, last: int) -> None: ...

    def attention_weights(self, layer: int, piece: SequenceSlice) -> torch.Tensor: ...


def run_with_interventions(
    decoder: LayeredDecoder, layers: int, hidden: torch.Tensor, pieces: Sequence[SequenceSlice]
) -> None:
    """Run all layers, stopping where a request wants to look or steer. ``hidden``: (rows, hidden), changed in place."""
    active: list[tuple[SequenceSlice, Any]] = [
        (piece, piece.steering) for piece in pieces if piece.steering is not None
    ]
    stops = sorted(set().union(*(intervention.stops for _, intervention in active)))
    done = 0
    for stop in stops:
        # Attention weights are read from the queries of the layer computed last: it has to be computed alone.
        if done < stop:
            decoder.run_layers(done, stop)
        if stop >= 0:
            decoder.run_layers(stop, stop + 1)
            done = stop + 1
        for piece, intervention in active:
            _apply(decoder, stop, hidden, piece, intervention)
    decoder.run_layers(done, layers)


def _apply(
    decoder: LayeredDecoder, layer: int, hidden: torch.Tensor, piece: SequenceSlice, intervention: Intervention
) -> None:
    rows = hidden[piece.start : piece.start + piece.length]
    recorder = intervention.recorder
    if recorder is not None and layer in recorder.attention_layers:
        recorder.add_attention(layer, piece.context, decoder.attention_weights(layer, piece).cpu())
    for vector in intervention.vectors:
        if vector.layer == layer:
            rows += vector.strength * vector.vector.to(rows)
    if recorder is not None and layer in recorder.hidden_layers:
        recorder.add_hidden(layer, piece.context, rows.cpu())


def _keep(pieces: list[tuple[int, torch.Tensor]], position: int, tensor: torch.Tensor) -> None:
    """Replace what a recomputation (preemption, a rejected draft) makes void, then append."""
    while pieces and pieces[-1][0] >= position:
        pieces.pop()
    pieces.append((position, tensor))


def _joined(store: dict[int, list[tuple[int, torch.Tensor]]], layer: int) -> torch.Tensor:
    import torch

    if layer not in store:
        raise InvalidRequest(t("layer {layer} was not recorded", layer=layer))
    parts: list[torch.Tensor] = []
    for index, (position, rows) in enumerate(store[layer]):
        following = store[layer][index + 1][0] if index + 1 < len(store[layer]) else None
        parts.append(rows if following is None else rows[: following - position])
    return torch.cat(parts)
