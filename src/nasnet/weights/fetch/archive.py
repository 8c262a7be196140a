"""Unpack .tar, .tar.gz and .zip files that come from elsewhere, safely.

tarfile's own filters are not used: they mend a member's name where an archive must be refused,
know nothing of zip files, and set no limit to sizes.
"""

from __future__ import annotations

import gzip
import re
import shutil
import stat
import struct
import tarfile
import unicodedata
import uuid
import zipfile
import zlib
from contextlib import closing
from pathlib import Path
from typing import IO, Final, Protocol

from nasnet.errors import FetchError

_CHUNK: Final = 1 << 20
_LONGEST_READ: Final = 4 << 20  # a header that asks for more at once is an attack on memory
_RATIO: Final = 200  # weights shrink by a tenth; what shrinks by this is made to fill a disk
_RATIO_FREE: Final = 64 << 20  # below this many bytes any ratio is harmless
_BLOCK: Final = 512  # of a tar file, POSIX.1-1988
_DEEPEST = 64  # folders in one another; a module has three
_ODD = re.compile(r"[\x00-\x1f\x7f\\:]")  # NUL and other controls, backslash, drive or stream

# what the readers of the standard library raise for damaged input
_DAMAGED: Final = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    struct.error,
    EOFError,
    RuntimeError,
    ValueError,
    OverflowError,
    MemoryError,
)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Seekable(_Readable, Protocol):
    def seek(self, offset: int, whence: int = 0, /) -> int: ...

    def tell(self) -> int: ...


