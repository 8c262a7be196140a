"""From which confidence a classifier of ImageNet's classes names a picture.

    python -m benchmarks.confidence PHOTOS --weights FILE

PHOTOS is the folder of `benchmarks.quality`; only pictures that no training saw count. Inside are
those of a class that the classifier knows; outside are others, whatever it says of them is wrong.
A picture that comes to a user is of any class, so each class counts the same, and all outside count
as much as all inside. The rule: a name is shown from the least confidence at and above which at
least half of the names are right. `nasnet weights pack --min-confidence` writes it into the file.
The temperature is what the logits of those inside would have to be divided by for the confidences
to come true; where it is not near 1, pack with `--temperature` first, and measure again.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nasnet.features.extractor import Extractor
from nasnet.pictures.sampling import held_out
from nasnet.pictures.sources import Example, open_source
from nasnet.train.metrics import temperature
from nasnet.train.predict import predict
from nasnet.weights.classes import imagenet_classes
from nasnet.weights.opening import open_weights

SHARE = 0.1  # held out
RIGHT = 0.5  # of the names that are shown, at least
FEWEST = 10  # shown pictures that say something of a threshold
INSIDE = re.compile(r"(?:imagenette|imagewoof|imagenet1000|imagen|miniimagenet)/(n\d{8})")
# Of Caltech-101 what has no class in ImageNet; textures and pictures from the air have none either.
CALTECH = (
    "Faces Faces_easy bonsai brain brontosaurus buddha dollar_bill dolphin emu euphonium garfield "
    "gerenuk helicopter inline_skate lotus mandolin menorah minaret octopus okapi pigeon rhino "
    "sea_horse snoopy stegosaurus stop_sign sunflower water_lilly windsor_chair wrench yin_yang"
)
OUTSIDE = re.compile(rf"caltech101/(?:{CALTECH.replace(' ', '|')})/|textures/|aerial/")


def chosen(photos: Path) -> list[Example]:
    """The held-out pictures, each with the index of its class of 1000, or -1."""
    place = {row.wordnet_id: number for number, row in enumerate(imagenet_classes())}
    found = []
    for item in open_source(photos):
        if not held_out(item.id, SHARE):
            continue
        inside = INSIDE.match(item.id)
        if inside is not None and inside[1] in place:
            found.append(Example(item.id, place[inside[1]], item.read))
        elif OUTSIDE.match(item.id):
            found.append(Example(item.id, -1, item.read))
    return found


def evenly(truth: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """How much each picture counts: classes alike, and outside as much as inside; sums to 2."""
    counts = Counter(truth.tolist())
    inside = len(counts.keys() - {-1})
    return np.array([1 / counts[label] / (1 if label < 0 else inside) for label in truth.tolist()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--weights", required=True)
    options = parser.parse_args()
    examples = chosen(options.photos)
    weights = open_weights(options.weights).weights
    found = predict(examples, Extractor(weights, endpoint="Logits"))
    logits = found.values[:, weights.num_classes - 1000 :]
    truth = np.array([examples[row].label for row in found.rows])
    counts, inside = evenly(truth), truth >= 0
    print(
        f"{inside.sum()} pictures of {len(set(truth[inside]))} classes, {(~inside).sum()} outside"
    )
    warm = temperature(logits[inside], truth[inside], weights=counts[inside])
    print(f"temperature {warm:.2f}")
    shares = np.exp(logits - logits.max(1, keepdims=True))
    sure = (shares / shares.sum(1, keepdims=True)).max(1)
    right = logits.argmax(1) == truth
    least = 1.0
    print("| from | of those inside | of those outside | right |\n|---|---|---|---|")
    for step in range(20):
        shown = sure >= step / 20
        if shown.sum() < FEWEST:
            break
        share = counts[shown & right].sum() / counts[shown].sum()
        least = min(least, step / 20) if share >= RIGHT else 1.0
        ways = [counts[shown & side].sum() for side in (inside, ~inside)]
        print(f"| {step / 20:.0%} | {ways[0]:.1%} | {ways[1]:.1%} | {share:.0%} |")
    print(f"a name is shown from {least:.0%}" if least < 1 else "no confidence is high enough")


if __name__ == "__main__":
    main()
