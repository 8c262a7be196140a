"""Whether two pictures are the same one, told from their signatures.

Two small grey pictures are laid over each other, one of them shifted and stretched a little, as a
crop asks for (one step of Lucas and Kanade 1981 at each of three sizes). Then their greys and the
steps between neighbouring greys are correlated. The steps decide: shirts on the same cloth have the
same greys almost everywhere, and other prints.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nasnet.pictures.signature import SIDE

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_COARSE = 8  # side of the pictures that propose
PROPOSED = 0.65  # cosine of `outlines` from which on two pictures are looked at
_MIDDLE = 0.45  # correlation of steps at 16 x 16, not aligned, from which on aligning is tried
_REACH = 0.07  # of a side, how far a border may move
_GREYS, _STEPS = 0.9, 0.8  # least correlations of a copy, aligned
_GREYS_WHOLE, _STEPS_WHOLE = 0.95, 0.9  # the same of a whole copy, not aligned


def outlines(greys: Floats) -> Floats:
    """Unit vectors that are alike for copies, float32 [n, 64]: Laplacians of 8 x 8 pictures."""
    small = np.pad(_smaller(greys, _COARSE), ((0, 0), (1, 1), (1, 1)), mode="edge")
    around = small[:, :-2, 1:-1] + small[:, 2:, 1:-1] + small[:, 1:-1, :-2] + small[:, 1:-1, 2:]
    lines = (4 * small[:, 1:-1, 1:-1] - around).reshape(len(greys), -1)
    return np.asarray(lines / np.maximum(np.linalg.norm(lines, axis=1, keepdims=True), 1e-3))


def whole(one: Floats, other: Floats) -> Mask:
    """Which pairs, float32 [n, SIDE, SIDE] each, show the same from border to border."""
    greys, steps = _correlations(one, other, np.ones(one.shape, bool))
    return (greys >= _GREYS_WHOLE) & (steps >= _STEPS_WHOLE)


def cropped(one: Floats, other: Floats) -> Mask:
    """Which pairs show the same where both have something, up to `_REACH` a side; as `whole`."""
    a, b = _smaller(one, SIDE // 2), _smaller(other, SIDE // 2)
    found = _correlations(a, b, np.ones(a.shape, bool))[1] >= _MIDDLE
    rows = np.flatnonzero(found)
    if not len(rows):
        return found
    one, other = one[rows], other[rows]
    found[rows] = _fits(one, other) | _fits(other, one)
    return found


def _fits(whole: Floats, part: Floats) -> Mask:
    moved, inside = _moved(whole, _moves(whole, part))
    greys, steps = _correlations(moved, part, inside)
    return (greys >= _GREYS) & (steps >= _STEPS)


def _smaller(greys: Floats, side: int) -> Floats:
    block = greys.shape[1] // side
    return np.asarray(greys.reshape(-1, side, block, side, block).mean(axis=(2, 4)))


def _moves(whole: Floats, part: Floats) -> Floats:
    """How each picture has to move to fit: along x at the middle and at the borders, then along y.

    In shares of a side, float32 [n, 4].
    """
    moves = np.zeros((len(whole), 4), np.float32)
    for side in (_COARSE, SIDE // 2, SIDE, SIDE):
        a, b = _smaller(whole, side), _smaller(part, side)
        moves += _step(_moved(a, moves)[0], b) / side
        np.clip(moves, -_REACH, _REACH, out=moves)
    return moves


def _step(a: Floats, b: Floats) -> Floats:
    """One step: least squares of b by a, its gradients, these times the place, and a constant."""
    along_y, along_x = np.gradient(a, axis=(1, 2))
    place = np.linspace(-1, 1, a.shape[1], dtype=np.float32)
    terms = (a, np.ones_like(a), along_x, along_x * place, along_y, along_y * place[:, None])
    table = np.stack([term.reshape(len(a), a[0].size) for term in terms], axis=2)
    turned = table.transpose(0, 2, 1)
    square = turned @ table + 1e-3 * np.eye(len(terms), dtype=np.float32)
    found = np.linalg.solve(square, turned @ b.reshape(len(b), -1, 1))[:, :, 0]
    gain = np.where(np.abs(found[:, :1]) < 0.2, np.inf, found[:, :1])
    return np.asarray(found[:, 2:] / gain, np.float32)


def _moved(greys: Floats, moves: Floats) -> tuple[Floats, Mask]:
    """Pictures moved, between their values linearly, and where there was something to move."""
    along_x, inside_x = _weights(greys.shape[1], moves[:, :2])
    along_y, inside_y = _weights(greys.shape[1], moves[:, 2:])
    moved = along_y @ greys @ along_x.transpose(0, 2, 1)
    return np.asarray(moved, np.float32), inside_y[:, :, None] & inside_x[:, None, :]


def _weights(side: int, moves: Floats) -> tuple[Floats, Mask]:
    cells = np.arange(side, dtype=np.float32)
    place = np.linspace(-1, 1, side, dtype=np.float32)
    wanted = cells + side * (moves[:, :1] + moves[:, 1:] * place)
    inside = (wanted >= -0.5) & (wanted <= side - 0.5)
    wanted = np.clip(wanted, 0, side - 1)
    hats = np.maximum(0, 1 - np.abs(wanted[:, :, None] - cells))
    return np.asarray(hats, np.float32), inside


def _correlations(a: Floats, b: Floats, inside: Mask) -> tuple[Floats, Floats]:
    """Of the greys, and of the steps between neighbours; of each pair, where both are inside."""
    both = inside[:, :-1, :-1] & inside[:, 1:, :-1] & inside[:, :-1, 1:]
    pairs = [(a[:, 1:, :-1], b[:, 1:, :-1]), (a[:, :-1, 1:], b[:, :-1, 1:])]
    here = a[:, :-1, :-1], b[:, :-1, :-1]
    c, d = (np.concatenate([pair[of] - here[of] for pair in pairs], axis=1) for of in (0, 1))
    both = np.concatenate([both, both], axis=1)
    steps = _sums(c * d, both) / _root(_sums(c * c, both), _sums(d * d, both))
    count = np.maximum(inside.sum(axis=(1, 2)), 1)[:, None, None]
    a, b = (x - (_sums(x, inside)[:, None, None] / count) for x in (a, b))
    greys = _sums(a * b, inside) / _root(_sums(a * a, inside), _sums(b * b, inside))
    return np.asarray(greys), np.asarray(steps)


def _sums(values: Floats, where: Mask) -> Floats:
    return np.asarray((values * where).sum(axis=(1, 2)))


def _root(one: Floats, other: Floats) -> Floats:
    return np.asarray(np.sqrt(np.maximum(one * other, 1e-6)))
