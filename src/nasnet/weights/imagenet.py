"""ImageNet's classes in the order of the classifiers: WordNet ids and names.

Called by `classify`, `evaluate`, exports and `serve`; the table lies in the package's data.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from nasnet.weights.weights import Weights

BACKGROUND = "background"
_TABLE = Path(__file__).parent.parent / "data" / "imagenet_classes.tsv"
_WITH, _WITHOUT = 1001, 1000


@dataclass(frozen=True, slots=True)
class ImageNetClass:
    """One of the 1000 classes of ILSVRC-2012.

    Attributes:
        wordnet_id: such as `n01440764`.
        name: the synset's words, the usual one first, `tench, Tinca tinca`.
    """

    wordnet_id: str
    name: str


@cache
def imagenet_classes() -> tuple[ImageNetClass, ...]:
    """The 1000 classes, sorted by WordNet id, as every published classifier has them.

    TF-Slim's classifiers put the background before them, at index 0.
    """
    lines = _TABLE.read_text(encoding="utf-8").splitlines()
    return tuple(ImageNetClass(*line.split("\t", 1)) for line in lines)


def class_names(weights: Weights) -> tuple[str, ...]:
    """The names of a classifier's classes: its own labels, else ImageNet's, else numbers.

    Args:
        weights: with a classifier.

    Returns:
        As many as it has classes.
    """
    return known_names(weights) or tuple(f"class {n}" for n in range(weights.num_classes))


def known_names(weights: Weights) -> tuple[str, ...]:
    """The same, but nothing where the classes have no names."""
    if len(weights.labels) == weights.num_classes:
        return weights.labels
    known = tuple(row.name for row in imagenet_classes())
    if weights.num_classes == _WITH:
        return (BACKGROUND, *known)
    if weights.num_classes == _WITHOUT:
        return known
    return ()


def namings(weights: Weights) -> tuple[tuple[str, ...], ...]:
    """What labelled data may call a classifier's classes, the usual naming first.

    Args:
        weights: with a classifier.

    Returns:
        Lists as long as it has classes: its own labels alone; else numbers, and for ImageNet's
        classes before them their names, their WordNet ids and the first word of each name.
    """
    if weights.labels:
        return (weights.labels,)
    numbers = tuple(str(number) for number in range(weights.num_classes))
    if weights.num_classes not in (_WITH, _WITHOUT):
        return (numbers,)
    first = (BACKGROUND,) if weights.num_classes == _WITH else ()
    ids = tuple(row.wordnet_id for row in imagenet_classes())
    names = class_names(weights)
    short = tuple(name.partition(", ")[0] for name in names)
    return (names, (*first, *ids), short, numbers)
