"""Batch norm's moving averages taken anew, at the size that pictures will have.

Needs torch (extra `torch`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from nasnet.compute.torch.model import NASNet
from nasnet.compute.torch.state import name_of
from nasnet.errors import TrainingError
from nasnet.pictures.batches import Example, Loader, LoaderOptions
from nasnet.pictures.sampling import some_of
from nasnet.train.recipe import Recalibration
from nasnet.weights.weights import Weights, frozen


def recalibrate(
    weights: Weights,
    examples: Sequence[Example],
    options: Recalibration,
    *,
    device: str = "cpu",
) -> Weights:
    """Replace every moving mean and variance by those of whole pictures at another size.

    A network trained on small crops meets larger things in whole pictures: its averages, which come
    from the crops, are off by then (Touvron et al. 2019, "Fixing the train-test resolution
    discrepancy"). All kernels stay as they are. Means and variances are those of all pictures
    together, from the ones of the batches (Wu and Johnson 2021, "Rethinking 'Batch' in BatchNorm",
    precise statistics). Pictures that cannot be read are passed over.

    Raises:
        TrainingError: no batch of two pictures can be read, or an average is no finite number.
    """
    some = some_of(examples, options.pictures)
    network = NASNet(weights.spec, num_classes=weights.num_classes, padding=weights.padding)
    network.load(weights)
    network.to(device, memory_format=torch.channels_last)
    behaviour = network.behaviour
    behaviour.decay = 0.0  # what moves becomes the batch's own
    behaviour.spec = replace(behaviour.spec, drop_path_keep_prob=1.0, dense_dropout_keep_prob=1.0)
    network.train()
    places = {key: value for key, value in network.state_dict().items() if "moving_" in key}
    first = {key: torch.zeros_like(value, dtype=torch.float64) for key, value in places.items()}
    squares = {key: torch.zeros_like(value) for key, value in first.items()}
    batches = 0
    loading = LoaderOptions(batch_size=options.batch_size, size=(options.size, options.size))
    with Loader(some, loading) as loader, torch.no_grad():
        for batch in loader.epoch(0):
            if len(batch.images) < 2:
                continue  # one picture's variance says little of a map of one pixel
            images = torch.from_numpy(batch.images).to(device)
            network(images.permute(0, 3, 1, 2).float() / 255)
            batches += 1
            for key, value in places.items():
                first[key] += value
                squares[key] += value.double().square()
    if not batches:
        raise TrainingError(f"not two of {len(some)} pictures can be read: no averages from them")
    arrays = dict(weights.arrays)
    for key in places:
        value = first[key] / batches
        if key.endswith("moving_variance"):
            # the mean of variances, and the variance of means
            mean = key.replace("moving_variance", "moving_mean")
            value += squares[mean] / batches - (first[mean] / batches).square()
        if not bool(torch.isfinite(value).all()):
            raise TrainingError(f"{name_of(key)}: the recalibrated average is not a finite number")
        arrays[name_of(key)] = value.float().cpu().numpy()
    return replace(weights, arrays=frozen(arrays), ranges=None)
