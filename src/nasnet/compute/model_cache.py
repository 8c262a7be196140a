"""Compiled models kept in the user's cache folder, so that only the first start compiles.

A file is used only if it is whole and nobody else could have written it, and anything that keeps
it from being read or written means compiling, never an error. Results are equal to the bit.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import struct
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from nasnet._version import __version__
from nasnet.compute.processor import description
from nasnet.errors import OutputError
from nasnet.system import staged
from nasnet.weights.fetch.cache import cache_folder

_LOG = logging.getLogger(__name__)
_MOST_BYTES = 1 << 30  # of all files together; those not used for longest go first
_ENDING = ".model"
_HEADER = struct.Struct("<8sIQ")  # magic, CRC-32C and length of what follows
_MAGIC = b"NASNETCM"
# Where the graph of a model comes from: another line there may mean another graph.
_MAKERS = (
    "network",
    "compute/engine.py",
    "compute/int8.py",
    "compute/onnx_model.py",
    "compute/openvino_engine.py",
)


def place_of(identity: Mapping[str, object]) -> Path:
    """Where the model with this identity is kept, if it is.

    The identity is all that decides what the compiled model is, in values that JSON or `str` can
    tell; the package's version and code and the processor are added.
    """
    told = {**identity, "nasnet": __version__, "code": _code(), "processor": description()}
    text = json.dumps(told, sort_keys=True, default=str)
    return cache_folder() / "compiled" / f"{hashlib.sha256(text.encode()).hexdigest()}{_ENDING}"


def read(place: Path) -> bytes | None:
    """A model that is kept; None if there is none that can be trusted."""
    import google_crc32c

    try:
        if not _is_ours(place.parent):
            return None
        with place.open("rb") as file:
            header, model = file.read(_HEADER.size), file.read()
        os.utime(place)
    except OSError:
        return None
    if len(header) < _HEADER.size:
        return None
    magic, checksum, length = _HEADER.unpack(header)
    whole = magic == _MAGIC and len(model) == length and google_crc32c.value(model) == checksum
    return model if whole else None


def write(place: Path, model: bytes) -> None:
    """Keep a model, and forget the ones not used for longest where there are too many."""
    import google_crc32c

    header = _HEADER.pack(_MAGIC, google_crc32c.value(model), len(model))
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_ours(place.parent):
            return
        # Not made safe against a power cut: the checksum finds what one leaves.
        with staged(place, durable=False) as made:
            made.write_bytes(header + model)
    except (OSError, OutputError) as error:
        _LOG.debug("a compiled model was not kept: %s", error)
        return
    _forget(place.parent)


def _forget(folder: Path) -> None:
    with contextlib.suppress(OSError):
        files = [(one, one.stat()) for one in folder.glob(f"*{_ENDING}")]
        total = 0
        for file, status in sorted(files, key=lambda one: one[1].st_mtime, reverse=True):
            total += status.st_size
            if total > _MOST_BYTES:
                file.unlink(missing_ok=True)


def _is_ours(folder: Path) -> bool:
    """Whether only this user can write there: what is read is machine code, nearly."""
    if os.name != "posix":
        return True
    status = folder.stat()
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022


@cache
def _code() -> str:
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for maker in _MAKERS:
        path = root / maker
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()
