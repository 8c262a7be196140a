"""PyTorch's .pth and .pt files, new (zip) and old, read without torch and without running them.

`torch.load(weights_only=True)` would need torch, and ran code before 2.6.
"""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import WeightsError
from nasnet.weights import layouts
from nasnet.weights.formats.base import Content, Stored, open_members, raw
from nasnet.weights.formats.pickles import Call, Name, PickleError, dict_of, load_pickle, shown

# What torch.save wrote first until 1.6: the pickled integer 0x1950a86a20f9469cfc6c.
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_LEGACY_PROTOCOL = 1001
_MOST = 1 << 48  # of elements, and of what is counted in them
# Where trainers put the state dict, in the order of preference.
_PLACES = ("state_dict_ema", "model_ema", "ema", "state_dict", "model_state_dict", "model", "net")
_TYPES: Mapping[str, str] = {
    "torch FloatStorage": "float32",
    "torch DoubleStorage": "float64",
    "torch HalfStorage": "float16",
    "torch BFloat16Storage": "bfloat16",
    "torch LongStorage": "int64",
    "torch IntStorage": "int32",
    "torch ShortStorage": "int16",
    "torch CharStorage": "int8",
    "torch ByteStorage": "uint8",
    "torch BoolStorage": "bool",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Storage:
    """A run of numbers that tensors look into."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    """A view into a storage, in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


Data = Callable[[_Storage], memoryview | bytes]


def read_torch(path: Path) -> Content:
    """Read a file that `torch.save` wrote.

    Source: torch/serialization.py and torch/_utils.py. The pickle inside is read as data; what is
    no tensor, number, string or container is refused.
    """
    try:
        with path.open("rb") as file:
            legacy = file.read(len(LEGACY_MAGIC)) == LEGACY_MAGIC
        found, data, title = _read_legacy(path) if legacy else _read_zip(path)
    except PickleError as error:
        raise WeightsError(f"{path}: the pickle in this PyTorch file: {error}") from None
    tensors, notes = _state_dict(found, path)
    stored = {
        name: Stored(shape=tensor.shape, read=partial(_values, tensor, data, f"{path}: {name}"))
        for name, tensor in tensors.items()
    }
    return Content(title=title, tensors=stored, notes=notes)


def _read_zip(path: Path) -> tuple[Any, Data, str]:
    members = open_members(path)
    pickles = [name for name in members.sizes if name.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        raise WeightsError(f"{path}: no PyTorch file: it has {len(pickles)} members data.pkl")
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}byteorder" in members.sizes and members.read(f"{root}byteorder") != b"little":
        raise WeightsError(f"{path}: was written on a big-endian machine, which is not supported")
    if f"{root}constants.pkl" in members.sizes:
        raise WeightsError(
            f"{path}: is a TorchScript program, not a state dict: save model.state_dict()"
        )
    found = load_pickle(
        io.BytesIO(members.read(pickles[0])),
        allowed=_ALLOWED,
        persistent=_storage,
        build=_set_state,
    )
    data = members.read_all(name for name in members.sizes if name.startswith(f"{root}data/"))

    def values(storage: _Storage) -> bytes:
        name = f"{root}data/{storage.key}"
        return data[name] if name in data else members.read(name)  # which says what is missing

    return found, values, "PyTorch file"


def _read_legacy(path: Path) -> tuple[Any, Data, str]:
    with path.open("rb") as file:
        load = partial(load_pickle, file, allowed={})
        load()  # the magic number
        if load() != _LEGACY_PROTOCOL:
            raise PickleError("it is of an unknown protocol")
        system = load()
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise PickleError("it was written on a big-endian machine, which is not supported")
        storages: dict[str, _Storage] = {}

        def persistent(id: Any) -> _Storage:  # noqa: ANN401
            storage = _storage(id)
            storages[storage.key] = storage
            return storage

        found = load_pickle(file, allowed=_ALLOWED, persistent=persistent, build=_set_state)
        keys = load()
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise PickleError("it lists no storages")
        pieces: dict[str, bytes] = {}
        for key in keys:
            storage = storages.get(key)
            count = int.from_bytes(file.read(8), "little")
            if storage is None or count != storage.count:
                raise PickleError(f"its storage {key!r} is not the one its tensors look into")
            size = count * _item_size(storage.dtype)
            pieces[key] = _exactly(file, size, key)
    return found, lambda storage: pieces.get(storage.key, b""), "PyTorch file (old format)"


def _exactly(file: IO[bytes], size: int, key: str) -> bytes:
    here = file.tell()
    end = file.seek(0, io.SEEK_END)
    file.seek(here)
    if size > end - here:
        raise PickleError(f"its storage {key!r} claims {size} bytes where {end - here} are left")
    return file.read(size)


def _item_size(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _storage(id: Any) -> _Storage:  # noqa: ANN401
    """What a persistent id stands for: ("storage", type, key, location, number of elements)."""
    if not isinstance(id, tuple) or len(id) < 5 or id[0] != "storage":
        raise PickleError(f"it refers to something unknown: {shown(id)}")
    kind, key, count = id[1], id[2], id[4]
    dtype = _TYPES.get(kind.text) if isinstance(kind, Name) else None
    if dtype is None or not isinstance(key, str) or type(count) is not int:
        raise PickleError(f"it refers to a storage of an unknown kind: {shown(kind)}")
    if not 0 <= count < _MOST:
        raise PickleError(f"its storage {key!r} claims a number of elements that is none")
    if "/" in key or key in ("", "..") or (len(id) > 5 and id[5] is not None):
        raise PickleError(f"its storage is called {key!r}, which is not a number")
    return _Storage(key=key, dtype=dtype, count=count)


def _tensor(storage: Any, offset: Any, size: Any, strides: Any, *rest: Any) -> _Tensor:  # noqa: ANN401
    """`torch._utils._rebuild_tensor_v2`, its arguments checked."""
    if not isinstance(storage, _Storage) or not isinstance(size, tuple | list):
        raise PickleError("a tensor has no storage")
    shape, steps = tuple(size), tuple(strides)
    numbers = (offset, *shape, *steps)
    if len(shape) != len(steps) or len(shape) > 8:
        raise PickleError(f"a tensor has {len(shape)} axes and {len(steps)} strides")
    if not all(type(n) is int and 0 <= n < _MOST for n in numbers):
        raise PickleError("a tensor has a shape or strides that are none")
    last = offset + sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
    if math.prod(shape) and last >= storage.count:
        raise PickleError(f"a tensor of shape {shape} reaches beyond its storage")
    if math.prod(shape) > storage.count:  # an expanded view would unfold without end
        raise PickleError(f"a tensor of shape {shape} has more elements than its storage")
    return _Tensor(storage=storage, offset=offset, shape=shape, strides=steps)


def _dict(pairs: Any = ()) -> dict[Any, Any]:  # noqa: ANN401
    return dict_of(pairs.items() if isinstance(pairs, dict) else map(tuple, pairs))


def _set_state(thing: Any, state: Any) -> None:  # noqa: ANN401
    """State of an OrderedDict (`_metadata` of state dicts, left alone) or of an argparse Namespace.

    Nothing else that is allowed has any.
    """
    if not isinstance(thing, dict):
        raise PickleError(f"it sets the state of a {type(thing).__name__}")


# What may stand in a PyTorch file of weights: what is called gives a stand-in of ours.
_ALLOWED: Mapping[str, Call | None] = {
    **dict.fromkeys(_TYPES, None),
    "collections OrderedDict": _dict,
    "argparse Namespace": _dict,
    "torch Size": lambda sizes: tuple(sizes),
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": lambda data, *rest: data,
}


def _state_dict(found: Any, path: Path) -> tuple[dict[str, _Tensor], tuple[str, ...]]:  # noqa: ANN401
    """The tensors of the state dict, wherever in the file it is."""
    if not isinstance(found, dict):
        raise WeightsError(f"{path}: this PyTorch file holds no state dict, but a {_kind(found)}")
    places = [(key, found.get(key)) for key in _PLACES]
    for key, inner in (("", found), *places):
        tensors = _tensors(inner)
        if tensors and layouts.recognise(tensors) is not None:
            return tensors, (f"taken from {key!r} in the file",) if key else ()
    dicts = {id(inner): inner for inner in (found, *found.values()) if isinstance(inner, dict)}
    fullest = max((_tensors(inner) for inner in dicts.values()), key=len)
    return fullest, ()


def _tensors(found: Any) -> dict[str, _Tensor]:  # noqa: ANN401
    if not isinstance(found, dict):
        return {}
    return {
        sys.intern(key): value
        for key, value in found.items()
        if isinstance(key, str) and isinstance(value, _Tensor)
    }


def _kind(found: Any) -> str:  # noqa: ANN401
    return "tensor" if isinstance(found, _Tensor) else type(found).__name__


def _values(tensor: _Tensor, data: Data, where: str) -> npt.NDArray[Any]:
    storage = tensor.storage
    flat = raw(data(storage), storage.dtype, (storage.count,), where=where)
    # Bounds were checked when the tensor was made.
    steps = [step * flat.itemsize for step in tensor.strides]
    view = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, steps)
    return np.array(view)
