"""Keys and values of a decoder's live outputs, in the two forms that transformers' decoders can work with.

:class:`RaggedBatch` aligns rows of different lengths at their latest token: every step adds one column for all, and
what lies left of a row's own beginning is masked. Decoders with relative positions need nothing else; those that add a
position to each token get a position per row. A row that joins takes the next free place, one that leaves is
overwritten by the last. :class:`CommonBatch` is transformers' own cache, for models that only know one position for all
rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import DynamicCache, EncoderDecoderCache
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicLayer

Positions = Literal["rows", "shared"]
"""What a decoder takes as the length of its past: one number per row, or one for all (relative positions)."""


@dataclass(slots=True)
class Started:
    """Prompts that an encoder has read, and their decoder's first step."""

    logits: torch.Tensor
    """(prompts, vocabulary) float32: of the first token of each output."""
    cache: EncoderDecoderCache
    hidden: torch.Tensor
    """(prompts, longest, width): what the encoder gave."""
    lengths: list[int]
    """Tokens of each prompt."""


class _RowPositions(torch.Tensor):
    """(rows, 1) positions that may stand where decoders expect a number.

    A comparison of it is true if it is for any row: M2M100 asks whether its table of positions is long enough. BART
    puts a dimension for the rows before it, which is there already.
    """

    _KEPT = frozenset({"add", "__add__", "__radd__", "gt", "__gt__"})

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name == "unsqueeze" and args[1:] == (0,):
            return args[0]
        with torch._C.DisableTorchFunctionSubclass():
            found = func(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor):
            return found.as_subclass(cls if name in cls._KEPT else torch.Tensor)
        return found

    def __bool__(self) -> bool:
        return bool(self.as_subclass(torch.Tensor).any())


