"""How far a fine-tuned head's probabilities can be trusted, by pictures a class, in one table.

    nasnet embed PHOTOS/clothing -w builtin -o clothing.parquet
    python -m benchmarks.heads clothing.parquet --counts 5 20 50

So many pictures of each class are drawn to fit the head that `nasnet finetune` fits; all others
judge it. Classes are the folders of the pictures. "Uncalibrated" are the same logits before the
temperature. Means over the seeds.
"""

from __future__ import annotations

import argparse

import numpy as np
import numpy.typing as npt

import nasnet
from nasnet.train.head import HeadFit, fit_head
from nasnet.train.metrics import score

Row = tuple[float, ...]
SEEDS = 5


def drawn(labels: npt.NDArray[np.int64], count: int, seed: int) -> npt.NDArray[np.bool_]:
    """Which pictures are trained on: so many of each class."""
    random = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        chosen[random.permutation(np.flatnonzero(labels == label))[:count]] = True
    return chosen


def judged(
    vectors: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], names: list[str], count: int
) -> list[Row]:
    """Accuracy, then log loss and calibration error without and with temperature, by seed."""
    rows: list[Row] = []
    for seed in range(SEEDS):
        train = drawn(labels, count, seed)
        head = fit_head(vectors[train], labels[train], len(names), HeadFit())
        logits = head.logits(vectors[~train])
        plain, calibrated = (
            score(values.astype(np.float32), labels[~train], names)
            for values in (logits * head.temperature, logits)
        )
        rows.append(
            (
                calibrated.top1,
                plain.loss,
                calibrated.loss,
                plain.calibration.ece,
                calibrated.calibration.ece,
                head.temperature,
            )
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features", help="what `nasnet embed` wrote of a folder of class folders")
    parser.add_argument("--counts", type=int, nargs="+", default=[5, 20, 50])
    options = parser.parse_args()
    found = nasnet.read_features(options.features)
    folders = [id.split("/")[0] for id in found.ids]
    names, labels = np.unique(folders, return_inverse=True)
    print("| a class | accuracy | log loss | calibration error | temperature |")
    print("|---|---|---|---|---|")
    for count in options.counts:
        rows = judged(np.asarray(found.vectors), labels, names.tolist(), count)
        top1, loss, calibrated_loss, ece, calibrated_ece, heat = np.mean(rows, axis=0)
        print(
            f"| {count} | {top1:.1%} | {loss:.3f} → {calibrated_loss:.3f} | "
            f"{ece:.3f} → {calibrated_ece:.3f} | {heat:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
