"""What the tokens of a text attended to, by layer and head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmasos.errors import InvalidRequest
from llmasos.i18n import t

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from llmasos.engine.hooks import Recorder


@dataclass(frozen=True, eq=False)
class Attention:
    """Attention weights of a text.

    Attributes:
        weights: (layers, heads, tokens, tokens) float32: how much the token of a row took from the token of a column.
            Rows sum to 1, and no token sees a later one.
    """

    weights: NDArray[np.float32]

    @property
    def layers(self) -> int:
        """How many there are."""
        return int(self.weights.shape[0])

    @property
    def heads(self) -> int:
        """In each layer."""
        return int(self.weights.shape[1])

    def map(self, layer: int | None = None, head: int | None = None) -> NDArray[np.float32]:
        """(tokens, tokens) of one head; ``None``: the mean over layers or heads.

        Raises:
            InvalidRequest: there is no such layer or head.
        """
        for name, value, count in (("layer", layer, self.layers), ("head", head, self.heads)):
            if value is not None and not 0 <= value < count:
                raise InvalidRequest(
                    t("{name} = {value}: allowed is {allowed}", name=name, value=value,
                      allowed=t("a whole number from {low} to {high}", low=0, high=count - 1))
                )  # fmt: skip
        chosen = self.weights[slice(None) if layer is None else slice(layer, layer + 1)]
        chosen = chosen[:, slice(None) if head is None else slice(head, head + 1)]
        found: NDArray[np.float32] = chosen.mean((0, 1))
        return found


def joined(recorder: Recorder, layers: int, tokens: int) -> Attention:
    """The weights that a recorder kept in pieces, as whole maps."""
    import numpy as np

    first = recorder.attention(0)
    weights = np.zeros((layers, first[0].shape[0], tokens, tokens), np.float32)
    for layer in range(layers):
        for piece in recorder.attention(layer):
            _, rows, keys = piece.shape
            weights[layer, :, keys - rows : keys, :keys] = piece.numpy()
    return Attention(weights)
