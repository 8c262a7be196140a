"""What every format reader builds on: tensors that are not read yet, and `Weights` made of them.

A reader gives a `Content`: what a file holds, by the names it has there. `assemble` recognises the
names, checks every tensor and brings it to TF-Slim's layout. Every size a file claims is checked
before anything is allocated, and no archive is ever unpacked to disk.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nasnet.errors import WeightsError
from nasnet.network.build import build_plan
from nasnet.network.code import decode
from nasnet.weights import layouts
from nasnet.weights.layouts import Recognised
from nasnet.weights.module_folder import Task
from nasnet.weights.weights import Array, Weights, check, frozen

# Which variables of a training checkpoint: see `opening.open_weights`.
Averages = Literal["auto", "plain", "average"]

# No network of the family comes near: the largest published file has 360 MB.
MOST_BYTES = 2 << 30
# Weights shrink by a tenth; what shrinks by so much is made to fill a memory.
_RATIO, _RATIO_FREE = 200, 64 << 20

# All that weights are stored as; NumPy would make sense of many another text.
_TYPES = frozenset(
    f"{kind}{bits}" for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)
) - {"float8"} | {"bool"}
_BFLOAT16 = "bfloat16"  # which NumPy lacks: the upper half of a float32
_FLOATS = ("float16", "float32", "float64")
# Names that trainers write beside the weights; nothing to tell a user about.
_BESIDE = ("num_batches_tracked",)
# What zipfile raises for damaged archives.
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, NotImplementedError)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # all that writers of weights use


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One tensor of a file."""

    shape: tuple[int, ...]  # as it is stored
    read: Callable[[], npt.NDArray[Any]]  # gives the array, of any type of numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a file holds.

    Attributes:
        title: what the file is, for people.
        tensors: name in the file -> tensor.
        notes: what a user should know about how it was read.
        file: what to call it in messages, where that is not the path that was opened.
        averaged: whether the tensors are the moving averages of a training run.
        task: what the signature `default` gives, where the file says so.
        image_size: height and width in pixels, where the file says so.
        card: what its makers say of it: data, teacher, figures.
        signatures: as in `opening.Opened`, and so is `batch_norm_momentum`.
    """

    title: str
    tensors: Mapping[str, Stored] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    file: Path | None = None
    averaged: bool = False
    task: Task = "feature_vector"
    image_size: tuple[int, int] | None = None
    card: Mapping[str, str] = field(default_factory=dict)
    signatures: tuple[str, ...] = ()
    batch_norm_momentum: float = 0.99


def is_too_much(wanted: int, *, size: int) -> bool:
    """Whether a file of a size claims more bytes than weights have, or unfolds beyond measure."""
    return wanted > MOST_BYTES or wanted > max(_RATIO_FREE, _RATIO * size)


def in_memory(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, Stored]:
    """Arrays that are there already."""
    return {
        name: Stored(shape=tuple(array.shape), read=lambda array=array: array)  # type: ignore[misc]
        for name, array in arrays.items()
    }


def raw(
    data: memoryview | bytes, dtype: str, shape: tuple[int, ...], *, where: str
) -> npt.NDArray[Any]:
    """An array out of little-endian, row-major bytes of a NumPy type or `bfloat16`.

    Raises:
        WeightsError: type, shape and number of bytes do not fit each other; the text begins with
            `where`, the file and tensor.
    """
    stored = "uint16" if dtype == _BFLOAT16 else dtype
    if stored not in _TYPES:
        raise WeightsError(f"{where} is of the unknown type {dtype!r}")
    item = np.dtype(stored).newbyteorder("<")
    if min(shape, default=0) < 0 or len(shape) > 8:
        raise WeightsError(f"{where} has the shape {list(shape)}, which is none")
    wanted = math.prod(shape) * item.itemsize
    if wanted != len(data):
        raise WeightsError(
            f"{where}: {dtype} of shape {list(shape)} takes {wanted} bytes, it has {len(data)}"
        )
    array: npt.NDArray[Any] = np.frombuffer(data, dtype=item).reshape(shape)
    if dtype == _BFLOAT16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """A zip file's members."""

    path: Path  # the file
    sizes: Mapping[str, int]  # name -> bytes, unpacked

    def read(self, name: str) -> bytes:
        """One member's bytes; see `read_all`."""
        return self.read_all([name])[name]

    def read_all(self, names: Iterable[str]) -> dict[str, bytes]:
        """Several members' bytes, by name.

        Raises:
            WeightsError: one is missing or damaged.
        """
        found: dict[str, bytes] = {}
        name = "it"
        try:
            with zipfile.ZipFile(self.path) as archive:
                for name in names:
                    if name not in self.sizes:
                        raise WeightsError(f"{self.path}: {name} is missing from this archive")
                    found[name] = archive.read(name)
        except WeightsError:
            raise
        except (*_DAMAGED, OSError) as error:
            raise WeightsError(f"{self.path}: {name} in this archive is damaged: {error}") from None
        return found


