"""Labelled pictures as one array of small ones, made once and read by every training."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError, SourceError
from nasnet.pictures.batches import Failure, Loader, LoaderOptions, TrainBatch
from nasnet.pictures.sources import Dataset, Example
from nasnet.system import staged

Pixels = npt.NDArray[np.uint8]
_DESCRIPTION, _IMAGES, _LABELS = "pictures.json", "images.npy", "labels.npy"
_PADDING = 1 / 8  # of the side: how far a training picture moves each way


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallPictures:
    """Pictures of one size, those to train on first.

    Attributes:
        images: uint8 [n, size, size, 3], a memory map.
        labels: int64 [n].
        train: how many of them are to train on; the others are for validation.
        classes: names.
    """

    images: Pixels
    labels: npt.NDArray[np.int64]
    train: int
    classes: tuple[str, ...]

    @property
    def size(self) -> int:
        """Height and width in pixels."""
        return int(self.images.shape[1])

    def batches(self, count: int, batch_size: int, seed: int) -> ArrayBatches:
        """Training batches of the first `count` pictures, all of them if there are fewer."""
        some = slice(0, min(count, self.train))
        return ArrayBatches(self.images[some], self.labels[some], batch_size, seed)

    def held_out(self, count: int, batch_size: int = 250) -> Iterator[tuple[Pixels, Any]]:
        """The first `count` validation pictures in batches, with their labels."""
        last = min(self.train + count, len(self.labels))
        for at in range(self.train, last, batch_size):
            some = slice(at, min(at + batch_size, last))
            yield np.array(self.images[some]), np.array(self.labels[some])


class ArrayBatches:
    """Batches of an array in an order that the seed decides, each picture moved and mirrored.

    A picture moves by up to an eighth of its side, its border repeated, and every second one is
    mirrored: what CIFAR-10 is trained with everywhere, and cheap. See `Batches`.
    """

    def __init__(
        self, images: Pixels, labels: npt.NDArray[np.int64], batch_size: int, seed: int
    ) -> None:
        self._images, self._labels, self._seed = images, labels, seed
        self._batch = min(batch_size, len(labels))

    def steps(self) -> int:
        """Batches in an epoch; pictures that fill none are left out of it."""
        return len(self._labels) // self._batch

    def close(self) -> None:
        """Nothing works ahead."""

    def epoch(self, number: int, *, start: int = 0) -> Iterator[TrainBatch]:
        """The batches of an epoch, in order; see `Batches`."""
        order = np.random.default_rng([self._seed, number]).permutation(len(self._labels))
        for step in range(start, self.steps()):
            rows = np.sort(order[step * self._batch : (step + 1) * self._batch])
            rng = np.random.default_rng([self._seed, number, step])
            labels = np.asarray(self._labels[rows], np.int64)
            yield TrainBatch(
                epoch=number,
                step=step,
                images=_moved(np.asarray(self._images[rows]), rng),
                labels=labels,
                mixed=labels,
                share=np.ones(len(rows), np.float32),
                ids=tuple(map(str, rows)),
                rows=rows,
            )


def _moved(images: Pixels, rng: np.random.Generator) -> Pixels:
    """Each picture of [n, size, size, 3] moved and perhaps mirrored."""
    count, size = images.shape[:2]
    by = max(int(size * _PADDING), 1)
    ys, xs = (np.arange(size) + rng.integers(-by, by + 1, (2, count, 1))).clip(0, size - 1)
    xs = np.where(rng.random((count, 1)) < 0.5, xs[:, ::-1], xs)
    moved: Pixels = images[np.arange(count)[:, None, None], ys[:, :, None], xs[:, None, :]]
    return moved


def small_pictures(
    data: Dataset,
    folder: Path,
    size: int,
    *,
    pictures: int = 0,
    validation: int = 0,
    on_done: Callable[[int, int], None] | None = None,
) -> SmallPictures:
    """The pictures of a dataset at one size; decoded at the first call, read at later ones.

    Args:
        data: labelled pictures with a validation part.
        folder: where the array is kept, a file a size.
        size: height and width in pixels, by the recipe `photo`.
        pictures: of the training part at most so many, 0 for all, as even over classes as the
            data allow.
        validation: likewise of the validation part.
        on_done: told how many pictures are decoded, and of how many.

    Raises:
        InputError: the data have no validation part, or the array is one of other pictures.
        SourceError: the array is not the one that was written.
        SourceError: not one picture can be read.
        OutputError: the array cannot be written.
    """
    if not data.validation:
        raise InputError(f"{data.name}: no pictures are held out, and a search needs some")
    train, held_out = _some(data.train, pictures), _some(data.validation, validation)
    wanted = {
        "data": data.fingerprint,
        "size": size,
        "classes": list(data.classes),
        "train": len(train),
        "validation": len(held_out),
    }
    place = array_of(folder, size)
    if not place.exists():
        _write(place, [*train, *held_out], wanted, on_done)
    return _read(place, wanted)


def array_of(folder: Path, size: int) -> Path:
    """Where `small_pictures` keeps the array of a size."""
    return folder / f"pictures-{size}px"


def remove_pictures(folder: Path) -> None:
    """Take away the arrays in a folder, of whatever size."""
    for place in folder.glob("pictures-*px"):
        shutil.rmtree(place, ignore_errors=True)


def _some(examples: Sequence[Example], count: int) -> list[Example]:
    """So many examples in a random order that is always the same, the classes taking turns."""
    rng = np.random.default_rng(0)
    labels = np.array([example.label for example in examples])
    shuffled = rng.permutation(len(examples))
    turn = np.empty(len(examples), np.int64)
    for label in np.unique(labels):
        own = shuffled[labels[shuffled] == label]
        turn[own] = np.arange(len(own))
    order = shuffled[np.argsort(turn[shuffled], kind="stable")]
    return [examples[at] for at in order[: count or len(order)]]


def _write(
    place: Path,
    examples: Sequence[Example],
    wanted: dict[str, Any],
    on_done: Callable[[int, int], None] | None,
) -> None:
    size, train = int(wanted["size"]), int(wanted["train"])
    failed: list[Failure] = []
    options = LoaderOptions(batch_size=256, size=(size, size), cache_bytes=0)
    images = np.empty((len(examples), size, size, 3), np.uint8)
    labels = np.empty(len(examples), np.int64)
    rows: list[int] = []
    with Loader(examples, options, on_failure=failed.append) as loader:
        for batch in loader.epoch(0):
            here = slice(len(rows), len(rows) + len(batch.rows))
            images[here], labels[here] = batch.images, batch.labels
            rows += batch.rows.tolist()
            if on_done is not None:
                on_done(len(rows), len(examples))
    images, labels = images[: len(rows)], labels[: len(rows)]
    found = {
        **wanted,
        "readable": sum(row < train for row in rows),
        "unreadable": [f"{one.id}: {one.reason}" for one in failed[:10]],
        "sha256": _sum(images, labels),
    }
    with staged(place) as folder:
        folder.mkdir()
        np.save(folder / _IMAGES, images)
        np.save(folder / _LABELS, labels)
        (folder / _DESCRIPTION).write_text(json.dumps(found, indent=1))


def _read(place: Path, wanted: dict[str, Any]) -> SmallPictures:
    found = opened(place)
    described = json.loads((place / _DESCRIPTION).read_text())
    for name, value in wanted.items():
        if described.get(name) != value:
            raise InputError(
                f"{place} holds other pictures ({name} is {described.get(name)!r} there, "
                f"{value!r} here): name another folder"
            )
    if described["sha256"] != _sum(found.images, found.labels):
        raise SourceError(f"{place} is damaged: remove it, and it is made anew")
    return found


def opened(place: Path) -> SmallPictures:
    """The array in a folder, as a training opens it: its sum was checked when the run began.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        described = json.loads((place / _DESCRIPTION).read_text())
        return SmallPictures(
            images=np.load(place / _IMAGES, mmap_mode="r"),
            labels=np.load(place / _LABELS),
            train=described["readable"],
            classes=tuple(described["classes"]),
        )
    except (OSError, ValueError, KeyError) as error:
        raise SourceError(f"{place} cannot be read: {error}; remove it") from error


def _sum(images: Pixels, labels: npt.NDArray[np.int64]) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(labels).tobytes())
    for at in range(0, len(images), 1024):
        digest.update(np.ascontiguousarray(images[at : at + 1024]).tobytes())
    return digest.hexdigest()
