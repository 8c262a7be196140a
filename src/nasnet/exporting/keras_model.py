"""The Keras renderer: a plan becomes a model of Keras' own layers, which Keras alone can load.

Needs Keras 3 with a backend (extra `tensorflow`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nasnet.errors import needs
from nasnet.exporting.request import Arrays, Request, Run
from nasnet.network.plan import IMAGES, NO_PADDING, Operation, Plan
from nasnet.network.rewrites import (
    FUSED_EPSILON_FLOOR,
    Program,
    drop_training_only,
    keep,
    share_equal,
)
from nasnet.weights import layouts


def write_keras(request: Request, path: Path) -> None:
    """A `.keras` file: `keras.saving.load_model(path)` needs nothing of this package."""
    keras_model(request).save(path)


def run_keras(request: Request, path: Path) -> Run:
    """Keras, with the backend it is set to."""
    keras = _keras()
    model = keras.saving.load_model(path, compile=False)

    def run(images: Arrays) -> dict[str, Arrays]:
        found = model.predict(images, batch_size=8, verbose=0)
        return {name: np.asarray(found[name]) for name in request.endpoints}

    return Run(f"keras {keras.__version__} on {keras.backend.backend()}", run)


def _keras() -> Any:  # noqa: ANN401
    needs("tensorflow", extra="tensorflow")
    return needs("keras", extra="tensorflow")


def keras_model(request: Request) -> Any:  # noqa: ANN401
    """The network as a functional Keras model: [n, height, width, 3] in [0, 1] -> endpoints.

    Its padding is TF-Slim's, whatever Keras' own NASNet does. Layers with weights have the names
    of `keras.applications`, others those of the plan.

    Raises:
        MissingExtraError: Keras or TensorFlow is not installed.
    """
    keras = _keras()
    program = share_equal(drop_training_only(keep(request.program(), request.endpoints)))
    plan = program.plan
    writer = _Writer(keras, program, _layer_names(request))
    size = (request.height, request.width, 3)
    images = keras.Input(size, batch_size=request.batch_size, name=IMAGES)
    values = {IMAGES: images}
    for operation in plan.operations:
        inputs = [values[name] for name in operation.inputs]
        values[operation.name] = _FORMS[operation.kind](writer, operation, inputs)
    outputs = {endpoint: values[name] for endpoint, name in plan.endpoints.items()}
    model = keras.Model(images, outputs, name=f"nasnet_{plan.spec.name}")
    for layer, names_ in writer.filled:
        layer.set_weights([writer.arrays[name] for name in names_])
    return model


def _layer_names(request: Request) -> Mapping[str, str]:
    """Scope of a variable -> name of the layer that holds it."""
    weights = request.weights
    places = layouts.places("keras", weights.spec, weights.num_classes)
    found: dict[str, str] = {}
    for name, place in places.items():
        found[name.rsplit("/", 1)[0]] = place.key.rsplit("/", 1)[0]
    return found


class _Writer:
    """Makes layers while `keras_model` walks the plan, and remembers whose weights they take."""

    def __init__(self, keras: Any, program: Program, known: Mapping[str, str]) -> None:  # noqa: ANN401
        self.layers = keras.layers
        self.plan: Plan = program.plan
        self.arrays = program.arrays
        self.filled: list[tuple[Any, tuple[str, ...]]] = []
        self._known = known
        self._readers = {name: op for op in self.plan.operations for name in op.inputs}

    def name(self, operation: Operation) -> str:
        """A layer's name, which may hold no slash."""
        if operation.parameters:
            scope = operation.parameters[0].rsplit("/", 1)[0]
            if scope in self._known:
                return self._known[scope]
        return operation.name.replace("/", ".")

    def reader(self, operation: Operation) -> Operation:
        """The one operation that reads a result."""
        return self._readers[operation.name]

    def fill(self, layer: Any, parameters: tuple[str, ...]) -> Any:  # noqa: ANN401
        """Note that a layer takes these variables, in its own order."""
        self.filled.append((layer, parameters))
        return layer


