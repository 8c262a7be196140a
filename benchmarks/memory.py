"""Peak memory of `nasnet embed`: by network, batch, picture size and number of pictures.

    python -m benchmarks.memory [--quick] [--networks mobile large] [--pictures 1000 20000]

Each figure is the peak resident memory of a process of its own (`ru_maxrss`), interpreter and
libraries included. Pictures are JPEG files of 500x375 px made here; weights are untrained, the
arithmetic is the same. The table of calls is one process that computes 1, 7, 32, 3, ... pictures
at a time: what it holds after the first round and after the last.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.machine import machine

WEIGHTS = {"mobile": "seeded:7", "large": "seeded:7@large"}
BATCHES = (1, 2, 3, 4, 7, 8, 16, 31, 32)
SIZES = ("97x161", "224x224", "299x301", "331x331")
ODD = (1, 7, 32, 3, 31, 2, 17, 5)
DISTINCT = 16  # pictures made; more would only be more of the same


def photos(count: int) -> Iterator[tuple[str, bytes]]:
    from PIL import Image

    random = np.random.default_rng(7)
    some = []
    for _ in range(min(DISTINCT, count)):
        coarse = Image.fromarray(random.integers(0, 256, (15, 20, 3), np.uint8))
        smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), np.int16)
        noisy = np.clip(smooth + random.integers(-9, 10, smooth.shape), 0, 255)
        buffer = io.BytesIO()
        Image.fromarray(np.asarray(noisy, np.uint8)).save(buffer, "JPEG", quality=90)
        some.append(buffer.getvalue())
    for number in range(count):
        yield f"{number:08d}", some[number % len(some)]


def embed(
    network: str, batch: int, size: str | None, count: int, precision: str
) -> dict[str, float]:
    """One run of the whole pipeline in this process."""
    import nasnet
    from nasnet import EmbedOptions, EngineOptions

    shape = None
    if size is not None:
        height, _, width = size.partition("x")
        shape = int(height), int(width)
    engine = EngineOptions(batch_size=batch, precision="bf16" if precision == "bf16" else "f32")
    options = EmbedOptions(engine=engine, size=shape)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "features.parquet"
        begun = time.perf_counter()
        done = nasnet.embed_to_file(
            photos(count), output, weights=WEIGHTS[network], options=options
        )
        seconds = time.perf_counter() - begun
    assert (done.rows, done.failures) == (count, 0)
    return {"seconds": seconds, "rate": count / seconds}


def resident_mb() -> float:
    """What this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def calls(network: str, rounds: int) -> dict[str, float]:
    """Odd numbers of pictures a call, over and over, in this process."""
    import nasnet

    module = nasnet.Module(WEIGHTS[network])
    height, width = nasnet.get_expected_image_size(module)
    images = np.random.default_rng(7).random((max(ODD), height, width, 3), np.float32)
    held, spent = [], []
    for _ in range(rounds):
        begun = time.perf_counter()
        for count in ODD:
            assert len(module(images[:count])) == count
        spent.append(time.perf_counter() - begun)
        gc.collect()
        held.append(resident_mb())
    return {
        "first_mb": held[0],
        "last_mb": held[-1],
        "second_s": spent[1],
        "last_s": spent[-1],
    }


def measure(*arguments: str) -> dict[str, float]:
    """The figures of a process of its own; `peak_mb` is the system's count."""
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.memory", "--child", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    out = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(arguments)}: ended with {child.returncode}")
    return {**json.loads(out.splitlines()[-1]), "peak_mb": usage.ru_maxrss / 1024}


def child(arguments: Sequence[str]) -> None:
    kind, network, *rest = arguments
    if kind == "calls":
        print(json.dumps(calls(network, int(rest[0]))))
        return
    batch, size, count, precision = rest
    found = embed(network, int(batch), None if size == "-" else size, int(count), precision)
    print(json.dumps(found))


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [f"### {title}", "", f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join(lines) + "\n"


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=list(WEIGHTS), default=list(WEIGHTS))
    parser.add_argument("--batches", nargs="*", type=int, default=list(BATCHES))
    parser.add_argument("--sizes", nargs="*", default=list(SIZES))
    parser.add_argument("--pictures", nargs="*", type=int, default=[1000, 20000])
    parser.add_argument("--fill", type=int, default=8, help="batches of pictures in a run")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--rounds", type=int, default=6, help="of calls; 0 for none")
    parser.add_argument("--quick", action="store_true", help="a minute: mobile, few pictures")
    parser.add_argument("--out", type=Path, help="write memory.md and memory.json here")
    given = parser.parse_args()
    if given.quick:
        given.networks, given.batches, given.sizes = ["mobile"], [1, 4, 7], ["97x161"]
        given.pictures, given.fill = [50, 200], 2
    sections = [f"{given.precision}, {machine()}\n"]
    figures: list[dict[str, object]] = []

    def run(kind: str, network: str, *rest: object) -> dict[str, float]:
        found = measure(kind, network, *map(str, rest))
        figures.append({"kind": kind, "network": network, "given": list(rest), **found})
        print(kind, network, *rest, f"{found['peak_mb']:.0f} MB", file=sys.stderr)
        return found

    for network in given.networks:
        rows: list[list[object]] = []
        for batch in given.batches:
            count = given.fill * batch + 1
            found = run("embed", network, batch, "-", count, given.precision)
            rows.append([batch, count, f"{found['peak_mb']:.0f}", f"{found['rate']:.1f}"])
        if rows:
            head = ["batch", "pictures", "peak, MB", "pictures/s with start-up"]
            sections.append(table(f"{network}: by batch", head, rows))
    rows = []
    for size in given.sizes:
        found = run("embed", "mobile", 4, size, 4 * given.fill + 1, given.precision)
        rows.append([size, f"{found['peak_mb']:.0f}"])
    if rows:
        sections.append(table("mobile: by picture size, batch 4", ["size", "peak, MB"], rows))
    if given.rounds:
        rows = []
        for network in given.networks:
            found = run("calls", network, given.rounds)
            row: list[object] = [network, f"{found['first_mb']:.0f}", f"{found['last_mb']:.0f}"]
            rows.append([*row, f"{found['second_s']:.2f}", f"{found['last_s']:.2f}"])
        head = ["network", "after round 1, MB", f"after round {given.rounds}, MB"]
        head += ["round 2, s", f"round {given.rounds}, s"]
        sections.append(table(f"calls of {', '.join(map(str, ODD))} pictures", head, rows))
    rows = []
    for count in given.pictures:
        found = run("embed", "mobile", 4, "-", count, given.precision)
        rows.append([f"{count:,}", f"{found['peak_mb']:.0f}", f"{found['rate']:.1f}"])
    if rows:
        head = ["pictures", "peak, MB", "pictures/s with start-up"]
        sections.append(table("mobile: by number of pictures, batch 4", head, rows))
    text = "\n".join(sections)
    print(text)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "memory.md").write_text(text, encoding="utf-8")
        (given.out / "memory.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
