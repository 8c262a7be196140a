"""What length 1, fewer dimensions and fewer bits cost a search, measured on a feature set.

    python -m benchmarks.reduction FEATURES

FEATURES is what `nasnet embed` wrote of pictures in a folder a class: 1,000 of them are searched
in, and up to 1,000 others are the queries.
"""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt

import nasnet
from nasnet.features.reduction import fit, quantized, unit

_NEAR = 10

Floats = npt.NDArray[np.float32]


def main(path: str) -> None:
    found = nasnet.read_features(path)
    good = np.flatnonzero(np.isfinite(found.vectors).all(axis=1))
    order = np.random.default_rng(0).permutation(good)
    rows, queries = order[:1000], order[1000:2000]
    classes = np.array([id.rpartition("/")[0] for id in found.ids])
    gallery, asked = found.vectors[rows], found.vectors[queries]
    before = _nearest(asked, gallery)

    def tell(name: str, asked: Floats, gallery: Floats, size: int) -> None:
        near = _nearest(asked, gallery)
        pairs = zip(before, near, strict=True)
        kept = np.mean([len(set(one) & set(other)) / _NEAR for one, other in pairs])
        same = classes[rows[near]] == classes[queries][:, None]
        print(f"{name:24}{size:7,}{kept:8.3f}{same[:, 0].mean():8.3f}{same.mean():8.3f}")

    print(f"{'':24}{'bytes':>7}{'kept':>8}{'first':>8}{'ten':>8}")
    wide = gallery.shape[1]
    tell("float32", asked, gallery, 4 * wide)
    half = np.float16
    tell("float16", _as(asked, half), _as(gallery, half), 2 * wide)
    tell("int8", _as8(asked), _as8(gallery), wide)
    for count in (64, 128, 256, 512):
        made = fit([gallery], count)
        tell(f"pca {count}", made(asked), made(gallery), 4 * count)
        if count == 256:
            tell("pca 256, int8", _as8(made(asked)), _as8(made(gallery)), count)
            full = made.scales**-4 - (made.scales**-4).mean() / 2  # the variances
            white = (made.scales * np.maximum(full, 1e-9) ** 0.5) ** -1
            tell("pca 256, whitened", made(asked) * white, made(gallery) * white, 4 * count)


def _nearest(queries: Floats, rows: Floats) -> npt.NDArray[np.int64]:
    return np.argsort(-unit(queries) @ unit(rows).T, axis=1, kind="stable")[:, :_NEAR]


def _as(vectors: Floats, dtype: type[np.float16]) -> Floats:
    return vectors.astype(dtype).astype(np.float32)


def _as8(vectors: Floats) -> Floats:
    return quantized(vectors).astype(np.float32)


if __name__ == "__main__":
    main(sys.argv[1])
