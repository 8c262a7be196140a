"""Torch peers: Cadene's code eager, channels-last and compiled, and timm's loader with our network.

Made by `peers.make_peer`, in a process of its own.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import WEIGHTS, Floats, Peer, Pixels, write_vectors
from benchmarks.torchvision_here import import_torchvision
from nasnet.weights import layouts
from nasnet.weights.opening import open_weights

__all__ = ["make"]

_BATCH = 32


def make(kind: str, threads: int) -> Peer:
    """`eager`, `channels-last` or `compiled` of Cadene's code, or `timm` with our network."""
    import torch

    torch.set_num_threads(threads)
    network = _ours(torch) if kind == "timm" else _cadenes(torch)
    last = kind != "eager"
    if last:
        network = network.to(memory_format=torch.channels_last)
    # Both take [n, 3, 224, 224]: ours in [0, 1], Cadene's in [-1, 1].
    half = (0.0, 1.0) if kind == "timm" else (0.5, 0.5)
    forward = _features(kind, network)
    if kind == "compiled":
        forward = torch.compile(forward, dynamic=False)

    def prepare(images: Pixels) -> Any:  # noqa: ANN401
        scaled = (images.astype(np.float32) / np.float32(255) - half[0]) / half[1]
        tensor = torch.from_numpy(scaled.astype(np.float32)).permute(0, 3, 1, 2)
        shape = torch.channels_last if last else torch.contiguous_format
        return tensor.contiguous(memory_format=shape)

    def compute(images: Any) -> Floats:  # noqa: ANN401 - whatever `prepare` gave
        with torch.inference_mode():
            return np.asarray(forward(images))

    usual = kind in ("timm", "channels-last") and importlib.util.find_spec("timm") is not None

    def embed(photos: str, output: Path) -> int:
        return _embed(compute, half, last, photos, output, threads)

    return Peer(
        version=f"torch {torch.__version__}",
        arithmetic="f32",
        prepare=prepare,
        compute=compute,
        embed=embed if usual else None,
    )


def _features(kind: str, network: Any) -> Callable[[Any], Any]:  # noqa: ANN401
    if kind == "timm":
        return lambda images: network(images)
    return lambda images: network.features(images).relu().mean(dim=(2, 3))


def _cadenes(torch: Any) -> Any:  # noqa: ANN401
    """The network of pretrainedmodels with the benchmark's weights."""
    spec = importlib.util.find_spec("pretrainedmodels")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    # The package imports torchvision, of which this file needs nothing: load the file alone.
    file = Path(spec.submodule_search_locations[0]) / "models" / "nasnet_mobile.py"
    loader = importlib.util.spec_from_file_location("cadene_nasnet_mobile", file)
    assert loader is not None
    assert loader.loader is not None
    module = importlib.util.module_from_spec(loader)
    sys.modules[loader.name] = module  # torch.compile looks it up by its name
    loader.loader.exec_module(module)
    network = module.NASNetAMobile(num_classes=1000).eval()
    weights = open_weights(WEIGHTS).weights
    state = network.state_dict()
    for name, place in layouts.places("cadene", weights.spec, 0).items():
        array = weights.arrays[name].transpose(place.axes)
        assert state[place.key].shape == array.shape, name
        state[place.key] = torch.tensor(np.ascontiguousarray(array))
    network.load_state_dict(state)
    return network


def _ours(torch: Any) -> Any:  # noqa: ANN401
    """Our network as timm makes it."""
    import_torchvision()
    import timm

    import nasnet.torch

    assert nasnet.torch.register_timm(), "timm is there, but cannot be imported"
    return timm.create_model("nasnet_mobile", weights=WEIGHTS, num_classes=0).eval()


def _embed(
    compute: Callable[[Any], Floats],
    half: tuple[float, float],
    last: bool,
    photos: str,
    output: Path,
    workers: int,
) -> int:
    """A folder through timm's loader, whose worker processes decode."""
    import_torchvision()
    import torch
    from timm.data import create_dataset, create_loader

    pictures = create_dataset("", root=photos)
    loader = create_loader(
        pictures,
        input_size=(3, 224, 224),
        batch_size=_BATCH,
        is_training=False,
        use_prefetcher=False,
        interpolation="bilinear",
        mean=(half[0],) * 3,
        std=(half[1],) * 3,
        num_workers=workers,
        crop_pct=0.875,
        pin_memory=False,
        device=torch.device("cpu"),
    )
    shape = torch.channels_last if last else torch.contiguous_format
    parts = [compute(images.contiguous(memory_format=shape)) for images, _ in loader]
    return write_vectors(output, pictures.filenames(), np.concatenate(parts))
