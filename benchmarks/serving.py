"""Pictures/s and latency of `nasnet serve`: by protocol, or by the format of the answers.

    python -m benchmarks.serving [--clients 1 4 16 64] [--pictures 1] [--seconds 10] [--rounds 3]
    python -m benchmarks.serving --answers [--before PYTHON] [--pictures 1] [--seconds 10]

The first compares the protocols with what one process makes of the same pictures without a
service (`Extractor.embed`, decoding included where the service decodes), taken in turns with them
so that drift of the machine meets both, and tells how late the service's event loop was. The
second compares JSON, .npy and Arrow answers of `/embed` with 1, 4 and 16 clients, and asks
`/healthz` all the while; PYTHON is an interpreter that has another version of nasnet, which is
measured in turns.

The service is a process of its own, on loopback. Clients are a closed loop: each keeps one
connection and sends its next request when the last one is answered. Clients run on the same cores
and cost what they cost. Weights are untrained: the arithmetic is the same.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import io
import json
import re
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.machine import machine
from nasnet.compute.engine import EngineOptions
from nasnet.features.extractor import Extractor
from nasnet.weights.weights import seeded

WEIGHTS = 7
_LENGTH = "Inference-Header-Content-Length"
CLIENTS = (1, 4, 16)  # that wait for answers of one format
FORMATS = ("json", "npy", "arrow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client sends again and again."""

    path: str
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One round of one kind of request."""

    rate: float
    share: float  # of what one process makes of the same pictures
    seconds: list[float]
    late: tuple[int, int]  # how often the event loop was looked at, and was more than 20 ms late


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """One round of one format of answers."""

    rate: float
    healthy: float  # seconds the slowest /healthz took


def jpeg() -> bytes:
    """A smooth picture, so that decoding it costs what photographs cost."""
    random = np.random.default_rng(0)
    smooth = Image.fromarray(random.integers(0, 256, (6, 8, 3), np.uint8))
    buffer = io.BytesIO()
    smooth.resize((500, 375), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def embed_request(pictures: int, format: str) -> Request:
    """Files in a form, answered in a format."""
    part = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
        + jpeg()
        + b"\r\n"
    )
    return Request(
        path="/embed" if format == "json" else f"/embed?format={format}",
        body=part * pictures + b"--x--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )


def requests(pictures: int) -> dict[str, tuple[Request, Any]]:
    """The kinds of requests, each with that many pictures, and what a picture of it is."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (pictures, 224, 224, 3), np.uint8)
    wanted = [{"name": "default", "parameters": {"binary_data": True}}]
    tensor = {
        "name": "images",
        "datatype": "UINT8",
        "shape": list(pixels.shape),
        "parameters": {"binary_data_size": pixels.nbytes},
    }
    head = json.dumps({"inputs": [tensor], "outputs": wanted}).encode()
    encoded = base64.b64encode(jpeg()).decode()
    texts = {
        "name": "images",
        "datatype": "BYTES",
        "shape": [pictures],
        "data": [encoded] * pictures,
    }
    predict, infer = "/v1/models/nasnet:predict", "/v2/models/nasnet/infer"
    numbers = (pixels / 255).astype(np.float32).round(4).tolist()

    def made(path: str, body: dict[str, Any]) -> Request:
        return Request(path=path, body=json.dumps(body).encode(), headers={})

    return {
        "`/embed`, JPEG files, JSON back": (embed_request(pictures, "json"), jpeg()),
        "`/embed`, JPEG files, npy back": (embed_request(pictures, "npy"), jpeg()),
        "TensorFlow Serving, JPEG as base64": (
            made(predict, {"instances": [{"b64": encoded}] * pictures}),
            jpeg(),
        ),
        "TensorFlow Serving, numbers": (made(predict, {"instances": numbers}), pixels[0]),
        "Open Inference Protocol, JPEG as base64": (
            made(infer, {"inputs": [texts], "outputs": wanted}),
            jpeg(),
        ),
        "Open Inference Protocol, binary uint8": (
            Request(path=infer, body=head + pixels.tobytes(), headers={_LENGTH: str(len(head))}),
            pixels[0],
        ),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A service that runs."""

    port: int
    pid: int


@contextlib.contextmanager
def served(precision: str, python: str = sys.executable) -> Iterator[Served]:
    """The service."""
    command = [python, "-c", "from nasnet.cli import main; main()", "serve", "--port", "0"]
    command += ["-w", f"nasnet=seeded:{WEIGHTS}", "--precision", precision]
    with ready(command) as one:
        yield one


@contextlib.contextmanager
def ready(command: Sequence[str]) -> Iterator[Served]:
    """A service that says `ready at URL`."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.match(r"ready at http://.*:(\d+)/", line):
                yield Served(port=int(found[1]), pid=process.pid)
                return
        raise SystemExit("the service did not start")
    finally:
        process.terminate()
        process.communicate()


def load(port: int, request: Request, clients: int, until: float) -> list[float]:
    """Seconds each answer took, of all clients."""

    def client(_: int) -> list[float]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        found = []
        while time.perf_counter() < until:
            begun = time.perf_counter()
            connection.request("POST", request.path, request.body, request.headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise SystemExit(f"{request.path} was answered with {answer.status}")
            found.append(time.perf_counter() - begun)
        connection.close()
        return found

    with ThreadPoolExecutor(clients) as threads:
        return [one for found in threads.map(client, range(clients)) for one in found]


def answers(port: int, request: Request, clients: int, seconds: float, pictures: int) -> Answers:
    """Load of one format, and how long `/healthz` takes beside it."""
    begun = time.perf_counter()
    until = begun + seconds
    healthy: list[float] = []

    def look() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while (asked := time.perf_counter()) < until:
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            healthy.append(time.perf_counter() - asked)
            time.sleep(0.02)
        connection.close()

    looking = threading.Thread(target=look)
    looking.start()
    found = load(port, request, clients, until)
    rate = len(found) * pictures / (time.perf_counter() - begun)
    looking.join()
    return Answers(rate=rate, healthy=max(healthy))


def compare_answers(arguments: argparse.Namespace) -> None:
    """The second table."""
    pythons = {"now": sys.executable}
    if arguments.before:
        pythons = {"before": arguments.before, **pythons}
    runs: dict[tuple[str, int, str], list[Answers]] = {}
    with contextlib.ExitStack() as stack:
        ports = {
            name: stack.enter_context(served(arguments.precision, python)).port
            for name, python in pythons.items()
        }
        for turn in range(arguments.rounds):
            for clients in CLIENTS:
                for format in FORMATS:
                    request = embed_request(arguments.pictures, format)
                    for name, port in ports.items():
                        one = answers(port, request, clients, arguments.seconds, arguments.pictures)
                        runs.setdefault((name, clients, format), []).append(one)
                        print(
                            f"round {turn + 1}: {name}, {clients} clients, {format}: "
                            f"{one.rate:.1f}/s, /healthz {one.healthy:.3f} s at most",
                            file=sys.stderr,
                        )
    print(f"{machine()}; {arguments.pictures} pictures a request", "", sep="\n")
    print("| | clients | JSON/s | npy/s | Arrow/s | JSON of npy | slowest /healthz, s |")
    print("|---|---|---|---|---|---|---|")
    for name in pythons:
        for clients in CLIENTS:
            found = {format: runs[name, clients, format] for format in FORMATS}
            rates = [statistics.median(one.rate for one in found[format]) for format in FORMATS]
            slowest = max(one.healthy for rounds in found.values() for one in rounds)
            cells = " | ".join(f"{rate:.1f}" for rate in rates)
            print(f"| {name} | {clients} | {cells} | {rates[0] / rates[1]:.2f} | {slowest:.3f} |")


def alone(extractor: Extractor, picture: Any, seconds: float) -> float:  # noqa: ANN401
    """Pictures/s of one process without a service, the same picture over and over."""
    begun = time.perf_counter()
    done = 0
    while time.perf_counter() - begun < seconds:
        extractor.embed([picture] * 64)
        done += 64
    return done / (time.perf_counter() - begun)


def lateness(port: int) -> tuple[int, int]:
    """How often the event loop has been looked at, and was more than 20 ms late."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    count = float(lines["nasnet_loop_late_seconds_count"])
    in_time = float(lines['nasnet_loop_late_seconds_bucket{le="0.02"}'])
    return int(count), int(count - in_time)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--pictures", type=int, default=1, help="in one request")
    parser.add_argument("--only", default="", metavar="TEXT", help="of the protocols' names")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--answers", action="store_true", help="compare formats of answers")
    parser.add_argument("--before", metavar="PYTHON", help="has another version of nasnet")
    arguments = parser.parse_args()
    if arguments.answers:
        compare_answers(arguments)
        return
    extractor = Extractor(
        seeded(WEIGHTS), recipe="photo", engine=EngineOptions(precision=arguments.precision)
    )
    runs: dict[tuple[str, int], list[Measured]] = {}
    kinds = {
        name: one for name, one in requests(arguments.pictures).items() if arguments.only in name
    }
    with extractor, served(arguments.precision) as service:
        port = service.port
        for turn in range(arguments.rounds):
            for (name, (request, picture)), clients in product(kinds.items(), arguments.clients):
                alone(extractor, picture, 0)
                before = alone(extractor, picture, arguments.seconds / 2)
                looked, late = lateness(port)
                begun = time.perf_counter()
                found = load(port, request, clients, begun + arguments.seconds)
                rate = len(found) * arguments.pictures / (time.perf_counter() - begun)
                looked_then, late_then = lateness(port)
                base = (before + alone(extractor, picture, arguments.seconds / 2)) / 2
                runs.setdefault((name, clients), []).append(
                    Measured(
                        rate=rate,
                        share=rate / base,
                        seconds=found,
                        late=(looked_then - looked, late_then - late),
                    )
                )
                print(
                    f"round {turn + 1}: {name}, {clients}: {rate:.1f} of {base:.1f}/s",
                    file=sys.stderr,
                )
    print(render(runs, arguments.pictures))


def render(runs: dict[tuple[str, int], list[Measured]], pictures: int) -> str:
    """The table: medians of the rounds, latencies of all answers together."""
    lines = [
        f"{pictures} pictures a request, {machine()}",
        "",
        "| | clients | pictures/s | of one process (min-max) | p50, ms | p99, ms | loop late |",
        "|---|---|---|---|---|---|---|",
    ]
    for (name, clients), rounds in runs.items():
        shares = [one.share for one in rounds]
        p50, p99 = np.percentile([second for one in rounds for second in one.seconds], [50, 99])
        late = sum(one.late[1] for one in rounds) / sum(one.late[0] for one in rounds)
        lines.append(
            f"| {name} | {clients} | {statistics.median(one.rate for one in rounds):.1f} "
            f"| {statistics.median(shares):.0%} ({min(shares):.0%}-{max(shares):.0%}) "
            f"| {p50 * 1000:.0f} | {p99 * 1000:.0f} | {late:.1%} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
