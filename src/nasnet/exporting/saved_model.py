"""TensorFlow 2's SavedModel as a reusable hub module: it infers, trains, and says what it is.

Needs TensorFlow (extra `tensorflow`).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from nasnet.compute.tensorflow_operations import Mode, compute
from nasnet.errors import OutputError, needs
from nasnet.exporting.request import Arrays, Request, Run
from nasnet.network.rewrites import keep, share_equal

_MOMENTUM = 0.99  # the card's; `batch_norm_momentum` changes it
_KERNELS = ("weights", "depthwise_weights", "pointwise_weights")


def write_saved_model(request: Request, path: Path) -> None:
    """A folder that `hub.load` and `hub.KerasLayer` take (the "Reusable SavedModel" interface).

    Called as `module(images, training=False, batch_norm_momentum=0.99, return_endpoints=False)`
    with images [n, height, width, 3], float32 in [0, 1]; it has `variables`,
    `trainable_variables`, `regularization_losses` and the signature `serving_default`.
    `return_endpoints` gives every endpoint on the way to the main output, as the published
    modules do, whatever else was asked for: nothing of it is computed unless a call wants it.
    """
    tf = needs("tensorflow", extra="tensorflow")
    endpoints = _endpoints(request)
    program = share_equal(keep(request.program(), endpoints))
    plan, spec = program.plan, program.plan.spec
    variables = {
        name: tf.Variable(array, name=name, trainable="/moving_" not in name)
        for name, array in program.arrays.items()
    }
    main = request.main

    def call(
        inputs: Any,  # noqa: ANN401
        training: bool = False,
        batch_norm_momentum: Any = _MOMENTUM,  # noqa: ANN401
        return_endpoints: bool = False,
    ) -> Any:  # noqa: ANN401
        mode = Mode(spec=spec, training=training, decay=batch_norm_momentum)
        found = compute(plan, inputs, variables, mode)
        if return_endpoints:
            named = {f"nasnet_{spec.name}/{name}": found[name] for name in endpoints}
            return {"default": found[main], **named}
        return found[main]

    images = tf.TensorSpec([request.batch_size, request.height, request.width, 3], name="inputs")
    function = tf.function(call, autograph=False)  # no branch depends on a tensor
    for training in (False, True):
        for momentum in (_MOMENTUM, tf.TensorSpec([], tf.float32)):
            for return_endpoints in (False, True):
                function.get_concrete_function(images, training, momentum, return_endpoints)
    module = tf.train.Checkpoint()
    module.__call__ = function
    module.variables = list(variables.values())
    module.trainable_variables = [v for v in variables.values() if v.trainable]
    module.regularization_losses = [
        _loss(tf, variable, spec.weight_decay)
        for name, variable in variables.items()
        if name.rsplit("/", 1)[1] in _KERNELS
    ]
    key = "logits" if main == "Logits" else "feature_vector"
    serving = tf.function(
        lambda inputs: {key: call(inputs)}, input_signature=[images], autograph=False
    )
    with tempfile.TemporaryDirectory() as folder:
        if request.labels:
            labels = Path(folder) / "labels.txt"
            labels.write_text("\n".join(request.labels) + "\n", encoding="utf-8")
            module.labels = tf.saved_model.Asset(str(labels))
        tf.saved_model.save(module, str(path), signatures={"serving_default": serving})


def _endpoints(request: Request) -> tuple[str, ...]:
    """The outputs that were asked for, and all that the main one is computed from."""
    program = request.program()
    on_the_way = {operation.name for operation in keep(program, (request.main,)).plan.operations}
    return tuple(
        endpoint
        for endpoint, name in program.plan.endpoints.items()
        if name in on_the_way or endpoint in request.endpoints
    )


def _loss(tf: Any, variable: Any, factor: float) -> Any:  # noqa: ANN401
    """TF-Slim's L2 term of one kernel, as the interface wants it: a function of nothing."""

    @tf.function(input_signature=[], autograph=False)  # type: ignore[untyped-decorator]
    def loss() -> Any:  # noqa: ANN401
        return factor * tf.nn.l2_loss(variable)

    return loss


def run_saved_model(request: Request, path: Path) -> Run:
    """TensorFlow.

    Raises:
        OutputError: the signature `serving_default` and a call differ.
    """
    tf = needs("tensorflow", extra="tensorflow")
    module = tf.saved_model.load(str(path))
    prefix = f"{request.weights.network}/"

    def run(images: Arrays) -> dict[str, Arrays]:
        found = module(images, return_endpoints=True)
        served = module.signatures["serving_default"](tf.constant(images))
        answer = next(iter(served.values())).numpy()
        if not np.array_equal(answer, found["default"].numpy()):
            raise OutputError(f"{path}: its serving_default gives other numbers than a call")
        return {name: found[prefix + name].numpy() for name in request.endpoints}

    return Run(f"tensorflow {tf.__version__}", run)
