"""1001 classes and 1000: TF-Slim's classifier has a background class first, Keras' has none.

Private to `names`, offered by it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nasnet.errors import InputError
from nasnet.weights.weights import Weights, frozen

_KERNEL, _BIASES = "final_layer/FC/weights", "final_layer/FC/biases"
_WITH, _WITHOUT = 1001, 1000

# The logit a background class has that was not trained: exp(-100) vanishes beside any other in a
# softmax of float32, so the probabilities of the other classes stay what they were.
BACKGROUND_BIAS = -100.0


def with_classes(weights: Weights, classes: int) -> tuple[Weights, str]:
    """The same weights with another classifier: 1000 ImageNet classes, or 1001 with background.

    From 1001 to 1000 the background, index 0, is dropped. From 1000 to 1001 a background class is
    put first whose kernel is zero and whose bias is -100, so that it never wins and takes
    no probability; what the original had there is lost. The auxiliary head, which belongs
    to the old classes, is left out.

    Args:
        weights: with 1000 or 1001 classes.
        classes: 1000 or 1001; or 0, to leave the classifier out.

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
        biases = np.concatenate([np.full(1, BACKGROUND_BIAS, np.float32), biases])
        labels = ("background", *labels) if labels else ()
        note = (
            "a background class was put first (index 0 of 1001): its kernel is zero and its bias "
            f"{BACKGROUND_BIAS:g}, so that it never wins"
        )
    arrays[_KERNEL], arrays[_BIASES] = np.ascontiguousarray(kernel), np.ascontiguousarray(biases)
    changed = replace(weights, arrays=frozen(arrays), num_classes=classes, labels=labels)
    return changed, note
