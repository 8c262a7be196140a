"""Search: recall@10 of faiss' lists against exact search, and what a query costs.

`python -m benchmarks.search features.parquet`: rows of the set itself are asked for, held out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import nasnet
from nasnet.features.index import Kind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("features", type=Path)
    parser.add_argument("--queries", type=int, default=500)
    arguments = parser.parse_args()
    found = nasnet.read_features(arguments.features)
    good = np.flatnonzero(np.isfinite(found.vectors).all(axis=1))
    order = np.random.default_rng(0).permutation(good)
    asked, kept = order[: arguments.queries], np.sort(order[arguments.queries :])
    part = replace(
        found,
        ids=[found.ids[row] for row in kept],
        vectors=found.vectors[kept],
        errors=[None] * len(kept),
    )
    queries = found.vectors[asked]
    with tempfile.TemporaryDirectory() as folder:
        answers: dict[str, Any] = {}
        print(f"{len(kept):,} vectors of {found.vectors.shape[1]}, {len(queries)} queries held out")
        print("| index | built in | recall@10 | one query | per query of 500 |")
        print("|---|---|---|---|---|")
        kinds: tuple[Kind, ...] = ("exact", "ivf")
        for kind in kinds:
            begun = time.perf_counter()
            nasnet.build_index(part, Path(folder) / kind, kind=kind)
            built = time.perf_counter() - begun
            index = nasnet.open_index(Path(folder) / kind)
            index.nearest(queries[:10], 10)
            begun = time.perf_counter()
            answers[kind] = index.nearest(queries, 10)[0]
            many = (time.perf_counter() - begun) / len(queries)
            ones = []
            for query in queries[:50]:
                begun = time.perf_counter()
                index.nearest(query[None], 10)
                ones.append(time.perf_counter() - begun)
            pairs = zip(answers[kind], answers["exact"], strict=True)
            hits = sum(len(np.intersect1d(a, b)) for a, b in pairs)
            recall = hits / answers["exact"].size
            print(
                f"| {kind} | {built:.1f} s | {recall:.3f} | {np.median(ones) * 1e3:.1f} ms "
                f"| {many * 1e3:.2f} ms |"
            )


if __name__ == "__main__":
    main()
