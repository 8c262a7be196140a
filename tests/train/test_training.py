"""Schedules, optimizers, objectives and the loop; each against its formula, on tiny networks."""

from __future__ import annotations

import csv
import dataclasses
import math
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nasnet.compute.torch.model import NASNet
from nasnet.errors import InputError, TrainingError
from nasnet.pictures.batches import TrainBatch
from nasnet.system import Stopping
from nasnet.train.loop import (
    Classification,
    Forward,
    Logs,
    Targets,
    TrainEvent,
    device_of,
)
from nasnet.train.loop.checkpoint import read_checkpoint
from nasnet.train.loop.optimizers import depths_of, factor, load_slots, make, slots
from nasnet.train.loop.passes import prepare
from nasnet.train.loop.replicas import ALONE, memory_kept
from nasnet.train.recipe import OptimizerRecipe, ScheduleRecipe, TrainOptions
from tests.support.training import (
    CLASSES,
    SPEC,
    fit,
    loader,
    network,
    one_thread,
    same,
    saved,
    trainer,
    untimed,
)

__all__ = ["one_thread"]  # a fixture


# -- schedules


def at(epoch: float, *, step: float = 0.0, epochs: float = 10.0, **options: Any) -> float:
    return factor(ScheduleRecipe(**options), epoch=epoch, step=step, epochs=epochs)


def test_a_cosine_falls_from_the_peak_to_what_is_left() -> None:
    assert [at(epoch) for epoch in (0, 5, 10)] == pytest.approx([1, 0.5, 0])
    assert at(2.5) == pytest.approx(0.5 + math.sqrt(0.5) / 2)
    assert [at(epoch, last=0.2) for epoch in (0, 5, 10, 11)] == pytest.approx([1, 0.6, 0.2, 0.2])


def test_exponential_decay_comes_in_stairs() -> None:
    # TF-Slim: learning_rate * 0.97 ** floor(step / (steps of 2.4 epochs))
    found = [at(epoch, kind="exponential") for epoch in (0, 2.39, 2.4, 4.79, 4.81, 240.01)]
    assert found == pytest.approx([1, 1, 0.97, 0.97, 0.97**2, 0.97**100])


def test_a_constant_stays_and_a_warm_up_rises_to_it() -> None:
    assert at(7, kind="constant") == 1
    rise = [at(n / 4, step=0.25, kind="constant", warmup_epochs=1.0) for n in range(6)]
    assert rise == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])


def test_a_warm_up_may_be_a_share_of_the_run() -> None:
    rise = [at(n, step=1, kind="constant", warmup_share=0.4) for n in range(5)]
    assert rise == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    assert at(0, step=1, kind="constant", warmup_share=0.4, warmup_epochs=8.0) == 1 / 8
    assert at(7, warmup_share=0.4) == pytest.approx(0.5)  # the cosine is half way from 4 to 10


def test_a_cosine_begins_where_its_warm_up_ends() -> None:
    options = dict(warmup_epochs=2.0, step=0.5)
    assert at(0, **options) == 0.25
    assert at(2, **options) == pytest.approx(1)
    assert at(6, **options) == pytest.approx(0.5)


def test_a_cosine_begins_anew_at_its_restarts() -> None:
    options: dict[str, Any] = dict(
        warmup_epochs=1.0, restarts=(4.0, 8.0), restart_peak=0.5, last=0.1
    )
    found = [at(epoch, **options) for epoch in (1, 2.5, 3.999999, 4, 6, 8, 9, 10)]
    assert found == pytest.approx([1, 0.55, 0.1, 0.5, 0.3, 0.25, 0.175, 0.1], abs=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "linear"}, "no schedule 'linear'; there are cosine, exponential, constant"),
        ({"warmup_epochs": -1}, "warmup_epochs starts at 0"),
        ({"decay_epochs": 0}, "decay_epochs is above 0"),
        ({"restarts": (3.0, 2.0)}, "restarts rise"),
        ({"warmup_epochs": 3.0, "restarts": (2.0,)}, "behind warmup_epochs"),
        ({"restarts": (2.0,), "restart_peak": 0.0}, r"restart_peak lies in \(0, 1\]"),
        ({"restarts": (2.0,), "kind": "constant"}, "restarts are for a cosine"),
        ({"last": 2}, r"last lies in \[0, 1\]"),
    ],
)
def test_schedules_that_are_none_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ScheduleRecipe(**options)


