"""Pictures/s and peak memory of `nasnet embed` beside Keras, on the same JPEG files in one run.

    python -m benchmarks.embed PHOTOS [--rounds 3] [--out DIR]

PHOTOS is a folder of JPEG or PNG files (Keras reads no others). Each peer runs in a process of
its own, in turns, so that drift of the machine meets all alike; a peer that is not installed is
left out and named. Weights are untrained: the arithmetic costs the same. Rates leave imports out
and count everything else: reading weights, compiling, decoding, inference, writing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run of one peer."""

    pictures: int
    seconds: float
    process_seconds: float
    peak_mb: float

    @property
    def rate(self) -> float:
        return self.pictures / self.seconds


def nasnet_embed(photos: str, precision: str, recipe: str) -> tuple[int, float]:
    import nasnet
    from nasnet import EmbedOptions, EngineOptions

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        engine = EngineOptions(precision="bf16" if precision == "bf16" else "f32")
        options = EmbedOptions(engine=engine, recipe=recipe)
        summary = nasnet.embed_to_file(
            photos, Path(folder) / "features.parquet", weights="seeded:7", options=options
        )
        return summary.rows, time.perf_counter() - start


def keras_directory(photos: str) -> tuple[int, float]:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras

    start = time.perf_counter()
    network = keras.applications.NASNetMobile(
        weights=None, include_top=False, pooling="avg", input_shape=(224, 224, 3)
    )
    pictures = keras.utils.image_dataset_from_directory(
        photos, labels=None, image_size=(224, 224), batch_size=32, shuffle=False, verbose=False
    )
    scaled = pictures.map(keras.applications.nasnet.preprocess_input).prefetch(2)
    vectors = network.predict(scaled, verbose=0)
    return len(vectors), time.perf_counter() - start


PEERS = {
    "nasnet embed, f32": lambda photos: nasnet_embed(photos, "f32", "photo"),
    "nasnet embed, f32, tf2-hub recipe": lambda photos: nasnet_embed(photos, "f32", "tf2-hub"),
    "nasnet embed, bf16": lambda photos: nasnet_embed(photos, "bf16", "photo"),
    "Keras NASNetMobile, f32": keras_directory,
}
BASE = "Keras NASNetMobile, f32"


def measure(peer: str, photos: str) -> Measured | str:
    """Run a peer once in a process of its own; its figures, or why there are none."""
    begun = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.embed", photos, "--peer", peer],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    out, err = child.stdout.read(), child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        return (err.strip().splitlines() or ["no reason given"])[-1]
    found = json.loads(out.splitlines()[-1])
    return Measured(
        pictures=found["pictures"],
        seconds=found["seconds"],
        process_seconds=time.perf_counter() - begun,
        peak_mb=usage.ru_maxrss / 1024,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photos")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write embed.md and embed.json here")
    parser.add_argument("--peer", choices=list(PEERS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        pictures, seconds = PEERS[arguments.peer](arguments.photos)
        print(json.dumps({"pictures": pictures, "seconds": seconds}))
        return
    runs: dict[str, list[Measured]] = {peer: [] for peer in PEERS}
    for turn in range(arguments.rounds):
        for peer in list(runs):
            found = measure(peer, arguments.photos)
            if isinstance(found, str):
                print(f"left out: {peer}: {found}", file=sys.stderr)
                del runs[peer]
                continue
            runs[peer].append(found)
            print(f"round {turn + 1}: {peer}: {found.rate:.1f} pictures/s", file=sys.stderr)
    table = render(runs)
    print(table)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "embed.md").write_text(table, encoding="utf-8")
        rows = {
            peer: [
                {"rate": run.rate, "peak_mb": run.peak_mb, "process_seconds": run.process_seconds}
                for run in results
            ]
            for peer, results in runs.items()
        }
        (arguments.out / "embed.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")


def render(runs: dict[str, list[Measured]]) -> str:
    """The table: medians, and the ratio of rates round by round."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    first = next(iter(runs.values()))[0]
    lines = [
        f"{first.pictures} pictures, {len(next(iter(runs.values())))} rounds, {cores} cores "
        f"({platform.processor() or platform.machine()}), Python {platform.python_version()}",
        "",
        "| | pictures/s (min-max) | to Keras | whole process, s | peak memory, MB |",
        "|---|---|---|---|---|",
    ]
    for peer, results in runs.items():
        rates = [run.rate for run in results]
        base = runs.get(BASE, [])
        ratios = [run.rate / other.rate for run, other in zip(results, base, strict=False)]
        ratio = f"{statistics.median(ratios):.2f}x" if ratios else "-"
        whole = statistics.median(run.process_seconds for run in results)
        memory = statistics.median(run.peak_mb for run in results)
        lines.append(
            f"| {peer} | {statistics.median(rates):.1f} ({min(rates):.1f}-{max(rates):.1f}) "
            f"| {ratio} | {whole:.1f} | {memory:.0f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
