"""What a fine-tuned module is worth: accuracies beside two baselines, in one table.

    python -m benchmarks.finetuning PHOTOS/clothing PHOTOS/caltech101 --weights FILE

Each data set is split once (stratified, by a hash of the names), or, with `--few N`, into N
training pictures a class and the pictures that the package's own weights never saw. The same
logistic head, its strength tried out on the training part alone, reads raw 32x32 pixels,
EfficientNet-Lite0's features and this package's; `full` then trains all layers, and, with
`--scratch`, the same recipe runs from TF-Slim's initial values.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nasnet import EngineOptions, finetune
from nasnet.compute.engine import Precision
from nasnet.errors import PictureError
from nasnet.features.extractor import Extractor
from nasnet.pictures.recipes import get_recipe, prepare
from nasnet.pictures.sampling import held_out
from nasnet.pictures.sources import Dataset, Example, open_dataset
from nasnet.train.distill import open_teacher
from nasnet.train.finetune_options import FinetuneOptions
from nasnet.train.head import HeadFit, fit_head
from nasnet.train.predict import predict
from nasnet.train.recipe import TrainRecipe
from nasnet.train.recipe_files import read_recipe
from nasnet.weights.initial import initial
from nasnet.weights.opening import open_weights
from nasnet.weights.weights import write_safetensors

Floats = npt.NDArray[np.float32]
Features = Callable[[Sequence[Example]], tuple[Floats, npt.NDArray[np.int64]]]


def pictures(examples: Sequence[Example], size: int) -> tuple[npt.NDArray[np.uint8], list[int]]:
    """Readable pictures at a size, and which these are."""
    found, rows = [], []
    for row, example in enumerate(examples):
        try:
            found.append(prepare(example.read(), get_recipe("photo"), size, size).pixels)
        except PictureError:
            continue
        rows.append(row)
    return np.stack(found).astype(np.uint8), rows


def pixels_of(examples: Sequence[Example]) -> tuple[Floats, npt.NDArray[np.int64]]:
    found, rows = pictures(examples, 32)
    flat: Floats = found.reshape(len(found), -1).astype(np.float32) / np.float32(255)
    return flat, np.array(rows, np.int64)


def lite_of(examples: Sequence[Example]) -> tuple[Floats, npt.NDArray[np.int64]]:
    teacher = open_teacher("efficientnet-lite0")
    features, rows = [], []
    for start in range(0, len(examples), 256):
        found, kept = pictures(examples[start : start + 256], teacher.size)
        features.append(teacher(found).features)
        rows += [start + row for row in kept]
    return np.concatenate(features), np.array(rows, np.int64)


def nasnet_of(weights: str, size: int = 224, precision: Precision = "f32") -> Features:
    opened, options = open_weights(weights), EngineOptions(precision=precision)

    def features(examples: Sequence[Example]) -> tuple[Floats, npt.NDArray[np.int64]]:
        found = predict(examples, Extractor(opened, size=(size, size), engine=options))
        return found.values, found.rows

    return features


def head_accuracy(data: Dataset, features: Features, strength: float | None) -> float:
    """Of a head on these features, on the validation part."""
    train, rows = features(data.train)
    labels = np.array([data.train[row].label for row in rows])
    head = fit_head(train, labels, len(data.classes), HeadFit(c=strength))
    test, rows = features(data.validation)
    truth = np.array([data.validation[row].label for row in rows])
    return float((head.logits(test).argmax(1) == truth).mean())


def full_accuracy(data: str, weights: str, folder: Path, recipe: TrainRecipe, size: int) -> float:
    """Of a network all of whose layers were trained, at the end, whatever its head alone had."""
    options = FinetuneOptions(mode="full", size=(size, size), recipe=recipe)
    finetune(data, folder, weights=weights, options=options)
    log = (folder / "log.csv").read_text(encoding="utf-8").splitlines()
    column = log[0].split(",").index("validation_accuracy")
    found = [line.split(",")[column] for line in log[1:]]
    return float([one for one in found if one][-1])  # not every epoch is judged


def few(data: Path, count: int, folder: Path) -> Path:
    """A data set of few labels: links to so many training pictures a class, and to the test ones.

    The test pictures are those that `nasnet train --recipe builtin` holds out when it is given
    the folder above, so that nothing has seen them.
    """
    for path in sorted(data.glob("*/*")):
        label = path.parent.name
        part = "val" if held_out(f"{data.name}/{label}/{path.name}", 0.1) else "train"
        place = folder / data.name / part / label
        place.mkdir(parents=True, exist_ok=True)
        link = place / path.name
        if not link.exists() and (part == "val" or len(list(place.iterdir())) < count):
            link.symlink_to(path.resolve())
    return folder / data.name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", help="folders of class folders")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--epochs", type=int, help="instead of the recipe's steps")
    parser.add_argument("--size", type=int, default=224, help="pixels of what NASNet sees")
    parser.add_argument("--strength", type=float, help="C of all heads, instead of trying some")
    parser.add_argument("--out", type=Path, help="keep the runs there; they go on if stopped")
    parser.add_argument("--no-full", action="store_true")
    parser.add_argument("--scratch", action="store_true", help="full training from nothing, too")
    parser.add_argument("--few", type=int, help="training pictures a class; all if not given")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    out = options.out or Path(tempfile.mkdtemp())
    out.mkdir(parents=True, exist_ok=True)
    full = {"stages.epochs": options.epochs} if options.epochs else {}
    table: dict[str, dict[str, float]] = {}
    for given in options.data:
        data = given
        name = Path(data).name
        if options.few:
            data = str(few(Path(data), options.few, out / "few"))
        found = open_dataset(data)
        row = table.setdefault(name, {})
        print(
            f"{name}: {len(found.train)} + {len(found.validation)} pictures, "
            f"{len(found.classes)} classes",
            flush=True,
        )
        kinds: dict[str, Features] = {
            "pixels 32x32, head": pixels_of,
            "untrained NASNet (seeded:7), head": nasnet_of("seeded:7", options.size),
            "NASNet, head": nasnet_of(options.weights, options.size),
            "EfficientNet-Lite0, head": lite_of,
        }
        for kind, features in kinds.items():
            began = time.monotonic()
            row[kind] = head_accuracy(found, features, options.strength)
            print(f"  {kind}: {row[kind]:.1%} ({time.monotonic() - began:.0f} s)", flush=True)
        runs = [] if options.no_full else [("NASNet, all layers", options.weights, full)]
        if options.scratch:
            fresh = full | {
                "train.batch_norm": "batch",
                "train.optimizer.layer_decay": 1.0,
                "train.optimizer.learning_rate": 2e-3,
            }
            start = out / "initial.safetensors"
            write_safetensors(initial(seed=1), start)
            runs.append(("NASNet from scratch, all layers", str(start), fresh))
        for kind, weights, how in runs:
            began = time.monotonic()
            folder = out / f"{name}-{kind.split(',')[0].replace(' ', '-')}"
            row[kind] = full_accuracy(
                data, weights, folder, read_recipe("finetune", how), options.size
            )
            print(f"  {kind}: {row[kind]:.1%} ({time.monotonic() - began:.0f} s)", flush=True)
    kinds_seen = list(dict.fromkeys(kind for row in table.values() for kind in row))
    print("\n| | " + " | ".join(table) + " |\n|---|" + "---|" * len(table))
    for kind in kinds_seen:
        cells = [f"{row[kind]:.1%}" if kind in row else "" for row in table.values()]
        print(f"| {kind} | " + " | ".join(cells) + " |")
    if options.json:
        options.json.write_text(json.dumps(table, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
