"""Dynamic batching: pictures of many requests share the engine's batches; the queue is bounded.

Knows no HTTP. Decoding threads fill lanes, as many threads as the engine has streams empty them.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from nasnet.compute.engine import Engine, Images
from nasnet.errors import PictureError
from nasnet.pictures.recipes import Prepared
from nasnet.serve.answers import overloaded


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One kind of call; its pictures share batches.

    Attributes:
        engine: where to compute.
        endpoints: TF-Slim endpoints that every call of the lane gives.
    """

    engine: Engine
    endpoints: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Computed:
    """What came of one picture.

    Attributes:
        outputs: endpoint -> float32 array without batch axis; empty where there is an error.
        width: of the upright picture in pixels; 0 where unknown.
        height: of the same, in pixels.
        error: why there are no outputs, or None.
    """

    outputs: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    width: int = 0
    height: int = 0
    error: str | None = None


class Watch(Protocol):
    """Told what happens, from any thread."""

    def batch(self, rows: int, seconds: float) -> None:
        """A call of the engine has ended."""

    def picture(self, error: str | None) -> None:
        """A picture has been computed, or could not be."""


@dataclass(slots=True, kw_only=True)
class _Ticket:
    """One request's pictures; its future ends when all are done."""

    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None]
    results: list[Computed]
    left: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    abandoned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    ticket: _Ticket
    place: int
    pixels: npt.NDArray[Any]
    size: tuple[int, int]
    since: float


_Key = tuple[Lane, str]


