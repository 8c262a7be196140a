"""What a search within a condition costs, and how good a search by the name of a class is.

    python -m benchmarks.columns
    nasnet embed list.csv -o features.parquet --weights builtin --keep label --keep set
    python -m benchmarks.columns features.parquet

The first prints processor times over 100,000 random vectors. The second takes a feature set whose
column `label` has the WordNet ids of ImageNet's classes and `set` what each picture belongs to, and
prints the share of right ones among the first ten (fewer where there are not as many).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import nasnet
from nasnet.features.feature_set import FeatureMeta, Features
from nasnet.features.index.labels import classifier_for
from nasnet.features.reduction import unit
from nasnet.weights.classes import imagenet_classes

ROWS, DIMENSIONS = 100_000, 1056


def milliseconds(work: Callable[[], object], times: int = 15) -> float:
    work()
    found = []
    for _ in range(times):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return 1000 * float(np.median(found))


def filtered() -> None:
    random = np.random.default_rng(0)
    table = pa.table(
        {"price": random.uniform(0, 100, ROWS), "brand": [f"b{row % 100}" for row in range(ROWS)]}
    )
    nothing = dict.fromkeys(FeatureMeta.__slots__, "")
    features = Features(
        ids=[f"{row}.jpg" for row in range(ROWS)],
        vectors=random.standard_normal((ROWS, DIMENSIONS), np.float32),
        errors=[None] * ROWS,
        meta=FeatureMeta(**nothing),
        columns=table,
    )
    index = nasnet.open_index(features)
    query = random.standard_normal((1, DIMENSIONS), np.float32)
    print(f"{'condition':24} {'rows':>7} {'all, ms':>8} {'within, ms':>10}")
    for where in ("price < 1", "brand = 'b7'", "price < 10", "price < 50", "price < 99"):
        rows = len(index.matching(where))
        every = milliseconds(partial(index.nearest, query, 10))
        within = milliseconds(partial(index.nearest, query, 10, where=where))
        print(f"{where:24} {rows:7,} {every:8.1f} {within:10.1f}")


def labelled(path: str) -> None:
    found = nasnet.read_features(path)
    assert found.columns is not None
    good = np.isfinite(found.vectors).all(axis=1)
    vectors = found.vectors[good]
    label = np.array(found.columns["label"].to_pylist(), object)[good]
    group = np.array(found.columns["set"].to_pylist(), object)[good]
    classifier = classifier_for(found.meta)
    units, tenth = unit(vectors), np.asarray(vectors / 10, np.float32)  # shares counts in tens
    orders: dict[str, Callable[[int], npt.NDArray[np.float32]]] = {
        "the class's weights": lambda place: units @ classifier.kernel[:, place],
        "less the mean": lambda place: units @ classifier.query(place),
        "the classifier, length 1": lambda place: classifier.shares(units, place),
        "the classifier": lambda place: classifier.shares(tenth, place),
    }
    known = {one.wordnet_id for one in imagenet_classes()}
    sets = sorted(set(group))
    print(f"{'ordered by':26}", *(f"{name:>12}" for name in sets))
    for name, order in orders.items():
        shares = []
        for one in sets:
            right = []
            for wanted in sorted(set(label[group == one]) & known):
                hits = label == wanted
                first = np.argsort(-order(classifier.place(wanted)), kind="stable")
                right.append(hits[first[: min(10, hits.sum())]].mean())
            shares.append(f"{100 * np.mean(right):11.1f}%" if right else f"{'':12}")
        print(f"{name:26}", *shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features", nargs="?", help="a feature set with columns label and set")
    options = parser.parse_args()
    if options.features is None:
        filtered()
    else:
        labelled(options.features)


if __name__ == "__main__":
    main()
