"""A run as tables in Markdown and as JSON: medians, quartiles, ratios and shares of the limit.

Called by the command line; it measures nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks.child import ODD_SIZES
from benchmarks.peers import PEERS
from benchmarks.running import Measured, Results, RunOptions
from benchmarks.statistic import Spread, percentile, ratio, spread

__all__ = ["Context", "best_batch", "markdown", "share", "to_json"]

_OURS = ("nasnet-f32", "nasnet-bf16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Where and how a run was made.

    Attributes:
        machine: its processor, by name.
        cores: that may be used.
        python: its version.
        command: that repeats the run.
        load: runnable processes when it began, of all that share the machine; None if unknown.
        multiply_adds: of one picture.
    """

    machine: str
    cores: int
    python: str
    command: str
    load: float | None
    multiply_adds: int


def best_batch(measured: Measured) -> int | None:
    """The batch size with the highest median rate."""
    if not measured.rates:
        return None
    return max(measured.rates, key=lambda batch: spread(measured.rates[batch]).median)


def share(results: Results, name: str, multiply_adds: int, *, core: bool = False) -> Spread | None:
    """What part of the rate that the machine's best matrix product allows a peer reaches.

    Each round is held against the limit measured in it.

    Args:
        results: the run.
        name: of the peer.
        multiply_adds: of one picture.
        core: compare seconds of a core's work instead of the clock's.
    """
    measured = results.peers[name]
    batch = best_batch(measured)
    matrix = results.core_matrix if core else results.matrix
    if batch is None or measured.arithmetic not in matrix:
        return None
    allowed = [rate / (2 * multiply_adds) for rate in matrix[measured.arithmetic]]
    return ratio((measured.core_rates if core else measured.rates)[batch], allowed)


def to_json(results: Results, options: RunOptions, context: Context) -> str:
    """Everything that was measured, and what was made of it."""
    summary = {
        name: {
            "best_batch": best_batch(measured),
            "share_of_limit": _plain(share(results, name, context.multiply_adds)),
            "share_a_core_second": _plain(share(results, name, context.multiply_adds, core=True)),
            **{
                f"{ours}_to_this": _plain(_to(results, ours, name))
                for ours in _OURS
                if ours in results.peers
            },
        }
        for name, measured in results.peers.items()
    }
    whole = {
        "context": asdict(context),
        "options": asdict(options),
        "summary": summary,
        **asdict(results),
    }
    return json.dumps(whole, indent=1) + "\n"


def markdown(results: Results, options: RunOptions, context: Context) -> str:
    """The report; sections that were not measured are not in it."""
    parts = [_head(results, options, context)]
    measured = results.peers.values()
    if any(one.rates for one in measured):
        parts += [_throughput(results, context), _batches(results, options)]
    if any(one.latency for one in measured):
        parts.append(_latency(results))
    if any(one.jpeg for one in measured):
        parts.append(_jpeg(results))
    if any(one.cold for one in measured):
        parts.append(_cold(results))
    if any(one.calls for one in measured):
        parts.append(_calls(results))
    if results.absent or results.failed:
        parts.append(_left_out(results))
    return "\n".join(parts)


def _head(results: Results, options: RunOptions, context: Context) -> str:
    lines = [
        f"{context.machine}, {context.cores} cores ({options.threads} threads a peer), "
        f"Python {context.python}. {options.rounds} interleaved rounds, "
        f"{options.seconds:g} s a turn; medians, quartiles in brackets.",
    ]
    if context.load is not None:
        lines.append(
            f"The load average was {context.load:.1f} when the run began"
            + (": the machine was shared, trust ratios only." if context.load > 0.3 else ".")
        )
    if results.matrix:
        rates = ", ".join(
            f"{_number(spread(values), 1e-9)} GFLOP/s in {precision}"
            for precision, values in results.matrix.items()
        )
        allowed = ", ".join(
            f"{spread(values).median / (2 * context.multiply_adds):.0f} in {precision}"
            for precision, values in results.matrix.items()
        )
        lines.append(
            f"Best matrix product: {rates}. {context.multiply_adds / 1e6:.0f} M multiply-adds a "
            f"picture, so the limit is {allowed} pictures/s."
        )
    return "\n".join([*lines, "", f"    {context.command}", ""])


def _throughput(results: Results, context: Context) -> str:
    rows = []
    for name, measured in results.peers.items():
        batch = best_batch(measured)
        if batch is None:
            continue
        parts = [share(results, name, context.multiply_adds, core=core) for core in (False, True)]
        rows.append(
            [
                PEERS[name].title,
                measured.arithmetic,
                _number(spread(measured.rates[batch])),
                str(batch),
                *("-" if part is None else f"{part.median:.0%}" for part in parts),
                *(_times(_to(results, ours, name)) for ours in _OURS),
                _megabytes(measured.peak_mb),
                "-" if measured.error is None else f"{measured.error:.0e}",
                "-" if measured.cosine is None else f"{measured.cosine:.6f}",
            ]
        )
    head = ["", "arithmetic", "pictures/s", "batch", "of the limit", "a core-second"]
    head += ["nasnet f32 is", "bf16 is", "peak MB", "error", "cosine"]
    note = (
        "Each at its best batch size; the share of the limit by the clock, and by seconds of a "
        "core's work, which neighbours on the machine disturb less. Error: largest difference to "
        "nasnet's f32 vectors of the same border padding, as a share of the largest value; "
        "cosine: the smallest.\n"
    )
    return "\n".join(["## Throughput of decoded pictures", _table(head, rows), note])


