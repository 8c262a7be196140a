"""`NASNetClassifier`: vectors, then fine-tuning's head, which becomes a module's last layer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    check_X_y,
    column_or_1d,
)

from nasnet.compute.engine import Precision
from nasnet.errors import InputError
from nasnet.train.estimator.computing import Network, settings_of, store_of, vectors_of
from nasnet.train.estimator.given import Given, Rows, read
from nasnet.train.head import Head, HeadFit, fit_head, with_head
from nasnet.weights.module_folder import ModuleFolder, write_folder
from nasnet.weights.opening import DEFAULT_HANDLE

Array = npt.NDArray[Any]

_ENDPOINT = "global_pool"  # what the network's own last layer reads


class NASNetClassifier(ClassifierMixin, BaseEstimator):
    """Logistic regression on NASNet-A vectors, calibrated: the head that `nasnet.finetune` fits.

    X is as for `NASNetFeatures`: pictures, or, as any 2-d array of numbers, vectors computed
    already. Fitted on one, it predicts the other too, if the vectors are as long.

    Args:
        weights: as for `NASNetFeatures`, and so are those up to `memory`.
        recipe: the preprocessing.
        size: height and width the pictures are brought to.
        rows: what 2-d X means.
        precision: `f32`, `bf16`, `f16`, `int8` or `auto`; see `EngineOptions`.
        batch_size: pictures in one run.
        engine: what computes.
        threads: cores to use.
        memory: keeps vectors, so that a search over the parameters below computes none twice.
        C: inverse strength of the L2 regularisation; None chooses the one with the least log
            loss on pictures held out in folds.
        max_iter: most iterations of the solver (L-BFGS), which may stop there.
        tol: when it stops.
        class_weight: weight of each class, or `balanced`.
        standardize: bring every feature to mean 0 and variance 1 first, within limits.
        random_state: seed of the folds, an integer.

    Attributes:
        classes_: the classes, sorted.
        C_: the strength that was used.
        temperature_: what the logits were divided by, so that probabilities are what comes true
            of pictures held out; 1 where there were too few.
        notes_: what to know of the probabilities: of pictures that are few, say.
        coef_: float64 [classes, features], of vectors as they are.
        intercept_: float64 [classes].
        n_iter_: iterations the solver took.
        weights_fingerprint_: which weights compute; None if fitted on vectors.
        n_features_in_: length of the rows, if fitted on rows.
        feature_names_in_: names of the columns, if fitted on a table of numbers.
    """

    classes_: Array
    weights_fingerprint_: str | None
    _network: Network
    _head: Head

    def __init__(
        self,
        weights: str | os.PathLike[str] = DEFAULT_HANDLE,
        *,
        recipe: str = "photo",
        size: tuple[int, int] | None = None,
        rows: Rows = "vectors",
        precision: Precision = "f32",
        batch_size: int = 4,
        engine: str = "openvino",
        threads: int | None = None,
        memory: Any = None,  # noqa: ANN401
        C: float | None = None,  # noqa: N803
        max_iter: int = 200,
        tol: float = 1e-4,
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        standardize: bool = True,
        random_state: int = 0,
    ) -> None:
        self.weights = weights
        self.recipe = recipe
        self.size = size
        self.rows = rows
        self.precision = precision
        self.batch_size = batch_size
        self.engine = engine
        self.threads = threads
        self.memory = memory
        self.C = C
        self.max_iter = max_iter
        self.tol = tol
        self.class_weight = class_weight
        self.standardize = standardize
        self.random_state = random_state

    def fit(
        self,
        X: Any,  # noqa: ANN401, N803
        y: Any,  # noqa: ANN401
        sample_weight: Any = None,  # noqa: ANN401
    ) -> NASNetClassifier:
        """Compute the vectors once, and fit the head to them.

        Args:
            X: pictures or vectors.
            y: their classes, [n], text or integers.
            sample_weight: how much each counts, [n].

        Raises:
            InputError: X, y or a parameter does not fit, or there is one class only.
            PictureError: a picture cannot be read.
        """
        store_of(self.memory)
        network = Network(settings_of(self, endpoint=_ENDPOINT))
        given = read(self, X, rows=self.rows, endpoint=_ENDPOINT, reset=True)
        # y is checked before anything is computed, against stand-ins that are as many as X.
        _, y = check_X_y(np.zeros((len(given), 1)), y, dtype=None, estimator=self)
        check_classification_targets(y)
        if sample_weight is not None:
            sample_weight = column_or_1d(sample_weight)
            check_consistent_length(y, sample_weight)
        counted = np.unique(y if sample_weight is None else y[sample_weight != 0])
        if len(counted) == 1:
            raise InputError(
                f"y holds one class only, {str(counted[0])!r}: a classifier needs two at least"
            )
        width = network.extractor.dimensions if given.vectors is None else given.vectors.shape[1]
        vectors = self._vectors(given, network, width)
        classes, labels = np.unique(y, return_inverse=True)
        head = fit_head(vectors, labels, len(classes), self._fit(classes), weights=sample_weight)
        self._network, self._head = network, head
        self.classes_, self.n_iter_ = classes, head.iterations
        self.C_, self.temperature_, self.notes_ = head.c, head.temperature, head.notes
        self.coef_, self.intercept_ = head.kernel.T, head.biases
        self.weights_fingerprint_ = network.fingerprint if given.vectors is None else None
        return self

    def predict(self, X: Any) -> Array:  # noqa: ANN401, N803
        """The most probable class of each, [n]."""
        most = self._logits(X).argmax(axis=1)
        return np.asarray(self.classes_[most])

    def predict_proba(self, X: Any) -> Array:  # noqa: ANN401, N803
        """Probability of every class, [n, classes], in the order of `classes_`."""
        return np.asarray(softmax(self._logits(X), axis=1))

    def predict_log_proba(self, X: Any) -> Array:  # noqa: ANN401, N803
        """Natural logarithm of `predict_proba`."""
        return np.asarray(log_softmax(self._logits(X), axis=1))

    def decision_function(self, X: Any) -> Array:  # noqa: ANN401, N803
        """Logits, [n, classes]; of two classes that of the second against the first, [n]."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def to_module(self, path: str | os.PathLike[str]) -> None:
        """Write a classification module that `nasnet.Module(path)` loads.

        Scaling, logistic regression and temperature become its last layer, the classes its labels:
        the softmax of its logits is `predict_proba`. It takes pictures that have its size already.

        Args:
            path: the folder; it appears complete or not at all.

        Raises:
            InputError: the vectors it was fitted on are not as long as the network's.
            OutputError: the path is taken by something else, or cannot be written.
        """
        check_is_fitted(self)
        weights = self._network.opened.weights
        dimensions = self._network.extractor.dimensions
        if len(self._head.kernel) != dimensions:
            raise InputError(
                f"fitted on vectors of {len(self._head.kernel)} numbers, but those of "
                f"{weights.source} have {dimensions}: no module can be made of the two"
            )
        labels = [str(label) for label in self.classes_]
        source = f"{weights.source} with a head of {len(labels)} classes"
        made = with_head(weights, self._head, labels, source=source)
        height, width = self._network.size
        folder = ModuleFolder(weights=made, task="classification", height=height, width=width)
        write_folder(folder, Path(path))

    def _logits(self, X: Any) -> Array:  # noqa: ANN401, N803
        check_is_fitted(self)
        given = read(self, X, rows=self.rows, endpoint=_ENDPOINT, reset=False)
        return self._head.logits(self._vectors(given, self._network, self.coef_.shape[1]))

    def _fit(self, classes: Array) -> HeadFit:
        weights = self.class_weight
        if isinstance(weights, dict):
            weights = {n: weights.get(label, 1.0) for n, label in enumerate(classes.tolist())}
        return HeadFit(
            c=self.C,
            class_weight=weights,
            max_iter=self.max_iter,
            tol=self.tol,
            standardize=self.standardize,
            seed=self.random_state,
        )

    def _vectors(self, given: Given, network: Network, width: int) -> Array:
        return vectors_of(given, network, width=width, on_error="raise", memory=self.memory)

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401
        # one_d_array stays False: scikit-learn takes it for 1-d numbers, not for paths.
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        return tags