# -- optimizers

KINDS = ("adamw", "rmsprop", "sgd")


def optimizer_of(net: NASNet, **options: Any) -> torch.optim.Optimizer:
    return make(
        dict(net.named_parameters()),
        OptimizerRecipe(**options),
        decayed=frozenset(net.regularized()),
        depth=depths_of(net),
    )


def test_each_cell_has_its_share_of_the_rate() -> None:
    net = network(aux_head=True)
    groups = optimizer_of(net, layer_decay=0.5).param_groups
    key_of = {parameter: key for key, parameter in net.named_parameters()}
    factors: dict[str, set[float]] = {}
    for group in groups:
        for parameter in group["params"]:
            factors.setdefault(key_of[parameter].partition(".")[0], set()).add(group["factor"])
    scopes = [segment.scope for segment in net.segments if segment.scope in factors]
    trunk = [scope for scope in scopes if not scope.startswith(("final", "aux"))]
    assert factors.pop("final_layer") == {1.0}
    assert all(factors.pop(scope) == {1.0} for scope in scopes if scope.startswith("aux"))
    assert factors == {scope: {0.5 ** (len(trunk) - n)} for n, scope in enumerate(trunk)}
    assert trunk[-1] == "cell_1"
    assert factors["cell_1"] == {0.5}


@pytest.mark.parametrize("kind", KINDS)
def test_weight_decay_acts_on_kernels_only(kind: str) -> None:
    net = network()
    before = {key: value.detach().clone() for key, value in net.named_parameters()}
    optimizer = optimizer_of(net, kind=kind, learning_rate=0.1, weight_decay=0.5)
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    ends = ("weights", "depthwise_weights", "pointwise_weights")
    for key, value in net.named_parameters():
        moved = not torch.equal(value, before[key])
        assert moved == (key.endswith(ends) and bool(before[key].any())), key
        assert bool((value.abs() <= before[key].abs()).all())


def test_rmsprop_is_that_of_tensorflow() -> None:
    random = np.random.default_rng(0)
    value, decay, momentum, epsilon, l2 = random.standard_normal((3, 4)), 0.9, 0.8, 1.0, 0.01
    parameter = torch.nn.Parameter(torch.tensor(value, dtype=torch.float64))
    options = OptimizerRecipe(
        kind="rmsprop", decay=decay, momentum=momentum, epsilon=epsilon, weight_decay=l2
    )
    optimizer = make({"x": parameter}, options, decayed=frozenset({"x"}), depth={})
    square, moment = np.ones_like(value), np.zeros_like(value)
    for step in range(4):
        rate = 0.1 / (step + 1)
        optimizer.param_groups[0]["lr"] = rate
        gradient = random.standard_normal(value.shape)
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
        gradient = gradient + l2 * value
        square = decay * square + (1 - decay) * gradient**2
        moment = momentum * moment + rate * gradient / np.sqrt(square + epsilon)
        value = value - moment
        np.testing.assert_allclose(parameter.detach().numpy(), value, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_an_optimizers_memory_put_back_gives_the_same_next_step(kind: str) -> None:
    def step(net: NASNet, optimizer: torch.optim.Optimizer, seed: int) -> None:
        random = torch.Generator().manual_seed(seed)
        for parameter in net.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=random)
        optimizer.step()

    one, other = network(), network(seed=1)
    optimizer = optimizer_of(one, kind=kind)
    for seed in range(3):
        step(one, optimizer, seed)
    memory = {k: v.clone() for k, v in slots(optimizer, dict(one.named_parameters())).items()}
    other.load_state_dict(one.state_dict())
    again = optimizer_of(other, kind=kind)
    load_slots(again, dict(other.named_parameters()), memory)
    step(one, optimizer, 9)
    step(other, again, 9)
    states = (one.state_dict(), other.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "lion"}, "no optimizer 'lion'; there are adamw, rmsprop, sgd"),
        ({"learning_rate": 0.0}, "learning_rate is above 0"),
        ({"learning_rate": math.nan}, "learning_rate is above 0"),
        ({"layer_decay": 1.1}, r"layer_decay lies in \(0, 1\]"),
        ({"momentum": 1.0}, r"momentum lies in \[0, 1\)"),
    ],
)
def test_optimizers_that_are_none_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        OptimizerRecipe(**options)