def extract(
    archive: Path, target: Path, *, max_bytes: int = 4 << 30, max_files: int = 10_000
) -> None:
    """Unpack an archive into a new folder, which appears only when everything is in it.

    Regular files and folders are taken and nothing else; files get the default permissions of the
    user. The kind of archive is recognised by its first bytes, not by its name.

    Args:
        archive: a tar file, plain or gzip-compressed, or a zip file.
        target: folder to make; its parent must exist.
        max_bytes: limit of the unpacked size. Whatever it is, an archive that unpacks to more
            than 64 MiB and to 200 times its own size is refused.
        max_files: limit of the number of members.

    Raises:
        FetchError: the archive is damaged, ends early, breaks a limit, has a member that is
            neither file nor folder or whose name leaves the folder, or the target exists or cannot
            be written. The text names the archive and the member.
    """
    if target.exists():
        raise FetchError(f"{target}: already exists; archives are unpacked into new folders")
    work = target.with_name(f"{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        size = archive.stat().st_size
        limit = min(max_bytes, max(_RATIO_FREE, size * _RATIO))
        work.mkdir()
        out = _Folder(archive, work, max_bytes=limit, max_files=max_files)
        with archive.open("rb") as file:
            beginning = file.read(4)
            file.seek(0)
            if beginning[:2] == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=file, mode="rb") as unzipped:
                    _extract_tar(unzipped, out)
            elif beginning in (b"PK\x03\x04", b"PK\x05\x06"):
                _extract_zip(file, out)
            else:
                _extract_tar(file, out)
        if not out.files:
            raise FetchError(f"{archive}: holds no files")
        work.replace(target)
    except FetchError:
        raise
    except _DAMAGED as error:
        raise FetchError(
            f"{archive}: not a whole tar, tar.gz or zip archive ({_say(error)})"
        ) from error
    except OSError as error:
        raise FetchError(f"{archive}: cannot be unpacked into {target}: {_say(error)}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


class _Folder:
    """The folder being filled: it checks every name and counts every byte."""

    def __init__(self, archive: Path, root: Path, *, max_bytes: int, max_files: int) -> None:
        self.archive = archive
        self.files: set[str] = set()
        self._root = root
        self.bytes_left = max_bytes
        self.members_left = max_files
        self._folders: set[str] = set()
        self._folded: dict[str, str] = {}  # the name as a case-blind file system sees it -> name

    def refuse(self, member: str, why: str) -> FetchError:
        """The error for a member that will not be unpacked."""
        return FetchError(f"{self.archive}: member {member!r} {why}; the archive is refused")

    def add_folder(self, member: str) -> None:
        """Make a folder; one named twice is harmless."""
        for folder in self._chain(self._checked(member, is_folder=True)):
            self._make(member, folder)

    def add_file(self, member: str, content: _Readable, size: int) -> None:
        """Write a file of exactly `size` bytes."""
        path = self._checked(member, is_folder=False)
        if size < 0:
            raise self.refuse(member, f"declares {size} bytes")
        if size > self.bytes_left:
            raise self.refuse(member, f"of {size:,} bytes goes past the limit of unpacked bytes")
        *folders, _ = self._chain(path)
        for folder in folders:
            self._make(member, folder)
        self._claim(member, path)
        self.files.add(path)
        with (self._root / path).open("xb") as file:
            left = size
            while left:
                chunk = content.read(min(left, _CHUNK))
                if not chunk:
                    raise self.refuse(member, f"ends {left:,} bytes early")
                file.write(chunk)
                left -= len(chunk)
        self.bytes_left -= size

    def _checked(self, member: str, *, is_folder: bool) -> str:
        """The relative path of a member, with `/` between its parts."""
        self.members_left -= 1
        if self.members_left < 0:
            raise FetchError(f"{self.archive}: holds too many members; the archive is refused")
        if member.startswith("/"):
            raise self.refuse(member, "has an absolute path")
        if _ODD.search(member):
            raise self.refuse(member, "has a backslash, colon or control character in its name")
        try:
            member.encode()
        except UnicodeEncodeError:
            raise self.refuse(member, "has a name that is not UTF-8") from None
        parts = [part for part in member.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise self.refuse(member, "has '..' in its path")
        if not parts and not is_folder:
            raise self.refuse(member, "has no name")
        if len(parts) > _DEEPEST:
            raise self.refuse(member, f"lies more than {_DEEPEST} folders deep")
        return "/".join(parts)

    def _chain(self, path: str) -> list[str]:
        """`a/b/c` -> `a`, `a/b`, `a/b/c`."""
        parts = path.split("/") if path else []
        return ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]

    def _make(self, member: str, folder: str) -> None:
        if folder not in self._folders:
            self._claim(member, folder)
            self._folders.add(folder)
            (self._root / folder).mkdir()

    def _claim(self, member: str, path: str) -> None:
        folded = unicodedata.normalize("NFC", path).casefold()
        if folded in self._folded:
            raise self.refuse(member, f"comes twice (also as {self._folded[folded]!r})")
        self._folded[folded] = path


class _Bounded:
    """A stream below `tarfile` that serves no absurd request and remembers its last bytes."""

    def __init__(self, stream: _Seekable, *, max_bytes: int) -> None:
        self.last = b""
        self._stream = stream
        self._end = max_bytes

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LONGEST_READ:
            raise tarfile.ReadError(f"a header asks for {size} bytes")
        self._stay(self._stream.tell() + size)
        self.last = self._stream.read(size)
        return self.last

    def seek(self, position: int, whence: int = 0) -> int:
        self._stay(position)
        return self._stream.seek(position, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def drain(self) -> None:
        """Read to the end, where gzip keeps its checksum."""
        while self.read(_CHUNK):
            pass

    def _stay(self, position: int) -> None:
        if position > self._end:
            raise tarfile.ReadError("it unpacks to more than the limit")


def _extract_tar(stream: _Seekable, out: _Folder) -> None:
    # headers, padding and the end may take as much again as the limit of the files' bytes allows
    bounded = _Bounded(stream, max_bytes=out.bytes_left + out.members_left * 8 * _BLOCK + _CHUNK)
    # tarfile wants a whole IO[bytes], but of a stream opened so it calls read, seek and tell only
    with tarfile.open(mode="r:", fileobj=bounded, errorlevel=2) as tar:  # type: ignore[call-overload]
        for member in tar:
            _add_tar_member(tar, member, out)
    # tarfile takes a cut or broken header after the first member for the end without a word
    if bounded.last != bytes(_BLOCK):
        raise tarfile.ReadError("the end of the archive is missing")
    bounded.drain()


def _add_tar_member(tar: tarfile.TarFile, member: tarfile.TarInfo, out: _Folder) -> None:
    if member.type == tarfile.DIRTYPE:
        out.add_folder(member.name)
    elif member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse():
        content = tar.extractfile(member)
        if content is None:
            raise out.refuse(member.name, "has no content")
        with closing(content):
            out.add_file(member.name, content, member.size)
    else:
        raise out.refuse(member.name, "is neither a regular file nor a folder")


def _extract_zip(file: IO[bytes], out: _Folder) -> None:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            name = member.orig_filename  # before zipfile cuts it at a NUL
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise out.refuse(name, "is neither a regular file nor a folder")
            if member.flag_bits & 1:
                raise out.refuse(name, "is encrypted")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise out.refuse(name, "is compressed in an unusual way")
            if kind == stat.S_IFDIR or name.endswith("/"):
                out.add_folder(name)
                continue
            with archive.open(member) as content:
                out.add_file(name, content, member.file_size)
                if content.read(1):  # also makes zipfile compare the CRC-32
                    raise out.refuse(name, "holds more bytes than it declares")


def _say(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
