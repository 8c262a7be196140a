"""Members of zip files as bytes in memory, bounded: nothing is ever unpacked to disk.

Private to `readers`.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nasnet.errors import WeightsError
from nasnet.weights.formats.stored import is_too_much

__all__ = ["Members", "member_names", "open_members"]

_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, NotImplementedError)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # of which all that write weights take one


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """A zip file's members.

    Attributes:
        path: the file.
        sizes: name -> bytes, unpacked.
    """

    path: Path
    sizes: Mapping[str, int]

    def read(self, name: str) -> bytes:
        """One member's bytes; see `read_all`."""
        return self.read_all([name])[name]

    def read_all(self, names: Iterable[str]) -> dict[str, bytes]:
        """Several members' bytes, by name.

        Raises:
            WeightsError: one is missing or damaged.
        """
        found: dict[str, bytes] = {}
        name = "it"
        try:
            with zipfile.ZipFile(self.path) as archive:
                for name in names:
                    if name not in self.sizes:
                        raise WeightsError(f"{self.path}: {name} is missing from this archive")
                    found[name] = archive.read(name)
        except WeightsError:
            raise
        except (*_DAMAGED, OSError) as error:
            raise WeightsError(f"{self.path}: {name} in this archive is damaged: {error}") from None
        return found


def member_names(path: Path) -> frozenset[str]:
    """Names of a zip file's members; none if it is no zip file or its table is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset(archive.namelist())
    except (*_DAMAGED, OSError):
        return frozenset()


def open_members(path: Path) -> Members:
    """The members of a zip file, their claims checked.

    Raises:
        WeightsError: it is damaged, or would unfold beyond all measure.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = {info.filename: info for info in archive.infolist()}
    except (*_DAMAGED, OSError) as error:
        raise WeightsError(f"{path}: a damaged zip archive: {error}") from None
    strange = [name for name, info in found.items() if info.compress_type not in _METHODS]
    if strange:
        raise WeightsError(f"{path}: {strange[0]} in this archive is packed as no weights are")
    total = sum(info.file_size for info in found.values())
    # Of the file, not of what members claim: several may claim the same bytes.
    packed = path.stat().st_size
    if is_too_much(total, size=packed):
        raise WeightsError(
            f"{path}: this archive of {packed:,} bytes unfolds to {total:,}, more than weights do"
        )
    return Members(path=path, sizes={name: info.file_size for name, info in found.items()})
