"""Keras' HDF5 files, written with h5py alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nasnet.errors import needs
from nasnet.weights import layouts
from nasnet.weights.formats.keras_files import variables_of
from nasnet.weights.formats.keras_order import keras_layers
from nasnet.weights.weights import Array, Weights

_LONGEST_ATTRIBUTE = 60_000  # bytes; HDF5 has no room for more in one attribute
_VERSION = b"2.15.0"  # the last of the versions that wrote such files by default


def _layers(weights: Weights) -> dict[str, dict[str, Array]]:
    """Layer -> variable -> array."""
    found: dict[str, dict[str, Array]] = {}
    for key, array in layouts.arrays_in(weights, "keras").items():
        layer, variable = key.split("/")
        found.setdefault(layer, {})[variable] = array
    return found


def write_keras_h5(weights: Weights, path: Path) -> None:
    """The old layout: one group a layer, in the order of Keras' layers.

    Raises:
        MissingExtraError: h5py is not installed.
    """
    h5py = needs("h5py", extra="keras")
    layers = _layers(weights)
    stored = keras_layers(weights.spec, classes=weights.num_classes)
    with h5py.File(path, "w") as file:
        _set_names(file.attrs, "layer_names", list(stored.values()))
        file.attrs["backend"] = np.bytes_(b"tensorflow")
        file.attrs["keras_version"] = np.bytes_(_VERSION)
        for container, layer in stored.items():
            group = file.create_group(layer)
            variables = variables_of(container)
            _set_names(group.attrs, "weight_names", [f"{layer}/{name}:0" for name in variables])
            for name in variables:
                group.create_dataset(f"{layer}/{name}:0", data=layers[layer][name])


def write_keras_weights(weights: Weights, path: Path) -> None:
    """The layout of Keras 3: `layers/<class>_<number>/vars/<number>`, with the layer's name.

    Raises:
        MissingExtraError: h5py is not installed.
    """
    h5py = needs("h5py", extra="keras")
    layers = _layers(weights)
    stored = keras_layers(weights.spec, classes=weights.num_classes)
    with h5py.File(path, "w") as file:
        file.create_group("vars")
        for container, layer in stored.items():
            group = file.create_group(f"layers/{container}/vars")
            group.attrs["name"] = layer
            for number, name in enumerate(variables_of(container)):
                group.create_dataset(str(number), data=layers[layer][name])


def _set_names(attributes: object, name: str, texts: list[str]) -> None:
    """A list of names as Keras stores it: cut into pieces where it is too long for one."""
    assert isinstance(attributes, Mapping)
    encoded = np.array([text.encode("utf-8") for text in texts])
    pieces = -(-encoded.nbytes // _LONGEST_ATTRIBUTE)
    if pieces <= 1:
        attributes[name] = encoded  # type: ignore[index]
        return
    for number, piece in enumerate(np.array_split(encoded, pieces)):
        attributes[f"{name}{number}"] = piece  # type: ignore[index]
