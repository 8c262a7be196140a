"""Activations kept within what photographs reach, for pictures of one colour and the like.

A network learns nothing of directions in which its maps hardly vary, and what it makes of a
picture that moves along one has no bounds: a red picture reached 114 times what photographs do,
and so, more rarely, did photographs of one thing before a plain wall. That costs such pictures
their vectors, and every quantization its range. The pointwise convolutions at which it happens
are changed as little as can be for photographs, in closed form.

Needs torch (extra `torch`).
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from nasnet.compute.torch.operations import Behaviour, compute
from nasnet.compute.torch.state import key_of, to_state
from nasnet.errors import InputError
from nasnet.network.code import decode
from nasnet.network.plan import Operation
from nasnet.pictures.sampling import some_read
from nasnet.pictures.sources import Example
from nasnet.weights.weights import Weights, frozen, program_of

_PHOTOS = 192  # whose activations say what is usual
_USUAL = 0.98  # of them, in each channel: a few photographs are out of bounds themselves
_ROOM = 0.5  # beyond the usual range, in its widths: what lies within is left alone
_BEYOND = 0.25  # beyond that room, in widths of the range: from here on a convolution is changed
_ROWS = (30_000, 20_000)  # pixels of photographs and of flat pictures that are looked at
_RIDGE = 1e-5  # of the mean square of an input channel
_LEVELS = (0, 128, 255)
_RANDOM = 37  # colours beside those of the levels


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounded:
    """What was changed.

    Attributes:
        weights: with bounds.
        changes: name of a kernel, and how far beyond the usual range it went, before and after, in
            widths of that range.
    """

    weights: Weights
    changes: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True, slots=True)
class _Range:
    low: Tensor
    high: Tensor
    width: Tensor

    def clip(self, values: Tensor) -> Tensor:
        """Rows of pixels brought into the range."""
        return torch.minimum(torch.maximum(values, self.low), self.high)

    def beyond(self, maps: Tensor) -> float:
        """How far maps go beyond it."""
        most, least = maps.amax((0, 2, 3)), maps.amin((0, 2, 3))
        return float((torch.maximum(most - self.high, self.low - least) / self.width).max())


def bounded(
    weights: Weights,
    examples: Sequence[Example],
    *,
    photos: int = _PHOTOS,
    on_change: Callable[[str, float, float], None] | None = None,
) -> Bounded:
    """Change the pointwise convolutions that flat pictures drive far beyond what photographs do.

    From the first to the last one: where a map leaves the range of the middle photographs by far,
    the kernel becomes the one of least squares that gives what it gave, but at the pixels out of
    bounds their values brought back to the bounds (a ridge regression; what comes later sees the
    changed maps). The photographs are brought to the network's own size. `on_change` is called with
    the line of each change, which `Bounded.changes` has too, as it is made.

    Raises:
        InputError: fewer than two photographs can be read.
    """
    spec = decode(weights.spec)
    size = spec.image_size
    seen = _seen(examples, size, photos)
    count = len(seen)
    flat = np.stack([np.full((size, size, 3), colour, np.uint8) for colour in _colours()])
    images = torch.from_numpy(np.concatenate([seen, flat])).permute(0, 3, 1, 2).float() / 255
    program = program_of(weights, size, size)
    state = to_state(program.arrays)
    behaviour = Behaviour(spec=spec)
    last = {name: i for i, op in enumerate(program.plan.operations) for name in op.inputs}
    values = {"images": images.contiguous(memory_format=torch.channels_last)}
    arrays, changes = dict(weights.arrays), []
    random = np.random.default_rng(0)
    with torch.no_grad():
        for number, op in enumerate(program.plan.operations):

            def made(op: Operation = op) -> Tensor:
                own = {name.rpartition("/")[2]: state[key_of(name)] for name in op.parameters}
                return compute(op, [values[name] for name in op.inputs], own, behaviour)

            found = made()
            pointwise = op.kind == "conv" and op.kernel == (1, 1) and op.stride == 1
            if pointwise and found.ndim == 4 and len(op.parameters) == 1:
                usual = _usual(found[:count])
                before = usual.beyond(found)
                if before > _BEYOND:
                    (name,) = op.parameters
                    key = key_of(name)
                    state[key] = _changed(state[key], values[op.inputs[0]], count, usual, random)
                    kernel = state[key][:, :, 0, 0].T[None, None]
                    arrays[name] = np.ascontiguousarray(kernel.numpy())
                    found = made()
                    changes.append((name, before, usual.beyond(found)))
                    if on_change is not None:
                        on_change(*changes[-1])
            values[op.name] = found
            for name in set(op.inputs):
                if last[name] == number:
                    values.pop(name, None)
    done = replace(weights, arrays=frozen(arrays), status="modified", ranges=None)
    return Bounded(weights=done, changes=tuple(changes))


def _seen(examples: Sequence[Example], size: int, photos: int) -> npt.NDArray[np.uint8]:
    def small(data: bytes) -> npt.NDArray[np.uint8]:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))

    found = some_read([one.read for one in examples], photos, small)
    if len(found) < 2:
        raise InputError(f"{len(found)} of {len(examples)} pictures can be read: no range of them")
    return np.stack(found)


def _colours() -> list[tuple[int, ...]]:
    some = np.random.default_rng(0).integers(0, 256, (_RANDOM, 3))
    return [*itertools.product(_LEVELS, repeat=3), *(tuple(one) for one in some.tolist())]


def _usual(maps: Tensor) -> _Range:
    """The range of the middle photographs in each channel, with room beside it."""
    high = torch.quantile(maps.amax((2, 3)), _USUAL, dim=0)
    low = torch.quantile(maps.amin((2, 3)), 1 - _USUAL, dim=0)
    width = (high - low).clamp(min=1e-6)
    return _Range(low - _ROOM * width, high + _ROOM * width, width)


def _changed(
    kernel: Tensor, inputs: Tensor, count: int, usual: _Range, random: np.random.Generator
) -> Tensor:
    """The kernel [out, in, 1, 1] whose results stay, but within bounds."""
    parts = [
        _pixels(part, most, random).double()
        for part, most in zip((inputs[:count], inputs[count:]), _ROWS, strict=True)
    ]
    # Flat pictures count as much as photographs do, however many of each there are.
    shares = (1.0, len(parts[0]) / len(parts[1]))
    old = kernel[:, :, 0, 0].double()
    squares = sum(share * part.T @ part for share, part in zip(shares, parts, strict=True))
    missing = sum(
        share * part.T @ (usual.clip(part @ old.T) - part @ old.T)
        for share, part in zip(shares, parts, strict=True)
    )
    assert isinstance(squares, Tensor)
    assert isinstance(missing, Tensor)
    squares.diagonal().add_(_RIDGE * squares.diagonal().mean())
    new = old + torch.linalg.solve(squares, missing).T
    return new.float()[:, :, None, None].contiguous()


def _pixels(maps: Tensor, most: int, random: np.random.Generator) -> Tensor:
    rows = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])
    if len(rows) <= most:
        return rows
    return rows[torch.from_numpy(random.choice(len(rows), most, replace=False))]
