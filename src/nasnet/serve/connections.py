"""Connections that are kept in bounds: slow or large headers, tiny chunks, too many, dead readers.

Bodies have limits of size and time in `bodies`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from nasnet.serve.options import Limits

_HEADER_BYTES = 64 << 10
_HEADER_LINES = 128
_HEADERS = f"headers of more than 64 KiB, or more than {_HEADER_LINES} of them"
_TARGET_BYTES = 16 << 10  # of the path and query; a path of a file, in percents, has 12,000 at most
# Chunks of a few bytes cost as much work as large ones: what is allowed is the first thousand,
# and then as many as there would be of this size.
_CHUNKS, _CHUNK_BYTES = 1000, 64
_STATUS = {
    400: b"Bad Request",
    408: b"Request Timeout",
    414: b"URI Too Long",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
}


def protocol(limits: Limits) -> Callable[..., asyncio.Protocol]:
    """What uvicorn is to make for each connection, in place of its own class.

    Of the limits, `connections`, `header_seconds` and `idle_seconds` are looked at.
    """

    def make(*args: Any, **kwargs: Any) -> asyncio.Protocol:  # noqa: ANN401 - as uvicorn calls it
        made = _Connection(*args, **kwargs)
        made.limits = limits
        return made

    return make


class _Connection(HttpToolsProtocol):
    """One connection of uvicorn's; it inherits because uvicorn has no other way in."""

    limits: Limits
    _deadline: asyncio.TimerHandle | None = None
    _pending = 0  # bytes since the last request's headers were whole
    _unread = 0  # bytes the client had not read when it was last looked at
    _head = 0  # bytes of this request's path and headers
    _chunks = 0  # pieces its body has come in
    _body = 0  # bytes of them
    _wrong: tuple[int, str] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._refuse(429, "too many connections")
            return
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._headers_there()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        waiting = self._deadline is not None
        self._pending += len(data)
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self._refuse(*self._wrong or (400, "this is not HTTP, or it is damaged"))
        # What a body brings along is counted too, but then the headers have been there.
        if waiting and self._deadline is not None and self._pending > _HEADER_BYTES:
            self._refuse(431, _HEADERS)

    def _parse(self, data: bytes) -> None:
        """Parse on, as if nobody had asked for another protocol (RFC 9110, 7.8).

        The parser takes all that follows for the other protocol: Java's client, which asks for
        HTTP/2 by default, would lose its body. So it is shown the request without the question.
        """
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            head = [self.parser.get_method() + b" " + self.url + b" HTTP/1.1"]
            head += [b"%s: %s" % one for one in self.headers if one[0] != b"upgrade"]
            self.parser = httptools.HttpRequestParser(self)
            self.parser.feed_data(b"\r\n".join((*head, b"", b"")) + data[upgrade.args[0] :])

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._pending = self._head = self._chunks = self._body = 0
        if self._deadline is None:
            self._await_headers()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._head += len(url)
        if self._head > _TARGET_BYTES:
            self._stop(414, "a path of more than 16 KiB")

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._head += len(name) + len(value)
        if self._head > _HEADER_BYTES or len(self.headers) > _HEADER_LINES:
            self._stop(431, _HEADERS)

    def on_headers_complete(self) -> None:
        if self.parser.get_method() == b"CONNECT":
            self._stop(400, "this service is not a proxy")
        if self.parser.should_upgrade():
            return
        self._headers_there()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._chunks += 1
        self._body += len(body)
        if self._chunks > _CHUNKS + self._body // _CHUNK_BYTES:
            self._stop(400, f"a body in chunks of less than {_CHUNK_BYTES} bytes")
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _stop(self, status: int, text: str) -> NoReturn:
        """Refuse what is being parsed."""
        self._wrong = status, text
        raise ValueError(text)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; one whose client still reads an answer may go on."""
        unread = self.transport.get_write_buffer_size()
        if self.transport.is_closing():
            return
        if not unread:
            self.transport.close()
        elif unread == self._unread:
            self.transport.abort()  # closing would wait for a client that reads no more
        else:
            self._unread = unread
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _await_headers(self) -> None:
        self._deadline = self.loop.call_later(self.limits.header_seconds, self._too_slow)

    def _headers_there(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self._refuse(408, f"no headers within {self.limits.header_seconds:g} s")

    def _refuse(self, status: int, text: str) -> None:
        self._headers_there()
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            if self.pipeline or self.cycle.response_started or not self.cycle.more_body:
                # An answer is on its way; ours would end up in the midst of it.
                self.transport.abort()
                return
            # It is this request's own body that is wrong: the application need not answer.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        body = b'{"error":"' + text.encode("ascii", "replace").replace(b'"', b"'") + b'"}'
        head = [
            b"HTTP/1.1 %d %s" % (status, _STATUS[status]),
            b"content-type: application/json",
            b"content-length: %d" % len(body),
            b"connection: close",
        ]
        if status == 429:
            head.append(b"retry-after: 1")
        self.transport.write(b"\r\n".join((*head, b"", body)))
        self.transport.close()
