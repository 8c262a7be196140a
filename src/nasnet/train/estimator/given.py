"""What X is: pictures in any of the forms scikit-learn passes on, or rows of numbers.

It computes nothing and opens no picture.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import validate_data

from nasnet.errors import InputError
from nasnet.network.spec import PRESETS

Array = npt.NDArray[Any]
Rows = Literal["vectors"] | tuple[int, ...]

# Length of global_pool in the networks of the family: 6 states of 4 times the first filters.
_WIDTHS = {spec.name: 24 * spec.num_conv_filters for spec in PRESETS.values()}
_FLATTENED = 28 * 28  # the smallest common picture: longer rows may well be flattened ones


@dataclass(frozen=True, slots=True)
class Given:
    """What X is.

    Attributes:
        pictures: one entry a picture, or None.
        vectors: [n, features], computed already, or None.
    """

    pictures: Sequence[Any] | Array | None
    vectors: Array | None

    def __len__(self) -> int:
        if self.vectors is not None:
            return len(self.vectors)
        return 0 if self.pictures is None else len(self.pictures)


def read(
    estimator: Any,  # noqa: ANN401
    X: Any,  # noqa: ANN401, N803
    *,
    rows: Rows,
    endpoint: str,
    reset: bool,
) -> Given:
    """Tell pictures from vectors, and check rows of numbers as scikit-learn does.

    Of 2-d X, `rows` says what it means: `vectors`, or the shape of flattened pictures. Rows set the
    estimator's `n_features_in_` and `feature_names_in_` (`reset`, as for `fit`), or are checked by
    them; how long vectors of `global_pool` are is known.

    Raises:
        InputError: it is neither (a `ValueError` and `TypeError`).
        ValueError, TypeError: rows of numbers scikit-learn has no use for.
    """
    shape = _shape_of(rows)
    if reset:
        for name in ("n_features_in_", "feature_names_in_"):  # of an earlier fit
            if hasattr(estimator, name):
                delattr(estimator, name)
    pictures = _pictures(X)
    if pictures is not None:
        return Given(pictures, None)
    if shape is not None:
        numbers = validate_data(estimator, X, reset=reset, dtype="numeric")
        if numbers.shape[1] != np.prod(shape):
            raise InputError(
                f"X has rows of {numbers.shape[1]} numbers, "
                f"rows={tuple(rows)} needs {np.prod(shape)}"
            )
        return Given(numbers.reshape(-1, *shape), None)
    if str(getattr(X, "dtype", "")) == "uint8":
        raise InputError(
            "X has rows of uint8, which no vectors are: for flattened pictures say "
            "rows=(height, width, 3)"
        )
    # Accepted as scikit-learn's own estimators would, by type and shape; float32 stays.
    vectors = validate_data(estimator, X, reset=reset, dtype=[np.float64, np.float32])
    width = vectors.shape[1]
    if endpoint == "global_pool" and width >= _FLATTENED and width not in _WIDTHS.values():
        known = ", ".join(f"{length} in {name}" for name, length in _WIDTHS.items())
        raise InputError(
            f"X has rows of {width} numbers, as long as no vector ({known}): for flattened "
            "pictures say rows=(height, width, 3)"
        )
    return Given(None, vectors)


def _shape_of(rows: Rows) -> tuple[int, int, int] | None:
    """The shape of a flattened picture, or None for vectors."""
    if isinstance(rows, str):
        if rows == "vectors":
            return None
    elif len(rows) in (2, 3) and all(side >= 1 for side in rows) and (*rows, 1)[2] in (1, 3):
        height, width, channels = (*rows, 1)[:3]
        return int(height), int(width), int(channels)
    raise InputError(f"rows is 'vectors', (height, width, 3) or (height, width), not {rows!r}")


def _pictures(X: Any) -> Sequence[Any] | Array | None:  # noqa: ANN401, N803
    """X as a sequence of pictures, or None if it is something else."""
    if _is_picture(X) and not isinstance(X, np.ndarray):
        raise InputError(f"X is one {type(X).__name__}: pass a list of pictures, [X]")
    if isinstance(X, list | tuple):
        return X if X and _is_picture(X[0]) else None
    shape = getattr(X, "shape", None)
    if not isinstance(shape, tuple):
        return None
    if len(shape) == 4:
        array = np.asarray(X)
        if not len(array):
            raise InputError(f"X has shape {list(shape)}: there are no pictures in it")
        return array
    if len(shape) == 3:
        raise InputError(
            f"X has shape {list(shape)}, expected [n, height, width, 3]: one picture is X[None], "
            "grey ones are X[..., None]"
        )
    if (len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)) and not hasattr(X, "toarray"):
        column = np.asarray(X)
        if column.dtype.kind in "OU" and column.size and _is_picture(column.flat[0]):
            return list(column.flat)
    return None


def _is_picture(value: Any) -> bool:  # noqa: ANN401
    if isinstance(value, np.ndarray):
        return value.ndim in (2, 3) and value.dtype.kind in "uf"
    return isinstance(value, str | bytes | bytearray | memoryview | os.PathLike) or hasattr(
        value, "getexif"
    )
