"""Training batches: labelled pictures decoded ahead in threads, augmented, in a fixed order.

What comes depends on the seed alone: not on threads, on the number of processes, or on where a run
was resumed.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError, PictureError, SourceError, check_ranges
from nasnet.pictures import recipes
from nasnet.pictures.ahead import drawn_ahead
from nasnet.pictures.augment import Augmentation, augment, mix
from nasnet.pictures.resize import pillow_at_most
from nasnet.system import usable_cores

Pixels = npt.NDArray[np.uint8]
_AHEAD = 3  # batches decoded before they are asked for
_KEPT = 2.0  # decoded pictures are kept at most at this multiple of the size wanted
_TASK = 2  # pictures a thread takes at a time: the two that are mixed with each other
_MIXING, _VIEW = 1, 2  # streams of randomness
_RANGES = dict.fromkeys(("seed", "views", "mixup", "cutmix", "cache_bytes"), "[0, inf)") | (
    dict.fromkeys(("batch_size", "size", "crops", "threads"), "[1, inf)")
)


class Example(Protocol):
    """A labelled picture to come; see `sources.Example`."""

    @property
    def id(self) -> str:
        """What it is called."""

    @property
    def label(self) -> int:
        """Its class."""

    @property
    def read(self) -> Callable[[], Any]:
        """Gives encoded bytes, an array or a PIL image; raises `PictureError` if it cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderOptions:
    """How batches are made.

    Attributes:
        batch_size: pictures in a batch, over all processes.
        size: height and width in pixels.
        seed: of order and augmentation.
        augment: how pictures are varied. None is for evaluation: each comes once, in the order
            given, as the recipe brings it to the size.
        recipe: the preprocessing; where there is augmentation only its decoding counts.
        shuffle: a new order in every epoch.
        views: how many epochs have views of their own before the first ones come again; 0 for
            ever new ones.
        crops: views of each picture, in consecutive rows: a batch has `batch * crops` of them.
        mixup: alpha of the Beta distribution pairs of pictures are mixed with (Zhang et al.
            2018); 0 for none. Pairs are neighbours in the batch.
        cutmix: alpha of the Beta distribution of the share that a rectangle, put from one into
            the other, leaves (Yun et al. 2019); 0 for none. Beside mixup, every pair draws which
            of the two it is.
        threads: how many decode; as many as cores if None.
        replica: rank and number of processes that share every batch.
        drop_last: leave out what does not fill a batch; evaluation leaves out nothing.
        cache_bytes: decoded pictures are kept in memory up to this.

    Raises:
        InputError: a number is out of its range, or the batch cannot be shared evenly.
    """

    batch_size: int = 32
    size: tuple[int, int] = (224, 224)
    seed: int = 0
    augment: Augmentation | None = None
    recipe: str = "photo"
    shuffle: bool = True
    views: int = 0
    crops: int = 1
    mixup: float = 0.0
    cutmix: float = 0.0
    threads: int | None = None
    replica: tuple[int, int] = (0, 1)
    drop_last: bool = True
    cache_bytes: int = 2 << 30

    def __post_init__(self) -> None:
        """Refuse what cannot be meant or shared out."""
        check_ranges(self, _RANGES)
        rank, world = self.replica
        if not 0 <= rank < world:
            raise InputError(f"replica is (rank, processes), rank from 0, found {self.replica}")
        if self.batch_size % world:
            raise InputError(f"a batch of {self.batch_size} cannot be shared by {world} processes")
        if self.mixes and (self.batch_size // world) % 2:
            raise InputError(
                f"mixing needs an even batch in each process, found {self.batch_size} over {world}"
            )
        if self.augment is None and (self.mixes or self.crops > 1):
            raise InputError("mixup, cutmix and crops need augment, at least its preset 'none'")

    @property
    def mixes(self) -> bool:
        """Whether pairs of pictures are mixed."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def grain(self) -> int:
        """A shared batch is a multiple of this: every process has as much, and whole pairs."""
        return self.replica[1] * (2 if self.mixes else 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainBatch:
    """One process's share of a batch.

    Attributes:
        epoch: its number.
        step: within the epoch.
        images: uint8 [n, height, width, 3].
        labels: int64 [n].
        mixed: int64 [n], the second label; the same as the first where nothing was mixed.
        share: float32 [n], weight of the first label; 1 where nothing was mixed.
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


@dataclass(slots=True)
class _Row:
    """One row of a batch to come; `partner` is the example whose picture is mixed in."""

    row: int
    image: Pixels
    partner: int
    share: float = 1.0


_Part = tuple[list[_Row], list[int]]  # of a task: its rows, and examples that cannot be read


class Loader:
    """Batches of one set of examples; lives while a run needs them.

    A picture that cannot be read is found when it is first wanted. In training the next one in the
    epoch's order takes its place; in evaluation it is left out, and so is a batch of such ones.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        options: LoaderOptions,
        *,
        on_failure: Callable[[Failure], None] | None = None,
    ) -> None:
        """Say what to load.

        A training batch shrinks to what there is. Iterating calls `on_failure` once for each
        unreadable picture, in order.

        Raises:
            InputError: no such recipe, or a last batch that the processes cannot share evenly.
            SourceError: there are no examples, or too few for the processes.
        """
        self._recipe = recipes.get_recipe(options.recipe)
        self._batch = _batch_size(len(examples), options)
        self._examples = examples
        self._options = options
        self._on_failure = on_failure or (lambda failure: None)
        self._lock = threading.Lock()
        self._cache: dict[int, Pixels] = {}
        self._cached_bytes = 0
        self._failed: dict[int, str] = {}
        self._told: set[int] = set()
        self._pools: set[ThreadPoolExecutor] = set()
        self._closed = False

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads, those of unfinished epochs as well, and forget the pictures."""
        self._closed = True
        for pool in tuple(self._pools):
            pool.shutdown(wait=True, cancel_futures=True)
        self._cache.clear()

    def steps(self) -> int:
        """Batches in an epoch."""
        whole, rest = divmod(len(self._examples), self._batch)
        dropped = self._options.drop_last and self._options.augment is not None
        return whole if dropped or not rest else whole + 1

    def epoch(self, number: int, *, start: int = 0) -> Iterator[TrainBatch]:
        """The batches of an epoch, in order.

        Threads start with the first batch that is taken, and end with the iterator. What comes from
        the batch `start` on is what an unbroken epoch has from there.

        Raises:
            InputError: the loader is closed, or a number is negative.
            SourceError: (while iterating) not one picture can be read.
        """
        self.check(number, start)
        return self._batches(number, start)

    def check(self, number: int, start: int) -> None:
        """Refuse an epoch or a start below 0, and any once the loader is closed."""
        if self._closed:
            raise InputError("the loader is closed: make a new one")
        if min(number, start) < 0:
            raise InputError(f"epoch and start begin at 0, found {number} and {start}")

    def _batches(self, epoch: int, start: int) -> Iterator[TrainBatch]:
        order = np.arange(len(self._examples))
        if self._options.shuffle and self._options.augment is not None:
            order = np.random.default_rng([self._options.seed, epoch]).permutation(order)
        pool = ThreadPoolExecutor(self._options.threads or usable_cores(), "decode")
        self._pools.add(pool)

        def begun() -> Iterator[tuple[int, list[Future[_Part]]]]:
            for step in range(start, self.steps()):
                self.check(epoch, step)
                tasks = self._tasks(step)
                yield step, [pool.submit(self._part, order, task, epoch) for task in tasks]

        try:
            for step, parts in drawn_ahead(begun(), _AHEAD):
                self.check(epoch, step)
                batch = self._collect(epoch, step, [part.result() for part in parts])
                if batch is not None:
                    yield batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            self._pools.discard(pool)

    def _tasks(self, step: int) -> list[range]:
        """Which places of the epoch's order are this process's in a step, a few for each task."""
        rank, world = self._options.replica
        first = step * self._batch
        last = min(first + self._batch, len(self._examples))
        share = -(-(last - first) // world)
        places = range(min(first + rank * share, last), min(first + (rank + 1) * share, last))
        return [places[at : at + _TASK] for at in range(0, len(places), _TASK)]

    def _collect(self, epoch: int, step: int, parts: list[_Part]) -> TrainBatch | None:
        for row in (row for _, failed in parts for row in failed):
            if row not in self._told:
                self._told.add(row)
                self._on_failure(Failure(self._examples[row].id, self._failed[row]))
        found = [one for rows, _ in parts for one in rows]
        if not found:
            if len(self._failed) < len(self._examples):
                return None
            row, reason = min(self._failed.items())
            id = self._examples[row].id
            raise SourceError(f"no picture of {len(self._failed)} can be read; {id}: {reason}")
        return TrainBatch(
            epoch=epoch,
            step=step,
            images=np.stack([one.image for one in found]),
            labels=np.array([self._examples[one.row].label for one in found], np.int64),
            mixed=np.array([self._examples[one.partner].label for one in found], np.int64),
            share=np.array([one.share for one in found], np.float32),
            ids=tuple(self._examples[one.row].id for one in found),
            rows=np.array([one.row for one in found], np.int64),
        )

    # -- in the threads

    def _part(self, order: npt.NDArray[np.int64], places: range, epoch: int) -> _Part:
        rows: list[_Row] = []
        failed: list[int] = []
        reach = 1 if self._options.augment is None else len(order)  # places tried for one
        for place in places:
            for at in range(place, place + reach):
                row = int(order[at % len(order)])
                try:
                    pixels = self._pixels(row)
                except PictureError:
                    failed.append(row)
                    continue
                rows += [_Row(row, view, row) for view in self._views(row, pixels, epoch)]
                break
        if self._options.mixes and len(rows) == _TASK * self._options.crops:
            self._mix(rows, places[0], epoch)
        return rows, failed

    def _views(self, row: int, pixels: Pixels, epoch: int) -> list[Pixels]:
        options = self._options
        if options.augment is None:
            return [pixels]
        view = epoch % options.views if options.views else epoch
        # By name, not by place: a picture looks alike in whatever list it comes.
        name = zlib.crc32(self._examples[row].id.encode("utf-8", "surrogatepass"))
        views = []
        for crop in range(options.crops):
            random = np.random.default_rng([options.seed, view, name, crop, _VIEW])
            views.append(augment(pixels, size=options.size, options=options.augment, random=random))
        return views

    def _mix(self, rows: list[_Row], place: int, epoch: int) -> None:
        """Mix the two pictures of a task, each view of one with the same view of the other."""
        options, crops = self._options, self._options.crops
        step, pair = place // self._batch, place % self._batch // 2
        for view, (one, two) in enumerate(zip(rows[:crops], rows[crops:], strict=True)):
            random = np.random.default_rng([options.seed, epoch, step, pair, view, _MIXING])
            one.image, two.image, share = mix(
                one.image, two.image, mixup=options.mixup, cutmix=options.cutmix, random=random
            )
            one.partner, two.partner = two.row, one.row
            one.share = two.share = share

    def _pixels(self, row: int) -> Pixels:
        """A picture as it is kept: prepared for evaluation, whole for augmentation."""
        pixels = self._cache.get(row)
        if pixels is not None:
            return pixels
        if row in self._failed:
            raise PictureError(self._failed[row])
        make = self._prepared if self._options.augment is None else self._decoded
        try:
            pixels = make(self._examples[row].read())
        except PictureError as error:
            self._failed[row] = str(error)
            raise
        with self._lock:
            fits = self._cached_bytes + pixels.nbytes <= self._options.cache_bytes
            if fits and row not in self._cache:
                self._cached_bytes += pixels.nbytes
                self._cache[row] = pixels
        return pixels

    def _prepared(self, picture: Any) -> Pixels:  # noqa: ANN401
        pixels = recipes.prepare(picture, self._recipe, *self._options.size).pixels
        if pixels.dtype != np.uint8:  # the recipes that resize as TensorFlow does
            pixels = np.rint(pixels * 255)
        return pixels.astype(np.uint8, copy=False)

    def _decoded(self, picture: Any) -> Pixels:  # noqa: ANN401
        """The whole picture, no larger than augmentation can use."""
        height, width = (round(_KEPT * side) for side in self._options.size)
        decoding = replace(self._recipe.decoding, shrink=1)
        pixels = recipes.open_picture(picture, decoding, target=(height, width)).pixels
        return pillow_at_most(pixels, height, width)


def _batch_size(count: int, options: LoaderOptions) -> int:
    """Pictures in a batch: fewer where there are not so many."""
    if count == 0:
        raise SourceError("there are no pictures to load")
    if options.augment is None:
        return options.batch_size
    world, grain = options.replica[1], options.grain
    if count < grain and world > 1:
        raise SourceError(f"{count} pictures are too few for {world} processes to train on")
    batch = min(options.batch_size, max(count // grain * grain, 1))
    rest = count % batch
    if world > 1 and not options.drop_last and rest % grain:
        raise InputError(f"{world} processes cannot share a last batch of {rest}: use drop_last")
    return batch