def _padding(operation: Operation) -> str:
    # The plan's padding is TensorFlow's SAME for this size, as Keras' is on every backend.
    return "valid" if operation.padding == NO_PADDING else "same"


def _conv(w: _Writer, op: Operation, inputs: list[Any]) -> Any:  # noqa: ANN401
    if "/separable_" in op.name:
        return inputs[0]  # was done with its depthwise half
    layer = w.layers.Conv2D(
        op.shape[-1],
        op.kernel,
        strides=op.strides,
        dilation_rate=op.dilation,
        padding=_padding(op),
        use_bias=False,
        name=w.name(op),
    )
    return w.fill(layer, op.parameters)(inputs[0])


def _separable(w: _Writer, op: Operation, inputs: list[Any]) -> Any:  # noqa: ANN401
    pointwise = w.reader(op)
    layer = w.layers.SeparableConv2D(
        pointwise.shape[-1],
        op.kernel,
        strides=op.stride,
        padding=_padding(op),
        use_bias=False,
        name=w.name(op),
    )
    return w.fill(layer, (*op.parameters, *pointwise.parameters))(inputs[0])


def _batch_norm(w: _Writer, op: Operation, inputs: list[Any]) -> Any:  # noqa: ANN401
    beta, gamma, mean, variance = op.parameters
    spec = w.plan.spec
    layer = w.layers.BatchNormalization(
        momentum=spec.batch_norm_decay,
        epsilon=max(spec.batch_norm_epsilon, FUSED_EPSILON_FLOOR),
        name=w.name(op),
    )
    return w.fill(layer, (gamma, beta, mean, variance))(inputs[0])


def _dense(w: _Writer, op: Operation, inputs: list[Any]) -> Any:  # noqa: ANN401
    return w.fill(w.layers.Dense(op.shape[-1], name=w.name(op)), op.parameters)(inputs[0])


def _pool(w: _Writer, op: Operation, inputs: list[Any]) -> Any:  # noqa: ANN401
    kind = w.layers.AveragePooling2D if op.kind == "avg_pool" else w.layers.MaxPooling2D
    value, padding = inputs[0], _padding(op)
    if op.zeros:
        value = w.layers.ZeroPadding2D(op.padding, name=f"{w.name(op)}.zeros")(value)
        padding = "valid"
    return kind(op.kernel, strides=op.stride, padding=padding, name=w.name(op))(value)


def _shift(w: _Writer, op: Operation, inputs: list[Any]) -> Any:  # noqa: ANN401
    padded = w.layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"{w.name(op)}.zeros")(inputs[0])
    return w.layers.Cropping2D(((1, 0), (1, 0)), name=w.name(op))(padded)


def _subsample(w: _Writer, op: Operation, inputs: list[Any]) -> Any:  # noqa: ANN401
    # Of a plan that was not rewritten: none begins at an offset.
    return w.layers.MaxPooling2D(1, strides=op.stride, name=w.name(op))(inputs[0])


def _rescale(w: _Writer, op: Operation, inputs: list[Any]) -> Any:  # noqa: ANN401
    return w.layers.Rescaling(op.scale, op.offset, name=w.name(op))(inputs[0])


_FORMS: Mapping[str, Callable[[_Writer, Operation, list[Any]], Any]] = {
    "rescale": _rescale,
    "conv": _conv,
    "depthwise": _separable,
    "batch_norm": _batch_norm,
    "relu": lambda w, op, inputs: w.layers.ReLU(name=w.name(op))(inputs[0]),
    "avg_pool": _pool,
    "max_pool": _pool,
    "shift": _shift,
    "subsample": _subsample,
    "add": lambda w, op, inputs: w.layers.Add(name=w.name(op))(inputs),
    "concat": lambda w, op, inputs: w.layers.Concatenate(name=w.name(op))(inputs),
    "global_pool": lambda w, op, inputs: w.layers.GlobalAveragePooling2D(name=w.name(op))(
        inputs[0]
    ),
    "dense": _dense,
    "softmax": lambda w, op, inputs: w.layers.Softmax(name=w.name(op))(inputs[0]),
}
