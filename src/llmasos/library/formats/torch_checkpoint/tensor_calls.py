"""What PyTorch's pickles may call, and the description of a tensor that comes of it (torch/_utils.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llmasos.errors import IntegrityError, UnsafeContent, Unsupported
from llmasos.i18n import t
from llmasos.library.formats.torch_checkpoint.pickle_machine import Call, GlobalName

# Types of storages and of tensors -> safetensors' names.
_STORAGES = {
    "FloatStorage": "F32", "DoubleStorage": "F64", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}  # fmt: skip
_DTYPES = {
    "float32": "F32", "float": "F32", "float64": "F64", "double": "F64", "float16": "F16", "half": "F16",
    "bfloat16": "BF16", "int64": "I64", "long": "I64", "int32": "I32", "int": "I32", "int16": "I16", "short": "I16",
    "int8": "I8", "uint8": "U8", "uint16": "U16", "uint32": "U32", "uint64": "U64", "bool": "BOOL",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}  # fmt: skip
_UNTYPED = ("torch.UntypedStorage", "torch.storage.UntypedStorage")
MAX_DIMENSIONS = 64  # PyTorch's own limit
MAX_COPIED = 10_000_000

# Globals that may stand in a pickle as values; nothing is done with them.
_INERT = frozenset({"torch.device", "torch.Size", "torch.Tensor", "torch.nn.parameter.Parameter", *_UNTYPED})


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of numbers, from ``offset`` on. ``dtype`` is ``None`` for untyped bytes, which ``elements`` counts then."""

    key: str
    dtype: str | None
    elements: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Tensor:
    """A view of a storage; offset and strides count elements."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def elements(self) -> int:
        """How many numbers it has."""
        count = 1
        for length in self.shape:
            count *= length
        return count

    @property
    def is_contiguous(self) -> bool:
        """Whether its numbers lie one after the other, row by row."""
        expected = 1
        for length, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if length != 1 and stride != expected:
                return self.elements == 0
            expected *= length
        return True

    @property
    def span(self) -> int:
        """How many elements of the storage it reaches over."""
        if self.elements == 0:
            return 0
        return 1 + sum((length - 1) * stride for length, stride in zip(self.shape, self.strides, strict=True))


def is_allowed_name(found: GlobalName) -> bool:
    """Whether a global may be mentioned as a value: types of storages and of numbers, and a few inert ones."""
    if str(found) in _INERT:
        return True
    if found.module != "torch":
        return False
    return found.name in _STORAGES or found.name in _DTYPES


def storage_from_persistent_id(identifier: Any, where: str) -> Storage:
    """PyTorch's reference to a storage: ('storage', type, key, location, elements[, view]).

    Raises:
        UnsafeContent: a reference of another kind (``module``: the source code of a class).
        IntegrityError: the reference is not complete.
    """
    if not isinstance(identifier, tuple) or len(identifier) < 5:
        raise _damaged(where, t("a reference to a storage is not complete"))
    kind, storage_type, key, _, elements = identifier[:5]
    if kind != "storage":
        raise UnsafeContent(
            t("{where} refers to {kind!r}; only tensors can be read", where=where, kind=str(kind)[:80]),
            hint=t("Ask the author for safetensors, or save only the state_dict of the model."),
        )
    if not isinstance(storage_type, GlobalName) or not isinstance(key, str) or not _is_size(elements):
        raise _damaged(where, t("a reference to a storage is not complete"))
    if str(storage_type) in _UNTYPED:
        dtype = None
    elif storage_type.module == "torch" and storage_type.name in _STORAGES:
        dtype = _STORAGES[storage_type.name]
    else:
        raise _damaged(where, t("a reference to a storage is not complete"))
    view = identifier[5] if len(identifier) > 5 else None  # old files: (key, offset, size) of a part of the storage
    if view is None:
        return Storage(key, dtype, elements)
    if not isinstance(view, tuple) or len(view) != 3 or not _is_size(view[1]) or not _is_size(view[2]):
        raise _damaged(where, t("a reference to a storage is not complete"))
    if view[1] + view[2] > elements:
        raise _damaged(where, t("a view reaches beyond its storage"))
    return Storage(key, dtype, view[2], view[1])


class _Budget:
    """What all copying calls of one pickle may copy together: a value can be named a million times in few bytes."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._left = MAX_COPIED

    def spend(self, amount: int) -> None:
        self._left -= amount
        if self._left < 0:
            raise UnsafeContent(
                t("{where} unpacks to far more than it holds", where=self._where),
                hint=t("Ask the author for safetensors, or save only the state_dict of the model."),
            )


