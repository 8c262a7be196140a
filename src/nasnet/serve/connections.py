"""Connections that are kept in bounds: slow or endless headers, too many at once, dead readers.

Bodies have their own limits in `bodies`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from nasnet.serve.options import Limits

_HEADER_BYTES = 64 << 10
_STATUS = {
    400: b"Bad Request",
    408: b"Request Timeout",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
}


def protocol(limits: Limits) -> Callable[..., asyncio.Protocol]:
    """What uvicorn is to make for each connection, in place of its own class.

    Args:
        limits: `connections`, `header_seconds` and `idle_seconds` are looked at.
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
        super().data_received(data)
        # What a body brings along is counted too, but then the headers have been there.
        if waiting and self._deadline is not None and self._pending > _HEADER_BYTES:
            self._refuse(431, "headers of more than 64 KiB")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._pending = 0
        if self._deadline is None:
            self._await_headers()

    def on_headers_complete(self) -> None:
        self._headers_there()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, msg)

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
            # An answer is on its way; ours would end up in the midst of it.
            self.transport.abort()
            return
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
