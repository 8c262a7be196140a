"""The vectors of X: the weights and engine of a fitted estimator, and its cache."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import joblib
import numpy as np
import numpy.typing as npt

from nasnet.compute.engine import EngineOptions
from nasnet.errors import InputError, PictureError, WeightsError
from nasnet.features import pipeline
from nasnet.features.extractor import Extractor
from nasnet.features.store import Batch
from nasnet.pictures import recipes
from nasnet.pictures.recipes import Prepared
from nasnet.pictures.sources import Item, open_source
from nasnet.train.estimator.given import Given
from nasnet.weights.opening import Opened, open_weights
from nasnet.weights.weights import fingerprint

Array = npt.NDArray[Any]
OnError = Literal["raise", "nan"]
# (where, key) gives the vector kept there or raises KeyError; (where, key, vector) keeps it.
Store = Callable[..., Array]

_OVERSHOOT = 0.25  # what resizing with a cubic kernel adds to [0, 1] at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an estimator was fitted with; later changes of its parameters wait for the next fit.

    Attributes:
        weights: a handle, path, or `seeded:N`.
        recipe: the preprocessing, with its version.
        endpoint: which vector.
        size: height and width in pixels, None for the network's own.
        engine: how to compute.
    """

    weights: str
    recipe: str
    endpoint: str
    size: tuple[int, int] | None
    engine: EngineOptions


def settings_of(estimator: Any, *, endpoint: str) -> Settings:  # noqa: ANN401
    """The parameters of an estimator, checked.

    Raises:
        InputError: one does not fit.
    """
    size = estimator.size
    if size is not None and not (isinstance(size, tuple | list) and len(size) == 2):
        raise InputError(f"size is (height, width) or None, not {size!r}")
    return Settings(
        weights=os.fspath(estimator.weights),
        recipe=recipes.get_recipe(estimator.recipe).name,
        endpoint=endpoint,
        size=None if size is None else (int(size[0]), int(size[1])),
        engine=EngineOptions(
            engine=estimator.engine,
            precision=estimator.precision,
            threads=estimator.threads,
            batch_size=estimator.batch_size,
        ),
    )


