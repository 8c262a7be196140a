"""Checksums of the three files of a .npy feature set, kept in the metadata beside it.

The files are replaced one after another: after a kill in between they would not belong together.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from nasnet.errors import OutputError
from nasnet.text import open_regular

_KEY = "crc32"


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
    try:
        with open_regular(file) as opened:
            while data := opened.read(1 << 24):
                crc = zlib.crc32(data, crc)
    except OSError as error:
        raise OutputError(f"{file} cannot be read: {error.strerror or error}") from error
    return crc
