"""The weight formats that can be read: one row a format, how to recognise it and how to open it.

A format is recognised by a path's content, never by its name.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import get_args

import numpy as np

from nasnet.errors import NasnetError, WeightsError, os_errors
from nasnet.network.build import sides_of
from nasnet.network.plan import PADDINGS
from nasnet.text import open_regular, read_json
from nasnet.weights.formats import tf_checkpoint, tf_hub, tf_variables
from nasnet.weights.formats.base import Averages, Content, assemble, member_names, open_members
from nasnet.weights.formats.graph_defs import looks_like_graph, read_graph_def
from nasnet.weights.formats.keras_files import HDF5_MAGIC, read_keras_archive, read_keras_h5
from nasnet.weights.formats.mindspore import looks_like_mindspore, read_mindspore
from nasnet.weights.formats.npz import read_npz
from nasnet.weights.formats.protobuf import MalformedError
from nasnet.weights.formats.safetensors_files import (
    looks_like_safetensors,
    read_safetensors_of_others,
)
from nasnet.weights.formats.tfjs import MANIFESTS, looks_like_tfjs, read_tfjs
from nasnet.weights.formats.tflite import TFLITE_MARK, read_tflite
from nasnet.weights.formats.torch_files import LEGACY_MAGIC, read_torch
from nasnet.weights.layouts import STEMS
from nasnet.weights.module_folder import Task, is_module_folder, read_folder
from nasnet.weights.weights import Weights, read_card, read_safetensors

_CONFIGURATION, _TENSORS = "config.json", "model.safetensors"
_MOST_CONFIGURATION = 1 << 20  # bytes
_MOST_FILES = 200  # of a folder that are looked at
_HEAD = 16  # bytes that tell the formats apart
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the second one: an empty archive
_PICKLES = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
_DAMAGED = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)


class _Seen:
    """A path that is being recognised: what tells formats apart is read from it once."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def head(self) -> bytes:
        """The first bytes of a regular file; none of anything else, as a pipe would block."""
        try:
            if not self.path.is_file():
                return b""
            with self.path.open("rb") as file:
                return file.read(_HEAD)
        except OSError as error:
            reason = error.strerror or error
            raise WeightsError(f"{self.path}: cannot be read: {reason}") from None

    @cached_property
    def members(self) -> frozenset[str]:
        """Names of a zip archive's members."""
        return member_names(self.path) if self.head.startswith(_ZIP) else frozenset()


