"""A plan in TensorFlow's own operations, in training mode: what the PyTorch network is held to.

Written from the kinds of the operations as TF-Slim computes them, channels last, with TensorFlow's
own padding; of the plan's numbers only windows and strides are read, never its padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from nasnet.compute.torch.model import NASNet
from nasnet.compute.torch.state import key_of
from nasnet.network.plan import Operation
from nasnet.network.spec import Spec

__all__ = ["LEAST_EPSILON", "Pass", "ours", "slim", "tensorflow_pass"]

# The convolutions and the pool that TF-Slim does not pad: the stem's, and the auxiliary head's.
VALID = ("conv0", "aux_logits/pool", "aux_logits/Conv")
# What TensorFlow 1's `fused_batch_norm`, which TF-Slim calls, makes of any smaller epsilon;
# TensorFlow 2.21 takes what it is given.
LEAST_EPSILON = 1.001e-5

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Pass:
    """What one implementation made of a pass in training mode, in TF-Slim's layouts.

    Attributes:
        outputs: results by the operations' names.
        gradients: of a loss, with respect to inputs and weights, by their names.
        averages: the moving averages afterwards.
        active: of each ReLU in order, which values it let through.
    """

    outputs: Arrays
    gradients: Arrays
    averages: Arrays
    active: Sequence[np.ndarray]


def slim(value: torch.Tensor, name: str = "") -> np.ndarray:
    """A tensor of ours in TF-Slim's layout, copied: a variable of that name, or a result."""
    array: np.ndarray = value.detach().numpy()
    leaf = name.rsplit("/", 1)[-1]
    if array.ndim == 4:
        special = {"": (0, 2, 3, 1), "depthwise_weights": (2, 3, 0, 1)}
        array = array.transpose(special.get(leaf, (2, 3, 1, 0)))
    return np.array(array.T if leaf == "weights" and array.ndim == 2 else array, order="C")


def ours(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array.transpose(0, 3, 1, 2) if array.ndim == 4 else array))


def draw(shape: tuple[int, ...]) -> np.ndarray:
    """The uniform numbers that torch draws next."""
    array: np.ndarray = torch.rand(shape).numpy()
    return array


