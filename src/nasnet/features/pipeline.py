"""Items in, batches of vectors out, in order: decode threads and engine streams overlap.

It knows no files and no formats, only the seams of source, recipe and engine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from nasnet.compute.engine import Engine, Images, Outputs, run
from nasnet.errors import PictureError
from nasnet.features.store import Batch
from nasnet.pictures.recipes import Prepared
from nasnet.pictures.sources import Item

# How many rows wait between the stages, in batches of the engine: enough that neither side
# starves when a large picture comes along or a part is written to a slow disk, few enough that
# memory stays flat.
_DECODED_AHEAD = 3
_SUBMITTED_AHEAD = 4
_ROWS_WITHOUT_PICTURE = 64  # rows of failures that are handed on without waiting for a picture


@dataclass(frozen=True, slots=True)
class _Row:
    id: str
    kept: tuple[Any, ...]
    prepared: Prepared | None
    error: str | None


@dataclass(slots=True)
class _Group:
    """Rows that leave together: up to a batch of pictures and the failures between them."""

    rows: list[_Row] = field(default_factory=list)
    pictures: int = 0

    def add(self, row: _Row) -> None:
        self.rows.append(row)
        self.pictures += row.prepared is not None


def vectors(
    items: Iterable[Item],
    prepare: Callable[[Item], Prepared],
    engine: Engine,
    endpoint: str,
    *,
    width: int,
    decode_threads: int,
) -> Iterator[Batch]:
    """Compute a vector for every item, or note why there is none.

    Every item gives exactly one row, in the order they came. An error of the source itself (a
    damaged archive, say) ends the run; errors of one picture do not. Items are read from this
    thread only; `decode_threads` call `prepare` at once, which makes a network's input of an item
    and raises `PictureError` with the reason. Of an endpoint that is a map the mean over its
    positions is taken.
    """
    decoders = ThreadPoolExecutor(decode_threads, thread_name_prefix="decode")
    streams = ThreadPoolExecutor(engine.streams, thread_name_prefix="infer")
    try:
        computed: deque[Future[Batch]] = deque()
        groups = _groups(_decoded(items, prepare, decoders, engine), engine.batch)
        for number, group in enumerate(groups):
            # Pictures that do not even fill the first batch are all there are.
            few = number == 0 and group.pictures < engine.batch
            infer = partial(run, engine) if few else partial(engine.infer, alone=False)
            computed.append(streams.submit(_compute, group, infer, endpoint, width))
            while len(computed) > engine.streams + _SUBMITTED_AHEAD:
                yield computed.popleft().result()
        while computed:
            yield computed.popleft().result()
    finally:
        # On Ctrl-C and on a closed generator: nothing new starts, what runs ends.
        decoders.shutdown(wait=True, cancel_futures=True)
        streams.shutdown(wait=True, cancel_futures=True)


def _decoded(
    items: Iterable[Item],
    prepare: Callable[[Item], Prepared],
    decoders: ThreadPoolExecutor,
    engine: Engine,
) -> Iterator[_Row]:
    ahead = engine.batch * (engine.streams + _DECODED_AHEAD)
    waiting: deque[Future[_Row]] = deque()

    def decode(item: Item) -> _Row:
        try:
            return _Row(item.id, item.kept, prepare(item), None)
        except PictureError as error:
            return _Row(item.id, item.kept, None, str(error))

    for item in items:
        waiting.append(decoders.submit(decode, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _groups(rows: Iterable[_Row], batch: int) -> Iterator[_Group]:
    group = _Group()
    for row in rows:
        group.add(row)
        if group.pictures == batch or len(group.rows) >= batch + _ROWS_WITHOUT_PICTURE:
            yield group
            group = _Group()
    if group.rows:
        yield group


def _compute(
    group: _Group, infer: Callable[[Images, tuple[str, ...]], Outputs], endpoint: str, width: int
) -> Batch:
    result: npt.NDArray[np.float32] = np.full((len(group.rows), width), np.nan, np.float32)
    if group.pictures:
        pixels = [row.prepared.pixels for row in group.rows if row.prepared is not None]
        images = cast(Images, np.stack(pixels))
        found = infer(images, (endpoint,))[endpoint]
        if found.ndim == 4:
            found = found.mean(axis=(1, 2))
        good = [index for index, row in enumerate(group.rows) if row.prepared is not None]
        result[good] = found
    return Batch(
        ids=[row.id for row in group.rows],
        vectors=result,
        widths=np.array(
            [row.prepared.width if row.prepared else 0 for row in group.rows], np.int32
        ),
        heights=np.array(
            [row.prepared.height if row.prepared else 0 for row in group.rows], np.int32
        ),
        errors=[row.error for row in group.rows],
        file_bytes=[row.prepared.file_bytes if row.prepared else 0 for row in group.rows],
        signatures=[row.prepared.signature if row.prepared else None for row in group.rows],
        kept=[row.kept for row in group.rows],
    )
