"""Pictures/s and latency of `nasnet serve`: by protocol, or by the format of the answers.

    python -m benchmarks.serving [--clients 8] [--pictures 4] [--seconds 10] [--rounds 3]
    python -m benchmarks.serving --answers [--before PYTHON] [--pictures 1] [--seconds 10]

The first compares the protocols with the engine's own batch throughput (pictures that are decoded
already), taken in turns with them so that drift of the machine meets both. The second compares
JSON, .npy and Arrow answers of `/embed` with 1, 4 and 16 clients, and asks `/healthz` all the
while; PYTHON is an interpreter that has another version of nasnet, which is measured in turns.

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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from benchmarks.machine import machine
from nasnet.compute import engine as engines
from nasnet.compute.engine import Engine, EngineOptions
from nasnet.weights.weights import seeded

WEIGHTS = 7
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
    share: float
    seconds: list[float]


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
        path=f"/embed?format={format}",
        body=part * pictures + b"--x--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )


def requests(pictures: int) -> dict[str, Request]:
    """The kinds of requests, each with that many pictures."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (pictures, 224, 224, 3), np.uint8)
    tensor = {
        "name": "images",
        "datatype": "UINT8",
        "shape": list(pixels.shape),
        "parameters": {"binary_data_size": pixels.nbytes},
    }
    head = json.dumps(
        {
            "inputs": [tensor],
            "outputs": [{"name": "default", "parameters": {"binary_data": True}}],
        }
    ).encode()
    b64 = {"b64": base64.b64encode(jpeg()).decode()}
    return {
        "Open Inference Protocol, binary uint8": Request(
            path="/v2/models/nasnet/infer",
            body=head + pixels.tobytes(),
            headers={"Inference-Header-Content-Length": str(len(head))},
        ),
        "TensorFlow Serving, JPEG as base64": Request(
            path="/v1/models/nasnet:predict",
            body=json.dumps({"instances": [b64] * pictures}).encode(),
            headers={},
        ),
        "/embed, JPEG files, npy back": embed_request(pictures, "npy"),
    }


@contextlib.contextmanager
def served(precision: str, python: str = sys.executable) -> Iterator[int]:
    """The service and its port."""
    command = [python, "-c", "from nasnet.cli import main; main()", "serve", "--port", "0"]
    command += ["-m", f"nasnet=seeded:{WEIGHTS}", "--precision", precision]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.match(r"ready at http://.*:(\d+)/", line):
                yield int(found[1])
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
            name: stack.enter_context(served(arguments.precision, python))
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


def alone(engine: Engine, seconds: float) -> float:
    """The engine's own pictures/s, in batches over all its streams."""
    images = np.random.default_rng(1).integers(0, 256, (64, 224, 224, 3), np.uint8)
    begun = time.perf_counter()
    done = 0
    while time.perf_counter() - begun < seconds:
        engines.run(engine, images, ("global_pool",))
        done += len(images)
    return done / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--pictures", type=int, help="in one request")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--answers", action="store_true", help="compare formats of answers")
    parser.add_argument("--before", metavar="PYTHON", help="has another version of nasnet")
    arguments = parser.parse_args()
    arguments.pictures = arguments.pictures or (1 if arguments.answers else 4)
    if arguments.answers:
        compare_answers(arguments)
        return
    engine = engines.create(seeded(WEIGHTS), EngineOptions(precision=arguments.precision))
    alone(engine, 1)
    bases: list[float] = []
    runs: dict[str, list[Measured]] = {}
    with served(arguments.precision) as port:
        for turn in range(arguments.rounds):
            for name, request in requests(arguments.pictures).items():
                before = alone(engine, arguments.seconds / 2)
                begun = time.perf_counter()
                found = load(port, request, arguments.clients, begun + arguments.seconds)
                rate = len(found) * arguments.pictures / (time.perf_counter() - begun)
                base = (before + alone(engine, arguments.seconds / 2)) / 2
                bases.append(base)
                runs.setdefault(name, []).append(
                    Measured(rate=rate, share=rate / base, seconds=found)
                )
                print(f"round {turn + 1}: {name}: {rate:.1f} of {base:.1f}/s", file=sys.stderr)
    engine.close()
    print(render(runs, bases, arguments.clients, arguments.pictures))


def render(runs: dict[str, list[Measured]], bases: list[float], clients: int, pictures: int) -> str:
    """The table: medians of the rounds, latencies of all answers together."""
    lines = [
        f"{clients} clients, {pictures} pictures a request, {machine()}; "
        f"the engine alone {statistics.median(bases):.1f} pictures/s",
        "",
        "| | pictures/s | of the engine's (min-max) | p50, ms | p99, ms |",
        "|---|---|---|---|---|",
    ]
    for name, rounds in runs.items():
        shares = [one.share for one in rounds]
        p50, p99 = np.percentile([second for one in rounds for second in one.seconds], [50, 99])
        lines.append(
            f"| {name} | {statistics.median(one.rate for one in rounds):.1f} "
            f"| {statistics.median(shares):.0%} ({min(shares):.0%}-{max(shares):.0%}) "
            f"| {p50 * 1000:.0f} | {p99 * 1000:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
