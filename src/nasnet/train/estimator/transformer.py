"""`NASNetFeatures`, the transformer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from nasnet.compute.engine import Precision
from nasnet.errors import InputError
from nasnet.train.estimator.computing import Network, OnError, settings_of, store_of, vectors_of
from nasnet.train.estimator.given import Rows, read
from nasnet.weights.opening import DEFAULT_HANDLE


class NASNetFeatures(TransformerMixin, BaseEstimator):
    """Turns pictures into NASNet-A vectors; a stateless transformer.

    X is a list, 1-d array or column of pictures (paths, URLs, encoded bytes, PIL images, arrays
    [height, width, 3]), or one array [n, height, width, 3]; uint8, or floats in [0, 1], which are
    rounded to 8 bits. Rows of numbers, 2-d, are what `rows` says.

    Args:
        weights: a published handle, a path, or `seeded:N`.
        recipe: how pictures become pixels: photo, tf1-hub, tf2-hub, slim-eval or cadene-eval; with
            or without a version (`photo/1`).
        endpoint: which vector; of a map, such as `Cell_5`, the mean over its positions.
        size: height and width the pictures are brought to; the network's own if not given.
        rows: what 2-d X means: `vectors`, computed already, that are passed on as they are; or
            the shape, (height, width, 3) or (height, width), of pictures flattened to rows.
        precision: `f32`, exact, `bf16`, `f16`, `int8` or `auto`; see `EngineOptions`.
        batch_size: pictures in one run.
        engine: a key of `nasnet.compute.engine.ENGINES`.
        threads: cores to use; all there are if not given.
        on_error: `raise` if a picture cannot be read, or give it a row of `nan`.
        memory: a folder or `joblib.Memory` that keeps the vector of every picture, by its content,
            so that none is computed twice.

    Attributes:
        n_features_out_: length of a vector.
        weights_fingerprint_: which weights compute; None if fitted on vectors.
        n_features_in_: length of the rows, if fitted on rows.
        feature_names_in_: names of the columns, if fitted on a table of numbers.
    """

    n_features_out_: int
    weights_fingerprint_: str | None
    _network: Network

    def __init__(
        self,
        weights: str | os.PathLike[str] = DEFAULT_HANDLE,
        *,
        recipe: str = "photo",
        endpoint: str = "global_pool",
        size: tuple[int, int] | None = None,
        rows: Rows = "vectors",
        precision: Precision = "f32",
        batch_size: int = 4,
        engine: str = "openvino",
        threads: int | None = None,
        on_error: OnError = "raise",
        memory: Any = None,  # noqa: ANN401
    ) -> None:
        self.weights = weights
        self.recipe = recipe
        self.endpoint = endpoint
        self.size = size
        self.rows = rows
        self.precision = precision
        self.batch_size = batch_size
        self.engine = engine
        self.threads = threads
        self.on_error = on_error
        self.memory = memory

    def fit(self, X: Any, y: object = None) -> NASNetFeatures:  # noqa: ANN401, N803
        """Check the parameters and open the weights; of X only the kind is looked at.

        Args:
            X: see the class; vectors need no weights, so none are opened for them.
            y: not used.

        Raises:
            InputError: X or a parameter does not fit (a `ValueError` and `TypeError`).
            FetchError: the weights cannot be had.
            WeightsError: they are no NASNet-A weights, or damaged.
        """
        if self.on_error not in ("raise", "nan"):
            raise InputError(f"on_error is 'raise' or 'nan', not {self.on_error!r}")
        store_of(self.memory)
        network = Network(settings_of(self, endpoint=self.endpoint))
        given = read(self, X, rows=self.rows, endpoint=self.endpoint, reset=True)
        if given.vectors is not None:
            self.n_features_out_, self.weights_fingerprint_ = given.vectors.shape[1], None
        else:
            self.n_features_out_ = network.extractor.dimensions
            self.weights_fingerprint_ = network.fingerprint
        self._network = network
        return self

    def transform(self, X: Any) -> npt.NDArray[Any]:  # noqa: ANN401, N803
        """The vectors of X.

        Returns:
            [n, n_features_out_] in order, float32 (vectors passed on keep float64).

        Raises:
            PictureError: a picture cannot be read, unless `on_error` is `nan`.
            InputError: X does not fit.
            WeightsError: what lies at `weights` is not what it was at `fit`.
        """
        check_is_fitted(self)
        given = read(self, X, rows=self.rows, endpoint=self._network.settings.endpoint, reset=False)
        return vectors_of(
            given,
            self._network,
            width=self.n_features_out_,
            on_error=self.on_error,
            memory=self.memory,
        )

    def get_feature_names_out(
        self, input_features: Sequence[str] | None = None
    ) -> npt.NDArray[np.object_]:
        """`nasnet_0`, `nasnet_1` and so on.

        Args:
            input_features: must be those of `fit`, as elsewhere in scikit-learn; changes nothing.

        Raises:
            InputError: they are not.
        """
        check_is_fitted(self)
        if input_features is not None and hasattr(self, "n_features_in_"):
            names = np.asarray(input_features, object)
            if len(names) != self.n_features_in_:
                raise InputError(
                    f"input_features should have length equal to number of features "
                    f"({self.n_features_in_}), got {len(names)}"
                )
            if not np.array_equal(getattr(self, "feature_names_in_", names), names):
                raise InputError("input_features is not equal to feature_names_in_")
        return np.array([f"nasnet_{index}" for index in range(self.n_features_out_)], object)

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401
        # one_d_array stays False: scikit-learn takes it for 1-d numbers, not for paths.
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]  # of vectors passed on
        return tags