# -- the objective


def batch_of(labels: Any, mixed: Any, share: Any) -> TrainBatch:
    count = len(labels)
    return TrainBatch(
        epoch=0,
        step=0,
        images=np.zeros((count, 1, 1, 3), np.uint8),
        labels=np.array(labels, np.int64),
        mixed=np.array(mixed, np.int64),
        share=np.array(share, np.float32),
        ids=tuple(map(str, range(count))),
        rows=np.arange(count),
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("aux_weight", [0.0, 0.4])
def test_classification_is_tf_slims_cross_entropy(
    smoothing: float, weighted: bool, aux_weight: float
) -> None:
    random = np.random.default_rng(0)
    labels, mixed = random.integers(0, 5, 7), random.integers(0, 5, 7)
    share = random.random(7).astype(np.float32)
    weights = random.random(5) + 0.5 if weighted else None
    logits = {name: random.standard_normal((7, 5)) * 3 for name in ("Logits", "AuxLogits")}
    asked: list[str] = []

    def forward(images: Tensor, endpoints: Sequence[str]) -> dict[str, Tensor]:
        asked.extend(endpoints)
        return {name: torch.tensor(logits[name], dtype=torch.float32) for name in endpoints}

    def entropy(name: str, truth: np.ndarray) -> Any:
        values = logits[name] - np.log(np.exp(logits[name]).sum(1, keepdims=True))
        wanted = np.eye(5)[truth] * (1 - smoothing) + smoothing / 5
        losses = -(wanted * values).sum(1)
        return losses * (weights[truth] if weights is not None else 1)

    expected = 0.0
    for name, weight in (("Logits", 1.0), ("AuxLogits", aux_weight)):
        each = share * entropy(name, labels) + (1 - share) * entropy(name, mixed)
        expected += weight * each.mean()
    objective = Classification(smoothing=smoothing, class_weights=weights, aux_weight=aux_weight)
    batch = batch_of(labels, mixed, share)
    targets = {name: torch.from_numpy(rows) for name, rows in objective.targets(batch).items()}
    loss, told = objective.loss(forward, torch.zeros(7, 3, 1, 1), targets)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    right = (logits["Logits"].argmax(1) == labels).mean()
    assert float(told["accuracy"]) == pytest.approx(right)
    assert asked == (["Logits", "AuxLogits"] if aux_weight else ["Logits"])


# -- the loop


def test_a_run_learns_moves_everything_and_tells_how_far_it_is(tmp_path: Path) -> None:
    events: list[TrainEvent] = []
    calm = dataclasses.replace(SPEC, drop_path_keep_prob=1.0)
    net = NASNet(calm, num_classes=len(CLASSES), aux_head=True)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    made = trainer(
        tmp_path,
        net=net,
        objective=Classification(aux_weight=0.4),
        on_event=events.append,
        epochs=6,
        clip=5.0,
        optimizer=OptimizerRecipe(learning_rate=1e-2),
        batch_norm_momentum=0.5,
    )
    result = fit(made)
    after = net.state_dict()
    assert not [key for key, value in before.items() if torch.equal(value, after[key])]
    losses = [row["train_loss"] for row in result.history]
    assert losses[-1] < losses[0]
    steps = [(e.epoch, e.step, e.steps, e.done) for e in events if e.kind == "step"]
    assert steps == [(n // 3, n % 3 + 1, 3, n % 3 * 4 + 4) for n in range(18)]
    epochs = [event for event in events if event.kind == "epoch"]
    assert [event.row for event in epochs] == result.history == made.history
    assert [row["epoch"] for row in result.history] == list(range(1, 7))
    assert not [event for event in events if event.kind == "note"]
    weights = result.weights
    assert (weights.status, weights.averaged, weights.labels) == ("modified", False, CLASSES)
    assert not [name for name in weights.arrays if name.startswith("aux_")]
    assert not [name for name in tmp_path.iterdir() if name.name.endswith(".tmp")]


def test_clipping_bounds_the_whole_step(tmp_path: Path) -> None:
    net = network()
    before = {key: value.detach().clone() for key, value in net.named_parameters()}
    options = OptimizerRecipe(kind="sgd", learning_rate=0.5, momentum=0.0, weight_decay=0.0)
    fit(trainer(tmp_path, net=net, epochs=1, optimizer=options, clip=0.01), count=4)
    after = {key: value.detach() for key, value in net.named_parameters()}
    moved = [(value - before[key]).square().sum() for key, value in after.items()]
    assert float(torch.stack(moved).sum().sqrt()) == pytest.approx(0.5 * 0.01, rel=1e-3)


def test_the_moving_average_is_tensorflows_with_its_ramp(tmp_path: Path) -> None:
    net = network()
    expected = {key: value.double() for key, value in net.state_dict().items()}
    moves = 0

    def follow(event: TrainEvent) -> None:
        nonlocal moves
        if event.kind == "step":
            moves += 1
            decay = min(0.3, (1 + moves) / (10 + moves))
            for key, value in net.state_dict().items():
                expected[key] = decay * expected[key] + (1 - decay) * value.double()

    result = fit(trainer(tmp_path, net=net, ema=0.3, on_event=follow))
    averages = {k[4:]: v for k, v in saved(tmp_path).items() if k.startswith("ema/")}
    assert set(averages) == set(expected)
    for key, value in averages.items():
        np.testing.assert_allclose(value, expected[key].numpy(), rtol=1e-5, atol=1e-7)
    assert result.weights.averaged
    bias = result.weights.arrays["final_layer/FC/biases"]
    np.testing.assert_array_equal(bias, averages["final_layer.FC.biases"])


def test_accumulated_batches_move_as_one_does(tmp_path: Path) -> None:
    # Six pictures: two by two and then two left over, against four and two.
    states = []
    calm = dataclasses.replace(SPEC, drop_path_keep_prob=1.0)
    for batch, accumulate in ((4, 1), (2, 2)):
        net = NASNet(calm, num_classes=3)
        made = trainer(
            tmp_path / str(batch),
            net=net,
            epochs=1,
            accumulate=accumulate,
            batch_norm="moving",
            optimizer=OptimizerRecipe(kind="sgd", learning_rate=1e-4),
        )
        (tmp_path / str(batch)).mkdir()
        fit(made, count=6, batch_size=batch, drop_last=False)
        states.append(net.state_dict())
        assert made._state.moves == 2
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, rtol=1e-4, atol=1e-6)


def test_the_rate_follows_its_schedule_and_is_logged(tmp_path: Path) -> None:
    rates = []

    def follow(event: TrainEvent) -> None:
        if event.kind == "step":
            rates.append(event.row["learning_rate"])

    schedule = ScheduleRecipe(kind="cosine", warmup_epochs=1)
    result = fit(trainer(tmp_path, schedule=schedule, on_event=follow))
    expected = [1 / 3, 2 / 3, 1, 1, 0.75, 0.25]
    assert rates == pytest.approx([1e-3 * share for share in expected])
    assert [row["learning_rate"] for row in result.history] == [rates[2], rates[5]]


@pytest.mark.parametrize(("path_dropout", "progress"), [("final", 1.0), ("ramp", 2 / 8)])
def test_path_dropout_is_pinned_or_ramps(
    tmp_path: Path, path_dropout: str, progress: float
) -> None:
    net = NASNet(dataclasses.replace(SPEC, total_training_steps=8), num_classes=3)
    fit(trainer(tmp_path, net=net, epochs=1, path_dropout=path_dropout))
    assert float(net.behaviour.progress) == progress


@pytest.mark.parametrize("precision", ["bf16", "f16"])
def test_mixed_precision_trains(tmp_path: Path, precision: str) -> None:
    result = fit(trainer(tmp_path, precision=precision, epochs=1))
    exact = fit(trainer(tmp_path, epochs=1), count=12)
    loss = result.history[-1]["train_loss"]
    assert loss == pytest.approx(exact.history[-1]["train_loss"], rel=0.1)


class Overflowing:
    """Classification whose loss is so large that float16's scaled gradients overflow."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def tensors(self) -> Mapping[str, Tensor]:
        return {}

    def targets(self, batch: TrainBatch) -> Targets:
        return Classification().targets(batch)

    def loss(
        self, forward: Forward, images: Tensor, targets: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        loss, told = Classification().loss(forward, images, targets)
        return loss * self.factor, told


def test_steps_float16_cannot_take_are_left_out_until_its_scale_fits(tmp_path: Path) -> None:
    made = trainer(tmp_path, objective=Overflowing(10), precision="f16", epochs=1)
    fit(made, count=24, batch_size=2)
    assert 0 < made._state.moves < 12
    assert made._scaler.get_scale() < 2**16
    tensors, _ = read_checkpoint(made.checkpoint)
    assert all(bool(tensor.isfinite().all()) for tensor in tensors.values())


def test_what_validation_says_is_logged(tmp_path: Path) -> None:
    made = trainer(tmp_path)
    with loader() as batches:
        result = made.fit(lambda epoch: batches, lambda weights: {"loss": 2.0})
    assert [row["validation_loss"] for row in result.history] == [2.0, 2.0]


def test_validations_may_lie_some_steps_apart_and_the_last_epoch_has_one(tmp_path: Path) -> None:
    made = trainer(tmp_path, epochs=6, validate_steps=7)
    with loader() as batches:  # 3 steps an epoch: 7 and 14 are passed in the third and the fifth
        result = made.fit(lambda epoch: batches, lambda weights: {"loss": 2.0})
    judged = [row["epoch"] for row in result.history if "validation_loss" in row]
    assert judged == [3, 5, 6]


def test_memory_that_is_freed_stays_at_hand() -> None:
    resource = pytest.importorskip("resource")

    def faults() -> int:
        return int(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)

    with memory_kept():
        torch.ones(10_000_000)
        before = faults()
        for _ in range(20):
            torch.ones(10_000_000)
        assert faults() - before < 30_000  # 20 times 40 MB are 200,000 pages of 4 KB


def test_the_best_epoch_is_kept_and_patience_runs_out(tmp_path: Path) -> None:
    told = iter([0.2, 0.6, 0.5, 0.6, 0.9])
    biases = []

    def validate(weights: Any) -> dict[str, float]:
        biases.append(weights.arrays["final_layer/FC/biases"].copy())
        return {"accuracy": next(told)}

    def start() -> Any:
        net = NASNet("mobile", num_classes=3)
        made = trainer(tmp_path, net=net, epochs=5, patience=2)
        made.resume()
        with loader(count=4) as batches:
            return made.fit(lambda epoch: batches, validate)

    result = start()
    assert (result.best_epoch, result.stopped_early, len(result.history)) == (2, True, 4)
    np.testing.assert_array_equal(result.weights.arrays["final_layer/FC/biases"], biases[1])
    again = start()  # it is over, and stays so
    assert untimed(again.history) == untimed(result.history)
    assert (again.best_epoch, again.stopped_early) == (2, True)


# -- what goes wrong


@pytest.mark.parametrize("clip", [0.0, 5.0])
def test_a_loss_that_is_no_number_stops_and_says_where(tmp_path: Path, clip: float) -> None:
    made = trainer(tmp_path, optimizer=OptimizerRecipe(kind="sgd", learning_rate=1e30), clip=clip)
    with pytest.raises(TrainingError, match=r"there was no checkpoint yet\. Lower the") as found:
        fit(made)
    text = str(found.value)
    assert "the loss became" in text or "the gradient became" in text
    assert "in epoch 1, step 2 (pictures " in text
    assert not made.checkpoint.exists()


def test_the_last_good_checkpoint_is_kept(tmp_path: Path) -> None:
    class Turning(Overflowing):
        """Good for one epoch."""

        def targets(self, batch: TrainBatch) -> Targets:
            self.factor = 1.0 if batch.epoch == 0 else math.inf
            return super().targets(batch)

    (tmp_path / "good").mkdir()
    fit(trainer(tmp_path / "good", epochs=1))
    made = trainer(tmp_path, objective=Turning(1.0), checkpoint_seconds=0)
    with pytest.raises(TrainingError, match="inf in epoch 2, step 1") as found:
        fit(made)
    assert f"the checkpoint before it is kept in {made.checkpoint}" in str(found.value)
    assert same(saved(tmp_path), saved(tmp_path / "good"))


class Rooted(Overflowing):
    """A finite loss, the root of nought, whose gradient is none."""

    def loss(
        self, forward: Forward, images: Tensor, targets: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        logits = forward(images, ("Logits",))["Logits"]
        return (logits - logits.detach()).sum().square().sqrt(), {}


@pytest.mark.parametrize(("clip", "precision"), [(0.0, "f32"), (5.0, "f32"), (0.0, "f16")])
def test_a_gradient_that_is_no_number_never_reaches_the_weights(
    tmp_path: Path, clip: float, precision: str
) -> None:
    net = network()
    before = {key: value.detach().clone() for key, value in net.named_parameters()}
    made = trainer(tmp_path, net=net, objective=Rooted(1), clip=clip, precision=precision)
    with pytest.raises(TrainingError, match="the gradient became no finite number in epoch 1"):
        fit(made, count=50, batch_size=2)
    assert all(torch.equal(value, before[key]) for key, value in net.named_parameters())


def test_weights_that_outgrow_float32_are_not_saved(tmp_path: Path) -> None:
    options = OptimizerRecipe(kind="sgd", learning_rate=1e38, momentum=0.0, weight_decay=0.0)
    made = trainer(tmp_path, objective=Overflowing(1e4), optimizer=options, epochs=1)
    with pytest.raises(TrainingError, match="the weights became no finite numbers by epoch 1"):
        fit(made, count=4)
    assert not made.checkpoint.exists()


def test_a_run_whose_steps_all_overflow_says_so(tmp_path: Path) -> None:
    made = trainer(tmp_path, objective=Overflowing(1e6), precision="f16", epochs=1)
    with pytest.raises(TrainingError, match="nothing moved in the whole run"):
        fit(made, count=4)


def test_outputs_that_cannot_be_scored_end_the_run(tmp_path: Path) -> None:
    def validate(weights: Any) -> dict[str, float]:
        raise InputError("logits: row 0 holds a value that is not a finite number")

    with (
        pytest.raises(TrainingError, match="judged after epoch 1: logits: row 0"),
        loader() as batches,
    ):
        trainer(tmp_path).fit(lambda epoch: batches, validate)


def test_a_run_in_which_nothing_moves_says_so(tmp_path: Path) -> None:
    tiny = OptimizerRecipe(kind="sgd", learning_rate=1e-30)
    with pytest.raises(TrainingError, match="nothing moved in the first step: the learning rate"):
        fit(trainer(tmp_path, optimizer=tiny))
    with pytest.raises(TrainingError, match="every weight is frozen"):
        trainer(tmp_path, trainable=lambda key: False)


def test_a_run_in_which_little_moves_says_what_does_not(tmp_path: Path) -> None:
    events: list[TrainEvent] = []
    net = network(aux_head=True)  # which nothing asks for
    fit(trainer(tmp_path, net=net, on_event=events.append, epochs=1))
    (note,) = [event.text for event in events if event.kind == "note"]
    assert "tensors did not move in the first step, such as aux_" in note


def test_only_what_is_trainable_moves(tmp_path: Path) -> None:
    net = network()
    before = {key: value.detach().clone() for key, value in net.named_parameters()}
    fit(trainer(tmp_path, net=net, trainable=lambda key: key.startswith("final_layer")))
    moved = {key for key, value in net.named_parameters() if not torch.equal(value, before[key])}
    assert moved == {"final_layer.FC.weights", "final_layer.FC.biases"}


def test_what_is_frozen_stays_with_its_averages_while_the_rest_moves(tmp_path: Path) -> None:
    net = network()
    before = {key: value.detach().clone() for key, value in net.state_dict().items()}
    fit(trainer(tmp_path, net=net, frozen=("l1_stem", "cell_0")))
    still = {key for key, value in net.state_dict().items() if torch.equal(value, before[key])}
    assert still == {key for key in before if key.startswith(("l1_stem", "cell_0."))}
    # A run after it, on the same network, moves all of it.
    with pytest.raises(InputError, match="no scope is called 'cell_9'; there are rescale, "):
        trainer(tmp_path, net=net, frozen=("cell_9",))
    (tmp_path / "again").mkdir()
    fit(trainer(tmp_path / "again", net=net))
    assert not [key for key, value in net.state_dict().items() if torch.equal(value, before[key])]


@pytest.mark.parametrize(
    ("name", "still"),
    [
        ("cell_1", {"cell_1"}),  # and no cell_10, cell_11
        ("cell_stem", {"cell_stem_0", "cell_stem_1"}),
    ],
)
def test_a_scope_is_frozen_by_its_whole_name_or_its_kind(name: str, still: set[str]) -> None:
    net = NASNet("mobile", num_classes=0)
    prepare(net, TrainOptions(frozen=(name,)), ALONE, torch.device("cpu"))
    frozen = {key.partition(".")[0] for key, one in net.named_parameters() if not one.requires_grad}
    assert frozen == still


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs starts at 1"),
        ({"precision": "f64"}, "no precision 'f64'"),
        ({"ema": 1.0}, r"ema lies in \[0, 1\)"),
        ({"clip": -1.0}, "clip starts at 0, found -1.0"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainOptions(**options)


def test_devices_that_are_not_there_are_said() -> None:
    assert device_of("cpu").type == "cpu"
    for name in ("abacus", "cuda:77"):
        with pytest.raises(InputError, match=f"device '{name}' cannot be used here: "):
            device_of(name)


def test_signals_go_back_to_whoever_had_them() -> None:
    """What a run does when one comes is shown by processes of their own, in the resume tests."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Stopping() as stopping:
        signal.raise_signal(signal.SIGTERM)
        assert stopping.asked
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_the_log_is_a_table_of_epochs(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    result = fit(trainer(tmp_path, on_event=logs))
    logs.close()
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    assert rows == result.history
    assert list(rows[0]) == [
        "epoch",
        "train_loss",
        "train_accuracy",
        "learning_rate",
        "seconds",
    ]
