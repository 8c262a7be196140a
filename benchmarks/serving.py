"""Pictures/s and latency of `nasnet serve` beside its engine's own batch throughput, in one run.

    python -m benchmarks.serving [--clients 8] [--pictures 4] [--seconds 10] [--rounds 3]

The service is a process of its own, on loopback. Clients are a closed loop: each keeps one
connection and sends its next request when the last one is answered. The engine's own throughput
(batches of pictures that are decoded already) is taken in turns with them, so that drift of the
machine meets both alike; clients run on the same cores and cost what they cost. Weights are
untrained: the arithmetic is the same.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import io
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image

from nasnet.compute import engine as engines
from nasnet.compute.engine import Engine, EngineOptions
from nasnet.weights.weights import seeded

WEIGHTS = 7


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


def requests(pictures: int) -> dict[str, Request]:
    """The kinds of requests, each with that many pictures."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (pictures, 224, 224, 3), np.uint8)
    smooth = Image.fromarray(random.integers(0, 256, (6, 8, 3), np.uint8))
    buffer = io.BytesIO()
    smooth.resize((500, 375), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
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
    b64 = {"b64": base64.b64encode(buffer.getvalue()).decode()}
    part = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
        + buffer.getvalue()
        + b"\r\n"
    )
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
        "/embed, JPEG files, npy back": Request(
            path="/embed?format=npy",
            body=part * pictures + b"--x--\r\n",
            headers={"Content-Type": "multipart/form-data; boundary=x"},
        ),
    }


@contextmanager
def served(precision: str) -> Iterator[int]:
    """The service and its port."""
    command = [sys.executable, "-m", "nasnet.cli", "serve", "--port", "0"]
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
    parser.add_argument("--pictures", type=int, default=4, help="in one request")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    arguments = parser.parse_args()
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
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    lines = [
        f"{clients} clients, {pictures} pictures a request, {cores} cores "
        f"({platform.processor() or platform.machine()}), Python {platform.python_version()}; "
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
