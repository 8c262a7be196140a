"""Training batches: labelled pictures decoded ahead in threads, augmented, in a fixed order.

Called by training, distillation and evaluation; what comes depends on the seed alone, not on
threads, on the number of processes, or on where a run was taken up again.
"""

from __future__ import annotations

import math
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nasnet import recipes
from nasnet.augment import AugmentOptions, augment
from nasnet.errors import InputError, PictureError, SourceError
from nasnet.image import Decoding
from nasnet.machine import usable_cores
from nasnet.resize import pillow_bilinear

__all__ = ["Example", "Failure", "Loader", "LoaderOptions", "TrainBatch"]

Pixels = npt.NDArray[np.uint8]
_AHEAD = 3  # batches decoded before they are asked for
_KEPT = 2.0  # decoded pictures are kept at most at this multiple of the size wanted
_MIXING, _VIEW = 1, 2  # streams of randomness


class Example(Protocol):
    """A labelled picture to come; see `dataset.Example`."""

    @property
    def id(self) -> str:
        """What it is called."""

    @property
    def label(self) -> int:
        """Its class."""

    @property
    def read(self) -> Callable[[], Any]:
        """Gives encoded bytes, an array or a PIL image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderOptions:
    """How batches are made.

    Attributes:
        batch: pictures in a batch, over all processes.
        size: height and width in pixels.
        seed: of order and augmentation.
        augment: how pictures are varied; None brings them to the size by the recipe.
        recipe: the preprocessing where there is no augmentation.
        shuffle: a new order in every epoch.
        views: how many epochs have views of their own before the first ones come again; 0 for
            ever new ones.
        mixup: alpha of the Beta distribution pairs of pictures are mixed with (Zhang et al.
            2018); 0 for none. Pairs are neighbours in the batch.
        threads: how many decode; as many as cores if None.
        replica: rank and number of processes that share every batch.
        drop_last: leave out what does not fill a batch.
        cache_bytes: decoded pictures are kept in memory up to this.
    """

    batch: int = 32
    size: tuple[int, int] = (224, 224)
    seed: int = 0
    augment: AugmentOptions | None = None
    recipe: str = "photo"
    shuffle: bool = True
    views: int = 0
    mixup: float = 0.0
    threads: int | None = None
    replica: tuple[int, int] = (0, 1)
    drop_last: bool = True
    cache_bytes: int = 2 << 30

    def __post_init__(self) -> None:
        """Refuse what cannot be shared out."""
        world = self.replica[1]
        if self.batch < 1 or self.batch % world:
            raise InputError(f"a batch of {self.batch} cannot be shared by {world} processes")
        if self.mixup > 0 and (self.batch // world) % 2:
            raise InputError(
                f"mixup needs an even batch in each process, found {self.batch} over {world}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainBatch:
    """One process's share of a batch.

    Attributes:
        epoch: its number.
        step: within the epoch.
        images: uint8 [n, height, width, 3].
        labels: int64 [n].
        mixed: int64 [n], the second label; the same as the first without mixup.
        share: float32 [n], weight of the first label; 1 without mixup.
        ids: of the pictures.
        rows: int64 [n], places of the examples in what the loader was given.
    """

    epoch: int
    step: int
    images: Pixels
    labels: npt.NDArray[np.int64]
    mixed: npt.NDArray[np.int64]
    share: npt.NDArray[np.float32]
    ids: tuple[str, ...]
    rows: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Failure:
    """A picture that cannot be read, and why."""

    id: str
    reason: str


class Loader:
    """Batches of one set of examples; lives while a run needs them."""

    def __init__(
        self,
        examples: Sequence[Example],
        options: LoaderOptions,
        *,
        on_failure: Callable[[Failure], None] | None = None,
    ) -> None:
        """Start the threads that decode.

        Args:
            examples: labelled pictures.
            options: how.
            on_failure: told once of every picture that cannot be read; another takes its place.

        Raises:
            SourceError: there are no examples, or too few for the processes.
        """
        world = options.replica[1]
        if len(examples) < world or not examples:
            raise SourceError(f"{len(examples)} pictures are too few to train on")
        self._examples = examples
        self._options = options
        self._on_failure = on_failure or (lambda failure: None)
        grain = world * (2 if options.mixup > 0 else 1)
        self._batch = min(options.batch, max(len(examples) // grain * grain, grain))
        self._threads = ThreadPoolExecutor(
            options.threads or usable_cores(), thread_name_prefix="decode"
        )
        self._lock = threading.Lock()
        self._cache: dict[int, Pixels] = {}
        self._cached_bytes = 0
        self._failed: dict[int, str] = {}

    def __enter__(self) -> Loader:
        """Use it in a `with` statement to have its threads ended."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the threads and forget the pictures."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._cache.clear()

    def steps(self) -> int:
        """Batches in an epoch."""
        if self._options.drop_last:
            return max(len(self._examples) // self._batch, 1)
        return math.ceil(len(self._examples) / self._batch)

    def epoch(self, number: int, *, start: int = 0) -> Iterator[TrainBatch]:
        """The batches of an epoch, in order.

        Args:
            number: the epoch.
            start: the first batch wanted: what comes is what an unbroken epoch has from there.

        Raises:
            SourceError: not one picture can be read.
        """
        order = np.arange(len(self._examples))
        if self._options.shuffle:
            order = np.random.default_rng([self._options.seed, number]).permutation(order)
        waiting: deque[tuple[int, list[Future[tuple[int, Pixels]]]]] = deque()
        try:
            for step in range(start, self.steps()):
                places = self._places(step)
                rows = [self._threads.submit(self._view, order, place, number) for place in places]
                waiting.append((step, rows))
                if len(waiting) > _AHEAD:
                    yield self._collect(number, *waiting.popleft())
            while waiting:
                yield self._collect(number, *waiting.popleft())
        finally:
            for _, rows in waiting:
                for row in rows:
                    row.cancel()

    def _places(self, step: int) -> range:
        """Which places of the epoch's order are this process's in a step."""
        rank, world = self._options.replica
        first = step * self._batch
        last = min(first + self._batch, len(self._examples))
        share = -(-(last - first) // world)
        return range(first + rank * share, min(first + (rank + 1) * share, last))

    def _collect(
        self, epoch: int, step: int, futures: list[Future[tuple[int, Pixels]]]
    ) -> TrainBatch:
        views = [future.result() for future in futures]
        rows = np.array([row for row, _ in views], np.int64)
        images = np.stack([pixels for _, pixels in views])
        labels = np.array([self._examples[row].label for row in rows], np.int64)
        mixed, share = labels.copy(), np.ones(len(rows), np.float32)
        if self._options.mixup > 0:
            first = self._places(step)[0] // 2
            for pair in range(len(rows) // 2):
                seeds = [self._options.seed, epoch, step, first + pair, _MIXING]
                lam = np.random.default_rng(seeds).beta(self._options.mixup, self._options.mixup)
                one, two = 2 * pair, 2 * pair + 1
                a, b = images[one].astype(np.float32), images[two].astype(np.float32)
                images[one] = np.rint(lam * a + (1 - lam) * b).astype(np.uint8)
                images[two] = np.rint(lam * b + (1 - lam) * a).astype(np.uint8)
                mixed[one], mixed[two] = labels[two], labels[one]
                share[one] = share[two] = lam
        return TrainBatch(
            epoch=epoch,
            step=step,
            images=images,
            labels=labels,
            mixed=mixed,
            share=share,
            ids=tuple(self._examples[row].id for row in rows),
            rows=rows,
        )

    def _view(self, order: npt.NDArray[np.int64], place: int, epoch: int) -> tuple[int, Pixels]:
        """The picture at a place of the order, or the next one after it that can be read."""
        count = len(order)
        for further in range(count):
            row = int(order[(place + further) % count])
            try:
                return row, self._picture(row, epoch)
            except PictureError as error:
                self._note(row, str(error))
        raise SourceError(f"not one of {count} pictures can be read")

    def _note(self, row: int, reason: str) -> None:
        with self._lock:
            known = row in self._failed
            self._failed[row] = reason
        if not known:
            self._on_failure(Failure(self._examples[row].id, reason))

    def _picture(self, row: int, epoch: int) -> Pixels:
        options = self._options
        if row in self._failed:
            raise PictureError(self._failed[row])
        if options.augment is None:
            recipe = recipes.get_recipe(options.recipe)
            pixels = recipes.prepare(self._examples[row].read(), recipe, *options.size).pixels
            if pixels.dtype != np.uint8:
                pixels = np.rint(pixels * 255)
            return pixels.astype(np.uint8)
        view = epoch % options.views if options.views else epoch
        # By name, not by place: a picture looks alike in whatever list it comes.
        name = zlib.crc32(self._examples[row].id.encode())
        random = np.random.default_rng([options.seed, view, name, _VIEW])
        return augment(
            self._decoded(row), size=options.size, options=options.augment, random=random
        )

    def _decoded(self, row: int) -> Pixels:
        """The whole picture, no larger than augmentation can use."""
        pixels = self._cache.get(row)
        if pixels is not None:
            return pixels
        height, width = (round(_KEPT * side) for side in self._options.size)
        decoding = Decoding(shrink=2)
        read = self._examples[row].read()
        pixels = recipes.open_picture(read, decoding, target=(height, width)).pixels
        ratio = max(height / pixels.shape[0], width / pixels.shape[1])
        if ratio < 1:
            rows, columns = (max(round(side * ratio), 1) for side in pixels.shape[:2])
            pixels = pillow_bilinear(pixels, rows, columns)
        with self._lock:
            if self._cached_bytes + pixels.nbytes <= self._options.cache_bytes:
                self._cached_bytes += pixels.nbytes
                self._cache[row] = pixels
        return pixels
