"""Training mode beside TensorFlow, cell by cell: results, gradients and moving averages.

Cell by cell, because batch statistics amplify rounding from cell to cell; gradients in float64,
because in float32 a value near zero may fall on either side of a ReLU.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from nasnet.rewrites import FUSED_EPSILON_FLOOR
from nasnet.weights import seeded
from tests.conftest import relative_error
from tests.interop.tensorflow_cells import render

pytestmark = pytest.mark.interop

SIZES = {"mobile": 64, "cifar": 32}
DECAY = 0.9


def network(spec: str, dtype: str) -> Any:
    torch = pytest.importorskip("torch")
    from nasnet.torch_model import NASNet

    # The auxiliary head needs a map of 5x5 pixels at least, which mobile has from 112 px on.
    aux, size = spec == "cifar", SIZES[spec]
    made = NASNet(spec, aux_head=aux, height=size, width=size)
    given = seeded(7, spec=spec, aux_head=True).arrays
    made._fill(
        {
            name: given[name] if given[name].shape == shape else np.full(shape, 0.01, np.float32)
            for name, shape in made.plan.parameters.items()
        }
    )
    made.to(getattr(torch, dtype)).train()
    made.behaviour.decay = DECAY
    made.behaviour.spec = dataclasses.replace(
        made.spec, dense_dropout_keep_prob=1.0, drop_path_keep_prob=1.0
    )
    return made


def inputs_of(made: Any, segment: Any, dtype: str) -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(0)
    found = {}
    for name in segment.reads:
        size = made.plan.height, made.plan.width, 3
        shape = size if name == "images" else made.plan[name].shape
        values = random.standard_normal((3, *shape))
        found[name] = (np.maximum(values, 0) if name.endswith("relu") else values).astype(dtype)
    return found


def chw(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values.transpose(0, 3, 1, 2) if values.ndim == 4 else values


def hwc(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values.transpose(0, 2, 3, 1) if values.ndim == 4 else values


def arrays_of(made: Any, dtype: str) -> dict[str, np.ndarray[Any, Any]]:
    arrays = made.weights(source="test").arrays
    return {name: array.astype(dtype) for name, array in arrays.items()}


def epsilon_of(made: Any) -> float:
    return float(max(made.spec.batch_norm_epsilon, FUSED_EPSILON_FLOOR))


@pytest.mark.parametrize("spec", ["mobile", "cifar"])
def test_each_cell_computes_and_averages_as_tensorflow_does(spec: str) -> None:
    tf = pytest.importorskip("tensorflow")
    torch = pytest.importorskip("torch")
    made = network(spec, "float32")
    arrays = arrays_of(made, "float32")
    for segment in made.segments:
        given = inputs_of(made, segment, "float32")
        values, statistics = render(
            segment.operations,
            {name: tf.constant(value) for name, value in given.items()},
            {name: tf.constant(array) for name, array in arrays.items()},
            epsilon=epsilon_of(made),
        )
        with torch.no_grad():
            found = segment(*(torch.from_numpy(chw(value)) for value in given.values()))
        for name, value in zip(segment.gives, found, strict=True):
            assert relative_error(hwc(value.numpy()), values[name].numpy()) < 1e-5, name
        after = arrays_of(made, "float32")
        for name, (mean, variance) in statistics.items():
            for leaf, of_batch in (("moving_mean", mean), ("moving_variance", variance)):
                key = f"{name}/{leaf}"
                expected = arrays[key] * DECAY + (1 - DECAY) * of_batch.numpy()
                assert relative_error(after[key], expected) < 1e-5, key


@pytest.mark.parametrize("spec", ["mobile", "cifar"])
def test_each_cells_gradients_are_tensorflows(spec: str) -> None:
    tf = pytest.importorskip("tensorflow")
    torch = pytest.importorskip("torch")
    from nasnet.torch_weights import key_of, shape_in_torch

    made = network(spec, "float64")
    arrays = arrays_of(made, "float64")
    parameters = dict(made.named_parameters())
    random = np.random.default_rng(1)
    for segment in made.segments:
        given = inputs_of(made, segment, "float64")
        watched = {name: tf.Variable(value) for name, value in given.items()}
        names = [name for op in segment.operations for name in op.parameters]
        weights = {name: tf.Variable(arrays[name]) for name in names}
        with tf.GradientTape() as tape:
            values, _ = render(segment.operations, watched, weights, epsilon=epsilon_of(made))
            pulls = [random.standard_normal(values[name].shape) for name in segment.gives]
            loss = sum(
                tf.reduce_sum(values[name] * pull)
                for name, pull in zip(segment.gives, pulls, strict=True)
            )
        moving = [name for name in names if "/moving_" not in name]
        expected = tape.gradient(loss, [weights[n] for n in moving] + list(watched.values()))
        tensors = [torch.from_numpy(chw(v).copy()).requires_grad_() for v in given.values()]
        found = segment(*tensors)
        sum(
            (value * torch.from_numpy(chw(pull))).sum()
            for value, pull in zip(found, pulls, strict=True)
        ).backward()
        for name, gradient in zip(moving, expected, strict=False):
            own = parameters[key_of(name)].grad.numpy()
            axes = axes_of(name, gradient.shape.rank)
            assert own.shape == shape_in_torch(name, tuple(gradient.shape))
            assert relative_error(own, gradient.numpy().transpose(axes)) < 1e-9, name
        for tensor, gradient in zip(tensors, expected[len(moving) :], strict=True):
            assert relative_error(hwc(tensor.grad.numpy()), gradient.numpy()) < 1e-9, segment.scope


def axes_of(name: str, rank: int) -> tuple[int, ...]:
    """Written out once more, independent of the code under test: TF-Slim's layout to torch's."""
    if rank == 4:
        return (2, 3, 0, 1) if name.endswith("depthwise_weights") else (3, 2, 0, 1)
    return (1, 0) if rank == 2 else tuple(range(rank))


def test_rmsprop_moves_as_tensorflows() -> None:
    tf = pytest.importorskip("tensorflow")
    torch = pytest.importorskip("torch")
    from nasnet.training.optimizers import RMSPropTF

    random = np.random.default_rng(0)
    start = random.standard_normal(20)
    gradients = random.standard_normal((5, 20))
    for epsilon in (1.0, 1e-3):
        variable = tf.Variable(start)
        theirs = tf.compat.v1.train.RMSPropOptimizer(0.1, decay=0.9, momentum=0.9, epsilon=epsilon)
        parameter = torch.nn.Parameter(torch.from_numpy(start.copy()))
        ours = RMSPropTF([parameter], 0.1, decay=0.9, momentum=0.9, epsilon=epsilon)
        for gradient in gradients:
            theirs.apply_gradients([(tf.constant(gradient), variable)])
            parameter.grad = torch.from_numpy(gradient.copy())
            ours.step()
        # TensorFlow rounds its rates to float32, whatever the variable is.
        assert relative_error(parameter.detach().numpy(), variable.numpy()) < 1e-7


def test_the_classification_loss_is_tf_slims() -> None:
    tf = pytest.importorskip("tensorflow")
    torch = pytest.importorskip("torch")
    from nasnet.loader import TrainBatch
    from nasnet.training import Classification

    random = np.random.default_rng(0)
    logits, aux = (random.standard_normal((6, 11)).astype(np.float32) for _ in range(2))
    labels = random.integers(0, 11, 6)
    expected = sum(
        weight
        * tf.compat.v1.losses.softmax_cross_entropy(
            tf.one_hot(labels, 11), values, label_smoothing=0.1
        )
        for weight, values in ((1.0, logits), (0.4, aux))
    )
    batch = TrainBatch(
        epoch=0,
        step=0,
        images=np.zeros((6, 1, 1, 3), np.uint8),
        labels=labels,
        mixed=labels,
        share=np.ones(6, np.float32),
        ids=tuple("abcdef"),
        rows=np.arange(6),
    )
    outputs = {"Logits": torch.from_numpy(logits), "AuxLogits": torch.from_numpy(aux)}
    objective = Classification(smoothing=0.1, aux_weight=0.4)
    loss, _ = objective.loss(lambda images, endpoints: outputs, torch.zeros(6, 3, 1, 1), batch)
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
