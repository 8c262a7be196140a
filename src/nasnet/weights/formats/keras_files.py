"""Keras' own files: the old .h5, .weights.h5 of Keras 3, and .keras, which is a zip of the two.

They need h5py (extra `keras`), not Keras.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import WeightsError, needs
from nasnet.text import parse_json
from nasnet.weights import layouts
from nasnet.weights.formats.base import Content, Stored, in_memory, is_too_much, open_members
from nasnet.weights.formats.keras_order import keras_layers
from nasnet.weights.weights import Array, Weights

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_WEIGHTS, _CONFIG = "model.weights.h5", "config.json"
_MOST_GROUPS = 20_000
_LONGEST_ATTRIBUTE = 60_000  # bytes; HDF5 has no room for more in one attribute
_VERSION = b"2.15.0"  # the last of the versions that wrote such files by default
# How many variables a layer has in Keras 3's files -> their names, in the order of the numbers.
_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "separable_conv2d": ("depthwise_kernel", "pointwise_kernel"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "conv2d": ("kernel",),
    "dense": ("kernel", "bias"),
}
# What h5py raises for damaged files.
_DAMAGED = (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError, OverflowError)


def _variables(container: str) -> tuple[str, ...]:
    """Names of the variables of a layer that Keras 3 stores as `separable_conv2d_7`."""
    kind = container.rstrip("0123456789").removesuffix("_")
    return _VARIABLES.get(container, _VARIABLES.get(kind, ()))


def read_keras_h5(path: Path) -> Content:
    """Read a `.h5` that Keras 1 or 2 wrote, or Keras 3 in their layout, or a `.weights.h5`."""
    with _opened(path, path) as file:
        return _read(file, path, names={})


def read_keras_archive(path: Path) -> Content:
    """Read a `.keras` file: a zip archive with `config.json` and `model.weights.h5`."""
    members = open_members(path)
    config = parse_json(members.read(_CONFIG), f"{path}: {_CONFIG} in this archive", WeightsError)
    data = members.read(_WEIGHTS)
    if not data.startswith(HDF5_MAGIC):
        raise WeightsError(f"{path}: {_WEIGHTS} in this archive is not an HDF5 file")
    with _opened(io.BytesIO(data), path) as file:
        content = _read(file, path, names=_layer_names(config))
    return Content(title="Keras archive (.keras)", tensors=content.tensors, notes=content.notes)


@contextmanager
def _opened(source: Path | io.BytesIO, path: Path) -> Iterator[Any]:
    h5py = needs("h5py", extra="keras")
    try:
        with h5py.File(source, "r") as file:
            yield file
    except WeightsError:
        raise
    except _DAMAGED as error:
        reason = str(error).strip().partition("\n")[0][:200]
        raise WeightsError(f"{path}: no readable HDF5 file: {reason}") from None


def _read(file: Any, path: Path, *, names: Mapping[str, str]) -> Content:  # noqa: ANN401
    if "layers" in file or "_layer_checkpoint_dependencies" in file:
        tensors = _keras3(file, names)
        return Content(title="Keras 3 weights (.weights.h5)", tensors=_loaded(tensors, path))
    root = _inside(file, "model_weights") if "model_weights" in file else file
    return Content(title="Keras HDF5 file (.h5)", tensors=_loaded(_legacy(root), path))


def _legacy(root: Any) -> dict[str, Any]:  # noqa: ANN401
    """Datasets of an old file, `layer/variable` -> dataset: one group a layer, names in order.

    A model within the model is one group with all its layers' variables.
    """
    found: dict[str, Any] = {}
    for layer in root:
        group = _inside(root, layer)
        listed = _listed(group, "weight_names") if hasattr(group, "keys") else []
        leaves = [name.rpartition("/")[2] for name in listed]
        nested = len(set(leaves)) < len(leaves)
        for name in listed:
            parts = name.split("/")
            label = parts[-2:] if nested else (layer, parts[-1])
            found["/".join(label).removesuffix(":0")] = _inside(group, name)
    return found


def _listed(group: Any, attribute: str) -> list[str]:  # noqa: ANN401
    """A list of names; a long one is cut into `attribute0`, `attribute1` and so on."""
    names = [attribute] if attribute in group.attrs else []
    while not names or names[-1] != attribute:
        piece = f"{attribute}{len(names)}"
        if piece not in group.attrs:
            break
        names.append(piece)
    found = [text for name in names for text in np.ravel(group.attrs[name]).tolist()]
    return [text.decode("utf-8") if isinstance(text, bytes) else str(text) for text in found]


def _keras3(file: Any, names: Mapping[str, str]) -> dict[str, Any]:  # noqa: ANN401
    """Datasets of a Keras 3 file: `layers/<class>_<number>/vars/<number>`, at any depth."""
    groups = _groups(file)
    if not names and not any(_own_name(group) for group in groups.values()):
        # Keras before 3.4 wrote no names; the numbers alone say which layer is which.
        names = _names_by_number(groups)
    found: dict[str, Any] = {}
    for place, group in groups.items():
        container = place.rpartition("/")[2]
        layer = _own_name(group) or names.get(place) or names.get(container) or container
        variables = _variables(container)
        for number in group:
            known = number.isdigit() and int(number) < len(variables)
            variable = variables[int(number)] if known else number
            found[f"{layer}/{variable}"] = _inside(group, number)
    return found


def _groups(file: Any) -> dict[str, Any]:  # noqa: ANN401
    """Where a layer's variables are -> the group of them."""
    found: dict[str, Any] = {}
    ahead = [("", file)]
    seen = 0
    while ahead:
        place, group = ahead.pop()
        for name in group:
            seen += 1
            if seen > _MOST_GROUPS:
                raise ValueError(f"it has more than {_MOST_GROUPS} groups")
            inner = _inside(group, name)
            if not hasattr(inner, "keys"):
                continue
            if name == "vars":
                found[place] = inner
            elif place.count("/") < 8:
                ahead.append((f"{place}/{name}".lstrip("/"), inner))
    return found