class Batcher:
    """Decoding threads, lanes and computing threads of one module; lives as long as the service.

    Fewer pictures than a batch, and nothing computing: they go one by one over all cores, which
    is quickest for few. Else batches over all streams; one that is not full waits a moment.
    """

    def __init__(
        self,
        prepare: Callable[[bytes], Prepared],
        *,
        streams: int,
        decode_threads: int,
        queue: int,
        linger_seconds: float,
        watch: Watch,
    ) -> None:
        self._prepare = prepare
        self._queue = queue
        self._linger = linger_seconds
        self._watch = watch
        self._lanes: dict[_Key, deque[_Row]] = {}
        self._wake = threading.Condition()
        self._running = 0
        self._alone = False
        self._stopping = False
        self._admitted = 0  # pictures taken and not yet done; counted under _wake
        self._coming = 0  # of them, those still being decoded
        self._rate = 20.0  # pictures/s, a moving average; for Retry-After only
        self._decoders = ThreadPoolExecutor(decode_threads, thread_name_prefix="decode")
        self._threads = [
            threading.Thread(target=self._work, name=f"infer_{number}", daemon=True)
            for number in range(streams)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Pictures taken and not yet done."""
        return self._admitted

    async def compute(
        self, pictures: Sequence[bytes | npt.NDArray[Any]], lane: Lane, *, seconds: float
    ) -> list[Computed]:
        """Compute pictures; each gives outputs or a reason why not, in order.

        Args:
            pictures: encoded, or arrays [height, width, 3] of the network's own size, uint8 or
                float32 in [0, 1].
            lane: what to compute.
            seconds: after which to give up.

        Raises:
            Refusal: 429, the queue is full or the time is up.
        """
        loop = asyncio.get_running_loop()
        with self._wake:
            if self._admitted + len(pictures) > self._queue:
                raise overloaded(
                    f"{self._admitted} pictures are waiting, {self._queue} at most: try again",
                    seconds=self._admitted / self._rate,
                )
            self._admitted += len(pictures)
            self._coming += len(pictures)
        ticket = _Ticket(
            loop=loop,
            done=loop.create_future(),
            results=[Computed() for _ in pictures],
            left=len(pictures),
        )
        for place, picture in enumerate(pictures):
            if isinstance(picture, bytes):
                self._decoders.submit(self._decode, ticket, place, picture, lane)
            else:
                self._enqueue(ticket, place, picture, (0, 0), lane)
        try:
            async with asyncio.timeout(seconds):
                await ticket.done
        except TimeoutError:
            raise overloaded(
                f"not computed within {seconds:g} s: try again", seconds=self._admitted / self._rate
            ) from None
        finally:
            ticket.abandoned = not ticket.done.done() or ticket.done.cancelled()
        return ticket.results

    def close(self) -> None:
        """Compute what was taken, then stop the threads."""
        self._decoders.shutdown(wait=True)
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        for thread in self._threads:
            thread.join()

    def _decode(self, ticket: _Ticket, place: int, data: bytes, lane: Lane) -> None:
        if ticket.abandoned:
            self._drop(ticket, place, "given up", coming=True)
            return
        try:
            found = self._prepare(data)
        except PictureError as error:
            self._drop(ticket, place, str(error), coming=True)
        except Exception as error:
            self._drop(ticket, place, f"damaged picture ({type(error).__name__})", coming=True)
        else:
            self._enqueue(ticket, place, found.pixels, (found.width, found.height), lane)

    def _drop(self, ticket: _Ticket, place: int, error: str, *, coming: bool = False) -> None:
        with self._wake:
            self._admitted -= 1
            if coming:
                self._coming -= 1
                self._wake.notify()  # a batch may have waited for this one
        self._finish(ticket, place, Computed(error=error))

    def _enqueue(
        self,
        ticket: _Ticket,
        place: int,
        pixels: npt.NDArray[Any],
        size: tuple[int, int],
        lane: Lane,
    ) -> None:
        row = _Row(ticket=ticket, place=place, pixels=pixels, size=size, since=time.monotonic())
        with self._wake:
            self._coming -= 1
            self._lanes.setdefault((lane, pixels.dtype.str), deque()).append(row)
            self._wake.notify()

    def _work(self) -> None:
        while True:
            with self._wake:
                taken = self._take()
                if taken is None:
                    return
                lane, rows, alone = taken
                self._running += 1
                self._alone = alone
            started = time.monotonic()
            try:
                self._compute(lane, rows, alone=alone)
            finally:
                seconds = time.monotonic() - started
                with self._wake:
                    self._running -= 1
                    self._alone = False
                    self._admitted -= len(rows)
                    if seconds > 0:
                        self._rate += 0.1 * (len(rows) / seconds - self._rate)
                    self._wake.notify_all()
                self._watch.batch(len(rows), seconds)

    def _take(self) -> tuple[Lane, list[_Row], bool] | None:
        """Rows to compute next and whether nothing else runs; None to end. Holds the lock."""
        while True:
            filled = [(key, rows) for key, rows in self._lanes.items() if rows]
            if not filled and self._stopping:
                return None
            if not filled or self._alone:
                self._wake.wait()
                continue
            (lane, _), rows = min(filled, key=lambda one: one[1][0].since)
            full = len(rows) >= lane.engine.batch
            if not full:
                left = self._linger - (time.monotonic() - rows[0].since)
                if left > 0 and self._coming:
                    self._wake.wait(left)
                    continue
                if not self._running:
                    return lane, [rows.popleft()], True
                if len(self._threads) == 1 or left > 0:
                    self._wake.wait(left if left > 0 else None)
                    continue
            count = min(len(rows), lane.engine.batch)
            return lane, [rows.popleft() for _ in range(count)], False

    def _compute(self, lane: Lane, rows: list[_Row], *, alone: bool) -> None:
        wanted = [row for row in rows if not row.ticket.abandoned]
        if not wanted:
            return
        try:
            images = cast(Images, np.stack([row.pixels for row in wanted]))
            found = lane.engine.infer(images, lane.endpoints, alone=alone)
        except Exception as error:  # the engine's own; the requests must not wait for ever
            for row in wanted:
                _tell(row.ticket, error)
            return
        for number, row in enumerate(wanted):
            outputs = {name: values[number] for name, values in found.items()}
            width, height = row.size
            self._finish(
                row.ticket, row.place, Computed(outputs=outputs, width=width, height=height)
            )

    def _finish(self, ticket: _Ticket, place: int, computed: Computed) -> None:
        self._watch.picture(computed.error)
        ticket.results[place] = computed
        with ticket.lock:
            ticket.left -= 1
            last = ticket.left == 0
        if last:
            _tell(ticket, None)


def _tell(ticket: _Ticket, error: Exception | None) -> None:
    """End a request's waiting, from any thread."""
    try:
        ticket.loop.call_soon_threadsafe(_end, ticket.done, error)
    except RuntimeError:
        return  # the loop has ended: nobody waits any more


def _end(done: asyncio.Future[None], error: Exception | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
