"""What can become of a vector before it is stored: fewer dimensions, length 1, fewer bits."""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError

Floats = npt.NDArray[np.float32]

PROJECTION_KEY = "projection_data"  # in the metadata: a projection as text
_LEAST = 1e-12
_LARGEST = 127  # of an int8
_HEAD = np.dtype([("given", "<u4"), ("dimensions", "<u4")])


def unit(vectors: Floats) -> Floats:
    """Vectors of length 1, float32 [n, dimensions]; those of length 0 stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, _LEAST), np.float32)


def quantized(vectors: Floats) -> npt.NDArray[np.int8]:
    """Directions in whole numbers from -127 to 127, int8 [n, dimensions]; zeros for NaN.

    Each vector is scaled by its own largest number, which no cosine sees.
    """
    finite = np.nan_to_num(vectors, nan=0.0)
    most = np.maximum(np.abs(finite).max(axis=1, keepdims=True, initial=0), _LEAST)
    return np.asarray(np.rint(finite * (_LARGEST / most)), np.int8)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Projection:
    """Directions in fewer dimensions: those in which many vectors of length 1 vary most.

    Principal components, each divided by the fourth root of the sum of its variance and the mean
    variance of all that are kept. Whitened in full, by the square root of the variance, those that
    hardly vary would count as much as the rest; `benchmarks.reduction` measures what that costs.

    Attributes:
        mean: float32 [given], of the vectors of length 1 it was made from.
        axes: float16 [given, dimensions], of length 1.
        scales: float32 [dimensions].
    """

    mean: Floats
    axes: npt.NDArray[np.float16]
    scales: Floats

    @property
    def given(self) -> int:
        """Dimensions of what it takes."""
        return len(self.mean)

    @property
    def dimensions(self) -> int:
        """Dimensions of what it gives."""
        return len(self.scales)

    @property
    def name(self) -> str:
        """Such as `pca 256 1f3a90c2`: the same for the same numbers."""
        return f"pca {self.dimensions} {hashlib.sha256(self._bytes()).hexdigest()[:8]}"

    def __call__(self, vectors: Floats) -> Floats:
        """Project float32 [n, given], of any length, to [n, dimensions]; NaN stays NaN."""
        axes = self.axes.astype(np.float32) * self.scales
        return np.asarray((unit(vectors) - self.mean) @ axes, np.float32)

    def encode(self) -> str:
        """As text, a megabyte at most for what `--pca` allows."""
        return base64.b64encode(zlib.compress(self._bytes(), 1)).decode("ascii")

    def _bytes(self) -> bytes:
        head = np.array((self.given, self.dimensions), _HEAD)
        parts = (head, self.mean.astype("<f4"), self.scales.astype("<f4"), self.axes.astype("<f2"))
        return b"".join(part.tobytes() for part in parts)


def decode_projection(text: str) -> Projection:
    """A projection from its text.

    Raises:
        ValueError: it is none.
    """
    try:
        data = zlib.decompress(base64.b64decode(text, validate=True))
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"its projection is damaged: {error}") from None
    given, dimensions = map(int, np.frombuffer(data, _HEAD, 1)[0]) if len(data) > 8 else (0, 0)
    if not given or len(data) != 8 + 4 * (given + dimensions) + 2 * given * dimensions:
        raise ValueError("its projection is damaged: its size does not fit")
    mean = np.frombuffer(data, "<f4", given, 8)
    scales = np.frombuffer(data, "<f4", dimensions, 8 + 4 * given)
    axes = np.frombuffer(data, "<f2", offset=8 + 4 * (given + dimensions))
    return Projection(mean=mean, scales=scales, axes=axes.reshape(given, dimensions))


def projection_in(meta: Mapping[str, str]) -> Projection | None:
    """The projection that stands in a feature set's metadata, if one does.

    Raises:
        ValueError: it is damaged, or not the one that the set names.
    """
    text = meta.get(PROJECTION_KEY)
    found = None if text is None else decode_projection(text)
    name = "none" if found is None else found.name
    if name != meta.get("projection", "none"):
        raise ValueError(f"its projection should be {meta.get('projection')}, found {name}")
    return found


def fit(blocks: Iterable[Floats], dimensions: int) -> Projection:
    """The projection to those dimensions in which vectors vary most.

    Blocks are float32 [n, given]; rows with NaN are left out.

    Raises:
        InputError: more dimensions than the vectors have, or not more vectors than dimensions.
    """
    count, sums, products = 0, None, None
    for block in blocks:
        rows = unit(block[np.isfinite(block).all(axis=1)]).astype(np.float64)
        if sums is None or products is None:
            check_dimensions(dimensions, block.shape[1])
            sums, products = np.zeros(block.shape[1]), np.zeros((block.shape[1],) * 2)
        count += len(rows)
        sums += rows.sum(axis=0)
        products += rows.T @ rows
    if sums is None or products is None or count <= dimensions:
        raise InputError(
            f"{count:,} vectors are too few for {dimensions} dimensions: they must be more; name "
            "fewer dimensions, or a set whose projection fits (--pca FILE)"
        )
    mean = sums / count
    variances, axes = np.linalg.eigh(products / count - np.outer(mean, mean))
    variances, axes = np.maximum(variances[::-1], 0)[:dimensions], axes[:, ::-1][:, :dimensions]
    # Which of two opposite axes comes out depends on the machine.
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(dimensions)])
    return Projection(
        mean=mean.astype(np.float32),
        axes=axes.astype(np.float16),
        scales=((variances + variances.mean() + _LEAST) ** -0.25).astype(np.float32),
    )


def check_dimensions(dimensions: int, given: int) -> None:
    """Refuse a projection that projects nothing.

    Raises:
        InputError: there are not fewer dimensions than before, or none.
    """
    if not 1 <= dimensions < given:
        raise InputError(f"--pca {dimensions}: vectors have {given} dimensions; name fewer of them")
