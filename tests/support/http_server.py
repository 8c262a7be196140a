"""A real HTTP server on loopback whose answers misbehave as a test wants; any test may use it.

    with HttpServer() as server:
        server.put("/a.tar.gz", data, script=[Answer(status=503), Answer(reset_after=1000)])
        fetch(server.url + "/a.tar.gz")
        assert [request.path for request in server.requests] == ["/a.tar.gz"] * 3

Each request for a path uses up one `Answer` of its script; after the last one, and for a path
without a script, the answer is the plain file, with ranges, ETag and HEAD as a good server has.
"""

from __future__ import annotations

import hashlib
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Answer", "HttpServer", "Loopback", "Request"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How one request is answered.

    Attributes:
        status: anything but 200 is sent with no file.
        location: where a redirect goes.
        headers: more headers, or others in place of the usual ones; `None` leaves one out.
        cut_after: bytes of the body after which the connection is closed in an orderly way.
        reset_after: bytes of the body after which it is torn down (RST).
        chunk: bytes sent at a time.
        pause_s: seconds between two chunks.
        ranges: whether `Range` is honoured.
        hold: an event that is waited for before the body is sent.
    """

    status: int = 200
    location: str = ""
    headers: Mapping[str, str | None] = field(default_factory=dict)
    cut_after: int | None = None
    reset_after: int | None = None
    chunk: int = 1 << 16
    pause_s: float = 0.0
    ranges: bool = True
    hold: threading.Event | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request that came in; `path` has its query."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass(slots=True, kw_only=True)
class _File:
    data: bytes
    answers: list[Answer]
    always: Answer


class Loopback:
    """A server on a free port of this machine, in a thread; a context manager."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class HttpServer(Loopback):
    """The server; a context manager. `requests` grows as they come in.

    With a certificate (a PEM file that holds the key too) it speaks https.
    """

    def __init__(self, *, certificate: Path | None = None) -> None:
        self.requests: list[Request] = []
        self._files: dict[str, _File] = {}
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server._answer(self, with_body=True)

            def do_HEAD(self) -> None:
                server._answer(self, with_body=False)

            def log_message(self, format: str, *args: object) -> None:
                pass

        super().__init__(Handler)
        self._scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
            self._scheme = "https"

    @property
    def url(self) -> str:
        """The base, without a slash at its end."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def put(
        self,
        path: str,
        data: bytes,
        *,
        script: Sequence[Answer] = (),
        always: Answer | None = None,
    ) -> str:
        """Serve `data` at a path (its query counts, if it has one).

        Args:
            path: begins with a slash.
            data: the file.
            script: answers to the first requests.
            always: the answer to all later ones, if they are not to be plain.

        Returns:
            The whole URL.
        """
        with self._lock:
            self._files[path] = _File(data=data, answers=list(script), always=always or Answer())
        return self.url + path

    def gets(self, path: str) -> int:
        """How many GET requests a path has had."""
        return sum(request.path == path and request.method == "GET" for request in self.requests)

    def _answer(self, handler: BaseHTTPRequestHandler, *, with_body: bool) -> None:
        request = Request(
            method=handler.command, path=handler.path, headers=dict(handler.headers.items())
        )
        with self._lock:
            self.requests.append(request)
            file = self._files.get(handler.path)
            answer = Answer(status=404)
            if file is not None:
                answer = file.answers.pop(0) if file.answers else file.always
        try:
            _send(handler, request, file.data if file else b"", answer, with_body=with_body)
        except OSError:  # the client has gone, which is its right
            handler.close_connection = True


def _send(
    handler: BaseHTTPRequestHandler,
    request: Request,
    data: bytes,
    answer: Answer,
    *,
    with_body: bool,
) -> None:
    etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
    headers: dict[str, str | None] = {"Content-Type": "application/octet-stream"}
    status, body = answer.status, data
    if status != 200:
        body = b""
        if answer.location:
            headers["Location"] = answer.location
    else:
        headers |= {"ETag": etag, "Accept-Ranges": "bytes" if answer.ranges else "none"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        if wanted and answer.ranges and request.headers.get("If-Range", etag) == etag:
            start = int(wanted[1])
            end = min(int(wanted[2] or len(data) - 1), len(data) - 1)
            if start > end:
                status, body = 416, b""
                headers["Content-Range"] = f"bytes */{len(data)}"
            else:
                status, body = 206, data[start : end + 1]
                headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
    headers["Content-Length"] = str(len(body))
    headers |= answer.headers
    handler.send_response(status)
    for name, value in headers.items():
        if value is not None:
            handler.send_header(name, value)
    if headers["Content-Length"] is None:
        handler.send_header("Connection", "close")
        handler.close_connection = True
    handler.end_headers()
    handler.wfile.flush()
    if answer.hold is not None:
        answer.hold.wait(30)
    if with_body:
        _send_body(handler, body, answer)


def _send_body(handler: BaseHTTPRequestHandler, body: bytes, answer: Answer) -> None:
    ends = [end for end in (answer.cut_after, answer.reset_after) if end is not None]
    length = min([len(body), *ends])
    for start in range(0, length, answer.chunk):
        handler.wfile.write(body[start : min(start + answer.chunk, length)])
        handler.wfile.flush()
        time.sleep(answer.pause_s)
    if length == len(body):
        return
    handler.close_connection = True
    if answer.reset_after is not None:
        time.sleep(0.05)  # a reset discards what the client has not read yet
        # SO_LINGER of 0 seconds makes close send RST
        linger = struct.pack("ii", 1, 0)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        handler.connection.close()