def tensor_calls(where: str) -> dict[str, Call]:
    """The calls that a checkpoint may make, by name."""
    budget = _Budget(where)

    def ordered_dict(arguments: tuple[Any, ...]) -> dict[Any, Any]:
        # Filled by later instructions; a list of pairs was used by Python 2.
        if len(arguments) > 1 or (arguments and not isinstance(arguments[0], list)):
            raise _damaged(where, t("a dictionary is built from something else than pairs"))
        pairs = arguments[0] if arguments else []
        budget.spend(len(pairs))
        if not _are_pairs(pairs):
            raise _damaged(where, t("a dictionary is built from something else than pairs"))
        return dict(pairs)

    def rebuild(arguments: tuple[Any, ...]) -> Tensor:
        if len(arguments) < 4:
            raise _damaged(where, t("a tensor's description is not complete"))
        storage, offset, shape, strides = arguments[:4]
        return _tensor(where, storage, offset, shape, strides, None)

    def rebuild_with_dtype(arguments: tuple[Any, ...]) -> Tensor:
        if len(arguments) < 7 or not isinstance(arguments[6], GlobalName):
            raise _damaged(where, t("a tensor's description is not complete"))
        storage, offset, shape, strides = arguments[:4]
        return _tensor(where, storage, offset, shape, strides, _DTYPES.get(arguments[6].name))

    def parameter(arguments: tuple[Any, ...]) -> Tensor:
        if not arguments or not isinstance(arguments[0], Tensor):
            raise _damaged(where, t("a parameter is not a tensor"))
        return arguments[0]

    def subclass(arguments: tuple[Any, ...]) -> Tensor:
        """(function, type, arguments, state): a tensor or parameter that carries attributes of its own."""
        if len(arguments) < 3 or not isinstance(arguments[2], tuple) or str(arguments[0]) not in rebuilders:
            raise _damaged(where, t("a tensor's description is not complete"))
        return rebuilders[str(arguments[0])](arguments[2])

    def size(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(arguments) != 1 or not isinstance(arguments[0], tuple | list) or len(arguments[0]) > MAX_DIMENSIONS:
            raise _damaged(where, t("a tensor's description is not complete"))
        return tuple(arguments[0])

    def latin1(arguments: tuple[Any, ...]) -> bytes:
        if len(arguments) != 2 or arguments[1] != "latin1" or not isinstance(arguments[0], str):
            raise _damaged(where, t("a text is encoded in an unusual way"))
        budget.spend(len(arguments[0]))
        return arguments[0].encode("latin1", "replace")

    rebuilders: dict[str, Callable[[tuple[Any, ...]], Tensor]] = {
        "torch._utils._rebuild_tensor": rebuild,
        "torch._utils._rebuild_tensor_v2": rebuild,
        "torch._utils._rebuild_tensor_v3": rebuild_with_dtype,
    }
    return {
        **rebuilders,
        "torch._utils._rebuild_parameter": parameter,
        "torch._utils._rebuild_parameter_with_state": parameter,
        "torch._tensor._rebuild_from_type_v2": subclass,
        "collections.OrderedDict": ordered_dict,
        "torch.Size": size,
        "torch.device": lambda arguments: None,
        "_codecs.encode": latin1,
    }


def _tensor(where: str, storage: Any, offset: Any, shape: Any, strides: Any, dtype: str | None) -> Tensor:
    if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise _damaged(where, t("a tensor's description is not complete"))
    if len(shape) != len(strides) or len(shape) > MAX_DIMENSIONS or not all(map(_is_size, (offset, *shape, *strides))):
        raise _damaged(
            where,
            t(
                "a tensor has the impossible shape {shape} or strides {strides}",
                shape=str(shape)[:80],
                strides=str(strides)[:80],
            ),
        )
    dtype = dtype or storage.dtype
    if dtype is None:
        raise Unsupported(
            t("{where} has a tensor of a type that safetensors does not have", where=where),
            hint=t("Ask the author for safetensors."),
        )
    return Tensor(storage, dtype, offset, shape, strides)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _are_pairs(value: list[Any]) -> bool:
    return all(isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[0], str) for item in value)


def _damaged(where: str, reason: str) -> IntegrityError:
    return IntegrityError(
        t("the pickle in {where} is damaged: {reason}", where=where, reason=reason),
        hint=t("Fetch the file again; an incomplete download is the usual cause."),
    )
