"""Which format is it? Told from a file's first bytes or an archive's members, never its name.

Private to `readers`, offered by it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nasnet.errors import NasnetError, WeightsError
from nasnet.weights.formats.assembly import assemble
from nasnet.weights.formats.graph_defs import looks_like_graph, read_graph_def
from nasnet.weights.formats.keras_files import HDF5_MAGIC, read_keras_archive, read_keras_h5
from nasnet.weights.formats.mindspore import looks_like_mindspore, read_mindspore
from nasnet.weights.formats.npz import read_npz
from nasnet.weights.formats.object_graphs import read_checkpoint
from nasnet.weights.formats.safetensors_files import (
    looks_like_safetensors,
    read_safetensors_of_others,
)
from nasnet.weights.formats.stored import Content
from nasnet.weights.formats.tfjs import MANIFESTS, looks_like_tfjs, read_tfjs
from nasnet.weights.formats.tflite import TFLITE_MARK, read_tflite
from nasnet.weights.formats.torch_files import LEGACY_MAGIC, read_torch
from nasnet.weights.formats.zips import member_names
from nasnet.weights.weights import Weights

__all__ = ["Read", "read_foreign", "read_variables"]

Reader = Callable[[Path], Content]

_MOST_FILES = 200  # of a folder that are looked at
_HEAD = 16  # bytes that tell the formats apart
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the second one: an empty archive
# Formats that their first bytes tell: where, what, and who reads them.
_MARKS: tuple[tuple[int, bytes, Reader], ...] = (
    (0, HDF5_MAGIC, read_keras_h5),
    (0, LEGACY_MAGIC, read_torch),
    (4, TFLITE_MARK, read_tflite),
)
# Zip archives by the end of a member's name.
_MEMBERS: tuple[tuple[str, Reader], ...] = (
    ("data.pkl", read_torch),
    ("model.weights.h5", read_keras_archive),
    (".npy", read_npz),
)
# Formats without a mark, by looking inside.
_LOOKS: tuple[tuple[Callable[[Path], bool], Reader], ...] = (
    (looks_like_tfjs, read_tfjs),
    (looks_like_mindspore, read_mindspore),
    (looks_like_graph, read_graph_def),
)
_DAMAGED = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)
_PICKLES = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """Weights, and what was found out about the file.

    Attributes:
        weights: checked against the network.
        format: what the file is, for people.
        notes: what a user should know about how it was read.
    """

    weights: Weights
    format: str
    notes: tuple[str, ...]


def read_foreign(path: Path, *, partial: bool = False) -> Read | None:
    """Read a file or folder of any known format.

    Args:
        path: the file, or a folder with the file and nothing else that is one.
        partial: let tensors be missing; for looking only.

    Returns:
        The weights, or None if it is of no known format.

    Raises:
        MissingExtraError: the format's own library is not installed.
        WeightsError: it is damaged, holds no NASNet-A, or asks to run something.
    """
    if path.is_dir():
        found = _in_folder(path)
        return None if found is None else read_foreign(found, partial=partial)
    reader = _reader(path)
    return None if reader is None else _read(reader, path, partial)


def read_variables(path: Path, *, partial: bool = False) -> Read:
    """Read a TensorFlow V2 checkpoint under whosever names: Keras', an object graph's, a port's.

    Raises:
        WeightsError: it is damaged, or holds no NASNet-A.
    """
    return _read(read_checkpoint, path, partial)


def _in_folder(folder: Path) -> Path | None:
    """The one weight file of a folder: a TF.js model's JSON, or whatever is read by itself."""
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file())[:_MOST_FILES]
    except OSError as error:
        raise WeightsError(f"{folder}: cannot be read: {error.strerror or error}") from None
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
        return _reader(path) is not None
    except WeightsError:
        return False


def _read(reader: Reader, path: Path, partial: bool) -> Read:
    try:
        # Numbers that overflow are found afterwards, by name.
        with np.errstate(all="ignore"):
            weights, content = assemble(reader(path), file=str(path), partial=partial)
    except NasnetError:
        raise
    except MemoryError:
        raise WeightsError(f"{path}: claims more memory than there is") from None
    except _DAMAGED as error:
        # The readers name what they know; this is for damage that nobody has thought of.
        raise WeightsError(f"{path}: damaged: {type(error).__name__}: {error}") from error
    return Read(weights=weights, format=content.title, notes=content.notes)


def _reader(path: Path) -> Reader | None:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}") from None
    for start, mark, reader in _MARKS:
        if head[start : start + len(mark)] == mark:
            return reader
    if head.startswith(_ZIP):
        return _zip_reader(path)
    if looks_like_safetensors(head):
        return read_safetensors_of_others
    if head[:2] in _PICKLES:
        raise WeightsError(
            f"{path}: is a bare Python pickle, which can run anything: refused; save the state "
            "dict with torch.save, or as safetensors"
        )
    for looks, reader in _LOOKS:
        if looks(path):
            return reader
    return None


def _zip_reader(path: Path) -> Reader:
    members = member_names(path)
    for ending, reader in _MEMBERS:
        if any(name.endswith(ending) for name in members):
            return reader
    if not members and not zipfile.is_zipfile(path):
        raise WeightsError(f"{path}: a damaged zip archive: its list of members cannot be read")
    raise WeightsError(
        f"{path}: this zip archive of {len(members)} members holds no weights: neither PyTorch's "
        "data.pkl, nor Keras' model.weights.h5, nor NumPy's arrays"
    )
