"""The weight files that can be written: one row a format."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nasnet.errors import needs
from nasnet.weights import layouts
from nasnet.weights.formats import tf_checkpoint
from nasnet.weights.formats.keras_files import write_keras_h5, write_keras_weights
from nasnet.weights.weights import Weights, write_safetensors


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A way to write weights.

    Attributes:
        title: what it is, and who reads it.
        suffixes: endings of file names that mean it.
        layout: whose names it has; a key of `layouts.LAYOUTS`.
        write: writes weights to a path that is not there yet, complete or not at all.
        classes: how many ImageNet classes those who read it expect, where 1001 are not wanted.
        keeps_padding: whether it can say whose border pixels the network computes with, and for
            pictures of which size.
        taken: ending of the file that is there if the format is, and is written last; the path
            itself if empty.
        folder: whether it is a folder.
    """

    title: str
    suffixes: tuple[str, ...]
    layout: str
    write: Callable[[Weights, Path], None]
    classes: int | None = None
    keeps_padding: bool = False
    taken: str = ""
    folder: bool = False


def _write_torch(weights: Weights, path: Path) -> None:
    """A plain state dict: `torch.load(path, weights_only=True)` reads it."""
    torch = needs("torch", extra="torch")
    arrays = layouts.arrays_in(weights, "cadene")
    made = io.BytesIO()  # a full disk is then an error of ours, not one of torch's zip writer
    torch.save({key: torch.from_numpy(np.array(array)) for key, array in arrays.items()}, made)
    path.write_bytes(made.getbuffer())


def _write_cadene_safetensors(weights: Weights, path: Path) -> None:
    from safetensors.numpy import save

    path.write_bytes(save(layouts.arrays_in(weights, "cadene"), metadata={"format": "pt"}))


_TENSORNETS_SCOPES = {"mobile": "nasnetAmobile", "large": "nasnetAlarge"}


def _write_tensornets(weights: Weights, path: Path) -> None:
    """TensorNets takes an array of objects, so NumPy pickles its arrays; they are nothing else."""
    from nasnet.weights.formats.npz import tensornets_order

    aux_head = any(name.startswith("aux_") for name in weights.arrays)
    places = layouts.places("tensornets", weights.spec, weights.num_classes, aux_head=aux_head)
    order = [
        name for name in tensornets_order(weights.spec, aux_head=aux_head) if name in weights.arrays
    ]
    values = np.empty(len(order), dtype=object)
    values[:] = [np.array(weights.arrays[name]) for name in order]
    scope = _TENSORNETS_SCOPES[weights.spec]
    with path.open("wb") as file:
        np.savez(file, names=[f"{scope}/{places[name].key}:0" for name in order], values=values)


# The first format that has a suffix is the one that is meant by it.
FORMATS: Mapping[str, Format] = {
    "safetensors": Format(
        title="this package's own: TF-Slim names, origin, labels",
        suffixes=(".safetensors",),
        layout="slim",
        write=write_safetensors,
        keeps_padding=True,
    ),
    "checkpoint": Format(
        title="TensorFlow V2 checkpoint, as TF-Slim restores it",
        suffixes=(".ckpt",),
        layout="slim",
        write=lambda weights, path: tf_checkpoint.write_checkpoint(path, weights.arrays),
        taken=".index",
    ),
    "keras-weights": Format(
        title="Keras 3, model.load_weights",
        suffixes=(".weights.h5",),
        layout="keras",
        write=write_keras_weights,
        classes=1000,
    ),
    "keras-h5": Format(
        title="Keras 1 to 3, keras.applications.NASNetMobile(weights=...)",
        suffixes=(".h5", ".hdf5"),
        layout="keras",
        write=write_keras_h5,
        classes=1000,
    ),
    "cadene": Format(
        title="PyTorch, Cadene's pretrainedmodels and timm's nasnetalarge",
        suffixes=(".pth", ".pt"),
        layout="cadene",
        write=_write_torch,
        classes=1000,
    ),
    "cadene-safetensors": Format(
        title="the same keys as safetensors",
        suffixes=(),
        layout="cadene",
        write=_write_cadene_safetensors,
        classes=1000,
    ),
    "tensornets": Format(
        title="TensorNets, model.load",
        suffixes=(".npz",),
        layout="tensornets",
        write=_write_tensornets,
    ),
}
