"""Checks arrays of pictures that callers hand in: shape, type, value range.

Gives back NumPy only, whatever came.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError

# Resizing with a cubic kernel overshoots [0, 1] a little; other ranges lie far outside.
_LOWEST, _HIGHEST = -0.25, 1.25
_GRAPH_BUILDERS = ("tensorflow", "keras", "tf_keras")  # theirs may stand for later values
_SMALLEST = 32  # pixels a side, for the network to have any left at its end


def check_images(
    images: Any,  # noqa: ANN401
    *,
    height: int | None,
    width: int | None,
    name: str = "images",
    check_range: bool = True,
) -> npt.NDArray[np.float32] | npt.NDArray[np.uint8]:
    """Make a batch of pictures of what a caller passed.

    Args:
        images: [batch, height, width, 3] as NumPy, anything with `__dlpack__` or `__array__`, or
            nested lists; floats in [0, 1] or uint8 0..255.
        height: expected height in pixels, None for any from 32.
        width: expected width in pixels.
        name: how to call it in messages.
        check_range: refuse floats that are plainly 0..255 or [-1, 1].

    Returns:
        A contiguous array, float32 or uint8; uint8 is not scaled here.

    Raises:
        InputError: shape, type or values do not fit.
    """
    array = _as_numpy(images, name)
    _check_shape(array, height, width, name)
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype.kind != "f":
        raise InputError(
            f"{name} has dtype {array.dtype}; pass floats in [0, 1], or uint8 pixels 0..255"
        )
    with np.errstate(over="ignore"):  # too large for float32: infinite, refused below
        floats = np.ascontiguousarray(array, dtype=np.float32)
    if floats.size and check_range:
        _check_range(floats, name)
    return floats


def _as_numpy(images: Any, name: str) -> npt.NDArray[Any]:  # noqa: ANN401
    if isinstance(images, np.ndarray):
        return images
    try:
        if hasattr(images, "detach"):  # a torch tensor: autograd refuses to export one it tracks
            images = _of_torch(images.detach())
        if hasattr(images, "__dlpack__") and not hasattr(images, "__array__"):
            return np.from_dlpack(images)
        return np.asarray(images)
    except (TypeError, ValueError, BufferError, RuntimeError) as error:
        if type(images).__module__.partition(".")[0] in _GRAPH_BUILDERS:
            raise InputError(
                f"{name} is a symbolic tensor, without values: nasnet computes at once, on arrays. "
                f"Pass the pictures, or session.run({name}); no session is needed for what the "
                "module gives (before and after: docs/tf-hub.md)"
            ) from error
        raise InputError(f"{name} cannot be made a NumPy array: {error}") from error


def _of_torch(tensor: Any) -> Any:  # noqa: ANN401
    """A tensor that NumPy can see: on the CPU, of a type that it knows, its signs worked out."""
    if tensor.device.type != "cpu":
        tensor = tensor.cpu()
    if str(tensor.dtype) == "torch.bfloat16":
        tensor = tensor.float()
    return tensor.resolve_neg() if tensor.is_neg() else tensor


def _check_shape(array: npt.NDArray[Any], height: int | None, width: int | None, name: str) -> None:
    expected = f"[batch, {height or 'height'}, {width or 'width'}, 3]"
    found = list(array.shape)
    if array.ndim == 3 and found[-1] == 3:
        raise InputError(
            f"{name} has shape {found}, expected {expected}: add a batch axis, {name}[None]"
        )
    if array.ndim != 4:
        raise InputError(f"{name} has shape {found}, expected {expected}")
    if found[1] == 3 and found[3] != 3:
        raise InputError(
            f"{name} has shape {found}, channels first; expected {expected}: "
            f"{name}.transpose(0, 2, 3, 1)"
        )
    if found[3] in (1, 4):
        wrong = "grey: np.repeat({name}, 3, axis=-1)" if found[3] == 1 else "RGBA: {name}[..., :3]"
        raise InputError(
            f"{name} has shape {found}, expected {expected}: RGB is needed, and this looks like "
            + wrong.format(name=name)
        )
    fits = found[3] == 3 and found[1] == (height or found[1]) and found[2] == (width or found[2])
    if not fits:
        raise InputError(f"{name} has shape {found}, expected {expected}: resize the pictures")
    if min(found[1:3]) < _SMALLEST:
        raise InputError(
            f"{name} has shape {found}: pictures start at {_SMALLEST}x{_SMALLEST} pixels"
        )


def _check_range(floats: npt.NDArray[np.float32], name: str) -> None:
    lowest, highest = float(floats.min()), float(floats.max())
    if not np.isfinite(lowest) or not np.isfinite(highest):
        rows = np.flatnonzero(~np.isfinite(floats).all(axis=(1, 2, 3)))
        raise InputError(f"{name}[{rows[0]}] holds a value that is not a finite number")
    if lowest < _LOWEST and (highest > _HIGHEST or lowest < -_HIGHEST):
        raise InputError(
            f"{name} goes from {lowest:.4g} to {highest:.4g}, so it looks like pictures with a "
            "mean subtracted, as other networks take them: expected [0, 1]; leave that step out, "
            "the module rescales by itself"
        )
    if highest > 2.0:
        raise InputError(
            f"{name} reaches {highest:.4g}, so it looks like 0..255: expected [0, 1]; "
            "divide by 255, or pass uint8"
        )
    if lowest < _LOWEST:
        raise InputError(
            f"{name} goes down to {lowest:.4g}, so it looks like [-1, 1]: expected [0, 1]; "
            "the module rescales by itself, pass (x + 1) / 2"
        )
    if highest > _HIGHEST:
        raise InputError(f"{name} reaches {highest:.4g}: expected [0, 1]")