class Network:
    """What computes for one fitted estimator, made when first needed, by whichever thread.

    A pickle or copy has only the settings, and the fingerprint of the weights that were seen,
    which those opened later must have again.
    """

    def __init__(self, settings: Settings, expected: str | None = None) -> None:
        self.settings = settings
        self._fingerprint = expected
        self._opened: Opened | None = None
        self._extractor: Extractor | None = None
        self._lock = threading.RLock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Network, (self.settings, self._fingerprint)

    @property
    def opened(self) -> Opened:
        """The weights, and what was found out about them."""
        with self._lock:
            if self._opened is None:
                opened = open_weights(self.settings.weights)
                found = fingerprint(opened.weights)
                if found != (self._fingerprint or found):
                    raise WeightsError(
                        f"{self.settings.weights} is not what this estimator was fitted with: "
                        f"its fingerprint was {self._fingerprint}, now it is {found}; fit again"
                    )
                self._opened, self._fingerprint = opened, found
            return self._opened

    @property
    def fingerprint(self) -> str:
        """Which weights these are; those that were seen at fit need not be opened for it."""
        return self._fingerprint or fingerprint(self.opened.weights)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels the pictures are brought to."""
        return self.settings.size or self.opened.image_size

    @property
    def extractor(self) -> Extractor:
        """What computes."""
        with self._lock:
            if self._extractor is None:
                settings = self.settings
                self._extractor = Extractor(
                    self.opened,
                    recipe=settings.recipe,
                    size=settings.size,
                    endpoint=settings.endpoint,
                    engine=settings.engine,
                )
            return self._extractor

    @property
    def space(self) -> str:
        """Everything but the picture that a vector depends on."""
        settings, (height, width) = self.settings, self.size
        engine = settings.engine
        return (
            f"{self.fingerprint} {settings.endpoint} {settings.recipe} {height}x{width} "
            f"{engine.engine} {engine.precision}"
        )

    def prepare(self, picture: Any) -> Prepared:  # noqa: ANN401
        """A picture as the network's input.

        Raises:
            PictureError: it cannot be read.
        """
        if isinstance(picture, np.ndarray):
            picture = _eight_bits(picture)
        return self.extractor.prepare(picture)


def vectors_of(
    given: Given,
    network: Network,
    *,
    width: int,
    on_error: OnError,
    memory: Any,  # noqa: ANN401 - a path, joblib.Memory or None
) -> Array:
    """The vectors of X, [n, width], in order; those computed already are passed on.

    Raises:
        InputError: the vectors are not as long as those of `fit`.
        PictureError: a picture cannot be read, unless `on_error` is `nan`.
    """
    found = network.extractor.dimensions if given.vectors is None else given.vectors.shape[1]
    if found != width:
        what = "pictures, whose vectors" if given.vectors is None else "vectors that"
        raise InputError(f"X holds {what} have {found} numbers; at fit they had {width}")
    if given.vectors is not None:
        return given.vectors
    assert given.pictures is not None
    items = list(open_source(list(given.pictures)))
    store = store_of(memory)
    if store is None:
        return _computed(items, range(len(items)), network, width, on_error, None)
    return _remembering(items, network, width, on_error, store)


def _remembering(
    items: list[Item], network: Network, width: int, on_error: OnError, store: Store
) -> Array:
    """Vectors from memory, and of what is new and different the computed ones."""
    with ThreadPoolExecutor(network.settings.engine.cores) as threads:
        keys = list(threads.map(partial(_key, network=network), items))
    kept: dict[str, Array] = {}
    new: dict[str, int] = {}  # key -> its first row
    for row, key in enumerate(keys):
        if key in kept or key in new:
            continue
        try:
            kept[key] = store(network.space, key)
        except KeyError:
            new[key] = row
    if new:

        def keep(row: int, vector: Array) -> None:
            store(network.space, keys[row], vector)

        rows = list(new.values())
        vectors = _computed(items, rows, network, width, on_error, keep)
        kept |= dict(zip(new, vectors, strict=True))
    return np.stack([kept[key] for key in keys])


def _computed(
    items: Sequence[Item],
    rows: Sequence[int],
    network: Network,
    width: int,
    on_error: OnError,
    keep: Callable[[int, Array], None] | None,
) -> Array:
    """The vectors of some rows of X."""
    parts: list[Array] = []
    place = iter(rows)
    batches = pipeline.vectors(
        [items[row] for row in rows],
        lambda item: network.prepare(item.read()),
        network.extractor.engine,
        network.settings.endpoint,
        width=width,
        decode_threads=network.settings.engine.cores,
    )
    with closing(cast("Generator[Batch, None, None]", batches)):
        for batch in batches:
            for vector, error in zip(batch.vectors, batch.errors, strict=True):
                row = next(place)
                if error is None and keep is not None:
                    keep(row, vector)
                if error is not None and on_error == "raise":
                    name = "" if items[row].id == str(row) else f" ({items[row].id})"
                    raise PictureError(f"X[{row}]{name}: {error}")
            parts.append(batch.vectors)
    return np.concatenate(parts)


def _key(item: Item, *, network: Network) -> str:
    """A picture's content, in short; one that cannot be read is like no other."""
    try:
        value = item.read()
        digest = hashlib.sha256()
        if isinstance(value, bytes | bytearray | memoryview):
            digest.update(b"file")
            digest.update(value)
        elif isinstance(value, np.ndarray) and value.dtype != object:
            digest.update(f"array {value.dtype.str} {value.shape}".encode())
            digest.update(np.ascontiguousarray(value).tobytes())
        else:
            # A PIL image has much besides its pixels that matters: take what becomes of it.
            pixels = network.prepare(value).pixels
            digest.update(f"prepared {pixels.dtype.str} {pixels.shape}".encode())
            digest.update(pixels.tobytes())
        return digest.hexdigest()
    except PictureError:
        return f"unreadable {id(item)}"


def store_of(memory: Any) -> Store | None:  # noqa: ANN401
    """What keeps vectors, or None.

    Raises:
        InputError: `memory` is neither a folder nor a `joblib.Memory`.
    """
    if memory is None:
        return None
    if isinstance(memory, str | os.PathLike):
        memory = joblib.Memory(os.fspath(memory), verbose=0)
    if not isinstance(memory, joblib.Memory):
        raise InputError(f"memory is a folder or a joblib.Memory, not {memory!r}")
    return cast(Store, memory.cache(_remembered, ignore=["vector"], verbose=0))


def _remembered(where: str, key: str, vector: Array | None = None) -> Array:
    """What joblib keeps: called without the vector only if there is none, and then not kept."""
    if vector is None:
        raise KeyError(key)
    return vector


def _eight_bits(pixels: Array) -> Array:
    """Floats in [0, 1] as uint8; other types are left to the recipe, which takes or refuses them.

    Raises:
        PictureError: floats of another range.
    """
    if pixels.dtype.kind != "f" or not pixels.size:
        return pixels
    lowest, highest = float(pixels.min()), float(pixels.max())
    if not (lowest >= -_OVERSHOOT and highest <= 1 + _OVERSHOOT):  # also true of NaN
        raise PictureError(
            f"floats from {lowest:.4g} to {highest:.4g}: expected [0, 1], or uint8 0..255"
        )
    return np.asarray(np.rint(np.clip(pixels, 0, 1) * 255), np.uint8)
