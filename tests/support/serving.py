"""A real service on loopback, in a thread of the test's own process; any test may use it.

with Serving(ServeOptions(models=(ModelChoice(handle="seeded:7"),), port=0)) as service:
    answer = service.post("/embed", jpeg())
    assert answer.status == 200
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from nasnet.serve import NearestIndex, ServeEvent, ServeOptions, serve

__all__ = [
    "PATIENT",
    "Answered",
    "Process",
    "Serving",
    "ask",
    "form",
    "served_process",
    "when_ready",
]

PATIENT = 240.0  # seconds a slow machine may take for anything; no test waits without need


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One answer."""

    status: int
    headers: Mapping[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def error(self) -> str:
        return str(self.json["error"])


class Serving:
    """The service; a context manager. `events` grows as things happen.

    Early, it is there as soon as it listens, before all is compiled.
    """

    def __init__(
        self, options: ServeOptions, *, index: NearestIndex | None = None, early: bool = False
    ) -> None:
        self._waited = "listening" if early else "ready"
        self.events: list[ServeEvent] = []
        self._options = options
        self._index = index
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = 0

    def __enter__(self) -> Serving:
        self._thread.start()
        self._ready.wait(PATIENT)
        if self._error is not None:
            raise self._error
        assert self.port, "the service did not start"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Tell it to stop, and wait until it has."""
        self._stop.set()
        self._thread.join(PATIENT)
        assert not self._thread.is_alive()

    def told_to_stop(self) -> None:
        """Tell it to stop, and do not wait."""
        self._stop.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def faults(self) -> list[str]:
        """Errors of the service itself; there should never be any."""
        return [event.text for event in self.events if event.kind == "fault"]

    def get(self, path: str, **headers: str) -> Answered:
        return self.ask("GET", path, None, headers)

    def post(self, path: str, body: bytes | object, **headers: str) -> Answered:
        """Post bytes as they are, anything else as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask("POST", path, data, headers)

    def ask(
        self,
        method: str,
        path: str,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answered:
        return ask(self.port, method, path, data, headers)

    def raw(self, data: bytes, *, seconds: float = 30.0) -> bytes:
        """Send bytes as they are and read until the service closes, or the time is up."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            received = b""
            try:
                connection.sendall(data)
                while piece := connection.recv(65536):
                    received += piece
            except (TimeoutError, ConnectionError):
                pass
            return received

    def _run(self) -> None:
        def on_event(event: ServeEvent) -> None:
            self.events.append(event)
            if event.kind == self._waited:
                self.port = int(event.url.rstrip("/").rpartition(":")[2])
                self._ready.set()

        try:
            serve(self._options, index=self._index, on_event=on_event, stop=self._stop.is_set)
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()


def ask(
    port: int,
    method: str,
    path: str,
    data: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answered:
    """One request on a connection of its own; `_` in names of headers stands for `-`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENT)
    named = {key.replace("_", "-"): value for key, value in (headers or {}).items()}
    try:
        connection.request(method, path, data, named)
        answer = connection.getresponse()
        return Answered(status=answer.status, headers=dict(answer.getheaders()), data=answer.read())
    finally:
        connection.close()


def form(*files: bytes, boundary: str = "frontier") -> tuple[bytes, str]:
    """Files as a form: body and Content-Type."""
    pieces = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{number}.jpg"'
        "\r\nContent-Type: image/jpeg\r\n\r\n".encode()
        + data
        + b"\r\n"
        for number, data in enumerate(files)
    ]
    body = b"".join(pieces) + f"--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """`nasnet serve` as a process of its own; `said` grows with every line it says."""

    popen: subprocess.Popen[str]
    port: int
    said: list[str]


@contextmanager
def served_process(*arguments: str) -> Iterator[Process]:
    """Start one and wait until it listens; it is killed in the end if it still runs."""
    popen = subprocess.Popen(
        [sys.executable, "-m", "nasnet", "serve", "--port", "0", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with when_ready(popen) as process:
        yield process


@contextmanager
def when_ready(popen: subprocess.Popen[str], word: str = "ready") -> Iterator[Process]:
    """The same of one that was just started; `listening` does not wait until all is compiled."""
    said: list[str] = []
    ready = threading.Event()

    def listen() -> None:
        assert popen.stderr is not None
        with popen.stderr:
            for line in popen.stderr:
                said.append(line)
                if line.startswith(f"{word} at "):
                    ready.set()
        ready.set()  # it has ended

    reader = threading.Thread(target=listen)
    reader.start()
    try:
        assert ready.wait(PATIENT), "it was never ready"
        found = re.search(rf"{word} at http://.*:(\d+)/", "".join(said))
        assert found, f"it did not start: {''.join(said)}"
        yield Process(popen=popen, port=int(found[1]), said=said)
    finally:
        popen.kill()
        popen.wait(PATIENT)
        reader.join(PATIENT)
