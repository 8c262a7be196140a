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
        few: the same with batches of one, where few pictures are computed at once.
        endpoints: TF-Slim endpoints that every call of the lane gives.
    """

    engine: Engine
    few: Engine
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
    lane: Lane
    undecoded: deque[tuple[int, bytes]] = field(default_factory=deque)
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
# Seconds. How pictures are shared out goes by how many there were at once, not by how many there
# are between two answers: a single client's one, those of few clients, or of many.
_LATELY = 0.1
_LARGE = 2_000_000  # pixels; larger pictures have a queue and threads of their own


class Batcher:
    """Decoding threads, lanes and computing threads of one module; lives as long as the service.

    Requests take turns at decoding, and large pictures have threads of their own, few of them: so
    memory is bounded, and a small picture of one client never waits for many or large ones of
    another. What a client asked for that has hung up is neither decoded nor computed.

    A picture that is the only one goes over all cores. Fewer than all streams take in batches go
    one by one over the streams: no core is idle beside a batch of another, and none waits for
    another within a picture. More go in batches; one that is not full waits a moment.
    """

    def __init__(
        self,
        prepare: Callable[[bytes], Prepared],
        *,
        pixels: Callable[[bytes], int],
        streams: int,
        decode_threads: int,
        queue: int,
        linger_seconds: float,
        watch: Watch,
    ) -> None:
        """Start the threads.

        Many threads call `prepare`, which decodes a picture and resizes it, and `pixels`, which
        tells how many it has by its header and refuses what is too large. `streams` threads
        compute, `decode_threads` decode what is not large; `queue` pictures at most are taken and
        not yet done, and each waits `linger_seconds` for others to share a batch with.
        """
        self._prepare = prepare
        self._pixels = pixels
        self._queue = queue
        self._linger = linger_seconds
        self._watch = watch
        self._lanes: dict[_Key, deque[_Row]] = {}
        self._wake = threading.Condition()
        self._running = 0
        self._alone = False
        self._closing = False
        self._stopping = False
        self._admitted = 0  # pictures taken and not yet done; counted under _wake
        self._peaks = (0, 0)  # most of them at once, in the last span of `_LATELY` and in this one
        self._span = 0.0  # when this one began
        self._coming = 0  # of them, those still being decoded
        self._rate = 20.0  # pictures/s, a moving average; for Retry-After only
        self._turns = decode_threads  # pictures of one request that are being decoded
        self._decoders = ThreadPoolExecutor(decode_threads, thread_name_prefix="decode")
        self._unpackers = ThreadPoolExecutor(
            max(1, decode_threads // 4), thread_name_prefix="decode_large"
        )
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

        They are encoded, or arrays [height, width, 3] of the network's own size, uint8 or float32
        in [0, 1]; after so many seconds it gives up.

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
            self._note_peak()
        ticket = _Ticket(
            loop=loop,
            done=loop.create_future(),
            results=[Computed() for _ in pictures],
            left=len(pictures),
            lane=lane,
        )
        for place, picture in enumerate(pictures):
            if isinstance(picture, bytes):
                ticket.undecoded.append((place, picture))
            else:
                self._enqueue(ticket, place, picture, (0, 0))
        for _ in range(self._turns):
            self._feed(ticket)
        try:
            async with asyncio.timeout(seconds):
                await ticket.done
        except TimeoutError:
            raise overloaded(
                f"not computed within {seconds:g} s: try again", seconds=self._admitted / self._rate
            ) from None
        finally:
            if not ticket.done.done() or ticket.done.cancelled():
                self._abandon(ticket)
        return ticket.results

    def close(self) -> None:
        """Compute what was taken, then stop the threads."""
        with self._wake:
            self._closing = True
        self._decoders.shutdown(wait=True)
        self._unpackers.shutdown(wait=True)
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        for thread in self._threads:
            thread.join()

    def _note_peak(self) -> None:
        past = time.monotonic() - self._span
        if past > _LATELY:
            before = self._peaks[1] if past < 2 * _LATELY else 0
            self._peaks, self._span = (before, 0), self._span + past
        self._peaks = self._peaks[0], max(self._peaks[1], self._admitted)

    def _feed(self, ticket: _Ticket) -> None:
        """Let the next picture of a request be decoded, behind those of other requests."""
        with self._wake:
            if ticket.undecoded and not self._closing:
                self._decoders.submit(self._decode, ticket, *ticket.undecoded.popleft())

    def _abandon(self, ticket: _Ticket) -> None:
        """Nobody waits for a request's pictures any more."""
        with self._wake:
            ticket.abandoned = True
            self._admitted -= len(ticket.undecoded)
            self._coming -= len(ticket.undecoded)
            ticket.undecoded.clear()
            self._wake.notify()

    def _decode(self, ticket: _Ticket, place: int, data: bytes, *, large: bool = False) -> None:
        error = "given up"
        if not ticket.abandoned:
            try:
                if not large and self._pixels(data) > _LARGE:
                    self._unpackers.submit(self._decode, ticket, place, data, large=True)
                    return
                found = self._prepare(data)
            except PictureError as wrong:
                error = str(wrong)
            except Exception as wrong:
                error = f"damaged picture ({type(wrong).__name__})"
            else:
                self._enqueue(ticket, place, found.pixels, (found.width, found.height))
                self._feed(ticket)
                return
        self._drop(ticket, place, error)
        self._feed(ticket)

    def _drop(self, ticket: _Ticket, place: int, error: str) -> None:
        with self._wake:
            self._admitted -= 1
            self._coming -= 1
            self._wake.notify()  # a batch may have waited for this one
        self._finish(ticket, place, Computed(error=error))

    def _enqueue(
        self,
        ticket: _Ticket,
        place: int,
        pixels: npt.NDArray[Any],
        size: tuple[int, int],
    ) -> None:
        row = _Row(ticket=ticket, place=place, pixels=pixels, size=size, since=time.monotonic())
        with self._wake:
            self._coming -= 1
            self._lanes.setdefault((ticket.lane, pixels.dtype.str), deque()).append(row)
            self._wake.notify()

    def _work(self) -> None:
        while True:
            with self._wake:
                taken = self._take()
                if taken is None:
                    return
                lane, engine, rows, alone = taken
                self._running += 1
                self._alone = alone
            started = time.monotonic()
            try:
                self._compute(lane, engine, rows, alone=alone)
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

    def _take(self) -> tuple[Lane, Engine, list[_Row], bool] | None:
        """Rows to compute next, where, and whether nothing else runs; None to end. In the lock."""
        while True:
            filled = [(key, rows) for key, rows in self._lanes.items() if rows]
            if not filled and self._stopping:
                return None
            if not filled or self._alone:
                self._wake.wait()
                continue
            (lane, _), rows = min(filled, key=lambda one: one[1][0].since)
            engine = lane.engine
            most = max(self._peaks)
            if most == 1 and not self._running and engine is not lane.few:
                return lane, engine, [rows.popleft()], True
            streams = len(self._threads)
            many = most >= engine.batch * (streams + 1 if streams > 1 else 1)
            left = self._linger - (time.monotonic() - rows[0].since)
            if many and len(rows) < engine.batch and left > 0 and self._coming:
                self._wake.wait(left)
                continue
            count = min(len(rows), engine.batch)
            if engine.apart and not (many and count == engine.batch):
                engine, count = lane.few, 1
            return lane, engine, [rows.popleft() for _ in range(count)], False

    def _compute(self, lane: Lane, engine: Engine, rows: list[_Row], *, alone: bool) -> None:
        wanted = [row for row in rows if not row.ticket.abandoned]
        if not wanted:
            return
        try:
            images = cast(Images, np.stack([row.pixels for row in wanted]))
            found = engine.infer(images, lane.endpoints, alone=alone)
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
