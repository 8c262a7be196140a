"""Which way of training all layers is worth its time: one line a result, in a file that resumes.

    python -m benchmarks.finetune_study PHOTOS --out study.jsonl --cells clothing/60 --ways head old
    python -m benchmarks.finetune_study PHOTOS --out study.jsonl --table

A cell is a data set and how many pictures of each class are trained on; up to 500 others judge, at
the end of the run alone, so that no epoch is chosen by them. Those which the package's own weights
never saw come first among them. `--start initial` begins at TF-Slim's initial values.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nasnet.features.extractor import Extractor
from nasnet.pictures.sampling import held_out
from nasnet.pictures.sources import Dataset, Example, open_dataset
from nasnet.train.between import best_between
from nasnet.train.head import HeadFit, fit_head, with_head
from nasnet.train.metrics import score
from nasnet.train.predict import Predicted, predict
from nasnet.train.recipe_files import read_recipe
from nasnet.weights.initial import initial
from nasnet.weights.opening import open_weights
from nasnet.weights.weights import Weights

JUDGES = 500
_RATE, _LAYERS = "train.optimizer.learning_rate", "train.optimizer.layer_decay"
_NORM, _MOMENTUM = "train.batch_norm", "train.batch_norm_momentum"
_BATCH = {_NORM: "batch", _MOMENTUM: 0.9}

# What a way changes in the recipe before this study; `steps` stands for epochs.
OLD: dict[str, Any] = {
    "label_smoothing": 0.1,
    "augment": "default",
    "dense_dropout_keep_prob": 0.5,
    "train.clip": 5.0,
    "train.frozen": (),
    _NORM: "moving",
    "train.optimizer.kind": "adamw",
    _RATE: 5e-4,
    _LAYERS: 0.85,
    "train.optimizer.weight_decay": 0.01,
    "train.schedule.kind": "cosine",
    "train.schedule.warmup_epochs": 1.0,
    "train.schedule.warmup_share": 0.0,
    "stages.batch_size": 32,
}
# timm's `train.py` with its own defaults, but the length: SGD, 0.1 for 256 pictures a step.
TIMM = {
    "train.clip": 0.0,
    "train.optimizer.kind": "sgd",
    _RATE: 0.1 * 32 / 256,
    _LAYERS: 1.0,
    "train.optimizer.weight_decay": 2e-5,
    "train.schedule.warmup_share": 1 / 60,
    "augment": {
        "area": [0.08, 1.0],
        "brightness": 0.4,
        "contrast": 0.4,
        "saturation": 0.4,
    },
    **_BATCH,
}
_STEM = {"train.frozen": ["conv0", "cell_stem"]}
_WHOLE = {"dense_dropout_keep_prob": 1.0}  # no dropout before the classifier
_NEW = {_RATE: 1.5e-3, _LAYERS: 0.95, "steps": 250, "train.schedule.warmup_share": 0.15}
_DEFAULT = _NEW | _STEM | {_RATE: 4e-3, _LAYERS: 0.97, "mixup": 0.2, "steps": 600}
WAYS: dict[str, dict[str, Any]] = {
    "old": {"epochs": 15},
    "batch-15": _NEW | _BATCH | {"steps": 400},
    "stem": _NEW | _STEM | _BATCH | {"steps": 300},
    "moving-15": _NEW | _STEM,
    "moving-40": _NEW | _STEM | {_RATE: 4e-3, _LAYERS: 0.97},
    "default": _DEFAULT,
    "default-bf16": _DEFAULT | {"train.precision": "bf16"},
    "fast": _NEW | _STEM | _WHOLE | {_RATE: 4e-3, _LAYERS: 0.97},
    "light": _NEW | _STEM | _WHOLE | {_RATE: 2e-3, "augment": "light"},
    "mixed": _NEW | _STEM | _WHOLE | {_RATE: 4e-3, _LAYERS: 0.97, "mixup": 0.4, "train.ema": 0.99},
    "short": _NEW | _STEM | _WHOLE | {"steps": 100},
    "long": _NEW | _STEM | _WHOLE | {"steps": 600},
    "whole": _NEW | _WHOLE,
    "timm": {"steps": 250, **TIMM},
}


def _order(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()


def drawn(folder: Path, count: int, seed: int) -> Dataset:
    """So many training pictures a class, and those that judge; small classes are left out."""
    found = open_dataset(folder)
    everything = [*found.train, *found.validation]
    by_class: dict[int, list[Example]] = {}
    for one in sorted(everything, key=lambda one: _order(one.id, seed)):
        by_class.setdefault(one.label, []).append(one)
    # The pictures held out from the package's weights are the last to be trained on.
    unseen = {e.id for e in everything if held_out(f"{folder.name}/{e.id}", 0.1)}
    kept = [c for c, own in sorted(by_class.items()) if len(own) >= count + 5]
    train: list[Example] = []
    rest: list[Example] = []
    for number, label in enumerate(kept):
        own = sorted(by_class[label], key=lambda one: one.id in unseen)
        train += [replace(one, label=number) for one in own[:count]]
        rest += [replace(one, label=number) for one in own[count:]]
    rest.sort(key=lambda one: (one.id not in unseen, _order(one.id, seed)))
    return Dataset(
        name=folder.name,
        classes=tuple(found.classes[c] for c in kept),
        train=tuple(train),
        validation=tuple(rest[:JUDGES]),
        notes=(),
    )


def judged(weights: Weights, data: Dataset, size: int) -> dict[str, float]:
    """Accuracy, log loss and calibration error on the pictures that judge."""
    extractor = Extractor(weights, endpoint="Logits", size=(size, size))
    predicted = predict(data.validation, extractor)
    scores = score(predicted.values, predicted.labels(data.validation), data.classes)
    return {"accuracy": scores.top1, "loss": scores.loss, "ece": scores.calibration.ece}


def kept(head: Weights, ready: Weights, data: Dataset, size: int) -> dict[str, float]:
    """What `nasnet finetune` would keep: one half of the judges chooses, the other judges."""
    accuracy, loss, shares = [], [], []
    halves = data.validation[::2], data.validation[1::2]
    for choosing, judging in (halves, halves[::-1]):

        def see(weights: Weights, some: Sequence[Example] = choosing) -> Predicted:
            return predict(some, Extractor(weights, endpoint="Logits", size=(size, size)))

        def labels_of(seen: Predicted, some: Sequence[Example] = choosing) -> Any:  # noqa: ANN401
            return seen.labels(some)

        named = replace(ready, labels=data.classes)
        found = best_between(head, named, see(head), see, labels_of)
        seen = see(found.weights, judging)
        scores = score(seen.values, labels_of(seen, judging), data.classes)
        accuracy.append(scores.top1)
        loss.append(scores.loss)
        shares.append(found.share)
    return {
        "kept_accuracy": float(np.mean(accuracy)),
        "kept_loss": float(np.mean(loss)),
        "kept_share": float(np.mean(shares)),
    }


def head_of(weights: Weights, data: Dataset, size: int) -> Weights:
    """The start with the head that `nasnet finetune` fits."""
    seen = predict(data.train, Extractor(weights, size=(size, size)))
    head = fit_head(seen.values, seen.labels(data.train), len(data.classes), HeadFit())
    return with_head(weights, head, data.classes, source=weights.source)


def trained(
    start: Weights, data: Dataset, way: Mapping[str, Any], size: int
) -> tuple[Weights, dict[str, float]]:
    """All layers trained: the weights of the end, and what training says of itself by then."""
    from nasnet.train.run import classification, follow, network_for

    changes = OLD | {k: v for k, v in way.items() if k not in ("steps", "epochs")}
    changes |= {f"stages.{k}": way[k] for k in ("steps", "epochs") if k in way}
    if "train.schedule.warmup_share" in way:
        changes["train.schedule.warmup_epochs"] = 0.0
    recipe = read_recipe("finetune", changes)
    alone = replace(data, validation=())
    with tempfile.TemporaryDirectory() as folder:
        result, _ = follow(
            recipe,
            network_for(recipe, data, start, (size, size)),
            classification(recipe, data),
            alone,
            Path(folder),
            size=(size, size),
            start=start,
        )
    last = result.history[-1]
    return result.weights, {k: last[k] for k in ("train_loss", "train_accuracy")}


def results(file: Path) -> Iterator[dict[str, Any]]:
    """Lines of an earlier run."""
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


_KEY = ("set", "count", "start", "size", "seed", "way")


def table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Accuracy by cell (down) and way (across), mean over seeds, with core-seconds of training.

    After an arrow: that of the weights `nasnet finetune` would keep.
    """
    ways = list(dict.fromkeys(row["way"] for row in rows))
    print("| set, a class, start, px | " + " | ".join(ways) + " |\n|---|" + "---|" * len(ways))
    for cell in dict.fromkeys(tuple(row[k] for k in _KEY[:4]) for row in rows):
        own = [row for row in rows if tuple(row[k] for k in _KEY[:4]) == cell]
        texts = []
        for way in ways:
            found = [row for row in own if row["way"] == way]
            seconds = np.mean([row["seconds"] for row in found]) if found else 0
            accuracy = np.mean([row["accuracy"] for row in found]) if found else 0
            mixed = np.mean([row.get("kept_accuracy", np.nan) for row in found]) if found else 0
            text = f"{accuracy:.1%}" + ("" if np.isnan(mixed) else f" -> {mixed:.1%}")
            texts.append(f"{text} ({seconds:.0f} s)" if found else "")
        print(f"| {', '.join(map(str, cell))} | " + " | ".join(texts) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, help="holds the sets, folders of class folders")
    parser.add_argument("--out", type=Path, required=True, help="one JSON line a result")
    parser.add_argument("--cells", nargs="*", default=[], help="set/count, such as clothing/60")
    parser.add_argument("--ways", nargs="*", default=["head"], help=f"head, {', '.join(WAYS)}")
    parser.add_argument("--change", default="{}", help="JSON of a way not in the table: --ways X")
    parser.add_argument("--start", default="builtin", help="a handle, or `initial`")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    ways = WAYS | json.loads(options.change)
    done = {tuple(row[k] for k in _KEY) for row in results(options.out)}
    weights = initial(seed=1) if options.start == "initial" else None
    for cell in options.cells:
        name, count = cell.split("/")
        for seed in options.seeds:
            wanted = [
                way
                for way in options.ways
                if (name, int(count), options.start, options.size, seed, way) not in done
            ]
            if not wanted:
                continue
            data = drawn(options.photos / name, int(count), seed)
            weights = weights or open_weights(options.start).weights
            start = head_of(weights, data, options.size)
            for way in wanted:
                began, used = time.monotonic(), time.process_time()
                ready, told = start, dict[str, float]()
                if way != "head":
                    ready, told = trained(start, data, ways[way], options.size)
                seconds = time.process_time() - used
                if way != "head":
                    told |= kept(start, ready, data, options.size)
                row = {
                    **dict(
                        zip(
                            _KEY,
                            (name, int(count), options.start, options.size, seed, way),
                            strict=True,
                        )
                    ),
                    "classes": len(data.classes),
                    "train": len(data.train),
                    "judges": len(data.validation),
                    "seconds": round(seconds, 1),
                    "wall": round(time.monotonic() - began, 1),
                    **told,
                    **judged(ready, data, options.size),
                }
                with options.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                    os.fsync(file.fileno())
                print(row, flush=True)
    if options.table:
        table(list(results(options.out)))


if __name__ == "__main__":
    main()
