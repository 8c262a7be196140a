"""What a run leaves beside its results: a table for any tool, the best network, the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nasnet.errors import InputError
from nasnet.network.code import decode_cell, encode
from nasnet.network.cost import Fitted, fit_filters
from nasnet.network.spec import PRESETS
from nasnet.system import staged, write_whole
from nasnet.text import toml
from nasnet.train.discover.findings import Findings, findings
from nasnet.train.discover.nasnet_space import Cells, NasnetSpace
from nasnet.train.discover.options import DiscoverOptions
from nasnet.train.discover.records import Record, columns
from nasnet.train.discover.report import write_search
from nasnet.train.discover.verdict import choice, verdict
from nasnet.weights.networks import write_network

TABLE, BEST, FRONT, REPORT = "table.parquet", "best.toml", "front.toml", "report.html"
PRODUCTS = (TABLE, BEST, FRONT, REPORT)
_BUDGETS = (0.5, 1.0, 2.0)  # of the network that is found, in `front.toml`


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """What a run came to.

    Attributes:
        folder: of the run.
        records: all trainings.
        best: the network of the best cell, as wide as the budget allows.
        verdict: whether the search was better than random search, in a sentence.
        choice: how fast the best cell is, and which one it would be without the limit; empty
            where that was not measured.
    """

    folder: Path
    records: tuple[Record, ...]
    best: Fitted
    verdict: str
    choice: str


def delivered(cells: Cells, options: DiscoverOptions, share: float = 1.0) -> Fitted:
    """The whole skeleton with these cells, as wide as a share of the run's budget allows.

    Raises:
        InputError: no width fits.
    """
    spec = replace(PRESETS[options.skeleton], name="found", normal=cells[0], reduction=cells[1])
    assert options.multiply_adds is not None
    return fit_filters(spec, round(options.multiply_adds * share))


def cells_of(key: str) -> Cells:
    """The cells of a record's key."""
    normal, reduction = map(decode_cell, key.split(":"))
    return normal, reduction


def write_table(folder: Path, records: Sequence[Record]) -> None:
    """`table.parquet`: one row a training, in an order that does not depend on which ended first.

    Raises:
        OutputError: it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = sorted(records, key=lambda one: (one.fidelity, one.key, one.seed))
    found = columns(rows)
    names = ("score", "milliseconds", "latency_ratio")
    kinds = {**dict.fromkeys(names, pa.float64()), "error": pa.string()}
    arrays = {
        name: pa.array([list(v) if isinstance(v, tuple) else v for v in values], kinds.get(name))
        for name, values in found.items()
    }
    with staged(folder / TABLE) as place:
        pq.write_table(pa.table(arrays), place)


def write_products(
    folder: Path,
    data: str,
    records: Sequence[Record],
    space: NasnetSpace,
    options: DiscoverOptions,
) -> Discovery:
    """Write what the results come to so far: table, best network, front of budgets, report.

    Raises:
        InputError: no training has a score.
        OutputError: something cannot be written.
    """
    write_table(folder, records)
    cells = {record.key: cells_of(record.key) for record in records}
    limit = options.max_latency_ratio
    found = findings(records, space, cells, space.feature_names(), max_latency_ratio=limit)
    best = delivered(cells[found.best.key], options)
    origin = (
        f"nasnet discover on {data}, seed {options.seed}: the best of {len(found.rows)} cells in "
        f"{len(records)} trainings"
    )
    write_network(folder / BEST, best.spec, origin=origin)
    write_whole(folder / FRONT, _front(cells[found.best.key], found, options).encode())
    facts = [
        ("Data", data),
        ("Skeleton", options.skeleton),
        ("Budget", f"{options.multiply_adds or 0:,} multiply-adds"),
        (
            "Best network",
            f"{best.multiply_adds:,} multiply-adds, {best.spec.num_conv_filters} filters",
        ),
        ("Time in trainings", f"{sum(one.seconds for one in records) / 3600:.1f} h"),
        ("Seed", str(options.seed)),
    ]
    title = f"A search for cells on {data}"
    write_search(title, found, facts, folder, measure=options.score)
    return Discovery(
        folder=folder,
        records=tuple(records),
        best=best,
        verdict=verdict(found, options.score),
        choice=choice(found, "NASNet-A", options.score),
    )


def _front(cells: Cells, found: Findings, options: DiscoverOptions) -> str:
    """The best cells at half the budget, the budget and twice of it: codes for `--network`."""
    rows = []
    for share in _BUDGETS:
        try:
            fitted = delivered(cells, options, share)
        except InputError:  # these cells have no width so small
            continue
        rows.append(
            {
                "budget": round((options.multiply_adds or 0) * share),
                "multiply_adds": fitted.multiply_adds,
                "filters": fitted.spec.num_conv_filters,
                "score": found.best.score(found.top),
                "network": encode(fitted.spec),
            }
        )
    return toml({"networks": rows})
