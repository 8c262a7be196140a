"""Bodies of requests, read within limits of size and time; multipart taken apart.

Nothing here trusts a length that a client wrote.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from io import BytesIO
from typing import Any, TypeVar, cast

import python_multipart
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request

from nasnet.serve.answers import Refusal
from nasnet.serve.service import Held, Service

T = TypeVar("T")
_ELSEWHERE = 64 << 10  # bytes; larger bodies are worked on in a thread, beside the event loop
_PIECE = 1 << 20  # bytes of a form parsed in one go
_POLITELY = 2.0  # seconds that the rest of a refused body is read and thrown away
_TYPE = 1024  # characters
_FIELDS = 8  # parts of a form beyond those with pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file in a form.

    Attributes:
        name: as the client wrote it, or empty.
        data: its bytes.
    """

    name: str
    data: bytes


async def read_body(request: Request, service: Service, held: Held) -> bytes:
    """The whole body, with its Content-Encoding undone.

    Raises:
        Refusal: 408, it takes too long; 411 or 400, a length that is none; 413, it is too large;
            415, an encoding other than gzip and deflate; 429, too much is in work.
    """
    limits = service.limits
    declared = request.headers.get("content-length")
    if declared is not None and not re.fullmatch(r"\d{1,18}", declared):
        raise Refusal(400, "Content-Length is not a number", close=True)
    if declared is not None and int(declared) > limits.body_bytes:
        await _pass_over(request)
        raise _too_large(limits.body_bytes)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limits.body_bytes:
                    break
                held.add(len(chunk))
                chunks.append(chunk)
    except TimeoutError:
        raise Refusal(
            408, f"the body did not come within {limits.body_seconds:g} s", close=True
        ) from None
    except Refusal:
        await _pass_over(request)
        raise
    if size > limits.body_bytes:
        await _pass_over(request)
        raise _too_large(limits.body_bytes)
    return await _decoded(b"".join(chunks), request, held, limits.body_bytes)


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What the work gives; where the client hangs up, the work is cancelled.

    Raises:
        ClientDisconnect: nobody waits for it any more.
    """

    async def gone() -> bool:
        return bool((await request.receive())["type"] == "http.disconnect")

    watch, task = asyncio.ensure_future(gone()), asyncio.ensure_future(work)
    try:
        await asyncio.wait((watch, task), return_when=asyncio.FIRST_COMPLETED)
        if not task.done() and watch.result():
            raise ClientDisconnect
        return await task
    finally:
        watch.cancel()
        task.cancel()


async def _pass_over(request: Request) -> None:
    """Read on for a moment, so that the client comes to reading the answer.

    One that asks before it sends waits for it already.
    """
    if "expect" in request.headers:
        return
    try:
        async with asyncio.timeout(_POLITELY):
            while (await request.receive()).get("more_body"):
                pass
    except TimeoutError:
        return


def _too_large(most: int) -> Refusal:
    return Refusal(413, f"the body is larger than {most >> 20} MiB", close=True)


async def _decoded(data: bytes, request: Request, held: Held, most: int) -> bytes:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return data
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise Refusal(415, f"Content-Encoding {encoding[:32]!r}: send gzip, deflate or none")
    found = await asyncio.to_thread(_inflated, data, encoding, most)
    held.add(len(found))
    return found


def _inflated(data: bytes, encoding: str, most: int) -> bytes:
    # 47: gzip or zlib, told by the header. Some clients send deflate without zlib's header.
    raw = encoding == "deflate" and (data[:1] or b"x")[0] & 0x0F != 8
    stream = zlib.decompressobj(-15 if raw else 47)
    try:
        found = stream.decompress(data, most + 1)
    except zlib.error:
        raise Refusal(400, f"the body is no {encoding}") from None
    if len(found) > most:
        raise _too_large(most)
    if not stream.eof:
        raise Refusal(400, f"the body's {encoding} is cut off")
    return found


async def beside(service: Service, size: int, work: Callable[[], T]) -> T:
    """Do what takes long for many bytes: in a thread if there are many, beside the event loop.

    The work gives the interpreter away every now and then.
    """
    if size <= _ELSEWHERE:
        return work()
    return await asyncio.get_running_loop().run_in_executor(service.workers, work)


def files_of(data: bytes, content_type: str, *, most: int) -> list[File]:
    """The files of a multipart/form-data body (RFC 7578), and fields called `file` or `files`.

    Raises:
        Refusal: 400, it is no such body; 413, more parts than pictures are taken.
    """
    files: list[File] = []
    parts = 0
    ended = False

    def keep(name: bytes | None, filename: bytes | None, content: bytes) -> None:
        nonlocal parts
        parts += 1
        if parts > most + _FIELDS:
            raise Refusal(413, f"more than {most} pictures in one request")
        if filename or name in (b"file", b"files"):
            files.append(File(name=(filename or b"").decode(errors="replace")[:1024], data=content))

    def on_file(file: python_multipart.multipart.File) -> None:
        # `getvalue` because nothing is ever spooled to disk: pictures are computed and forgotten.
        keep(file.field_name, file.file_name, cast(BytesIO, file.file_object).getvalue())

    def on_end() -> None:
        nonlocal ended
        ended = True

    if len(content_type) > _TYPE:  # taking it apart takes the square of its length
        raise Refusal(400, f"a Content-Type of more than {_TYPE} characters")
    _, parameters = parse_options_header(content_type)
    boundary = parameters.get(b"boundary")
    if not boundary:
        raise Refusal(400, "multipart without a boundary")
    try:
        # The body is in memory within the limits by now, so Starlette's parser, which spools each
        # file of a stream to disk, has nothing to add to the one beneath it.
        parser = python_multipart.FormParser(
            "multipart/form-data",
            lambda field: keep(field.field_name, None, field.value or b""),
            on_file,
            on_end,
            boundary=boundary,
            config={"MAX_MEMORY_FILE_SIZE": len(data) + 1},
        )
        for at in range(0, len(data), _PIECE):
            parser.write(data[at : at + _PIECE])
    except FormParserError as error:
        raise Refusal(400, f"damaged multipart, or another boundary: {str(error)[:160]}") from None
    if not ended:
        raise Refusal(400, "multipart that is cut off, or whose boundary is another")
    return files
