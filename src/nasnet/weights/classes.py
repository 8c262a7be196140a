"""A classifier's classes: ImageNet's names in their order, and 1001 classes made 1000 or back.

TF-Slim's classifiers have a background class first, at index 0; Keras' have none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from nasnet.errors import InputError
from nasnet.weights.weights import Weights, frozen

BACKGROUND = "background"
_TABLE = Path(__file__).parent.parent / "data" / "imagenet_classes.tsv"
_WITH, _WITHOUT = 1001, 1000
_KERNEL, _BIASES = "final_layer/FC/weights", "final_layer/FC/biases"

# The logit a background class has that was not trained: exp(-100) vanishes beside any other in a
# softmax of float32, so the probabilities of the other classes stay what they were.
_BACKGROUND_BIAS = -100.0


@dataclass(frozen=True, slots=True)
class ImageNetClass:
    """One of the 1000 classes of ILSVRC-2012."""

    wordnet_id: str  # such as `n01440764`
    name: str  # the synset's words, the usual one first, `tench, Tinca tinca`


@cache
def imagenet_classes() -> tuple[ImageNetClass, ...]:
    """The 1000 classes, sorted by WordNet id, as every published classifier has them.

    TF-Slim's classifiers put the background before them, at index 0.
    """
    lines = _TABLE.read_text(encoding="utf-8").splitlines()
    return tuple(ImageNetClass(*line.split("\t", 1)) for line in lines)


def class_names(weights: Weights) -> tuple[str, ...]:
    """The names of all classes of a classifier: its own labels, else ImageNet's, else numbers."""
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
    """What labelled data may call a classifier's classes: lists as long as it has classes.

    The usual naming comes first: its own labels alone; else numbers, and for ImageNet's classes
    before them their names, their WordNet ids and the first word of each name.
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


def with_classes(weights: Weights, classes: int) -> tuple[Weights, str]:
    """The same weights with another classifier: 1000 ImageNet classes, or 1001 with background.

    From 1001 to 1000 the background, index 0, is dropped. From 1000 to 1001 a background class is
    put first whose kernel is zero and whose bias is -100, so that it never wins and takes no
    probability; what the original had there is lost. The auxiliary head, which belongs to the old
    classes, is left out. With `classes` 0 the classifier is left out.

    Returns:
        The weights, and a line for people that says what became of the background; empty if
        nothing changed.

    Raises:
        InputError: a number of classes that cannot be had from these.
    """
    if classes == weights.num_classes:
        return weights, ""
    arrays = {name: a for name, a in weights.arrays.items() if not name.startswith("aux_")}
    if classes == 0:
        kept = {name: a for name, a in arrays.items() if name not in (_KERNEL, _BIASES)}
        return replace(weights, arrays=kept, num_classes=0, labels=()), "the classifier is left out"
    if {classes, weights.num_classes} != {_WITH, _WITHOUT}:
        raise InputError(
            f"{weights.source} has {weights.num_classes or 'no'} classes: only ImageNet's 1000 "
            f"become 1001 (with background), or 1001 become 1000, not {classes}"
        )
    kernel, biases = arrays[_KERNEL], arrays[_BIASES]
    labels = weights.labels
    if classes == _WITHOUT:
        kernel, biases, labels = kernel[:, 1:], biases[1:], labels[1:]
        note = "the background class (index 0 of 1001) is dropped"
    else:
        kernel = np.concatenate([np.zeros_like(kernel[:, :1]), kernel], axis=1)
        biases = np.concatenate([np.full(1, _BACKGROUND_BIAS, np.float32), biases])
        labels = (BACKGROUND, *labels) if labels else ()
        note = (
            "a background class was put first (index 0 of 1001): its kernel is zero and its bias "
            f"{_BACKGROUND_BIAS:g}, so that it never wins"
        )
    arrays[_KERNEL], arrays[_BIASES] = np.ascontiguousarray(kernel), np.ascontiguousarray(biases)
    changed = replace(weights, arrays=frozen(arrays), num_classes=classes, labels=labels)
    return changed, note


def with_temperature(weights: Weights, temperature: float) -> Weights:
    """The same weights with the classifier's logits divided by a temperature (Guo et al. 2017).

    The temperature is above 0; above 1 it makes the classifier less sure.

    Raises:
        InputError: they have no classifier.
    """
    if not weights.num_classes:
        raise InputError(f"{weights.source} has no classifier whose temperature could change")
    head = {name: weights.arrays[name] / np.float32(temperature) for name in (_KERNEL, _BIASES)}
    return replace(weights, arrays=frozen({**weights.arrays, **head}))