def _own_name(group: Any) -> str:  # noqa: ANN401
    name = group.attrs.get("name", "")
    return name.decode("utf-8") if isinstance(name, bytes) else str(name)


def _names_by_number(groups: Mapping[str, Any]) -> Mapping[str, str]:
    found = {place.rpartition("/")[2] for place, group in groups.items() if len(group)}
    for spec in ("mobile", "large"):
        for classes in (1, 0):
            names = keras_layers(spec, classes=classes)
            if set(names) == found:
                return names
    return {}


def _layer_names(config: Any) -> dict[str, str]:  # noqa: ANN401
    """`config.json` of a `.keras` file: place of a layer's variables -> the layer's name."""
    found: dict[str, str] = {}
    counts: dict[str, int] = {}
    try:
        layers = config["config"]["layers"]
        for layer in layers:
            kind = _snake(layer["class_name"])
            number = counts.get(kind, 0)
            counts[kind] = number + 1
            container = f"{kind}_{number}" if number else kind
            found[f"layers/{container}"] = str(layer["config"]["name"])
            for place, name in _layer_names(layer).items():
                found[f"layers/{container}/{place}"] = name
    except (KeyError, TypeError, AttributeError):
        return found
    return found


def _snake(name: str) -> str:
    """Keras' `to_snake_case`: SeparableConv2D -> separable_conv2d."""
    out = ""
    for position, letter in enumerate(name):
        before, after = name[position - 1 : position], name[position + 1 : position + 2]
        word = letter.isupper() and position and (before.islower() or after.islower())
        out += f"_{letter.lower()}" if word else letter.lower()
    return out


def _inside(group: Any, name: str) -> Any:  # noqa: ANN401
    """A member of a group that lies in the same file: no link may lead elsewhere.

    A soft link may lead there through another one, and Keras writes none.
    """
    here = group
    for part in name.split("/"):
        if type(here.get(part, getlink=True)).__name__ != "HardLink":
            raise WeightsError(f"{group.file.filename}: {name} leads into another file: refused")
        here = here[part]
    return here


def _loaded(datasets: Mapping[str, Any], path: Path) -> dict[str, Stored]:
    """Tensors of datasets, which are read while the file is open."""
    found: dict[str, npt.NDArray[Any]] = {}
    total = 0
    for name, dataset in datasets.items():
        if not hasattr(dataset, "dtype") or dataset.dtype.kind != "f":
            continue
        if dataset.external or dataset.is_virtual:
            raise WeightsError(f"{path}: {name} has its numbers in another file: refused")
        total += dataset.size * dataset.dtype.itemsize
        if is_too_much(total, size=dataset.file.id.get_filesize()):
            raise WeightsError(f"{path}: its datasets claim {total:,} bytes, more than weights do")
        found[name] = dataset[()]
    return in_memory(found)


def _layers(weights: Weights) -> dict[str, tuple[str, dict[str, Array]]]:
    """Container -> the layer in it, and its arrays by variable; all in the order of Keras."""
    arrays = layouts.arrays_in(weights, "keras")
    return {
        container: (layer, {name: arrays[f"{layer}/{name}"] for name in _variables(container)})
        for container, layer in keras_layers(weights.spec, classes=weights.num_classes).items()
    }


def write_keras_h5(weights: Weights, path: Path) -> None:
    """The old layout: one group a layer, in the order of Keras' layers.

    Raises:
        MissingExtraError: h5py is not installed.
    """
    layers = _layers(weights).values()
    with _new(path) as file:
        _set_names(file.attrs, "layer_names", [layer for layer, _ in layers])
        file.attrs["backend"] = np.bytes_(b"tensorflow")
        file.attrs["keras_version"] = np.bytes_(_VERSION)
        for layer, arrays in layers:
            group = file.create_group(layer)
            _set_names(group.attrs, "weight_names", [f"{layer}/{name}:0" for name in arrays])
            for name, array in arrays.items():
                group.create_dataset(f"{layer}/{name}:0", data=array)


def write_keras_weights(weights: Weights, path: Path) -> None:
    """The layout of Keras 3: `layers/<class>_<number>/vars/<number>`, with the layer's name.

    Raises:
        MissingExtraError: h5py is not installed.
    """
    with _new(path) as file:
        file.create_group("vars")
        for container, (layer, arrays) in _layers(weights).items():
            group = file.create_group(f"layers/{container}/vars")
            group.attrs["name"] = layer
            for number, array in enumerate(arrays.values()):
                group.create_dataset(str(number), data=array)


@contextmanager
def _new(path: Path) -> Iterator[Any]:
    """An HDF5 file, made in memory: where the disk is full, the library ends the process."""
    h5py = needs("h5py", extra="keras")
    made = io.BytesIO()
    with h5py.File(made, "w") as file:
        yield file
    path.write_bytes(made.getbuffer())


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
