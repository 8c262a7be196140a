"""The files of a .npy feature set: `x.npy`, `x.ids.jsonl` with a line a row, and `x.json`.

The checksums of all three are kept in the last one: they are replaced one after another, and would
not belong together after a kill in between.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import OutputError, os_errors
from nasnet.text import open_regular, read_json, read_json_lines
from nasnet.weights.formats.npy import map_npy

MAKES_ONE = "nasnet embed SOURCE -o features.parquet makes a feature set of pictures"
_KEY = "crc32"


def ids_file(path: Path) -> Path:
    """Beside `x.npy`: a JSON line for each row."""
    return path.with_suffix(".ids.jsonl")


def meta_file(path: Path) -> Path:
    """Beside `x.npy`: what the set says about itself."""
    return path.with_suffix(".json")


def read_rows(file: Path) -> Iterator[dict[str, Any]]:
    """What lies beside the vectors of `x.npy`: an object a row, with at least `id` and `error`.

    Raises:
        OutputError: it is missing or damaged.
    """
    beside = ids_file(file)
    for row in read_json_lines(beside, OutputError):
        if not (
            isinstance(row, dict)
            and isinstance(row.get("id"), str)
            and isinstance(row.get("error", 0), str | None)
        ):
            raise OutputError(f"{beside}: a line of it is not a row of a feature set")
        yield row


def npy_vectors(file: Path) -> npt.NDArray[np.floating[Any]]:
    """The vectors, mapped.

    Raises:
        OSError, ValueError: they cannot be read, or are none.
    """
    vectors = map_npy(file)
    if vectors.ndim != 2 or vectors.dtype.name not in ("float32", "float16", "int8"):
        raise ValueError(f"its array is {vectors.dtype.name} {list(vectors.shape)}")
    return vectors


def npy_meta(file: Path) -> dict[str, str]:
    """What stands beside them.

    Raises:
        OutputError: it is missing or damaged.
    """
    beside = meta_file(file)
    if file.is_file() and not beside.exists():
        raise OutputError(
            f"{file}: a plain array, with no {beside.name} beside it; nasnet adopt makes a feature "
            "set of it"
        )
    return {key: str(value) for key, value in read_json(beside, OutputError).items()}


def check_npy(file: Path) -> None:
    """Make sure that a .npy and the files beside it are whole and belong together.

    Raises:
        OutputError: they do not.
    """
    check_sums(npy_meta(file), meta_file(file), (file, ids_file(file)))


def unreadable(file: Path, error: Exception) -> OutputError:
    """What to raise for a file that cannot be read."""
    from nasnet.features.store.formats import FORMATS

    reason: object = error
    if isinstance(error, FileNotFoundError):
        reason = "no such file" if not file.exists() else f"no file {error.filename} beside it"
    elif file.is_dir():
        reason = f"it is a folder; {MAKES_ONE}"
    elif file.suffix not in FORMATS:
        reason = f"its name does not end in {', '.join(FORMATS)}; {MAKES_ONE}"
    return OutputError(f"{file}: not a readable feature set: {reason}")


def with_sums(meta: Mapping[str, str], files: Sequence[Path]) -> dict[str, str]:
    """The metadata with the checksums of the files and their own."""
    sums = [zlib.crc32(json.dumps(meta, sort_keys=True).encode()), *map(_of_file, files)]
    return {**meta, _KEY: " ".join(f"{one:08x}" for one in sums)}


def check_sums(meta: Mapping[str, str], place: Path, files: Sequence[Path]) -> None:
    """Make sure that metadata and files are whole and belong together.

    What others wrote has no checksums.

    Raises:
        OutputError: one does not fit, or cannot be read.
    """
    bare = {key: value for key, value in meta.items() if key != _KEY}
    if len(bare) == len(meta):
        return
    now = with_sums(bare, files)[_KEY].split(" ")
    told = [*meta[_KEY].split(" "), *now][: len(now)]
    for file, mine, theirs in zip((place, *files), now, told, strict=True):
        if mine != theirs:
            raise OutputError(
                f"{file}: damaged, or of another run than the files beside it: its checksum does "
                "not fit; write the set anew"
            )


def _of_file(file: Path) -> int:
    crc = 0
    with os_errors(OutputError, f"{file} cannot be read"), open_regular(file) as opened:
        while data := opened.read(1 << 24):
            crc = zlib.crc32(data, crc)
    return crc
