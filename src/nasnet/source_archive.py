"""Pictures inside tar and zip archives, read in place: nothing is unpacked to disk.

Called by `source`.
"""

from __future__ import annotations

import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from nasnet.errors import PictureError, SourceError
from nasnet.source import MAX_BYTES, SUFFIXES, Item, Source, readable

__all__ = ["open_archive"]


def open_archive(path: Path, *, all_files: bool) -> Source:
    """Open an archive.

    Members come in the archive's order; folders are passed over, and so are files that do not
    look like pictures unless all are asked for; links and devices give a reason.

    Raises:
        SourceError: it is damaged, or holds no pictures; a damaged tar may show only on the way.
    """

    def wanted(name: str) -> bool:
        parts = PurePosixPath(name)
        hidden = any(part.startswith((".", "__MACOSX")) for part in parts.parts if part != ".")
        return not hidden and (all_files or parts.suffix.lower() in SUFFIXES)

    opener = _open_zip if path.suffix.lower() == ".zip" else _open_tar
    return opener(path, wanted)


def _open_tar(path: Path, wanted: Callable[[str], bool]) -> Source:
    def start() -> Iterator[Item]:
        found = False
        try:
            # "r|*" reads on and on and never back, so that gzip costs one pass.
            with tarfile.open(path, mode="r|*") as tar:
                for member in tar:
                    if member.isdir() or not wanted(member.name):
                        continue
                    found = True
                    yield Item(readable(member.name), _member(tar, member))
        except (tarfile.TarError, EOFError, OSError, ValueError) as error:
            raise SourceError(f"{path}: the archive is damaged: {error}") from error
        if not found:
            raise SourceError(f"{path}: no pictures in it")

    return Source(name=str(path), count=None, start=start)


def _member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Callable[[], bytes]:
    """What reads a member; the bytes are taken now, for a stream does not wait."""
    if not member.isreg():
        return _refuse("not a regular file in the archive")
    if member.size > MAX_BYTES:
        return _refuse(f"larger than {MAX_BYTES >> 20} MB")
    file = tar.extractfile(member)
    assert file is not None, "regular files have content"
    data = file.read()
    if len(data) != member.size:
        raise EOFError(f"it ends in the middle of {member.name}")
    return lambda: data


def _refuse(reason: str) -> Callable[[], bytes]:
    def read() -> bytes:
        raise PictureError(reason)

    return read


def _open_zip(path: Path, wanted: Callable[[str], bool]) -> Source:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise SourceError(f"{path}: the archive is damaged: {error}") from error
    members = [info for info in archive.infolist() if not info.is_dir() and wanted(info.filename)]
    lock = threading.Lock()  # one file handle for all decode threads

    def reader(info: zipfile.ZipInfo) -> Callable[[], bytes]:
        def read() -> bytes:
            if info.file_size > MAX_BYTES:
                raise PictureError(f"larger than {MAX_BYTES >> 20} MB")
            try:
                with lock, archive.open(info) as file:
                    data = file.read(MAX_BYTES + 1)
            except RuntimeError:
                raise PictureError("encrypted in the archive") from None
            except Exception as error:
                raise PictureError(f"damaged in the archive: {error}") from None
            if len(data) > MAX_BYTES:
                raise PictureError(f"larger than {MAX_BYTES >> 20} MB")
            return data

        return read

    def start() -> Iterator[Item]:
        for info in members:
            yield Item(readable(info.filename), reader(info))

    return Source(name=str(path), count=len(members), start=start)