@dataclass(slots=True, kw_only=True)
class Renderer:
    """Computes operations one after another; lives for one pass.

    Attributes:
        spec: the network's row.
        parameters: TF-Slim variable name -> tensor, in TF-Slim's layouts.
        values: results by the operations' names, those given at first included.
        decay: of the moving averages.
        training: whether batch norm takes the batch's statistics.
        step: training steps done, as a share of all, for path dropout.
        averages: what the pass makes of the moving averages, by their names.
    """

    spec: Spec
    parameters: Mapping[str, Any]
    values: dict[str, Any]
    decay: float
    training: bool
    step: float
    averages: dict[str, Any] = field(default_factory=dict)

    def run(self, operations: Iterable[Operation]) -> None:
        """Compute operations whose inputs are there."""
        for operation in operations:
            inputs = [self.values[name] for name in operation.inputs]
            self.values[operation.name] = self._apply(operation, inputs)

    def _apply(self, op: Operation, inputs: list[Any]) -> Any:  # noqa: C901 - one case a kind
        import tensorflow as tf

        x = inputs[0]
        arrays = [self.parameters[name] for name in op.parameters]
        padding = "VALID" if op.name.endswith(VALID) else "SAME"
        match op.kind:
            case "rescale":
                return x * 2 - 1
            case "conv" if op.name.endswith(("path1_conv", "path2_conv")):
                # TF-Slim's `factorized_reduction` subsamples with a pool of one pixel.
                picked = tf.nn.avg_pool2d(x, 1, op.stride, "VALID")
                return tf.nn.conv2d(picked, arrays[0], 1, "SAME")
            case "conv":
                return tf.nn.conv2d(x, arrays[0], op.stride, padding)
            case "depthwise":
                return tf.nn.depthwise_conv2d(x, arrays[0], [1, op.stride, op.stride, 1], "SAME")
            case "batch_norm":
                return self._batch_norm(op, x)
            case "relu":
                return tf.nn.relu(x)
            case "avg_pool":
                return tf.nn.avg_pool2d(x, op.kernel, op.stride, padding)
            case "max_pool":
                return tf.nn.max_pool2d(x, op.kernel, op.stride, "SAME")
            case "shift":
                return tf.pad(x, [[0, 0], [0, 1], [0, 1], [0, 0]])[:, 1:, 1:, :]
            case "drop_path":
                return self._drop_path(op, x)
            case "add":
                return inputs[0] + inputs[1]
            case "concat":
                return tf.concat(inputs, 3)
            case "global_pool":
                return tf.reduce_mean(x, [1, 2])
            case "flatten":
                return tf.reshape(x, [x.shape[0], -1])
            case "dropout":
                rate = 1 - self.spec.dense_dropout_keep_prob
                kept = draw(tuple(x.shape)) >= rate
                return tf.where(kept, x / (1 - rate), tf.zeros_like(x))
            case "dense":
                return tf.matmul(x, arrays[0]) + arrays[1]
            case "softmax":
                return tf.nn.softmax(x)
        raise AssertionError(f"no TensorFlow form of {op.kind}")

    def _batch_norm(self, op: Operation, x: Any) -> Any:
        import tensorflow as tf

        names = {name.rsplit("/", 1)[1]: name for name in op.parameters}
        beta, gamma, mean, variance = (
            self.parameters[names[leaf]]
            for leaf in ("beta", "gamma", "moving_mean", "moving_variance")
        )
        epsilon = max(self.spec.batch_norm_epsilon, LEAST_EPSILON)
        if x.dtype == tf.float32:
            y, new_mean, new_variance = tf.compat.v1.nn.fused_batch_norm(
                x,
                gamma,
                beta,
                mean=mean,
                variance=variance,
                epsilon=epsilon,
                is_training=self.training,
                exponential_avg_factor=1 - self.decay if self.training else 1.0,
            )
        else:
            # The fused operation takes no float64: what it documents, spelt out.
            found = tf.nn.moments(x, [0, 1, 2]) if self.training else (mean, variance)
            y = tf.nn.batch_normalization(x, *found, beta, gamma, epsilon)
            count = int(np.prod(x.shape[:3]))
            unbiased = found[1] * count / max(count - 1, 1)
            new_mean = mean * self.decay + found[0] * (1 - self.decay)
            new_variance = variance * self.decay + unbiased * (1 - self.decay)
        if self.training:
            self.averages[names["moving_mean"]] = new_mean
            self.averages[names["moving_variance"]] = new_variance
        return y

    def _drop_path(self, op: Operation, x: Any) -> Any:
        assert op.cell is not None
        total = self.spec.num_cells + self.spec.num_reduction_layers
        total += 2 if self.spec.stem == "imagenet" else 0
        keep = 1 - (op.cell + 1) / total * (1 - self.spec.drop_path_keep_prob)
        keep = 1 - self.step * (1 - keep)
        mask = np.floor(keep + draw((int(x.shape[0]), 1, 1, 1)))
        return x * (1.0 / keep) * mask.astype(x.dtype.as_numpy_dtype)


def tensorflow_pass(
    net: NASNet,
    operations: Sequence[Operation],
    inputs: Arrays,
    loss: Callable[[Mapping[str, Any], Mapping[str, Any]], Any],
    wanted: Sequence[str],
) -> Pass:
    """Forward and backward of operations of a network, with its weights and as it behaves.

    Args:
        net: in training mode.
        operations: of its plan.
        inputs: what they read, channels last.
        loss: of all results and of the weights, by their names; a scalar.
        wanted: names of the results to give back.

    Random numbers are drawn from torch, in the order of the operations.
    """
    import tensorflow as tf

    state = net.state_dict()
    names = [name for op in operations for name in op.parameters]
    parameters = {name: tf.constant(slim(state[key_of(name)], name)) for name in names}
    given = {name: tf.constant(array) for name, array in inputs.items()}
    weights = {name: v for name, v in parameters.items() if "/moving_" not in name}
    with tf.GradientTape() as tape:
        tape.watch([weights, given])
        renderer = Renderer(
            spec=net.spec,
            parameters=parameters,
            values=dict(given),
            decay=net.behaviour.decay,
            training=net.behaviour.statistics == "batch",
            step=float(net.behaviour.progress),
        )
        renderer.run(operations)
        total = loss(renderer.values, weights)
    gradients = tape.gradient(total, weights | given)
    return Pass(
        outputs={name: renderer.values[name].numpy() for name in wanted},
        gradients={name: value.numpy() for name, value in gradients.items()},
        averages={name: value.numpy() for name, value in renderer.averages.items()},
        active=[renderer.values[op.name].numpy() > 0 for op in operations if op.kind == "relu"],
    )