class _OwnLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]  # torch gives it no types
    """A layer's self-attention in a :class:`RaggedBatch`, as transformers' attention modules see it."""

    is_sliding = False

    def __init__(self, batch: RaggedBatch, layer: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch gives it no types
        self._batch = batch
        self._layer = layer
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """The memory is the batch's."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self._batch.write(self._layer, key_states, value_states)

    def get_seq_length(self) -> int:
        return self._batch.past  # type: ignore[no-any-return]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._batch.columns, 0

    def get_max_length(self) -> int:
        return -1


class RaggedBatch:
    """Rows of different lengths that may join and leave between steps."""

    joins = True

    def __init__(self, positions: Positions) -> None:
        self._positions = positions
        self._own: list[torch.Tensor] = []
        """Keys of layer 0, values of layer 0, keys of layer 1, ...: (places, heads, columns, dim) each."""
        self._cross: list[torch.Tensor] = []
        self._lengths: list[int] = []
        self._sources: list[int] = []
        self._end = 0
        self._width = 0
        self._cache: EncoderDecoderCache | None = None
        self.past: Any = 0
        """Tokens before the one that is computed: (rows, 1), or one number for all."""

    @property
    def rows(self) -> int:
        """Live outputs."""
        return len(self._lengths)

    @property
    def columns(self) -> int:
        """Columns that attention sees in the step under way."""
        return max(self._lengths, default=0)

    @property
    def places(self) -> int:
        """Rows that there is memory for."""
        return self._own[0].shape[0] if self._own else 0

    def join(self, started: Started, picks: Sequence[int]) -> None:
        """Add rows that go on from prompts; ``picks`` says from which, one entry per row."""
        own = _tensors(started.cache.self_attention_cache)
        cross = _tensors(started.cache.cross_attention_cache)
        self._width = started.hidden.shape[2]
        first, total = self.rows, self.rows + len(picks)
        if not first:
            self._end = own[0].shape[2]
        assert own[0].shape[2] == 1, "outputs start with one token"
        longest = max(started.lengths[pick] for pick in picks)
        if not self._own:
            self._own = [_zeros(tensor, total, 16) for tensor in own]
            self._cross = [_zeros(tensor, total, longest) for tensor in cross]
        if total > self.places:
            self._own = [_grown(tensor, rows=max(total, 2 * self.places)) for tensor in self._own]
            self._cross = [_grown(tensor, rows=self._own[0].shape[0]) for tensor in self._cross]
        if longest > self._cross[0].shape[2]:
            self._cross = [_grown(tensor, columns=longest) for tensor in self._cross]
        index = torch.tensor(picks, device=own[0].device)
        for target, source in zip(self._own, own, strict=True):
            # Whatever lies in a masked place is multiplied by 0, which must not meet the NaN of a broken request.
            target[first:total] = 0
            target[first:total, :, self._end - 1] = source[index, :, 0]
        for target, source in zip(self._cross, cross, strict=True):
            target[first:total] = 0
            target[first:total, :, :longest] = source[index, :, :longest]
        self._lengths += [1] * len(picks)
        self._sources += [started.lengths[pick] for pick in picks]

    def keep(self, order: Sequence[int]) -> None:
        """Drop all rows but those in ``order``, which is how they are numbered from now on.

        ``order[i]`` is ``i`` or a row beyond the new number of rows: nothing is copied that need not be.
        """
        for target, source in enumerate(order):
            if source != target:
                for tensor in (*self._own, *self._cross):
                    tensor[target] = tensor[source]
        self._lengths = [self._lengths[row] for row in order]
        self._sources = [self._sources[row] for row in order]

    def clear(self) -> None:
        """Drop all rows and their memory."""
        self.__init__(self._positions)  # type: ignore[misc]

    def arguments(self) -> dict[str, Any]:
        """Make room for one more token per row; what the model takes beside the tokens."""
        if self._end == self._own[0].shape[2]:
            self._make_room()
        self._lengths = [length + 1 for length in self._lengths]
        self._end += 1
        rows, columns, device, dtype = self.rows, self.columns, self._own[0].device, self._own[0].dtype
        lengths = torch.tensor(self._lengths, device=device)
        sources = torch.tensor(self._sources, device=device)
        self.past = columns - 1
        if self._positions == "rows":
            self.past = (lengths[:, None] - 1).as_subclass(_RowPositions)
        longest = max(self._sources)
        own = torch.arange(columns, device=device) >= columns - lengths[:, None]
        cross = torch.arange(longest, device=device) < sources[:, None]
        layers = len(self._own) // 2
        cross_layers: list[Any] = []
        for layer in range(layers):
            item: Any = DynamicLayer()  # type: ignore[no-untyped-call]  # torch gives it no types
            item.keys, item.values = (self._cross[2 * layer + side][:rows, :, :longest] for side in (0, 1))
            item.is_initialized = True
            cross_layers.append(item)
        return {
            "past_key_values": EncoderDecoderCache(
                Cache(layers=[_OwnLayer(self, layer) for layer in range(layers)]), Cache(layers=cross_layers)
            ),
            "decoder_attention_mask": _additive(own, dtype),
            "attention_mask": _additive(cross, dtype),
            # Only asked for its presence and shape: its keys and values are in the cache.
            "encoder_outputs": (torch.zeros(1, 1, 1, device=device, dtype=dtype).expand(rows, longest, self._width),),
        }

    def write(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Store the keys and values of the step's tokens; all that attention may see, (rows, heads, columns, dim)."""
        begin = self._end - self.columns
        found = []
        for tensor, new in ((self._own[2 * layer], keys), (self._own[2 * layer + 1], values)):
            tensor[: self.rows, :, self._end - 1] = new[:, :, 0]
            found.append(tensor[: self.rows, :, begin : self._end])
        return found[0], found[1]

    def _make_room(self) -> None:
        """Move what is seen to the left, or enlarge the memory where that would not last."""
        used, columns = self.columns, self._own[0].shape[2]
        size = columns if 2 * used <= columns else 2 * columns
        for place, tensor in enumerate(self._own):
            fresh = torch.zeros(*tensor.shape[:2], size, tensor.shape[3], dtype=tensor.dtype, device=tensor.device)
            fresh[: self.rows, :, :used] = tensor[: self.rows, :, self._end - used : self._end]
            self._own[place] = fresh
        self._end = used


class CommonBatch:
    """Rows that started together, on transformers' own cache."""

    joins = False

    def __init__(self) -> None:
        self.clear()

    @property
    def rows(self) -> int:
        """Live outputs."""
        return len(self._hidden) if self._hidden is not None else 0

    def clear(self) -> None:
        """Drop all rows and their memory."""
        self._cache: EncoderDecoderCache | None = None
        self._hidden: torch.Tensor | None = None
        self._mask: torch.Tensor | None = None

    def join(self, started: Started, picks: Sequence[int]) -> None:
        """Start with rows that go on from prompts; the batch must be empty."""
        assert not self.rows
        index = torch.tensor(picks, device=started.hidden.device)
        self._cache, self._hidden = started.cache, started.hidden[index]
        self._cache.batch_select_indices(index)
        lengths = torch.tensor(started.lengths, device=index.device)[index]
        self._mask = (torch.arange(started.hidden.shape[1], device=index.device) < lengths[:, None]).long()

    def keep(self, order: Sequence[int]) -> None:
        """Drop all rows but those in ``order``."""
        if not order:
            self.clear()
            return
        assert self._cache is not None and self._hidden is not None and self._mask is not None
        if list(order) != list(range(self.rows)):
            index = torch.tensor(order, device=self._hidden.device)
            self._cache.batch_select_indices(index)
            self._hidden, self._mask = self._hidden[index], self._mask[index]

    def arguments(self) -> dict[str, Any]:
        """What the model takes beside the tokens."""
        return {"past_key_values": self._cache, "attention_mask": self._mask, "encoder_outputs": (self._hidden,)}


def bytes_of(cache: EncoderDecoderCache) -> tuple[int, int]:
    """Bytes of one token of output and of one token of the prompt, per row, over all layers."""
    return _bytes(cache.self_attention_cache), _bytes(cache.cross_attention_cache)


def _bytes(cache: Cache) -> int:
    return sum(tensor[:1, :, :1].numel() * tensor.element_size() for tensor in _tensors(cache))


def _tensors(cache: Any) -> list[torch.Tensor]:
    """Keys and values of all layers. Raises AttributeError or TypeError for caches of another kind."""
    if not isinstance(cache, DynamicCache):
        raise TypeError(f"a cache of the class {type(cache).__name__}")
    layers: list[Any] = cache.layers
    return [tensor for layer in layers for tensor in (layer.keys, layer.values)]


def _zeros(like: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    return torch.zeros(rows, like.shape[1], columns, like.shape[3], dtype=like.dtype, device=like.device)


def _grown(tensor: torch.Tensor, rows: int | None = None, columns: int | None = None) -> torch.Tensor:
    larger = _zeros(tensor, rows or tensor.shape[0], columns or tensor.shape[2])
    larger[: tensor.shape[0], :, : tensor.shape[2]] = tensor
    return larger


def _additive(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """(rows, columns) truth to (rows, 1, 1, columns) of 0 and the lowest number, which every attention takes."""
    mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)
    return mask[:, None, None]
