"""How much vectors know: k-nearest neighbours and linear probes on pictures no one trained on.

    python -m benchmarks.quality PHOTOS --weights FILE

PHOTOS holds a folder a data set (`PHOTOS/imagenette/n01440764/x.webp`). Of each set the pictures
that `nasnet train --recipe builtin` holds out (a tenth, by a hash of their names) are the test
part, the others are what neighbours and probes may look at. Beside the weights stand the same
network untrained, EfficientNet-Lite0, and raw 32x32 pixels. The 1000-class accuracy is that of
the networks' own heads on the held-out pictures of the ImageNet sets. A second table is what a
search finds: all sets are one library, some held-out pictures are looked for in it, and what is
found is right if it is of the same class. Behind each share stands half of its 95 % interval.

`likeness` is how near a linear map brings the vectors of held-out pictures to the teacher's: the
mean cosine, after ridge regression on the others. It is known far better than shares of neighbours
are, so it tells early whether a training leads anywhere.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.finetuning import lite_of, nasnet_of, pictures, pixels_of
from nasnet.compute.engine import PRECISIONS, EngineOptions
from nasnet.features.extractor import Extractor
from nasnet.pictures.sampling import held_out
from nasnet.pictures.sources import Example, open_source
from nasnet.train.distill import open_teacher
from nasnet.train.distill.objective import linear_map
from nasnet.train.head import HeadFit, fit_head
from nasnet.train.predict import predict
from nasnet.weights.opening import open_weights
from nasnet.weights.weights import fingerprint

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Features = Callable[[Sequence[Example]], tuple[Floats, Ints]]
SETS = ("imagenette", "imagewoof", "caltech101", "clothing", "places")
SYNSET = re.compile(r"n\d{8}")
# Of a set without folders the class stands in the name; some of its pictures have none.
CLASS = re.compile(
    r"places/(?P<name>[a-z]-[^/]+)-\d{8}-[0-9a-f]{6}\.\w+|[^/]+/(?P<folder>[^/]+)/.+"
)
NEIGHBOURS = 10
LIBRARY = 3000  # pictures, as many of each set
TEACHER = "EfficientNet-Lite0"
RIDGE = 0.01  # of the mean of the squares


def unit(vectors: Floats) -> Floats:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    normal: Floats = vectors / np.maximum(length, 1e-12)
    return normal


def knn(train: Floats, labels: Ints, test: Floats, truth: Ints) -> str:
    """Accuracy of the ten nearest by cosine, each voting with its similarity."""
    near = unit(test) @ unit(train).T
    right = 0
    for row, answer in zip(near, truth, strict=True):
        best = np.argpartition(-row, NEIGHBOURS)[:NEIGHBOURS]
        votes = np.bincount(labels[best], weights=row[best])
        right += int(votes.argmax() == answer)
    return share(right, len(truth))


def likeness(seen: Floats, wanted: Floats, new: Floats, wanted_new: Floats) -> str:
    """The mean cosine of what a linear map makes of new vectors and what is wanted of them.

    What is wanted is brought to mean 0 and deviation 1 in each dimension first.
    """
    mean, deviation = wanted.mean(axis=0), wanted.std(axis=0) + np.float32(1e-3)
    centre = seen.mean(axis=0)
    mapping = linear_map(seen - centre, (wanted - mean) / deviation, ridge=RIDGE)
    found, truth = (new - centre) @ mapping.T, (wanted_new - mean) / deviation
    cosines = (unit(found.astype(np.float32)) * unit(truth)).sum(axis=1)
    return f"{cosines.mean():.3f} ±{1.96 * cosines.std() / math.sqrt(len(cosines)):.3f}"


def share(right: int, asked: int) -> str:
    """A share with half of its 95 % interval (Wilson's, 1927)."""
    found, z = right / asked, 1.96
    half = z * math.sqrt(found * (1 - found) / asked + z * z / (4 * asked * asked))
    return f"{found:.1%} ±{100 * half / (1 + z * z / asked):.1f}"


def class_of(id: str) -> str | None:
    """The class of a picture by its path, None if it has none."""
    match = CLASS.fullmatch(id)
    return match and (match["name"] or match["folder"])


def library_of(every: Sequence[Example], sets: Sequence[str], part: float) -> list[Example]:
    """The library: as many pictures of each set, held-out ones first, then by a hash."""
    library = []
    for name in sets:
        some = [e for e in every if e.id.startswith(f"{name}/") and class_of(e.id)]
        some.sort(key=lambda e: (not held_out(e.id, part), hashlib.sha256(e.id.encode()).digest()))
        library += some[: LIBRARY // len(sets)]
    return library


def searched(vectors: Floats, names: Sequence[str], asked: Sequence[int]) -> tuple[int, int]:
    """Of pictures of a library: how many first neighbours, and first five, are of their class."""
    first = five = 0
    near = unit(vectors[asked]) @ unit(vectors).T
    for row, scores in zip(asked, near, strict=True):
        scores[row] = -2.0  # itself
        order = np.argsort(-scores)[:5]
        right = [names[other] == names[row] for other in order]
        first += right[0]
        five += sum(right)
    return first, five


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
            TEACHER: lite_of,
            "pixels 32x32": pixels_of,
        }
        kinds |= {name: kept(peer, options.cache, name) for name, peer in peers.items()}
    table: dict[str, dict[str, str]] = {kind: {} for kind in kinds}
    vectors: dict[str, list[tuple[Floats, Floats]]] = {kind: [] for kind in kinds}
    for name in options.sets:
        some = [(e, class_of(e.id)) for e in every if e.id.startswith(f"{name}/")]
        classes = sorted({found for _, found in some if found})
        examples = [Example(e.id, classes.index(found), e.read) for e, found in some if found]
        test = [e for e in examples if held_out(e.id, options.held_out)]
        train = [e for e in examples if not held_out(e.id, options.held_out)]
        print(f"{name}: {len(train)} + {len(test)} pictures, {len(classes)} classes", flush=True)
        for kind, features in kinds.items():
            began = time.monotonic()
            known, rows = features(train)
            labels = np.array([train[row].label for row in rows])
            asked, rows = features(test)
            truth = np.array([test[row].label for row in rows])
            vectors[kind].append((known, asked))
            near = knn(known, labels, asked, truth)
            head = fit_head(known, labels, len(classes), HeadFit())
            right = int((head.logits(asked).argmax(1) == truth).sum())
            probe = share(right, len(truth))
            table[kind] |= {f"{name} k-NN": near, f"{name} probe": probe}
            seconds = time.monotonic() - began
            print(f"  {kind}: k-NN {near}, probe {probe} ({seconds:.0f} s)", flush=True)
    engine = EngineOptions(precision=options.precision)
    imagenet_heads(every, options.held_out, options.weights, engine, table)
    if TEACHER in kinds:
        whole = {
            kind: [np.concatenate(part) for part in zip(*found, strict=True)]
            for kind, found in vectors.items()
        }
        wanted, wanted_new = whole.pop(TEACHER)
        for kind, (seen, new) in whole.items():
            table[kind]["likeness"] = likeness(seen, wanted, new, wanted_new)
    print()
    print(as_table(table))
    found = libraries(every, options.sets, options.held_out, kinds)
    print(f"\n{as_table(found)}")
    if options.json:
        text = json.dumps({"known": table, "searched": found}, indent=1, ensure_ascii=False)
        options.json.write_text(text, encoding="utf-8")


def as_table(table: dict[str, dict[str, str]]) -> str:
    columns = list(dict.fromkeys(column for row in table.values() for column in row))
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for kind, row in table.items():
        lines.append(f"| {kind} | " + " | ".join(row.get(column, "") for column in columns) + " |")
    return "\n".join(lines)


def libraries(
    every: Sequence[Example], sets: Sequence[str], part: float, kinds: dict[str, Features]
) -> dict[str, dict[str, str]]:
    """What a search in one library of all sets finds, by the set of the picture searched with."""
    library = library_of(every, sets, part)
    table: dict[str, dict[str, str]] = {kind: {} for kind in kinds}
    for kind, features in kinds.items():
        vectors, rows = features(library)
        ids = [library[row].id for row in rows]
        names = [f"{id.split('/')[0]}/{class_of(id)}" for id in ids]
        sizes = Counter(names)
        for name in sets:
            asked = [
                row
                for row, id in enumerate(ids)
                if id.startswith(f"{name}/") and held_out(id, part) and sizes[names[row]] > 1
            ]
            first, five = searched(vectors, names, asked)
            table[kind][f"{name} recall@1"] = share(first, len(asked))
            table[kind][f"{name} precision@5"] = f"{five / 5 / len(asked):.1%}"
    print(f"\n{len(library)} pictures in one library", flush=True)
    return table


def imagenet_heads(
    every: Sequence[Example],
    part: float,
    weights: str,
    engine: EngineOptions,
    table: dict[str, dict[str, str]],
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
        if wanted and not example.id.startswith("tiny/") and held_out(example.id, part):
            test.append(Example(example.id, place[synset], example.read))
    truth = np.array([e.label for e in test])
    opened = open_weights(weights).weights
    if opened.num_classes == 1001:
        logits = predict(test, Extractor(opened, endpoint="Logits", engine=engine)).values[:, 1:]
        right = int((logits.argmax(1) == truth).sum())
        table["NASNet"]["1000 classes"] = share(right, len(truth))
    if TEACHER in table:
        teacher = open_teacher("efficientnet-lite0")
        found = [
            teacher(pictures(test[start : start + 256], teacher.size)[0]).logits.argmax(1)
            for start in range(0, len(test), 256)
        ]
        right = int((np.concatenate(found) == truth).sum())
        table[TEACHER]["1000 classes"] = share(right, len(truth))
    print(f"1000 classes: {len(test)} held-out pictures", flush=True)


if __name__ == "__main__":
    main()
