"""How fast this package is beside every other implementation that is installed, in one run.

    python -m benchmarks [--quick] [--time-limit MINUTES] [--peers A,B] [--pictures DIR] [--out DIR]

Nothing is installed by itself. All peers compute the same network with the same untrained weights
on the same pictures, each in a process of its own, in interleaved turns; how far their vectors
lie apart stands beside their speed. `--out` gets benchmark.md, benchmark.json and benchmark.svg,
anew after each round, so that a run that is stopped leaves what it has. `--quick` gives a rough
figure in two minutes.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import signal
import sys
from collections.abc import Collection
from pathlib import Path

from benchmarks.chart import chart
from benchmarks.machine import processor
from benchmarks.peers import PEERS, QUICK
from benchmarks.report import Context, markdown, to_json
from benchmarks.running import SECTIONS, Results, RunOptions, run_all
from nasnet.network.build import build_plan
from nasnet.network.spec import MOBILE
from nasnet.network.summary import summarise
from nasnet.system import usable_cores, write_whole

__all__ = ["main", "parsed"]


def main() -> None:
    words = sys.argv[1:]
    arguments = _parser().parse_args(words)
    options = parsed(arguments)
    context = Context(
        machine=processor(),
        cores=usable_cores(),
        python=platform.python_version(),
        command=shlex.join(["python", "-m", "benchmarks", *words]),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        multiply_adds=multiply_adds(),
    )
    results = Results()
    out: Path | None = arguments.out

    def keep() -> None:
        if out is not None and results.peers:
            _write(out, results, options, context)

    # A time limit of a batch system sends SIGTERM: what there is by then is told as well.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run_all(options, results, lambda line: print(line, file=sys.stderr, flush=True), keep)
    except KeyboardInterrupt:
        print("broken off: this is what there is", file=sys.stderr)
    print(markdown(results, options, context))
    keep()


def _write(out: Path, results: Results, options: RunOptions, context: Context) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "benchmark.md", markdown(results, options, context).encode())
    write_whole(out / "benchmark.json", to_json(results, options, context).encode())
    write_whole(out / "benchmark.svg", chart(results, context.multiply_adds).encode())


def multiply_adds() -> int:
    """Of the features of one picture of 224x224, counted from the plan."""
    return summarise(build_plan(MOBILE, height=224, width=224, num_classes=0)).multiply_adds


def parsed(arguments: argparse.Namespace) -> RunOptions:
    """Options as the run takes them."""
    quick = arguments.quick
    every = QUICK if quick else tuple(PEERS)
    peers = tuple(arguments.peers.split(",")) if arguments.peers else every
    sections = tuple(arguments.sections.split(",")) if arguments.sections else SECTIONS
    minutes = arguments.time_limit or (2.0 if quick else None)
    _known(peers, PEERS, "--peers")
    _known(sections, SECTIONS, "--sections")
    return RunOptions(
        peers=peers,
        sections=sections,
        rounds=arguments.rounds or (2 if quick else 5),
        seconds=arguments.seconds or (0.5 if quick else 2.0),
        batches=tuple(
            int(size) for size in (arguments.batches or ("1,4" if quick else "1,4,8,32")).split(",")
        ),
        threads=arguments.threads or usable_cores(),
        photos=None if arguments.pictures is None else str(arguments.pictures),
        files=arguments.files or (64 if quick else 400),
        calls=arguments.calls or (100 if quick else 1000),
        time_limit=None if minutes is None else minutes * 60,
    )


def _known(names: Collection[str], known: Collection[str], option: str) -> None:
    wrong = [name for name in names if name not in known]
    if wrong:
        raise SystemExit(f"{option}: no {', '.join(wrong)}; there are {', '.join(known)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--quick", action="store_true", help="a rough figure in two minutes: few rounds"
    )
    parser.add_argument(
        "--time-limit", type=float, metavar="MINUTES", help="leave out what takes longer"
    )
    parser.add_argument("--peers", help=f"of {', '.join(PEERS)}; all if not given")
    parser.add_argument("--sections", help=f"of {', '.join(SECTIONS)}; all if not given")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="JPEG files; else samples")
    parser.add_argument("--files", type=int, help="how many files the samples are repeated to")
    parser.add_argument("--rounds", type=int, help="turns of everyone at each task")
    parser.add_argument("--seconds", type=float, help="of one turn")
    parser.add_argument("--batches", help="batch sizes, 1,4,8,32 if not given")
    parser.add_argument("--threads", type=int, help="of each peer; the usable cores if not given")
    parser.add_argument("--calls", type=int, help="of the thousandth-call section")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write table, JSON and chart here")
    return parser


if __name__ == "__main__":
    main()
