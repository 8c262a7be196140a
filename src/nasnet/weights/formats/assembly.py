"""From a file's tensors under its own names to `Weights`: recognised, checked, brought to TF-Slim.

Private to `readers`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from nasnet.errors import WeightsError
from nasnet.weights import layouts
from nasnet.weights.formats.stored import MOST_BYTES, Content, Stored
from nasnet.weights.layouts import Recognised
from nasnet.weights.weights import Array, Weights, check, frozen

__all__ = ["assemble"]

_FLOATS = ("float16", "float32", "float64")
# Names that trainers write beside the weights; nothing to tell a user about.
_BESIDE = ("num_batches_tracked",)


def assemble(content: Content, *, file: str, partial: bool = False) -> tuple[Weights, Content]:
    """Weights out of a file's content.

    Args:
        content: what a reader gave.
        file: how to call the file in messages.
        partial: let tensors be missing; for looking only.

    Returns:
        The weights, and the content with the layout in its title and all notes.

    Raises:
        WeightsError: the names are no network's, a tensor is missing, has another shape or type,
            or holds what is no finite number; the text names the file and the tensor.
    """
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
    # The auxiliary head alone may be incomplete: nothing but training reads it.
    arrays = {
        name: _array(found, name, tensor, file)
        for name, tensor in tensors.items()
        if name.startswith("aux_") or name in shapes
    }
    layout = layouts.LAYOUTS[found.layout]
    if layout.mean is not None and layout.std is not None and not partial:
        arrays = layouts.take_half_range(arrays, mean=layout.mean, std=layout.std)
    weights = Weights(spec=spec, num_classes=classes, arrays=frozen(arrays), source=file)
    title = content.title
    if layout.title not in title and found.layout != "slim":
        title = f"{title} with {layout.title} names"
    return weights, Content(
        title=title, tensors=content.tensors, notes=(*content.notes, *_notes(content, found))
    )


def _unknown(content: Content) -> str:
    what = f"no NASNet-A weights in this {content.title}"
    if not content.tensors:
        return f"{what}: it holds no tensors"
    return (
        f"{what}: its {len(content.tensors)} tensors have names of another network, the first is "
        f"{min(content.tensors)!r}"
    )


def _notes(content: Content, found: Recognised) -> list[str]:
    layout = layouts.LAYOUTS[found.layout]
    notes = list(layout.notes)
    if found.layout == "keras":
        notes.append(
            "vectors are TF-Slim's; keras.applications itself pads otherwise: padding=keras gives "
            "its numbers"
        )
    if found.scope:
        notes.append(f"tensors were stored under the scope {found.scope!r}")
    taken = set(found.stored.values())
    others = sum(key not in taken and not key.endswith(_BESIDE) for key in content.tensors)
    if others:
        notes.append(f"{others} tensors of something else were left alone")
    return notes


def _shapes(
    found: Recognised, tensors: Mapping[str, Stored], file: str
) -> dict[str, tuple[int, ...]]:
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
    """One array in TF-Slim's layout, copied."""
    place = found.places[name]
    where = f"{file}: tensor {found.stored[name]}"
    values = tensor.read()
    if values.dtype.newbyteorder("=").name not in _FLOATS:
        raise WeightsError(f"{where} is {values.dtype.name}, expected float32")
    if values.shape != tensor.shape:
        raise WeightsError(f"{where} has shape {list(values.shape)}, not {list(tensor.shape)}")
    array = np.array(values.transpose(place.back), dtype=np.float32, order="C")
    if not np.isfinite(array).all():
        raise WeightsError(f"{where} holds a value that is no finite number")
    if name.endswith("/moving_variance") and array.min(initial=0.0) < 0:
        raise WeightsError(f"{where} holds a negative variance")
    return array
