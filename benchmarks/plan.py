"""What a billion pictures cost: time, money, storage and failures, from measured figures.

    python -m benchmarks.plan [--pictures 1e9] [--machines 100] [--precision bf16] ...

Every figure that goes in is an option, so that a plan can be made anew with your own. The first
table says what was measured (and how to measure it again), the second what is only assumed.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict, dataclass, fields

HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Figures of a run on a real machine; see docs/scale.md for where each is from."""

    rate_f32: float = 101.3
    rate_bf16: float = 150.3
    rate_cores: int = 2
    row_bytes_float32: int = 3586
    row_bytes_float16: int = 1799
    start_s: float = 15.0
    listed_per_s: float = 22_800.0
    merged_per_s: float = 9_000.0
    peak_mb: float = 439.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumed:
    """What nobody measured here: your pictures, your machines, your prices."""

    pictures: int = 1_000_000_000
    picture_bytes: int = 110_000
    unreadable: float = 0.005
    machines: int = 100
    machine_cores: int = 16
    worker_cores: int = 8
    scaling: float = 0.85
    shard_rows: int = 16_384
    tar_pictures: int = 10_000
    machine_price: float = 0.25
    interruptions: float = 0.05
    replacement_s: float = 300.0
    storage_price: float = 0.023
    read_price: float = 0.0004
    write_price: float = 0.005
    store_answer_s: float = 0.05