Fits = Callable[[_Seen], bool]
Open = Callable[[Path, Averages, bool], tuple[Weights, Content]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """How one format of weights is read."""

    name: str  # for people
    fits: Fits  # whether a path is of this format, told by content, never by a file's name
    open: Open  # opens it: path, averages and partial as in `open_path`


def _open_module_folder(path: Path, averages: Averages, partial: bool) -> tuple[Weights, Content]:
    folder = read_folder(path)
    return folder.weights, Content(
        title="nasnet module folder",
        task=folder.task,
        image_size=(folder.height, folder.width),
        signatures=folder.signatures,
        batch_norm_momentum=folder.batch_norm_momentum,
    )


def _open_safetensors(path: Path, averages: Averages, partial: bool) -> tuple[Weights, Content]:
    weights = read_safetensors(path, partial=partial)
    card = read_card(path)
    return weights, Content(title="safetensors", card=card, image_size=weights.image_size)


def _open_hugging_face(path: Path, averages: Averages, partial: bool) -> tuple[Weights, Content]:
    """A folder that this package exported: its configuration says what the tensors cannot."""
    file = path / _CONFIGURATION
    told = read_json(file, WeightsError).get("nasnet")
    weights, content = read_path(path / _TENSORS, averages=averages, partial=partial)
    try:
        height, width = sides_of(str(told["image_size"]))  # type: ignore[index]
        task, padding = told["task"], told["padding"]  # type: ignore[index]
        labels = tuple(map(str, json.loads(told["labels"])))  # type: ignore[index]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise WeightsError(f"{file}: damaged: {error}") from None
    if task not in get_args(Task) or padding not in PADDINGS or min(height, width) < 1:
        raise WeightsError(f"{file}: damaged: task {task!r}, padding {padding!r}")
    known = len(labels) == weights.num_classes
    weights = replace(weights, padding=padding, labels=labels if known else weights.labels)
    return weights, replace(
        content, title="Hugging Face folder", task=task, image_size=(height, width)
    )


def _is_hugging_face(seen: _Seen) -> bool:
    """A folder with tensors and a configuration of ours."""
    if not (seen.path / _TENSORS).is_file():
        return False
    try:
        with open_regular(seen.path / _CONFIGURATION) as file:
            return b'"nasnet":' in file.read(_MOST_CONFIGURATION)
    except OSError:
        return False


def _is_our_safetensors(seen: _Seen) -> bool:
    """Safetensors with our names in the header."""
    if not looks_like_safetensors(seen.head):
        return False
    with seen.path.open("rb") as file:
        header = file.read(8 + int.from_bytes(seen.head[:8], "little"))
    # A damaged one is ours to explain as well.
    return any(f'"{stem}"'.encode() in header for stem in STEMS) or b'"dtype"' not in header


def _foreign(name: str, fits: Fits, read: Callable[[Path], Content]) -> Reader:
    """A format whose tensors go through `assemble`."""
    return _of_training(name, fits, lambda path, averages: read(path))


def _of_training(name: str, fits: Fits, read: Callable[[Path, Averages], Content]) -> Reader:
    """The same of a format that may hold moving averages."""

    def open(path: Path, averages: Averages, partial: bool) -> tuple[Weights, Content]:
        try:
            # Numbers that overflow are found afterwards, by name.
            with np.errstate(all="ignore"):
                return assemble(read(path, averages), path, partial=partial)
        except NasnetError:
            raise
        except MalformedError as error:
            raise WeightsError(f"{path}: damaged {name}: {error}") from None
        except OSError as error:
            raise WeightsError(f"{path}: cannot be read: {error.strerror or error}") from None
        except MemoryError:
            raise WeightsError(f"{path}: claims more memory than there is") from None
        except _DAMAGED as error:
            # The readers name what they know; this is for damage that nobody has thought of.
            raise WeightsError(f"{path}: damaged: {type(error).__name__}: {error}") from error

    return Reader(name=name, fits=fits, open=open)


def _begins(mark: bytes, *, at: int = 0) -> Fits:
    return lambda seen: seen.head[at : at + len(mark)] == mark


def _has_member(ending: str) -> Fits:
    return lambda seen: any(name.endswith(ending) for name in seen.members)


def _path(fits: Callable[[Path], bool]) -> Fits:
    return lambda seen: fits(seen.path)


def _file(fits: Callable[[Path], bool]) -> Fits:
    """Formats without a mark, told by a look inside."""
    return lambda seen: bool(seen.head) and seen.head[:2] not in _PICKLES and fits(seen.path)


# The first that fits: what has a mark of its own stands before what only a look inside tells.
READERS: tuple[Reader, ...] = (
    Reader(name="nasnet module folder", fits=_path(is_module_folder), open=_open_module_folder),
    Reader(name="Hugging Face folder", fits=_is_hugging_face, open=_open_hugging_face),
    _of_training("TF1 hub module", _path(tf_hub.is_hub_module), tf_variables.read_hub_module),
    _of_training("SavedModel", _path(tf_hub.is_saved_model), tf_variables.read_saved_model),
    Reader(name="safetensors file", fits=_is_our_safetensors, open=_open_safetensors),
    _of_training(
        "TensorFlow V2 checkpoint (.index and .data-... files)",
        _path(tf_checkpoint.is_checkpoint),
        tf_variables.read_checkpoint,
    ),
    _foreign("Keras file (.h5)", _begins(HDF5_MAGIC), read_keras_h5),
    _foreign("PyTorch file", _begins(LEGACY_MAGIC), read_torch),
    _foreign("TFLite model", _begins(TFLITE_MARK, at=4), read_tflite),
    _foreign("PyTorch file", _has_member("data.pkl"), read_torch),
    _foreign("Keras archive (.keras)", _has_member("model.weights.h5"), read_keras_archive),
    _foreign("NumPy archive (.npz)", _has_member(".npy"), read_npz),
    _foreign(
        "safetensors file",
        lambda seen: looks_like_safetensors(seen.head),
        read_safetensors_of_others,
    ),
    _foreign("TF.js model", _file(looks_like_tfjs), read_tfjs),
    _foreign("MindSpore checkpoint", _file(looks_like_mindspore), read_mindspore),
    _foreign("TensorFlow graph", _file(looks_like_graph), read_graph_def),
)


def read_path(path: Path, *, averages: Averages, partial: bool) -> tuple[Weights, Content]:
    """The weights in a file or folder, and what it says of itself; see `opening.open_path`."""
    found = _recognise(_Seen(path))
    if found is not None:
        return found.open(path, averages, partial)
    if path.is_dir() and (file := _lone_file(path)) is not None:
        return read_path(file, averages=averages, partial=partial)
    if not path.exists():
        raise WeightsError(f"{path}: no such file or folder")
    if not path.is_file() and not path.is_dir():
        raise WeightsError(f"{path}: is a pipe or a device: save what comes out of it to a file")
    kind = "folder" if path.is_dir() else "file"
    known = ", ".join(dict.fromkeys(reader.name for reader in READERS))
    raise WeightsError(
        f"{path}: this {kind} is not a module or weight file that can be read; these can: {known}"
    )


def _recognise(seen: _Seen) -> Reader | None:
    """The first format that fits.

    Raises:
        WeightsError: it is something that is refused by its name.
    """
    for reader in READERS:
        if reader.fits(seen):
            return reader
    if seen.head.startswith(_ZIP):
        if not seen.members:
            open_members(seen.path)  # says what is wrong with it, if it is not just empty
        raise WeightsError(
            f"{seen.path}: this zip archive of {len(seen.members)} members holds no weights: "
            "neither PyTorch's data.pkl, nor Keras' model.weights.h5, nor NumPy's arrays"
        )
    if seen.head[:2] in _PICKLES:
        raise WeightsError(
            f"{seen.path}: is a bare Python pickle, which can run anything: refused; save the "
            "state dict with torch.save, or as safetensors"
        )
    return None


def _lone_file(folder: Path) -> Path | None:
    """The one weight file of a folder: a TF.js model's JSON, or whatever is read by itself."""
    with os_errors(WeightsError, f"{folder}: cannot be read"):
        files = sorted(path for path in folder.iterdir() if path.is_file())[:_MOST_FILES]
    manifests = [path for path in files if path.name in MANIFESTS]
    known = manifests[:1] or [path for path in files if _is_known(path)]
    if len(known) > 1:
        raise WeightsError(
            f"{folder}: holds {len(known)} weight files, {known[0].name}, {known[1].name}"
            f"{' and others' if len(known) > 2 else ''}: name one of them"
        )
    return known[0] if known else None


def _is_known(path: Path) -> bool:
    try:
        return _recognise(_Seen(path)) is not None
    except WeightsError:
        return False
