"""NumPy's .npz files: TensorNets' (a pickled list of arrays in one), and plain ones by name.

Pickles are read as data, never run.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import WeightsError
from nasnet.network.build import build_plan
from nasnet.network.code import decode
from nasnet.weights import layouts
from nasnet.weights.formats.base import Content, in_memory, open_members, raw
from nasnet.weights.formats.npy import npy_header
from nasnet.weights.formats.pickles import Call, PickleError, load_pickle, shown

Array = npt.NDArray[Any]
_MOST_NAMES = 10_000
_LAST_CHARACTER = 0x10FFFF
# NumPy's short names, which are in its pickles.
_NUMBERS = {"f2": "float16", "f4": "float32", "f8": "float64", "i4": "int32", "i8": "int64"}
# The order in which TensorNets makes the variables of a cell: by slot, or by branch.
_CELL_ORDER = (
    *("adjust/conv1/", "adjust/conv2/", "adjust/bn/", "adjust/prev_1x1/", "1x1/"),
    *("left1/", "right1/", "left2/", "right2/", "right3/", "right4/", "left5/", "right5/"),
)
_LEAF_ORDER = ("depthwise_weights", "pointwise_weights", "weights", "biases")
_NORM_ORDER = ("beta", "gamma", "moving_mean", "moving_variance")


def read_npz(path: Path) -> Content:
    """Read an .npz file."""
    members = open_members(path)
    data = members.read_all(members.sizes)
    arrays = {
        name.removesuffix(".npy"): _member(content, f"{path}: {name}")
        for name, content in data.items()
    }
    if set(arrays) == {"names", "values"}:
        labels, values = (_listed(arrays[name], f"{path}: {name}") for name in ("names", "values"))
        return _tensornets(labels, values, path)
    numbers = {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}
    return Content(title="NumPy archive", tensors=in_memory(numbers))


def _member(content: bytes, where: str) -> Array | list[Any]:
    """One array; a list of objects for an array of objects."""
    file = io.BytesIO(content)
    try:
        shape, fortran, dtype = npy_header(file)
        if dtype.hasobject:
            found = load_pickle(file, allowed=_ALLOWED, build=_set_state)
            return _objects(found)
    except PickleError as error:
        raise WeightsError(f"{where}: the pickle in it: {error}") from None
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{where} is not a readable array: {error}") from None
    data = file.read()
    if dtype.kind in "US":
        return _strings(data, dtype, shape, where)
    if dtype.str.startswith(">"):
        raise WeightsError(f"{where} is big-endian, which is not supported")
    if fortran:
        return raw(data, dtype.name, tuple(reversed(shape)), where=where).T
    return raw(data, dtype.name, shape, where=where)


def _listed(array: Array | list[Any], where: str) -> list[Any]:
    if isinstance(array, np.ndarray) and not array.ndim:
        raise WeightsError(f"{where} is one number, expected a list")
    return list(array)


def _strings(data: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], where: str) -> list[Any]:
    if len(shape) != 1 or shape[0] > _MOST_NAMES or shape[0] * dtype.itemsize != len(data):
        raise WeightsError(f"{where} is not a list of names")
    codes = np.frombuffer(data, "u4" if dtype.kind == "U" else "u1")
    if dtype.str.startswith(">"):
        codes = codes.byteswap()
    if codes.max(initial=0) > _LAST_CHARACTER:  # NumPy makes no text of such
        raise WeightsError(f"{where} is not a list of names")
    try:
        return [str(text) for text in np.frombuffer(data, dtype=dtype)]
    except (ValueError, UnicodeError):
        raise WeightsError(f"{where} is not a list of names") from None


@dataclass(slots=True)
class _Pickled:
    """An array that a pickle is making: called first, its state set afterwards."""

    values: Array | list[Any] | None = None


@dataclass(slots=True)
class _Type:
    """A NumPy type that a pickle is making."""

    name: str
    order: str = "<"


def _set_state(thing: Any, state: Any) -> None:  # noqa: ANN401
    """`ndarray.__setstate__` and `dtype.__setstate__`, checked."""
    if isinstance(thing, _Type) and isinstance(state, tuple) and len(state) > 1:
        thing.order = state[1] if isinstance(state[1], str) else ""
        return
    if not (isinstance(thing, _Pickled) and isinstance(state, tuple) and len(state) == 5):
        raise PickleError(f"it sets the state of a {type(thing).__name__}")
    _, shape, kind, fortran, data = state
    if not isinstance(kind, _Type) or not isinstance(shape, tuple):
        raise PickleError("an array in it has no type")
    if isinstance(data, list):
        thing.values = [_array_of(item) for item in data]
        return
    thing.values = _from_bytes(data, kind, shape, fortran=bool(fortran))


def _from_bytes(data: Any, kind: _Type, shape: tuple[int, ...], *, fortran: bool) -> Array:  # noqa: ANN401
    if isinstance(data, str):  # Python 2 wrote bytes as such
        data = data.encode("latin-1")
    if not isinstance(data, bytes | bytearray) or not all(type(n) is int for n in shape):
        raise PickleError("an array in it has no bytes")
    if not all(0 <= n < 1 << 48 for n in shape):
        raise PickleError("an array in it has a shape that is none")
    if kind.order == ">":
        raise PickleError("an array in it is big-endian, which is not supported")
    try:
        name = _NUMBERS.get(kind.name, kind.name)
        order = tuple(reversed(shape)) if fortran else shape
        array = raw(bytes(data), name, order, where="an array in it")
    except WeightsError as error:
        raise PickleError(str(error)) from None
    return array.T if fortran else array


def _array_of(item: Any) -> Any:  # noqa: ANN401
    return item.values if isinstance(item, _Pickled) else item


def _objects(found: Any) -> list[Any]:  # noqa: ANN401
    values = _array_of(found)
    if not isinstance(values, list):
        raise PickleError("it is not an array of objects")
    return values


def _encode(text: Any, encoding: Any = "latin-1") -> bytes:  # noqa: ANN401
    """`_codecs.encode`, by which Python 3 writes bytes in old protocols."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise PickleError("it encodes something that are no bytes")
    return text.encode("latin-1")


