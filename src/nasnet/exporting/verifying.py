"""Compares an export with this package: its own runtime, on pictures, endpoint by endpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nasnet.compute import engine
from nasnet.errors import MissingExtraError, PictureError, SourceError
from nasnet.exporting.request import Arrays, Precision, Request, Run
from nasnet.pictures import recipes
from nasnet.pictures.sources import SourceOptions, open_source


@dataclass(frozen=True, slots=True)
class Limit:
    """How far an export may be off.

    Attributes:
        error: the largest difference, as a share of the largest value.
        cosine: the smallest cosine of a picture's values with what they should be.
    """

    error: float
    cosine: float


# Calibrated whole numbers keep directions, not values.
LIMITS: Mapping[Precision, Limit] = {
    "f32": Limit(1e-5, 1 - 1e-6),
    "f16": Limit(1e-2, 1 - 1e-3),
    "int16x8": Limit(float("inf"), 0.995),
    "int8": Limit(float("inf"), 0.99),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How an endpoint of an export compares with the same endpoint here, in float32.

    Attributes:
        endpoint: its TF-Slim name.
        shape: of one picture's values.
        cosine: the smallest of all pictures.
        error: the largest difference, as a share of the endpoint's largest value.
        limit: how far it may be off.
    """

    endpoint: str
    shape: tuple[int, ...]
    cosine: float
    error: float
    limit: Limit

    @property
    def agrees(self) -> bool:
        """Whether it is within its limit."""
        return bool(self.error <= self.limit.error and self.cosine >= self.limit.cosine)


def pictures_for(
    request: Request, source: str | os.PathLike[str], count: int
) -> tuple[npt.NDArray[np.uint8], str]:
    """Pictures of the request's size, [n, height, width, 3] uint8, and what they are.

    Where scikit-image's sample photographs are meant and it is not installed, patterns are made.

    Raises:
        SourceError: there is no picture in the source that can be read.
    """
    name = os.fspath(source)
    found: list[npt.NDArray[np.uint8]] = []
    try:
        for item in open_source(name, options=SourceOptions()):
            try:
                recipe = recipes.get_recipe(recipes.DEFAULT)
                pixels = recipes.prepare(item.read(), recipe, request.height, request.width).pixels
            except PictureError:
                continue
            found.append(np.asarray(pixels, np.uint8))
            if len(found) == count:
                break
    except MissingExtraError:
        if name != "samples:photographs":
            raise
        return _patterns(request, count), "patterns: scikit-image and its photographs are absent"
    if not found:
        raise SourceError(f"{name}: no picture that can be read, to compare the export on")
    return np.stack(found), f"{len(found)} pictures of {name}"


def _patterns(request: Request, count: int) -> npt.NDArray[np.uint8]:
    """Smooth colours with noise: far from photographs, near enough to find a wrong number."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[0 : request.height, 0 : request.width] / 40.0
    made = []
    for _ in range(count):
        a, b, c = random.uniform(0.2, 2.0, (3, 3))
        wave = np.sin(rows[..., None] * a + columns[..., None] * b + 6 * c)
        noise = random.normal(0, 12, wave.shape)
        made.append(np.clip(127 + 100 * wave + noise, 0, 255).astype(np.uint8))
    return np.stack(made)


def compare(request: Request, run: Run, pictures: npt.NDArray[np.uint8]) -> tuple[Agreement, ...]:
    """Run both on the same pictures, a few at a time."""
    here = engine.create(request.weights)
    endpoints = request.endpoints
    size = request.batch_size or 4
    usable = len(pictures) // size * size if request.batch_size else len(pictures)
    parts = [pictures[i : i + size] for i in range(0, usable, size)]
    if not parts:  # fewer pictures than a fixed batch
        parts = [np.resize(pictures, (size, *pictures.shape[1:]))]
    expected: dict[str, list[Arrays]] = {name: [] for name in endpoints}
    found: dict[str, list[Arrays]] = {name: [] for name in endpoints}
    for part in parts:
        ours = engine.run(here, request.images(part), endpoints)
        theirs = run.compute(request.images(part))
        for name in endpoints:
            expected[name].append(ours[name])
            found[name].append(np.asarray(theirs[name], np.float32))
    limit = LIMITS[request.precision]
    return tuple(
        _agreement(name, np.concatenate(found[name]), np.concatenate(expected[name]), limit)
        for name in endpoints
    )


def _agreement(name: str, found: Arrays, expected: Arrays, limit: Limit) -> Agreement:
    if found.shape != expected.shape or not np.isfinite(found).all():
        return Agreement(
            endpoint=name, shape=found.shape[1:], cosine=-1.0, error=float("inf"), limit=limit
        )
    a = found.reshape(len(found), -1).astype(np.float64)
    b = expected.reshape(len(expected), -1).astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = np.where(lengths > 0, (a * b).sum(axis=1) / np.maximum(lengths, 1e-300), 1.0)
    scale = float(np.abs(b).max()) or 1.0
    return Agreement(
        endpoint=name,
        shape=found.shape[1:],
        cosine=float(cosines.min()),
        error=float(np.abs(a - b).max()) / scale,
        limit=limit,
    )
