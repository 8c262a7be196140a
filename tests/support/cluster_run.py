"""What tests/test_scale.py runs in a process of its own: workers of a local Ray, really killed.

    python -m tests.support.cluster_run PHOTOS OUT RAYS_TEMPORARY_FOLDER

Writes one line of JSON. Ray is begun with two processes' worth of cores whatever the machine has.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import ray

import nasnet
from nasnet import EmbedOptions, EngineOptions, SinkOptions
from nasnet.features.cluster.options import ClusterEvent, ClusterOptions
from nasnet.features.cluster.running import embed_on_cluster
from nasnet.features.cluster.tasks import Tasks
from nasnet.features.embed import extractor_of
from nasnet.features.feature_set import feature_schema
from nasnet.features.store.beginning import open_parts
from nasnet.features.store.manifest import Manifest
from nasnet.features.store.merge import merge
from nasnet.pictures.sources import Item, Shard

WEIGHTS = "seeded:7"
OPTIONS = EmbedOptions(size=(48, 48), engine=EngineOptions(threads=1))
SPREAD = ClusterOptions(worker_cores=1, shard_rows=6, wait_seconds=600)
ALONE = replace(SPREAD, max_workers=1)


class StoppedError(Exception):
    """As Ctrl-C would."""


def killed_worker(photos: Path, output: Path) -> dict[str, object]:
    killed: list[int] = []

    def on_event(event: ClusterEvent) -> None:
        if event.done and event.done < 40 and not killed:
            killed.append(event.workers[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    done = embed_on_cluster(
        photos, output, weights=WEIGHTS, options=OPTIONS, cluster=SPREAD, on_event=on_event
    )
    return {
        "killed": len(killed),
        "retried": done.retried,
        "rows": done.rows,
        "shards": done.shards,
    }


def stopped_and_gone_on(photos: Path, folder: Path) -> dict[str, object]:
    """Into a folder; stopped in the middle, a part cut off, gone on with, joined."""

    def on_event(event: ClusterEvent) -> None:
        if event.done >= 24:
            raise StoppedError

    with contextlib.suppress(StoppedError):
        embed_on_cluster(
            photos, folder, weights=WEIGHTS, options=OPTIONS, cluster=ALONE, on_event=on_event
        )
    while ray.available_resources().get("CPU") != 2:
        time.sleep(0.05)  # what was at work may become parts yet
    parts = sorted(folder.glob("part-*.parquet"))
    parts[0].write_bytes(parts[0].read_bytes()[:-20])
    done = embed_on_cluster(photos, folder, weights=WEIGHTS, options=OPTIONS, cluster=ALONE)
    merge([folder], folder.with_suffix(".npy"))
    return {"parts": len(parts), "resumed": done.resumed, "rows": done.rows}


def deadly(begun: Path) -> Iterator[Item]:
    """Pictures that end the process which reads them."""
    with begun.open("a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)
    yield from ()


def shard_that_kills(folder: Path) -> dict[str, object]:
    """Ray's own retries: a shard that ends its worker each time is given up, and no other."""
    extractor = extractor_of(WEIGHTS, OPTIONS)
    parts = open_parts(folder / "deadly", folder=True)
    meta = extractor.meta("photos")
    parts.write_manifest(Manifest(meta=meta, vector="float[1056]", shard_rows=1))
    schema = feature_schema(extractor.dimensions, meta)
    tasks = Tasks(ray, extractor, parts, OPTIONS, replace(ALONE, attempts=2))
    items = (partial(deadly, folder / "begun"), partial(iter, [Item(id="a", read=bytes)]))
    for number, one in enumerate(items):
        tasks.submit(Shard(number=number, name=f"{number}", rows=None, items=one), schema)
    outcomes = [outcome for _ in items for outcome in tasks.wait(300)]
    return {
        "outcomes": sorted(
            (outcome.shard.number, outcome.part.failures if outcome.part else outcome.error)
            for outcome in outcomes
        ),
        "attempts": (folder / "begun").read_text(),
        "parts": parts.numbers(),
    }


def by_command(photos: Path, output: Path, address: str) -> str:
    """The command line, connected to the same cluster."""
    command = [sys.executable, "-m", "nasnet", "embed", str(photos), "-o", str(output)]
    command += ["-w", WEIGHTS, "--size", "48", "--on", "ray", "--worker-cores", "2"]
    environment = {**os.environ, "RAY_ADDRESS": address}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode == 0 else f"failed: {done.stderr}"


def main() -> None:
    photos, folder = Path(sys.argv[1]), Path(sys.argv[2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context = ray.init(
            address="local",
            num_cpus=2,
            object_store_memory=100 << 20,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            _temp_dir=sys.argv[3],
        )
    try:
        found = {
            "killed_worker": killed_worker(photos, folder / "killed.parquet"),
            "stopped": stopped_and_gone_on(photos, folder / "parts"),
            "deadly": shard_that_kills(folder),
            "command": by_command(photos, folder / "command.parquet", context["gcs_address"]),
        }
        nasnet.embed_to_file(
            photos,
            folder / "one.parquet",
            weights=WEIGHTS,
            options=EmbedOptions(size=OPTIONS.size, engine=OPTIONS.engine, sink=SinkOptions()),
        )
    finally:
        ray.shutdown()
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
