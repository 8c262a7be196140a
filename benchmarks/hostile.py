"""How long one client can hold up all others: `/healthz` asked all the while beside each request.

    python -m benchmarks.hostile [--before PYTHON] [--rounds 3] [--only TEXT]

The service is a process of its own, on loopback. One closed-loop client asks `/healthz` on a
connection it keeps; the slowest answer while the other request is in work is what that request
costs everybody. PYTHON is an interpreter that has another version of nasnet, measured in turns.
The last rows are how long one small JPEG waits behind large pictures, and behind those of clients
that have hung up. Of the rounds the best counts: a machine with other work can only be slower.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import gzip
import http.client
import io
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from PIL import Image

from benchmarks.machine import machine
from benchmarks.serving import jpeg, served

PREDICT = "/v1/models/nasnet:predict"
INFER = "/v2/models/nasnet/infer"
FORM = {"Content-Type": "multipart/form-data; boundary=x"}
TRICKLED = 2.0  # seconds that slow clients are given


def request(path: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """A POST as bytes."""
    named = {"Host": "127.0.0.1", "Connection": "close", "Content-Length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**named, **(headers or {})}.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


def png(width: int, height: int, *, seed: int = 0) -> bytes:
    """A picture that takes its time to unpack."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def part(data: bytes, more: str = "") -> bytes:
    """A part of a form."""
    head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"{more}\r\n\r\n'
    return head.encode() + data + b"\r\n"


def cases() -> Iterator[tuple[str, bytes]]:
    """What a request is, and its bytes."""
    picture = json.dumps(np.random.default_rng(1).random((224, 224, 3)).round(8).tolist()).encode()
    encoded = base64.b64encode(jpeg())
    yield "one float picture as lists, 1.9 MB", request(PREDICT, b'{"instances":[%s]}' % picture)
    ten = b",".join([picture] * 16)
    yield "16 float pictures as lists, 30 MB", request(PREDICT, b'{"instances":[%s]}' % ten)
    flat = picture.replace(b"[", b"").replace(b"]", b"")
    head = b'{"inputs":[{"name":"images","datatype":"FP32","shape":[8,224,224,3],"data":['
    yield "8 float pictures, flat (OIP)", request(INFER, head + b",".join([flat] * 8) + b"]}]}")
    for name, value in (
        ("zeros", b"0"),
        ("empty lists", b"[]"),
        ("empty texts", b'""'),
        ("empty objects", b"{}"),
    ):
        body = b'{"instances":[%s]}' % b",".join([value] * (30_000_000 // (len(value) + 1)))
        yield f"30 MB of {name}", request(PREDICT, body)
    keys = b",".join(b'"%d":0' % number for number in range(2_500_000))
    yield "30 MB of keys", request(PREDICT, b'{"instances":[{%s}]}' % keys)
    yield "lists 10,000,000 deep", request(PREDICT, b'{"instances":' + b"[" * 10_000_000)
    big = base64.b64encode(bytes(22_000_000))
    yield "base64 of 29 MB", request(PREDICT, b'{"instances":[{"b64":"%s"}]}' % big)
    many = b",".join([b'{"b64":"%s"}' % encoded] * 64)
    yield "64 JPEG as base64", request(PREDICT, b'{"instances":[%s]}' % many)
    tiny = base64.b64encode(png(1, 1))
    many = b",".join([b'{"b64":"%s"}' % tiny] * 10_000)
    yield "10,000 tiny pictures as base64", request(PREDICT, b'{"instances":[%s]}' % many)
    tiny = png(1, 1)
    yield "10,000 tiny pictures in a form", request("/embed", part(tiny) * 10_000 + b"--x--", FORM)
    yield "a form of 30 MB", request("/embed", part(bytes(30_000_000)) + b"--x--\r\n", FORM)
    semicolons = "; a=b" * 15_000
    kind = FORM["Content-Type"] + ";" * 60_000
    yield "Content-Type of 60,000 semicolons", request("/embed", b"x", {"Content-Type": kind})
    yield "a part's header of 75 KB", request("/embed", part(b"x", semicolons) + b"--x--", FORM)
    yield "a part's header of 20 MB", request("/embed", part(b"x", "a" * 20_000_000), FORM)
    lines = {f"h{number}": "" for number in range(7_000)}
    yield "7,000 header lines", request("/embed", b"x", lines)
    yield "70 KB of headers", request("/embed", b"x", {"A": "a" * 70_000})
    yield "a query of 20,000 fields", request("/embed?" + "a&" * 20_000, b"x")
    packed = gzip.compress(bytes(31_000_000), 9)
    yield "gzip of 31 MB of zeros", request(PREDICT, packed, {"Content-Encoding": "gzip"})
    packed = gzip.compress(b'{"instances":[%s]}' % (b"[]," * 10_000_000), 9)
    yield "gzip of empty lists", request(PREDICT, packed, {"Content-Encoding": "gzip"})
    text = b'{"signature_name":"image_feature_vector","instances":[{"b64":"%s"}]}' % encoded
    yield "all endpoints of a picture, as JSON", request(PREDICT, text)


def send(port: int, data: bytes) -> str:
    """The status that bytes are answered with."""
    with socket.create_connection(("127.0.0.1", port), timeout=300) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
        received = b""
        with contextlib.suppress(OSError):
            while piece := connection.recv(1 << 20):
                received = received or piece[:12]
    return received[9:12].decode() or "closed"


def connected(port: int, data: bytes, count: int) -> Iterator[socket.socket]:
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port), timeout=300)
        connection.sendall(data)
        yield connection


