"""Core-milliseconds that a request costs the service and its client, beside the engine's own.

    python -m benchmarks.serving_cost [--clients 1 4 16 64] [--seconds 4] [--rounds 3]
        [--before PYTHON]

Closed-loop clients on loopback send one JPEG at a time to `nasnet serve`, by each protocol, and to
`benchmarks.serving_peer` (FastAPI and ONNX Runtime as people write it), in turns. Beside each
stands what `Extractor.embed` makes of the same picture in a process without a service, decoding
included, in the same round; and what that process makes of one picture at a time, over all cores,
which a single client cannot pass. On a machine that others use too the processor time tells more
than the rate: it is counted of the service's process and of this one, which is all clients, apart.
PYTHON has another version of nasnet, which is measured in turns.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.graph_peers import naive_model
from benchmarks.machine import machine
from benchmarks.serving import (
    WEIGHTS,
    Request,
    Served,
    alone,
    embed_request,
    jpeg,
    lateness,
    load,
    ready,
    requests,
    served,
)
from nasnet.compute.engine import EngineOptions
from nasnet.features.extractor import Extractor
from nasnet.weights.weights import seeded

PEER = "FastAPI and ONNX Runtime"
_ENGINE: Extractor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One round of one kind of request.

    Attributes:
        rate: requests/s.
        engine_rate: pictures/s of the engine alone in the same round.
        single_rate: pictures/s of the engine alone, one at a time.
        server: core-milliseconds of the service a request.
        client: of the clients.
        engine: core-milliseconds of the engine alone a picture.
        seconds: that each answer took.
        late: how often the event loop was looked at, and was more than 20 ms late.
    """

    rate: float
    engine_rate: float
    single_rate: float
    server: float
    client: float
    engine: float
    seconds: list[float]
    late: tuple[int, int]


def kinds() -> dict[str, Request]:
    """What is asked of `nasnet serve`, one picture each."""
    encoded = base64.b64encode(jpeg()).decode()
    found = {
        name: request
        for name, (request, picture) in requests(1).items()
        if isinstance(picture, bytes)
    }
    for form in ("float", "base64"):
        body = json.dumps({"input": encoded, "encoding_format": form}).encode()
        found[f"OpenAI, JPEG as base64, {form} back"] = Request(
            path="/v1/embeddings", body=body, headers={}
        )
    return found


def processor(pid: int) -> float:
    """Seconds of processor time of a process so far, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def engine_alone(precision: str, seconds: float) -> tuple[float, float, float]:
    """Pictures/s of this process without a service, core-ms a picture, and one by one."""
    global _ENGINE
    if _ENGINE is None:
        options = EngineOptions(precision=precision)  # type: ignore[arg-type]
        _ENGINE = Extractor(seeded(WEIGHTS), recipe="photo", engine=options)
        alone(_ENGINE, jpeg(), 0.5)
        black = np.zeros((1, _ENGINE.height, _ENGINE.width, 3), np.uint8)
        _ENGINE.engine.infer(black, (_ENGINE.endpoint,), alone=True)
    picture = jpeg()
    begun, used = time.perf_counter(), time.process_time()
    rate = alone(_ENGINE, picture, seconds)
    pictures = rate * (time.perf_counter() - begun)
    cost = (time.process_time() - used) / pictures * 1000
    begun, done = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds / 2:
        pixels = _ENGINE.prepare(picture).pixels[None]
        _ENGINE.engine.infer(pixels, (_ENGINE.endpoint,), alone=True)
        done += 1
    return rate, cost, done / (time.perf_counter() - begun)


@contextlib.contextmanager
def peer() -> Iterator[Served]:
    """The peer."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "naive.onnx")
        model.write_bytes(naive_model())
        with ready([sys.executable, "-m", "benchmarks.serving_peer", str(model)]) as one:
            yield one


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", metavar="TEXT", help="of the names")
    parser.add_argument("--before", metavar="PYTHON", help="has another version of nasnet")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    arguments = parser.parse_args()
    runs: dict[tuple[str, int], list[Cost]] = {}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: print(render(runs)))  # what there is, where it is stopped
        pool = stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn")))
        ours = stack.enter_context(served(arguments.precision))
        earlier = ours
        if arguments.before:
            earlier = stack.enter_context(served(arguments.precision, arguments.before))
        others = stack.enter_context(peer())
        asked = {}
        for name, request in kinds().items():
            if arguments.before:
                asked[f"{name}, before"] = (earlier, request)
            asked[name] = (ours, request)
        asked[PEER] = (others, embed_request(1, "json"))
        asked = {name: one for name, one in asked.items() if arguments.only in name}
        for _ in range(arguments.rounds):
            for clients in arguments.clients:
                for name, (service, request) in asked.items():
                    load(service.port, request, clients, time.perf_counter() + 0.3)
                    engine_rate, engine, single_rate = pool.submit(
                        engine_alone, arguments.precision, arguments.seconds / 2
                    ).result()
                    looked = (0, 0) if service is others else lateness(service.port)
                    used, own = processor(service.pid), time.process_time()
                    begun = time.perf_counter()
                    found = load(service.port, request, clients, begun + arguments.seconds)
                    wall = time.perf_counter() - begun
                    server = processor(service.pid) - used
                    client = time.process_time() - own
                    then = (0, 0) if service is others else lateness(service.port)
                    one = Cost(
                        rate=len(found) / wall,
                        engine_rate=engine_rate,
                        single_rate=single_rate,
                        server=server / len(found) * 1000,
                        client=client / len(found) * 1000,
                        engine=engine,
                        seconds=found,
                        late=(then[0] - looked[0], then[1] - looked[1]),
                    )
                    runs.setdefault((name, clients), []).append(one)
                    print(f"{clients}, {name}: {one.rate:.1f}/s", file=sys.stderr)


def render(runs: dict[tuple[str, int], list[Cost]]) -> str:
    """The table: medians of the rounds; latencies of all answers together."""
    lines = [
        f"One JPEG a request, {machine()}",
        "",
        "| | clients | requests/s | of the engine alone | of it one by one | service, core-ms "
        "| engine alone, core-ms | their ratio | client, core-ms | p50, ms | p99, ms "
        "| loop more than 20 ms late |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (name, clients), rounds in runs.items():
        p50, p99 = np.percentile([second for one in rounds for second in one.seconds], [50, 99])
        looked, late = (sum(one.late[place] for one in rounds) for place in (0, 1))
        middle = statistics.median
        lines.append(
            f"| {name} | {clients} | {middle([one.rate for one in rounds]):.1f} "
            f"| {middle([one.rate / one.engine_rate for one in rounds]):.0%} "
            f"| {middle([one.rate / one.single_rate for one in rounds]):.0%} "
            f"| {middle([one.server for one in rounds]):.1f} "
            f"| {middle([one.engine for one in rounds]):.1f} "
            f"| {middle([one.server / one.engine for one in rounds]):.2f} "
            f"| {middle([one.client for one in rounds]):.1f} "
            f"| {p50 * 1000:.0f} | {p99 * 1000:.0f} "
            f"| {f'{late} of {looked}' if looked else 'not known'} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
