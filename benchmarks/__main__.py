"""How fast this package is beside every other implementation that is installed, in one run.

    python -m benchmarks [--quick] [--peers A,B] [--pictures DIR] [--out DIR]

Nothing is installed by itself. All peers compute the same network with the same untrained weights
on the same pictures, each in a process of its own, in interleaved turns; how far their vectors
lie apart stands beside their speed. `--out` gets benchmark.md, benchmark.json and benchmark.svg.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
from collections.abc import Collection
from pathlib import Path

from benchmarks.chart import chart
from benchmarks.machine import processor
from benchmarks.peers import PEERS
from benchmarks.report import Context, markdown, to_json
from benchmarks.running import SECTIONS, Results, RunOptions, run_all
from nasnet.network.build import build_plan
from nasnet.network.spec import MOBILE
from nasnet.network.summary import summarise
from nasnet.system import usable_cores

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
    try:
        run_all(options, results, lambda line: print(line, file=sys.stderr, flush=True))
    except KeyboardInterrupt:
        print("broken off: this is what there is", file=sys.stderr)
    report = markdown(results, options, context)
    print(report)
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "benchmark.md").write_text(report, encoding="utf-8")
        whole = to_json(results, options, context)
        (arguments.out / "benchmark.json").write_text(whole, encoding="utf-8")
        picture = chart(results, context.multiply_adds)
        (arguments.out / "benchmark.svg").write_text(picture, encoding="utf-8")


def multiply_adds() -> int:
    """Of the features of one picture of 224x224, counted from the plan."""
    return summarise(build_plan(MOBILE, height=224, width=224, num_classes=0)).multiply_adds


def parsed(arguments: argparse.Namespace) -> RunOptions:
    """Options as the run takes them."""
    quick = arguments.quick
    peers = tuple(arguments.peers.split(",")) if arguments.peers else tuple(PEERS)
    sections = tuple(arguments.sections.split(",")) if arguments.sections else SECTIONS
    _known(peers, PEERS, "--peers")
    _known(sections, SECTIONS, "--sections")
    return RunOptions(
        peers=peers,
        sections=sections,
        rounds=arguments.rounds or (2 if quick else 5),
        seconds=arguments.seconds or (0.5 if quick else 2.0),
        batches=tuple(int(size) for size in (arguments.batches or "1,4,8,32").split(",")),
        threads=arguments.threads or usable_cores(),
        photos=None if arguments.pictures is None else str(arguments.pictures),
        files=arguments.files or (64 if quick else 400),
        calls=arguments.calls or (100 if quick else 1000),
    )


def _known(names: Collection[str], known: Collection[str], option: str) -> None:
    wrong = [name for name in names if name not in known]
    if wrong:
        raise SystemExit(f"{option}: no {', '.join(wrong)}; there are {', '.join(known)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="a look: few rounds, short turns")
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