def idle(port: int) -> str:
    """400 connections that say nothing."""
    for connection in list(connected(port, b"", 400)):
        connection.close()
    return "-"


def trickled(port: int) -> str:
    """100 bodies that come a byte at a time."""
    head = request("/embed", b"", {"Content-Length": "10000"})
    slow = list(connected(port, head, 100))
    until = time.perf_counter() + TRICKLED
    while time.perf_counter() < until:
        for connection in slow:
            connection.sendall(b"a")
    for connection in slow:
        connection.close()
    return "-"


def endless(port: int) -> str:
    """A body without an end, in pieces."""
    head = request("/embed", b"", {"Transfer-Encoding": "chunked"})
    head = head.replace(b"Content-Length: 0\r\n", b"")
    return send(port, head + b"100000\r\n" + bytes(0x100000) + b"\r\n" + b"1\r\na\r\n" * 5_000_000)


def beside(port: int, work: Callable[[], str]) -> tuple[str, float]:
    """What a request is answered with, and the slowest `/healthz` beside it in seconds."""
    ended = threading.Event()

    def probe() -> float:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        slowest = 0.0
        while True:
            last = ended.is_set()
            begun = time.perf_counter()
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            slowest = max(slowest, time.perf_counter() - begun)
            if last:
                connection.close()
                return slowest
            time.sleep(0.002)

    with ThreadPoolExecutor(1) as prober:
        probed = prober.submit(probe)
        time.sleep(0.05)
        try:
            status = work()
            time.sleep(0.05)
        finally:
            ended.set()
        return status, probed.result()


def behind_large(port: int) -> str:
    """A small JPEG behind 16 PNG of 31 megapixels"""
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((5600, 5600)).convert("RGB").save(buffer, "PNG")
    large = request("/embed", buffer.getvalue())
    with ThreadPoolExecutor(16) as clients:
        before = [clients.submit(send, port, large) for _ in range(16)]
        time.sleep(0.5)
        begun = time.perf_counter()
        status = send(port, request("/embed", jpeg()))
        took = time.perf_counter() - begun
        for one in before:
            one.result()
    return f"{status}, {took:.2f} s"


def behind_gone(port: int) -> str:
    """A small JPEG behind 180 pictures of clients that hung up"""
    many = request("/embed", part(png(700, 500)) * 30 + b"--x--\r\n", FORM)
    connections = list(connected(port, many, 6))
    time.sleep(0.5)
    for connection in connections:
        connection.close()
    begun = time.perf_counter()
    status = send(port, request("/embed", jpeg()))
    return f"{status}, {time.perf_counter() - begun:.2f} s"


def first_predict(port: int) -> str:
    """The first picture of float32 after `ready`."""
    begun = time.perf_counter()
    body = json.dumps({"instances": np.zeros((1, 224, 224, 3)).tolist()}).encode()
    status = send(port, request(PREDICT, body))
    return f"{status}, {time.perf_counter() - begun:.2f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--before", metavar="PYTHON", help="has another version of nasnet")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", metavar="TEXT", help="of the requests' names")
    arguments = parser.parse_args()
    pythons = [*([arguments.before] if arguments.before else []), sys.executable]
    works: list[tuple[str, Callable[[int], str]]] = [("nothing", lambda port: "-")]
    works += [(name, partial(send, data=data)) for name, data in cases()]
    works += [("400 idle connections", idle), ("100 trickled bodies", trickled)]
    works += [("a body without an end", endless)]
    lasts = [(one.__doc__ or "", one) for one in (behind_large, behind_gone)]
    works = [(name, work) for name, work in works if arguments.only in name]
    lasts = [(name, work) for name, work in lasts if arguments.only in name]
    with contextlib.ExitStack() as stack:
        ports = []
        for python in pythons:
            begun = time.perf_counter()
            ports.append(stack.enter_context(served("f32", python)).port)
            ready = time.perf_counter() - begun
            print(f"ready after {ready:.1f} s; first float32: {first_predict(ports[-1])}")
        print(f"slowest /healthz in ms, the best of {arguments.rounds} rounds; {machine()}\n")
        for name, work in works:
            found: dict[int, list[tuple[str, float]]] = {}
            for port in ports * arguments.rounds:
                found.setdefault(port, []).append(beside(port, partial(work, port)))
            cells = [
                f"{found[port][-1][0]} | {min(one[1] for one in found[port]) * 1000:.0f}"
                for port in ports
            ]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
        for name, work in lasts:
            print(f"| {name} | {' | '.join(work(port) for port in ports)} |", flush=True)


if __name__ == "__main__":
    main()
