"""Weights on the way from a fitted head's to those of all layers trained.

Training all layers on few pictures gains something and forgets something. On the straight line
between both ends lie weights that forget less and keep most of what was gained (Wortsman et al.
2022, "Robust fine-tuning of zero-shot models").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from nasnet.train.metrics import score, temperature
from nasnet.train.predict import Predicted
from nasnet.weights.classes import with_temperature
from nasnet.weights.weights import Weights, frozen

_SHARES = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The place on the way that was found best.

    Attributes:
        share: 0 at the head, 1 where all layers were trained to.
        weights: those there, calibrated.
        logits: of the pictures that judged, by these weights.
        trained: accuracy at the end of the way.
    """

    share: float
    weights: Weights
    logits: Predicted
    trained: float


def between(head: Weights, trained: Weights, share: float) -> Weights:
    """The weights a share of the way from one network to another of the same shape."""
    if share == 1:
        return trained
    arrays = {
        name: np.asarray((1 - share) * head.arrays[name] + share * value, np.float32)
        for name, value in trained.arrays.items()
    }
    return replace(trained, arrays=frozen(arrays), ranges=None)


def best_between(
    head: Weights,
    trained: Weights,
    known: Predicted,
    see: Callable[[Weights], Predicted],
    labels_of: Callable[[Predicted], npt.NDArray[np.int64]],
) -> Chosen:
    """The place with the least log loss, of those that are right as often as the head at least.

    `known` are the head's logits of pictures neither was trained on, `see` gives those by other
    weights, and `labels_of` the truth of such logits.
    """
    labels = labels_of(known)
    at_head = score(known.values, labels, trained.labels)
    best, least = (0.0, head, known), at_head.loss
    accuracy = 0.0
    for share in _SHARES:
        weights = between(head, trained, share)
        logits = see(weights)
        weights, logits = calibrated(weights, logits, labels_of(logits))
        scores = score(logits.values, labels_of(logits), trained.labels)
        accuracy = scores.top1
        if accuracy >= at_head.top1 and scores.loss < least:
            best, least = (share, weights, logits), scores.loss
    share, weights, logits = best
    return Chosen(share=share, weights=weights, logits=logits, trained=accuracy)


def calibrated(
    weights: Weights, logits: Predicted, labels: npt.NDArray[np.int64]
) -> tuple[Weights, Predicted]:
    """The weights with the temperature that suits these logits of theirs best, and the new logits.

    One number for all classes: no answer changes, and few pictures suffice for it.
    """
    heat = temperature(logits.values, labels, smoothing=1 / (len(labels) + 2))
    source = f"{weights.source}, temperature {heat:.2f}"
    cooled = replace(logits, values=logits.values / np.float32(heat))
    return replace(with_temperature(weights, heat), source=source), cooled
