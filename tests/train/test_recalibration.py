"""Batch norm's averages taken anew: those of all pictures together, and of nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from nasnet.compute.torch.model import NASNet  # noqa: E402
from nasnet.errors import InputError, PictureError, TrainingError  # noqa: E402
from nasnet.network.spec import preset  # noqa: E402
from nasnet.pictures.sources import Example  # noqa: E402
from nasnet.train.recalibration import recalibrate  # noqa: E402
from nasnet.train.recipe import Recalibration  # noqa: E402
from nasnet.weights.weights import seeded  # noqa: E402
from tests.support.pictures import jpeg, pixels  # noqa: E402

WEIGHTS = seeded(7, spec="cifar", num_classes=3)
WEIGHTS_WITHOUT_DROPOUT = replace(
    preset("cifar"), drop_path_keep_prob=1.0, dense_dropout_keep_prob=1.0
)


def pictures(count: int) -> list[Example]:
    return [Example(f"{n}", 0, partial(jpeg, 48, 48, seed=n)) for n in range(count)]


def test_averages_are_those_of_the_pictures_and_all_else_stays() -> None:
    options = Recalibration(size=48, batch_size=8)
    found = recalibrate(WEIGHTS, pictures(8), options)
    for name, array in WEIGHTS.arrays.items():
        same = np.array_equal(array, found.arrays[name])
        assert same == ("/moving_" not in name), name
    # A second time, from where the first one ended, changes nothing: kernels alone decide.
    again = recalibrate(found, pictures(8), options)
    for name, array in found.arrays.items():
        assert np.allclose(array, again.arrays[name], rtol=1e-5, atol=1e-7), name


def test_evaluation_then_computes_what_training_computes() -> None:
    images = np.stack([pixels(48, 48, seed=n) for n in range(8)])
    exact = [Example(str(n), 0, partial(images.__getitem__, n)) for n in range(8)]
    found = recalibrate(WEIGHTS, exact, Recalibration(size=48, batch_size=8))
    network = NASNet("cifar", num_classes=3)
    network.load(found)
    network.behaviour.spec = WEIGHTS_WITHOUT_DROPOUT
    given = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        evaluated = network(given)
        trained = network.train()(given)
    logits = [out["Logits"] if isinstance(out, dict) else out for out in (evaluated, trained)]
    # moving variances are unbiased, those of a batch are not: n / (n - 1)
    assert torch.allclose(*logits, rtol=0.1, atol=0.1 * float(logits[1].abs().mean()))


def test_batches_make_the_averages_of_all_pictures_together() -> None:
    """Of the first layer, whose input no other average changes."""
    whole, parts = (
        recalibrate(WEIGHTS, pictures(8), Recalibration(size=48, batch_size=batch)).arrays
        for batch in (8, 4)
    )
    mean, variance = "l1_stem_bn/moving_mean", "l1_stem_bn/moving_variance"
    assert np.allclose(whole[mean], parts[mean], rtol=1e-5, atol=1e-6)
    assert np.allclose(whole[variance], parts[variance], rtol=1e-3)


def test_averages_are_those_of_the_borders_the_weights_compute_with() -> None:
    slim, keras = (
        recalibrate(replace(WEIGHTS, padding=padding), pictures(2), Recalibration(size=33))
        for padding in ("slim", "keras")
    )
    assert any(
        not np.allclose(slim.arrays[name], keras.arrays[name], rtol=1e-3) for name in slim.arrays
    )


def test_pictures_that_cannot_be_read_are_passed_over() -> None:
    def broken() -> bytes:
        raise PictureError("gone")

    options = Recalibration(size=48, batch_size=4)
    with pytest.raises(TrainingError, match="not two of 3 pictures can be read"):
        recalibrate(WEIGHTS, [*pictures(1), *[Example("x", 0, broken)] * 2], options)


@pytest.mark.parametrize(
    "options",
    [
        lambda: Recalibration(size=16),
        lambda: Recalibration(pictures=1),
        lambda: Recalibration(batch_size=1),
    ],
)
def test_options_that_give_no_average_are_refused(options: Callable[[], object]) -> None:
    with pytest.raises(InputError, match="starts at"):
        options()