def _batches(results: Results, options: RunOptions) -> str:
    rows = [
        [
            PEERS[name].title,
            *(
                _number(spread(measured.rates[batch])) if batch in measured.rates else "-"
                for batch in options.batches
            ),
        ]
        for name, measured in results.peers.items()
        if measured.rates
    ]
    head = ["pictures/s at batch", *(str(batch) for batch in options.batches)]
    return "\n".join(["## By batch size", _table(head, rows), ""])


def _latency(results: Results) -> str:
    ours = {name: _middles(results.peers[name]) for name in _OURS if name in results.peers}
    rows = []
    for name, measured in results.peers.items():
        if not measured.latency:
            continue
        times = [time for turn in measured.latency for time in turn]
        better = (ratio(_middles(measured), ours.get(one, [])) for one in _OURS)
        rows.append(
            [
                PEERS[name].title,
                f"{percentile(times, 0.5):.1f}",
                f"{percentile(times, 0.99):.1f}",
                *(_times(one) for one in better),
            ]
        )
    head = ["", "p50, ms", "p99, ms", "nasnet f32 is", "bf16 is"]
    return "\n".join(["## Latency of one picture", _table(head, rows), ""])


def _middles(measured: Measured) -> list[float]:
    return [percentile(turn, 0.5) for turn in measured.latency]


def _jpeg(results: Results) -> str:
    bases = {name: results.peers[name].jpeg for name in _OURS if name in results.peers}
    rows = [
        [
            PEERS[name].title,
            _number(spread(measured.jpeg)),
            *(_times(ratio(bases.get(ours, []), measured.jpeg)) for ours in _OURS),
            _megabytes(measured.jpeg_peak_mb),
        ]
        for name, measured in results.peers.items()
        if measured.jpeg
    ]
    head = ["", "pictures/s", "nasnet f32 is", "bf16 is", "peak MB"]
    text = f"## {results.files} JPEG files to a Parquet file"
    note = "Networks made and warm; each by its usual loader, whose worker processes count extra.\n"
    return "\n".join([text, _table(head, rows), note])


def _cold(results: Results) -> str:
    rows = [
        [PEERS[name].title, _number(spread(measured.cold))]
        for name, measured in results.peers.items()
        if measured.cold
    ]
    head = ["", "seconds from the start of the process to the first vector"]
    return "\n".join(["## Cold start", _table(head, rows), ""])


def _calls(results: Results) -> str:
    rows = []
    for name, measured in results.peers.items():
        calls = measured.calls
        if calls is None:
            continue
        early, late = f"{calls.early_mb:.0f}", f"{calls.late_mb:.0f}"
        times = f"{calls.second_ms:.0f}", f"{calls.last_ms:.0f}"
        rows.append([PEERS[name].title, str(calls.count), *times, early, late])
    sizes = ", ".join(str(size) for size in ODD_SIZES)
    head = ["", "calls", "second round, ms", "last round, ms", "MB then", "MB at the end"]
    title = f"## The thousandth call (batches of {sizes} in turn)"
    return "\n".join([title, _table(head, rows), ""])


def _left_out(results: Results) -> str:
    lines = ["## Left out"]
    lines += [f"- {PEERS[n].title}: not installed; `{pip}`" for n, pip in results.absent.items()]
    lines += [f"- {PEERS[n].title}: {reason}" for n, reason in results.failed.items()]
    return "\n".join([*lines, ""])


def _to(results: Results, ours: str, name: str) -> Spread | None:
    """How many times a peer's rate ours is, round by round, each at its best batch size."""
    if ours not in results.peers:
        return None
    mine, theirs = results.peers[ours], results.peers[name]
    my_batch, their_batch = best_batch(mine), best_batch(theirs)
    if my_batch is None or their_batch is None:
        return None
    return ratio(mine.rates[my_batch], theirs.rates[their_batch])


def _plain(one: Spread | None) -> dict[str, float] | None:
    return None if one is None else asdict(one)


def _number(one: Spread, factor: float = 1.0) -> str:
    median, low, high = (value * factor for value in (one.median, one.low, one.high))
    return f"{median:.1f} ({low:.1f}-{high:.1f})"


def _times(one: Spread | None) -> str:
    return "-" if one is None else f"{one.median:.2f}x"


def _megabytes(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
