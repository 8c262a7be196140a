"""How much vectors know: k-nearest neighbours and linear probes on pictures no one trained on.

    python -m benchmarks.quality PHOTOS --weights FILE

PHOTOS holds a folder a data set (`PHOTOS/imagenette/n01440764/x.webp`). Of each set the pictures
that `nasnet train --recipe builtin` holds out (a tenth, by a hash of their names) are the test
part, the others are what neighbours and probes may look at. Beside the weights stand the same
network untrained, EfficientNet-Lite0, and raw 32x32 pixels. The 1000-class accuracy is that of
the networks' own heads on the held-out pictures of the ImageNet sets.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.finetuning import lite_of, nasnet_of, pictures, pixels_of
from nasnet.compute.engine import PRECISIONS, EngineOptions
from nasnet.features.extractor import Extractor
from nasnet.pictures.holdout import held_out
from nasnet.pictures.sources import Example, open_source
from nasnet.train.distill import open_teacher
from nasnet.train.head import HeadFit, fit_head
from nasnet.train.predict import predict
from nasnet.weights.opening import open_weights
from nasnet.weights.weights import fingerprint

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Features = Callable[[Sequence[Example]], tuple[Floats, Ints]]
SETS = ("imagenette", "imagewoof", "caltech101", "clothing")
SYNSET = re.compile(r"n\d{8}")
NEIGHBOURS = 10


def unit(vectors: Floats) -> Floats:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    normal: Floats = vectors / np.maximum(length, 1e-12)
    return normal


def knn(train: Floats, labels: Ints, test: Floats, truth: Ints) -> float:
    """Accuracy of the ten nearest by cosine, each voting with its similarity."""
    near = unit(test) @ unit(train).T
    right = 0
    for row, answer in zip(near, truth, strict=True):
        best = np.argpartition(-row, NEIGHBOURS)[:NEIGHBOURS]
        votes = np.bincount(labels[best], weights=row[best])
        right += int(votes.argmax() == answer)
    return right / len(truth)


def kept(features: Features, folder: Path | None, name: str) -> Features:
    """The same, read from a folder where they have been computed before."""
    if folder is None:
        return features

    def cached(examples: Sequence[Example]) -> tuple[Floats, Ints]:
        ids = "\n".join(example.id for example in examples)
        digest = hashlib.sha256(f"{name}\n{ids}".encode("utf-8", "surrogateescape")).hexdigest()
        file = folder / f"{digest[:24]}.npz"
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            values, rows = features(examples)
            np.savez(file, values=values, rows=rows)
        with np.load(file) as stored:
            return stored["values"], stored["rows"]

    return cached


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--held-out", type=float, default=0.1)
    parser.add_argument("--precision", default="f32", choices=PRECISIONS)
    parser.add_argument("--only", action="store_true", help="the weights alone, no peers")
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--cache", type=Path, help="keep features there for the next time")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    every = [Example(item.id, 0, item.read) for item in open_source(options.photos)]
    identity = f"{fingerprint(open_weights(options.weights).weights)} {options.precision}"
    kinds: dict[str, Features] = {
        "NASNet": kept(
            nasnet_of(options.weights, precision=options.precision), options.cache, identity
        )
    }
    if not options.only:
        peers: dict[str, Features] = {
            "NASNet untrained (seeded:7)": nasnet_of("seeded:7"),
            "EfficientNet-Lite0": lite_of,
            "pixels 32x32": pixels_of,
        }
        kinds |= {name: kept(peer, options.cache, name) for name, peer in peers.items()}
    table: dict[str, dict[str, float]] = {kind: {} for kind in kinds}
    for name in options.sets:
        some = [e for e in every if e.id.startswith(f"{name}/")]
        classes = sorted({e.id.split("/")[1] for e in some})
        examples = [Example(e.id, classes.index(e.id.split("/")[1]), e.read) for e in some]
        test = [e for e in examples if held_out(e.id, options.held_out)]
        train = [e for e in examples if not held_out(e.id, options.held_out)]
        print(f"{name}: {len(train)} + {len(test)} pictures, {len(classes)} classes", flush=True)
        for kind, features in kinds.items():
            began = time.monotonic()
            known, rows = features(train)
            labels = np.array([train[row].label for row in rows])
            asked, rows = features(test)
            truth = np.array([test[row].label for row in rows])
            near = knn(known, labels, asked, truth)
            head = fit_head(known, labels, len(classes), HeadFit())
            probe = float((head.logits(asked).argmax(1) == truth).mean())
            table[kind] |= {f"{name} k-NN": near, f"{name} probe": probe}
            seconds = time.monotonic() - began
            print(f"  {kind}: k-NN {near:.1%}, probe {probe:.1%} ({seconds:.0f} s)", flush=True)
    engine = EngineOptions(precision=options.precision)
    imagenet_heads(every, options.held_out, options.weights, engine, table)
    print()
    columns = list(dict.fromkeys(column for row in table.values() for column in row))
    print("| | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    for kind, row in table.items():
        cells = [f"{row[column]:.1%}" if column in row else "" for column in columns]
        print(f"| {kind} | " + " | ".join(cells) + " |")
    if options.json:
        options.json.write_text(json.dumps(table, indent=1), encoding="utf-8")


def imagenet_heads(
    every: Sequence[Example],
    share: float,
    weights: str,
    engine: EngineOptions,
    table: dict[str, dict[str, float]],
) -> None:
    """Top-1 of the 1000-class heads on held-out ImageNet pictures, small ones left out."""
    synsets = sorted({e.id.split("/")[1] for e in every if e.id.startswith("imagenet1000/")})
    if len(synsets) != 1000:
        return
    place = {synset: number for number, synset in enumerate(synsets)}
    test = []
    for example in every:
        synset = example.id.split("/")[1]
        wanted = SYNSET.fullmatch(synset) and synset in place
        if wanted and not example.id.startswith("tiny/") and held_out(example.id, share):
            test.append(Example(example.id, place[synset], example.read))
    truth = np.array([e.label for e in test])
    opened = open_weights(weights).weights
    if opened.num_classes == 1001:
        logits = predict(test, Extractor(opened, endpoint="Logits", engine=engine)).values[:, 1:]
        table["NASNet"]["1000 classes"] = float((logits.argmax(1) == truth).mean())
    if "EfficientNet-Lite0" in table:
        teacher = open_teacher("efficientnet-lite0")
        found = [
            teacher(pictures(test[start : start + 256], teacher.size)[0]).logits.argmax(1)
            for start in range(0, len(test), 256)
        ]
        table["EfficientNet-Lite0"]["1000 classes"] = float((np.concatenate(found) == truth).mean())
    print(f"1000 classes: {len(test)} held-out pictures", flush=True)


if __name__ == "__main__":
    main()