def member_names(path: Path) -> frozenset[str]:
    """Names of a zip file's members; none if it is no zip file or its table is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset(archive.namelist())
    except (*_DAMAGED, OSError):
        return frozenset()


def open_members(path: Path) -> Members:
    """The members of a zip file, their claims checked.

    Raises:
        WeightsError: it is damaged, or would unfold beyond all measure.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = {info.filename: info for info in archive.infolist()}
    except (*_DAMAGED, OSError) as error:
        raise WeightsError(f"{path}: a damaged zip archive: {error}") from None
    strange = [name for name, info in found.items() if info.compress_type not in _METHODS]
    if strange:
        raise WeightsError(f"{path}: {strange[0]} in this archive is packed as no weights are")
    total = sum(info.file_size for info in found.values())
    # Of the file, not of what members claim: several may claim the same bytes.
    packed = path.stat().st_size
    if is_too_much(total, size=packed):
        raise WeightsError(
            f"{path}: this archive of {packed:,} bytes unfolds to {total:,}, more than weights do"
        )
    return Members(path=path, sizes={name: info.file_size for name, info in found.items()})


def assemble(content: Content, path: Path, *, partial: bool = False) -> tuple[Weights, Content]:
    """Weights out of a file's content.

    `partial`: tensors may be missing; for looking only.

    Returns:
        The weights, and the content with the layout in its title and all notes.

    Raises:
        WeightsError: the names are no network's, a tensor is missing, has another shape or type,
            or holds what is no finite number; the text names the file and the tensor.
    """
    file = str(content.file or path)
    found = layouts.recognise(content.tensors)
    if found is None:
        raise WeightsError(f"{file}: {_unknown(content)}")
    if len(found.scopes) > 1:
        scopes = ", ".join(found.scopes)
        raise WeightsError(
            f"{file}: holds {len(found.scopes)} NASNet-A networks, in the scopes {scopes}: "
            "save the one you want alone"
        )
    tensors = {name: content.tensors[key] for name, key in found.stored.items()}
    shapes = _shapes(found, tensors, file)
    spec, classes = check(shapes, file=file, partial=partial, spec=found.spec)
    # An auxiliary head for pictures of another size has other kernels: only training reads it,
    # and it would not fit there.
    plan = build_plan(decode(spec), num_classes=classes, aux_head=True)
    arrays = {
        name: _array(found, name, tensor, file)
        for name, tensor in tensors.items()
        if shapes[name] == plan.parameters.get(name)
    }
    layout = layouts.LAYOUTS[found.layout]
    if layout.mean is not None and layout.std is not None and not partial:
        arrays = _take_half_range(arrays, mean=layout.mean, std=layout.std)
    weights = Weights(
        spec=spec,
        num_classes=classes,
        arrays=frozen(arrays),
        source=file,
        averaged=content.averaged,
    )
    title = content.title
    if layout.title not in title and found.layout != "slim":
        title = f"{title} with {layout.title} names"
    notes = _notes(content, found, {found.stored[name] for name in arrays})
    return weights, replace(content, title=title, notes=(*content.notes, *notes))