# What each figure is, and its unit; the options' help and the tables' rows.
MEANING = {
    "rate_f32": "pictures/s, JPEG files of 500 px to Parquet, f32",
    "rate_bf16": "the same, bf16",
    "rate_cores": "cores those rates were measured with",
    "row_bytes_float32": "bytes a row of Parquet, 1,000 photos",
    "row_bytes_float16": "the same with --vector-dtype float16",
    "start_s": "s until a worker computes: process, imports, compiling",
    "listed_per_s": "pictures/s one driver lists and hands out by name",
    "merged_per_s": "rows/s of nasnet merge, one core",
    "peak_mb": "MB one process holds at most",
    "pictures": "pictures",
    "picture_bytes": "bytes of an encoded picture, on average",
    "unreadable": "share of files that are no pictures: rows with a reason",
    "machines": "machines",
    "machine_cores": "cores of a machine (as its maker counts those of the measurement)",
    "worker_cores": "cores of a worker",
    "scaling": "rate of a core in a full large machine, to one of the measurement",
    "shard_rows": "pictures in a shard, rows in a part",
    "tar_pictures": "pictures in one tar, if they lie in tars",
    "machine_price": "USD a machine and hour, at a price that may be interrupted",
    "interruptions": "share of machines taken away in an hour",
    "replacement_s": "s until another machine is there",
    "storage_price": "USD a GB and month",
    "read_price": "USD a 1,000 reads of the store",
    "write_price": "USD a 1,000 writes",
    "store_answer_s": "s until the store answers",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What comes out."""

    workers: int
    rate: float
    shards: int
    shard_s: float
    lost: float
    interruptions: float
    hours: float
    hours_files: float
    core_hours: float
    usd: float
    usd_a_million: float
    read_tb: float
    gbit_a_machine: float
    features_tb: float
    features_tb_half: float
    features_usd_a_month: float
    reads_usd_loose: float
    reads_usd_tars: float
    writes_usd: float
    failed_rows: int
    resume_s: float
    merge_hours: float
    machine_gb: float


def make(measured: Measured, assumed: Assumed, precision: str) -> Plan:
    """The arithmetic, all of it."""
    rate = measured.rate_bf16 if precision == "bf16" else measured.rate_f32
    per_core = rate / measured.rate_cores * assumed.scaling
    per_machine = assumed.machine_cores // assumed.worker_cores
    workers = assumed.machines * per_machine
    worker_rate = per_core * assumed.worker_cores
    shard_s = assumed.shard_rows / worker_rate
    # Whoever takes a machine away takes half a shard of each of its workers, on average, and the
    # time until another machine is there and has begun.
    idle_s = shard_s / 2 + assumed.replacement_s + measured.start_s
    lost = assumed.interruptions * idle_s / HOUR
    cluster = workers * worker_rate * (1 - lost)
    hours = assumed.pictures / cluster / HOUR + (measured.start_s + shard_s) / HOUR
    usd = hours * assumed.machines * assumed.machine_price
    shards = math.ceil(assumed.pictures / assumed.shard_rows)
    features = assumed.pictures * measured.row_bytes_float32
    return Plan(
        workers=workers,
        rate=cluster,
        shards=shards,
        shard_s=shard_s,
        lost=lost,
        interruptions=hours * assumed.machines * assumed.interruptions,
        hours=hours,
        hours_files=max(hours, assumed.pictures / measured.listed_per_s / HOUR),
        core_hours=hours * assumed.machines * assumed.machine_cores,
        usd=usd,
        usd_a_million=usd / assumed.pictures * 1e6,
        read_tb=assumed.pictures * assumed.picture_bytes / 1e12,
        gbit_a_machine=cluster / assumed.machines * assumed.picture_bytes * 8 / 1e9,
        features_tb=features / 1e12,
        features_tb_half=assumed.pictures * measured.row_bytes_float16 / 1e12,
        features_usd_a_month=features / 1e9 * assumed.storage_price,
        reads_usd_loose=assumed.pictures / 1000 * assumed.read_price,
        reads_usd_tars=assumed.pictures / assumed.tar_pictures / 1000 * assumed.read_price,
        writes_usd=shards / 1000 * assumed.write_price,
        failed_rows=round(assumed.pictures * assumed.unreadable),
        resume_s=shards * assumed.store_answer_s * 3 / 16,
        merge_hours=assumed.pictures / measured.merged_per_s / HOUR,
        machine_gb=per_machine * measured.peak_mb / 1000,
    )


def number(value: float) -> str:
    """Three digits of what is less than a thousand, whole numbers of what is more."""
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def render(measured: Measured, assumed: Assumed, precision: str) -> str:
    """Three tables in Markdown: measured, assumed, planned."""
    plan = make(measured, assumed, precision)
    lines = ["| measured | |", "|---|---|"]
    lines += [f"| {MEANING[name]} | {number(value)} |" for name, value in asdict(measured).items()]
    lines += ["", "| assumed | |", "|---|---|"]
    lines += [f"| {MEANING[name]} | {number(value)} |" for name, value in asdict(assumed).items()]
    lines += ["", f"| planned, {precision} | |", "|---|---|"]
    planned = [
        ("workers", number(plan.workers)),
        ("pictures/s in all", number(plan.rate)),
        ("time, hours", f"{plan.hours:.1f}; {plan.hours_files:.1f} if all are single files"),
        ("core-hours", number(plan.core_hours)),
        ("machines, USD", f"{number(plan.usd)}, or {plan.usd_a_million:.2f} a million pictures"),
        ("machines taken away on the way", number(plan.interruptions)),
        ("work lost by that", f"{plan.lost:.2%}"),
        ("shards, and parts of the output", f"{number(plan.shards)}, {plan.shard_s:.0f} s each"),
        ("memory of a machine's workers, GB", number(plan.machine_gb)),
        ("to be read", f"{number(plan.read_tb)} TB, {plan.gbit_a_machine:.2f} Gbit/s a machine"),
        (
            "reads, USD",
            f"{number(plan.reads_usd_loose)} as files, {plan.reads_usd_tars:.2f} as tars",
        ),
        ("writes, USD", f"{plan.writes_usd:.2f}"),
        ("features", f"{plan.features_tb:.2f} TB, {plan.features_tb_half:.2f} TB as float16"),
        ("features, USD a month", number(plan.features_usd_a_month)),
        ("rows with a reason instead of a vector", number(plan.failed_rows)),
        ("looking at all parts when a run continues, min", f"{plan.resume_s / 60:.0f}"),
        ("joining all into one file, hours", f"{plan.merge_hours:.0f}"),
    ]
    lines += [f"| {what} | {value} |" for what, value in planned]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    for kind in (Measured, Assumed):
        for field in fields(kind):
            parser.add_argument(
                f"--{field.name.replace('_', '-')}",
                type=float,
                help=f"{MEANING[field.name]} ({kind.__name__.lower()}: {field.default})",
            )
    given = vars(parser.parse_args())
    parts = [
        kind(
            **{
                field.name: type(field.default)(given[field.name])  # type: ignore[misc]
                for field in fields(kind)
                if given[field.name] is not None
            }
        )
        for kind in (Measured, Assumed)
    ]
    measured, assumed = parts
    assert isinstance(measured, Measured)
    assert isinstance(assumed, Assumed)
    print(render(measured, assumed, given["precision"]))


if __name__ == "__main__":
    main()
