"""A logistic head on feature vectors, and how it becomes the network's last layer.

Needs scikit-learn (extra `sklearn`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError, needs
from nasnet.weights.weights import Weights, frozen

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
_GRID = (0.001, 0.01, 0.1, 1.0)  # of C; on standardized features
# Least deviation a feature is divided by, as a share of the median one. A feature after a ReLU that
# few pictures have hardly wake would otherwise get a huge weight, and one picture that wakes it
# a logit of hundreds. Measured: better with 5 pictures a class, the same with 20 and more.
_LEAST_SCALE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadFit:
    """How a head is fitted.

    Attributes:
        c: inverse strength of the L2 regularization; None tries a few on a fifth of the training
            vectors, fits again on all of them, and never looks at the validation set.
        class_weight: `balanced` weighs classes by how rare they are.
        max_iter: most iterations of L-BFGS.
        seed: of the inner split.
    """

    c: float | None = None
    class_weight: Literal["balanced"] | None = None
    max_iter: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no strength."""
        if self.c is not None and not self.c > 0:
            raise InputError(f"c must be above 0, found {self.c}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A fitted head for vectors as they are: softmax(vectors @ kernel + biases).

    Attributes:
        kernel: float32 [features, classes].
        biases: float32 [classes].
        c: the strength that was used.
        tried: (c, accuracy on the inner split) of each that was tried.
    """

    kernel: Floats
    biases: Floats
    c: float
    tried: tuple[tuple[float, float], ...]

    def logits(self, vectors: Floats) -> Floats:
        """Logits of vectors, float32 [n, classes]."""
        found: Floats = vectors @ self.kernel + self.biases
        return found


def fit_head(
    vectors: Floats,
    labels: Ints,
    classes: int,
    options: HeadFit,
    *,
    on_event: Callable[[str], None] | None = None,
) -> Head:
    """Fit a multinomial logistic regression on vectors that are standardized, within limits.

    Args:
        vectors: [n, features].
        labels: [n], 0 to classes - 1; every class must occur.
        classes: how many there are.
        options: how.
        on_event: told, in words, what is being tried.

    Raises:
        InputError: a class does not occur, or there is one only.
        MissingExtraError: scikit-learn is not installed.
    """
    needs("sklearn", extra="sklearn")
    if classes < 2 or len(np.unique(labels)) != classes:
        raise InputError(
            f"a head needs pictures of each of two classes or more; found "
            f"{len(np.unique(labels))} of {classes} classes"
        )
    tried: list[tuple[float, float]] = []
    best = options.c
    inner = _inner_split(labels, options.seed) if best is None else None
    if inner is not None:
        train, test = inner
        for c in _GRID:
            scaler, model = _fit(vectors[train], labels[train], c, options)
            accuracy = float(model.score(scaler.transform(vectors[test]), labels[test]))
            tried.append((c, accuracy))
            if on_event is not None:
                on_event(f"C={c:g}: {accuracy:.1%} on an inner split")
        best = max(tried, key=lambda row: row[1])[0]
    best = 0.01 if best is None else best
    scaler, model = _fit(vectors, labels, best, options)
    kernel, biases = layer_of(model, scaler)
    return Head(kernel=kernel, biases=biases, c=best, tried=tuple(tried))


def _inner_split(labels: Ints, seed: int) -> tuple[Ints, Ints] | None:
    """A fifth of each class set aside; None where there is too little to set aside."""
    random = np.random.default_rng(seed)
    aside = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        aside[rows[: len(rows) // 5]] = True
    if aside.sum() < 2:
        return None
    return np.flatnonzero(~aside), np.flatnonzero(aside)


def _fit(vectors: Floats, labels: Ints, c: float, options: HeadFit) -> tuple[Any, Any]:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(vectors)
    deviations = np.sqrt(scaler.var_)
    scaler.scale_ = np.maximum(deviations, _LEAST_SCALE * np.median(deviations))
    scaler.scale_[scaler.scale_ == 0] = 1.0
    model = LogisticRegression(C=c, max_iter=options.max_iter, class_weight=options.class_weight)
    with warnings.catch_warnings():
        # Stopping early is a regularization like any other, and the split has the last word.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(scaler.transform(vectors), labels)
    return scaler, model


def layer_of(logistic: Any, scaler: Any) -> tuple[Floats, Floats]:  # noqa: ANN401
    """A fitted regression, and the scaler before it, as one layer for vectors as they are.

    Args:
        logistic: scikit-learn's `LogisticRegression`.
        scaler: its `StandardScaler`, or None.

    Returns:
        Kernel [features, classes] and biases [classes], float32; of two classes both get logits.
    """
    kernel = np.asarray(logistic.coef_, np.float64).T
    biases = np.asarray(logistic.intercept_, np.float64)
    if scaler is not None:
        kernel = kernel / scaler.scale_[:, None]
        biases = biases - scaler.mean_ @ kernel
    if len(biases) == 1:  # two classes: softmax([-z/2, z/2]) is the logistic function of z
        kernel, biases = kernel * [[-0.5, 0.5]], biases * [-0.5, 0.5]
    return kernel.astype(np.float32), biases.astype(np.float32)


def with_head(
    weights: Weights, kernel: Floats, biases: Floats, labels: Sequence[str], *, source: str
) -> Weights:
    """Weights whose classifier is this head; without auxiliary head.

    Args:
        weights: of the trunk.
        kernel: [features, classes].
        biases: [classes].
        labels: names of the classes.
        source: where the result comes from, for people.
    """
    arrays = {name: array for name, array in weights.arrays.items() if not name.startswith("aux_")}
    arrays |= {"final_layer/FC/weights": kernel, "final_layer/FC/biases": biases}
    return replace(
        weights,
        num_classes=len(biases),
        arrays=frozen(arrays),
        source=source,
        status="modified",
        labels=tuple(labels),
    )