def _scalar(kind: Any, data: Any) -> Any:  # noqa: ANN401
    if not isinstance(kind, _Type):
        raise PickleError("a number in it has no type")
    return data


def _buffer(data: Any, kind: Any, shape: Any, order: Any) -> _Pickled:  # noqa: ANN401
    """`numpy._core.numeric._frombuffer`, of protocol 5."""
    if not isinstance(kind, _Type) or not isinstance(shape, tuple):
        raise PickleError("an array in it has no type")
    return _Pickled(_from_bytes(data, kind, shape, fortran=order == "F"))


def _type(name: Any, *rest: Any) -> _Type:  # noqa: ANN401
    if not isinstance(name, str):
        raise PickleError(f"it names the type {shown(name)}")
    return _Type(name)


_ALLOWED: Mapping[str, Call | None] = {
    "numpy ndarray": None,
    "numpy dtype": _type,
    "_codecs encode": _encode,
    **{
        f"numpy.{core}.multiarray {name}": make
        for core in ("core", "_core")
        for name, make in (("_reconstruct", lambda *rest: _Pickled()), ("scalar", _scalar))
    },
    **{f"numpy.{core}.numeric _frombuffer": _buffer for core in ("core", "_core")},
}


def tensornets_order(spec: str, *, aux_head: bool, gamma_first: bool = False) -> list[str]:
    """TF-Slim's names of a network's variables in the order TensorNets makes them.

    TensorNets makes the auxiliary head in any case; `gamma_first`: of a batch norm gamma comes
    before beta, as from TensorFlow 1.5 on.
    """
    norms = ("gamma", "beta", *_NORM_ORDER[2:]) if gamma_first else _NORM_ORDER
    row = decode(spec)
    plan = build_plan(row, num_classes=1, aux_head=aux_head)
    scopes = list(dict.fromkeys(name.partition("/")[0] for name in plan.parameters))
    known = layouts.places("tensornets", spec, 1, aux_head=aux_head)

    def position(name: str) -> tuple[int, ...]:
        key = known[name].key
        inner = key.partition("/")[2]
        part = next((i for i, p in enumerate(_CELL_ORDER) if inner.startswith(p)), 0)
        # aux/proj before aux/conv before aux/logits
        if key.startswith("aux/"):
            part = ("proj", "conv", "logits").index(key.split("/")[1])
        leaf = key.rpartition("/")[2]
        norm = leaf in _NORM_ORDER
        layer = int("/1/" in key and part >= _CELL_ORDER.index("left1/"))
        order = (norms if norm else _LEAF_ORDER).index(leaf)
        return scopes.index(name.partition("/")[0]), part, layer, norm, order

    return sorted(known, key=position)


def _tensornets(labels: Sequence[Any], values: Sequence[Any], path: Path) -> Content:
    """TensorNets' file: names and values in the order in which it makes variables."""
    arrays = [value for value in values if isinstance(value, np.ndarray)]
    texts = [
        label.decode("utf-8", "replace") if isinstance(label, bytes) else label
        for label in labels
        if isinstance(label, bytes | str)
    ]
    if len(arrays) != len(values) or len(texts) != len(arrays):
        raise WeightsError(f"{path}: has {len(texts)} names for {len(values)} arrays")
    named = dict(zip(texts, arrays, strict=True))
    if layouts.recognise(named) is not None:
        return Content(title="TensorNets file", tensors=in_memory(named))
    # Names of another naming: TensorNets itself goes by the order alone.
    leaves = [text.removesuffix(":0").rpartition("/")[2] for text in texts]
    gamma_first = ("gamma", "beta") in itertools.pairwise(leaves)
    for spec in ("mobile", "large"):
        for aux_head in (True, False):
            order = tensornets_order(spec, aux_head=aux_head, gamma_first=gamma_first)
            if len(order) == len(arrays):
                tensors = in_memory(dict(zip(order, arrays, strict=True)))
                note = "its names are not TensorNets' own: tensors were taken in their order"
                return Content(title="TensorNets file", tensors=tensors, notes=(note,))
    raise WeightsError(f"{path}: {len(arrays)} arrays are not as many as a NASNet-A of TensorNets")
