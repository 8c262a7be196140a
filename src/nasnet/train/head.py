"""A logistic head on feature vectors, and how it becomes the network's last layer.

`nasnet.finetune` and `nasnet.NASNetClassifier` fit the same one. Needs scikit-learn (extra
`sklearn`).
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError, check_range, needs
from nasnet.features.fitting import small_fit
from nasnet.train.metrics import temperature
from nasnet.weights.weights import Weights, frozen

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
_GRID = (0.001, 0.01, 0.1, 1.0)  # of C; on standardized features
_USUAL = 0.01  # where nothing can be tried out
_FOLDS = 5
# A class of fewer pictures is in the training part of every fold: with one of four left out, the
# other three no longer stand for it, and the head looks worse than it is. Measured on 2 to 4
# pictures a class: a temperature from such folds is far too high, none at all is better.
_LEAST = 5
_ENOUGH = 1000  # pictures held out: no more folds are computed then
_FEW = 50  # pictures a class; see docs/fine-tuning.md for what fewer do to probabilities
# Least deviation a feature is divided by, as a share of the median one. A feature after a ReLU that
# few pictures have hardly wake would otherwise get a huge weight, and one picture that wakes it
# a logit of hundreds. Measured: better with 5 pictures a class, the same with 20 and more.
_LEAST_SCALE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadFit:
    """How a head is fitted.

    Attributes:
        c: inverse strength of the L2 regularization; a few are tried out if not given.
        class_weight: `balanced` weighs classes by how rare they are; or the weight of each class,
            by its number.
        max_iter: most iterations of L-BFGS, which fits the head.
        tol: when L-BFGS stops.
        standardize: bring every feature to mean 0 and variance 1 first, within limits.
        seed: of the folds.
    """

    c: float | None = None
    class_weight: Literal["balanced"] | Mapping[int, float] | None = None
    max_iter: int = 200
    tol: float = 1e-4
    standardize: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no strength."""
        check_range("c", self.c, "(0, inf]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A fitted head for vectors as they are: softmax(vectors @ kernel + biases).

    Attributes:
        kernel: float64 [features, classes].
        biases: float64 [classes].
        c: the strength that was used.
        temperature: what the regression's logits were divided by, in kernel and biases already;
            1 where it could not be found out.
        tried: (c, log loss of held-out pictures at the best temperature) of each that was tried.
        iterations: of L-BFGS.
        notes: what a user should know of the probabilities.
    """

    kernel: Doubles
    biases: Doubles
    c: float
    temperature: float
    tried: tuple[tuple[float, float], ...]
    iterations: int
    notes: tuple[str, ...]

    def logits(self, vectors: npt.NDArray[Any]) -> Doubles:
        """Logits of vectors, float64 [n, classes]."""
        found: Doubles = vectors @ self.kernel + self.biases
        return found

    @property
    def described(self) -> str:
        """The head in words."""
        return f"logistic regression, C={self.c:g}, temperature {self.temperature:.2f}"


def fit_head(
    vectors: Floats,
    labels: Ints,
    classes: int,
    options: HeadFit,
    *,
    weights: Doubles | None = None,
    on_event: Callable[[str], None] | None = None,
) -> Head:
    """Fit a multinomial logistic regression on standardized vectors, and calibrate it.

    Strength and temperature are those with the least log loss on pictures that are held out in
    stratified folds; then the regression is fitted on all pictures. The temperature (Guo et al.
    2017) is found against labels that are certain up to 1 in n + 2, n being the pictures held out
    (Platt 1999): a few right answers do not make a head sure of everything.

    Args:
        vectors: [n, features].
        labels: [n], 0 to classes - 1; every class must occur.
        classes: how many there are.
        options: how.
        weights: how much each picture counts, [n], from 0.
        on_event: told, in words, what is being tried.

    Raises:
        InputError: a class does not occur, there is one only, or no picture counts.
        MissingExtraError: scikit-learn is not installed.
    """
    needs("sklearn", extra="sklearn")
    counts = np.bincount(labels, minlength=classes)
    if classes < 2 or len(counts) != classes or not counts.all():
        raise InputError(
            f"a head needs pictures of each of two classes or more; found "
            f"{np.count_nonzero(counts)} of {classes} classes"
        )
    from scipy.special import softmax
    from sklearn.metrics import log_loss

    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)
    if not weights.any():
        raise InputError("sample weights are all zero: nothing to learn from")
    rows = _Rows(vectors, labels, weights, weights * _of_classes(labels, weights, options)[labels])
    folds, held, notes = _folds(rows, classes, options.seed)
    tried: list[tuple[float, float]] = []
    best, heat, least = options.c or _USUAL, 1.0, np.inf
    for c in ((options.c,) if options.c else _GRID) if folds else ():
        found = [_held_out(rows, fold, c, options) for fold in folds]
        logits, truth, counted = (np.concatenate(parts) for parts in zip(*found, strict=True))
        t = temperature(logits, truth, weights=counted, smoothing=1 / (held + 2))
        chances = softmax(logits / t, axis=1)
        loss = float(log_loss(truth, chances, sample_weight=counted, labels=range(classes)))
        tried.append((c, loss))
        if on_event is not None and options.c is None:
            on_event(f"C={c:g}: log loss {loss:.3f} of pictures held out, at temperature {t:.2f}")
        if loss < least:
            best, heat, least = c, t, loss
    kernel, biases, iterations = _fit(rows, best, options)
    return Head(
        kernel=kernel / heat,
        biases=biases / heat,
        c=best,
        temperature=heat,
        tried=tuple(tried),
        iterations=iterations,
        notes=notes,
    )


class _Rows(NamedTuple):
    """What a head is fitted on."""

    vectors: Floats
    labels: Ints
    weights: Doubles
    with_classes: Doubles  # the weights times those of the classes

    def take(self, places: Ints) -> _Rows:
        vectors, labels, weights, with_classes = self
        return _Rows(vectors[places], labels[places], weights[places], with_classes[places])


def _of_classes(labels: Ints, weights: Doubles, options: HeadFit) -> Doubles:
    sums = np.bincount(labels, weights)
    if options.class_weight is None:
        return np.ones(len(sums))
    if options.class_weight == "balanced":
        balanced: Doubles = sums.sum() / (np.count_nonzero(sums) * np.where(sums, sums, np.inf))
        return balanced
    return np.array([options.class_weight.get(label, 1.0) for label in range(len(sums))])


def _folds(rows: _Rows, classes: int, seed: int) -> tuple[list[Ints], int, tuple[str, ...]]:
    """The rows of each fold, how many pictures they are, and what to say of few.

    Rows that are equal are one picture, and stay together.
    """
    same: dict[tuple[int, bytes], list[int]] = {}
    for place in np.flatnonzero(rows.weights):
        digest = hashlib.sha256(rows.vectors[place].tobytes()).digest()
        same.setdefault((int(rows.labels[place]), digest), []).append(int(place))
    pictures: list[list[list[int]]] = [[] for _ in range(classes)]
    for (label, _), places in sorted(same.items()):  # so that the order of the rows is nothing
        pictures[label].append(places)
    counts = np.array([len(own) for own in pictures])
    small = int(np.count_nonzero(counts < _LEAST))
    if classes - small < 2:
        note = (
            f"no two classes have {_LEAST} pictures: the head's strength could not be tried out "
            "and its probabilities not be calibrated"
        )
        return [], 0, (note,)
    notes = []
    if small:
        notes.append(
            f"{small} of {classes} classes have fewer than {_LEAST} pictures and took no part in "
            "calibrating the probabilities"
        )
    if np.median(counts) < _FEW:
        notes.append(
            f"{np.median(counts):.0f} pictures a class is few: with {_FEW} a head errs less, and "
            "its probabilities are nearer to the truth"
        )
    random = np.random.default_rng(seed)
    folds: list[list[list[int]]] = [[] for _ in range(_FOLDS)]
    for own in pictures:
        for number, picture in enumerate(random.permutation(len(own))):
            if len(own) >= _LEAST:
                folds[number % _FOLDS].append(own[picture])
    held = np.cumsum([len(fold) for fold in folds])
    computed = 1 + int(np.count_nonzero(held[:-1] < _ENOUGH))
    found = [np.concatenate(fold) for fold in folds[:computed]]
    return found, int(held[computed - 1]), tuple(notes)


def _held_out(rows: _Rows, fold: Ints, c: float, options: HeadFit) -> tuple[Floats, Ints, Doubles]:
    """Logits, labels and weights of a fold's rows, by a head that is fitted on the others."""
    others = np.setdiff1d(np.arange(len(rows.labels)), fold)
    kernel, biases, _ = _fit(rows.take(others), c, options)
    logits = (rows.vectors[fold] @ kernel + biases).astype(np.float32)
    return logits, rows.labels[fold], rows.with_classes[fold]


def _fit(rows: _Rows, c: float, options: HeadFit) -> tuple[Doubles, Doubles, int]:
    """Kernel and biases for vectors as they are, one for each class, and iterations."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    vectors = rows.vectors
    mean, scale = np.zeros(vectors.shape[1]), np.ones(vectors.shape[1])
    if options.standardize:
        scaler = StandardScaler().fit(vectors, sample_weight=rows.weights)
        deviations = np.sqrt(scaler.var_)
        mean, scale = scaler.mean_, np.maximum(deviations, _LEAST_SCALE * np.median(deviations))
        scale[scale == 0] = 1.0
    scaled = ((vectors - mean) / scale).astype(vectors.dtype)
    model = LogisticRegression(C=c, max_iter=options.max_iter, tol=options.tol)
    with warnings.catch_warnings(), small_fit(scaled.size):
        # Stopping early is a regularization like any other, and the folds have the last word.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(scaled, rows.labels, sample_weight=rows.with_classes)
    kernel = np.asarray(model.coef_, np.float64).T / scale[:, None]
    biases = np.asarray(model.intercept_, np.float64) - mean @ kernel
    if len(biases) == 1:  # two classes: softmax([-z/2, z/2]) is the logistic function of z
        kernel, biases = kernel * [[-0.5, 0.5]], biases * [-0.5, 0.5]
    return kernel, biases, int(np.max(model.n_iter_))


def with_head(weights: Weights, head: Head, labels: Sequence[str], *, source: str) -> Weights:
    """Weights whose classifier is this head, its temperature included; without auxiliary head."""
    arrays = {name: array for name, array in weights.arrays.items() if not name.startswith("aux_")}
    arrays |= {
        "final_layer/FC/weights": head.kernel.astype(np.float32),
        "final_layer/FC/biases": head.biases.astype(np.float32),
    }
    return replace(
        weights,
        num_classes=len(head.biases),
        arrays=frozen(arrays),
        source=f"{source}, {head.described}",
        status="modified",
        labels=tuple(labels),
        min_confidence=0.0,
    )