def _unknown(content: Content) -> str:
    what = f"no NASNet-A weights in this {content.title}"
    if not content.tensors:
        return f"{what}: it holds no tensors"
    return (
        f"{what}: its {len(content.tensors)} tensors have names of another network, the first is "
        f"{min(content.tensors)!r}"
    )


def _notes(content: Content, found: Recognised, taken: Collection[str]) -> list[str]:
    notes = list(layouts.LAYOUTS[found.layout].notes)
    if found.scope:
        notes.append(f"tensors were stored under the scope {found.scope!r}")
    others = sum(key not in taken and not key.endswith(_BESIDE) for key in content.tensors)
    if others:
        notes.append(f"{others} tensors of something else were left alone")
    return notes


def _shapes(
    found: Recognised, tensors: Mapping[str, Stored], file: str
) -> dict[str, tuple[int, ...]]:
    """The shapes in TF-Slim's layout, none of them absurd."""
    shapes = {}
    total = 0
    for name, tensor in tensors.items():
        place = found.places[name]
        if len(tensor.shape) != len(place.axes):
            raise WeightsError(
                f"{file}: tensor {place.key} has shape {list(tensor.shape)}, expected "
                f"{len(place.axes)} axes"
            )
        shapes[name] = tuple(tensor.shape[axis] for axis in place.back)
        if not all(0 <= size <= MOST_BYTES for size in tensor.shape):
            raise WeightsError(f"{file}: tensor {place.key} has shape {list(tensor.shape)}")
        total += 4 * math.prod(tensor.shape)
    if total > MOST_BYTES:
        raise WeightsError(f"{file}: its tensors claim {total:,} bytes, more than any NASNet has")
    return shapes


def _array(found: Recognised, name: str, tensor: Stored, file: str) -> Array:
    """One array in TF-Slim's layout; the mapped file itself where that is how it is stored."""
    place = found.places[name]
    where = f"{file}: tensor {found.stored[name]}"
    values = tensor.read()
    if values.dtype.newbyteorder("=").name not in _FLOATS:
        raise WeightsError(f"{where} is {values.dtype.name}, expected float32")
    if values.shape != tensor.shape:
        raise WeightsError(f"{where} has shape {list(values.shape)}, not {list(tensor.shape)}")
    # A file may keep numbers at odd addresses, which not every library takes.
    array = np.require(values.transpose(place.back), np.float32, ["C", "A"])
    if not np.isfinite(array).all():
        raise WeightsError(f"{where} holds a value that is not a finite number")
    if name.endswith("/moving_variance") and array.min(initial=0.0) < 0:
        raise WeightsError(f"{where} holds a negative variance")
    return array


def _take_half_range(
    arrays: Mapping[str, Array], *, mean: Sequence[float], std: Sequence[float]
) -> dict[str, Array]:
    """Weights that take pictures in [-1, 1], as TF-Slim's do, and compute the same.

    The network given takes (picture - mean) / std, pictures in [0, 1], red first. Its first
    convolution has no padding, so the kernel takes the scale, and the mean of the batch norm after
    it takes what was subtracted: exact but for rounding, which float64 keeps small.
    """
    kernel = arrays["conv0/weights"].astype(np.float64)
    scale = np.asarray(std)[:, None]
    # With u = 2 x - 1: (x - mean) / std = u / (2 std) + (0.5 - mean) / std.
    constant = (kernel * ((0.5 - np.asarray(mean)) / np.asarray(std))[:, None]).sum(axis=(0, 1, 2))
    moving = arrays["conv0_bn/moving_mean"].astype(np.float64) - constant
    return {
        **arrays,
        "conv0/weights": (kernel / (2 * scale)).astype(np.float32),
        "conv0_bn/moving_mean": moving.astype(np.float32),
    }
