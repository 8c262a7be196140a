"""Pictures inside tar and zip archives, read in place: nothing is unpacked to disk.

Members come in the archive's order; names are only ever used as ids.
"""

from __future__ import annotations

import io
import lzma
import os
import tarfile
import threading
import weakref
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import PurePosixPath
from typing import BinaryIO

from nasnet.errors import PictureError, SourceError, os_errors
from nasnet.pictures.decode.endings import ending_of, looks_like_picture
from nasnet.pictures.sources.item import (
    MAX_BYTES,
    Item,
    Opener,
    Source,
    SourceOptions,
    id_of_path,
    refusal,
)
from nasnet.pictures.sources.sidecars import with_columns

_TOO_LARGE = f"larger than {MAX_BYTES >> 20} MB"
_LINK = "a link in the archive, not a file"
_SPECIAL = "not a regular file in the archive"
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError)
_BLOCK = 512  # of a tar file
_SMALL = 16 << 20  # bytes of what is said of a picture; more is a mistake
SIDECARS = ("json", "txt", "cls")  # endings of what is said of the picture of the same name
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")  # gzip, bzip2, xz, zstd


def is_compressed(head: bytes) -> bool:
    """Whether a file that begins so is compressed as a whole, as `.tar.gz` is."""
    return head.startswith(_COMPRESSED)


@contextmanager
def damage_named(name: str) -> Iterator[None]:
    """What goes wrong with an archive becomes a `SourceError` with its name."""
    try:
        yield
    except SourceError:
        raise
    except (*_DAMAGE, ValueError, TypeError, NotImplementedError) as error:  # as `tarfile` has them
        raise SourceError(f"{name}: the archive is damaged: {error}") from error


def _wanted(name: str, all_files: bool, passed: Counter[str] | None) -> bool:
    """Whether a member is taken: hidden ones never, others by their names unless all are."""
    parts = PurePosixPath(name).parts
    if any(part.startswith((".", "__MACOSX")) for part in parts if part not in (".", "..")):
        return False
    taken = all_files or looks_like_picture(name)
    if not taken and passed is not None:
        passed[ending_of(name)] += 1
    return taken


def tar_source(name: str, opener: Opener, *, plain: bool, options: SourceOptions) -> Source:
    """Pictures in a tar archive, compressed or not.

    A member that is a link or a device gives a row with that reason.

    Args:
        name: for messages.
        opener: opens the archive anew.
        plain: it is not compressed and `opener` gives a local file: then only headers are read
            here, and each picture where it is decoded. Other archives are read as one stream.
        options: whether members are taken whatever their name, and which columns are kept.

    Raises:
        SourceError: on the way, where the archive is damaged; the rows before it are good.
    """
    passed: Counter[str] = Counter()
    all_files = options.all_files

    def start() -> Iterator[Item]:
        passed.clear()
        with damage_named(name):
            members = tar_members(opener, plain=plain, all_files=all_files, passed=passed)
            for tar, member in members:
                yield Item(id_of_path(member.name), read_member(tar, member, opener, plain))

    samples = partial(_tar_samples, name, opener, plain=plain, all_files=all_files)
    source = Source(name=name, kind="tar", count=None, start=start, passed=passed)
    return with_columns(source, options, samples)


def _tar_samples(
    name: str, opener: Opener, *, plain: bool, all_files: bool
) -> Iterator[tuple[Item, Mapping[str, bytes]]]:
    """The items of `tar_source` with the files beside each, by their endings; see `SIDECARS`.

    They belong to it by their names up to the first dot, and lie next to it.

    Raises:
        SourceError: the archive is damaged.
    """
    with damage_named(name):
        key: str | None = None
        items: list[Item] = []
        beside: dict[str, bytes] = {}
        for tar, member in tar_members(opener, plain=plain, all_files=True):
            mine, ending = key_of(member.name)
            if mine != key:
                yield from ((item, beside) for item in items)
                key, items, beside = mine, [], {}
            if ending in SIDECARS:
                beside[ending] = small_member(f"{name}/{id_of_path(member.name)}", tar, member)
            if _wanted(member.name, all_files, None):
                read = read_member(tar, member, opener, plain)
                items.append(Item(id_of_path(member.name), read))
        yield from ((item, beside) for item in items)


def key_of(name: str) -> tuple[str, str]:
    """The key of a member's sample, as WebDataset has it, and the ending, in lower case."""
    base = name.rpartition("/")[2]
    stem, _, ending = base.partition(".")
    return name.removesuffix(base) + stem, ending.lower()


def tar_members(
    opener: Opener, *, plain: bool, all_files: bool, passed: Counter[str] | None = None
) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """The members of a tar, in order, with the open archive, which is where that member is.

    Raises:
        EOFError: it ends too early; other damage has errors of its own, see `damage_named`.
    """
    # "r|*" reads on and never back, so that a compressed archive costs one pass.
    with (
        opener() as file,
        tarfile.open(
            fileobj=file,
            mode="r:" if plain else "r|*",
            encoding="utf-8",
            errors="surrogateescape",
        ) as tar,
    ):
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # else it keeps all headers
            if not member.isdir() and _wanted(member.name, all_files, passed):
                yield tar, member
        if plain and (file.seek(0, 2) - tar.offset) % _BLOCK:
            raise EOFError("it ends in the middle of a header")


def read_member(
    tar: tarfile.TarFile, member: tarfile.TarInfo, opener: Opener, plain: bool
) -> Callable[[], bytes]:
    """What reads a member: later from the file, if it is plain, else now, as it comes by.

    Raises:
        EOFError: the archive ends within it.
    """
    if member.issym() or member.islnk():
        return refusal(_LINK)
    if not member.isreg():
        return refusal(_SPECIAL)
    if member.size > MAX_BYTES:
        return refusal(_TOO_LARGE)
    if member.size == 0:
        return refusal("empty file")
    if plain and not member.issparse():
        return partial(_slice, opener, member.offset_data, member.size)
    data = _whole(tar, member)
    return lambda: data


def _whole(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    extracted = tar.extractfile(member)
    assert extracted is not None, "regular files have content"
    data = extracted.read()
    if len(data) != member.size:
        raise EOFError(f"it ends in the middle of {member.name}")
    return data


def _slice(opener: Opener, offset: int, size: int) -> bytes:
    with os_errors(PictureError, "the archive cannot be read"), opener() as file:
        file.seek(offset)
        data = file.read(size)
    if len(data) != size:
        raise PictureError("the archive ends in the middle of it")
    return data


def small_member(where: str, tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """A member that is read at once: no picture, but what is said of one.

    Raises:
        SourceError: it is large, a link or a device.
        EOFError: the archive ends within it.
    """
    if not member.isreg() or member.size > _SMALL:
        raise SourceError(
            f"{where}: a file beside a picture is a regular one of at most {_SMALL >> 20} MB"
        )
    return _whole(tar, member)


def zip_source(name: str, opener: Opener, *, options: SourceOptions) -> Source:
    """Pictures in a zip archive; links, encrypted and damaged members give a row with the reason.

    What a member unpacks to is bounded, whatever its header says.

    Raises:
        SourceError: its directory is damaged.
    """
    file, close = _shareable(opener)
    with damage_named(name):
        try:
            archive = zipfile.ZipFile(file)
        except BaseException:
            close()
            raise
    shared = _SharedZip(archive, close)
    passed: Counter[str] = Counter()
    there = [info for info in archive.infolist() if info.filename and not info.is_dir()]
    members = [info for info in there if _wanted(info.filename, options.all_files, passed)]

    def part(first: int, last: int | None) -> Iterator[Item]:
        for info in members[first:last]:
            linked = (info.external_attr >> 16) & 0o170000 == 0o120000
            read = refusal(_LINK) if linked else partial(shared.read, info)
            yield Item(id_of_path(info.filename), read)

    source = Source(
        name=name,
        kind="zip",
        count=len(members),
        start=partial(part, 0, None),
        part=part,
        passed=passed,
    )
    if not (options.keep or options.keep_all):
        return source
    beside: dict[str, dict[str, zipfile.ZipInfo]] = {}
    for info in there:
        key, ending = key_of(info.filename)
        if ending in SIDECARS:
            beside.setdefault(key, {})[ending] = info

    def samples() -> Iterator[tuple[Item, Mapping[str, bytes]]]:
        for info, item in zip(members, part(0, None), strict=True):
            files = beside.get(key_of(info.filename)[0], {})
            yield item, {ending: shared.small(name, one) for ending, one in files.items()}

    return with_columns(source, options, samples)


def _shareable(opener: Opener) -> tuple[BinaryIO, Callable[[], None]]:
    """An open file that lives as long as somebody holds an item of it, and what closes it."""
    file = opener()
    if not isinstance(file, io.BufferedReader):
        return file, file.close
    with file:  # Python warns of its own files when they are left to the garbage collector
        descriptor = os.dup(file.fileno())
    return open(descriptor, "rb", closefd=False), partial(os.close, descriptor)


class _SharedZip:
    """One open archive for all decode threads; its file is closed when its last item is gone."""

    def __init__(self, archive: zipfile.ZipFile, close: Callable[[], None]) -> None:
        self._archive = archive
        self._lock = threading.Lock()  # zipfile guards reads, but counts its users unguarded
        weakref.finalize(self, close)

    def small(self, name: str, info: zipfile.ZipInfo) -> bytes:
        """What lies beside a picture; see `small_member`."""
        if info.file_size > _SMALL:
            raise SourceError(
                f"{name}/{info.filename}: a file beside a picture has at most {_SMALL >> 20} MB"
            )
        try:
            return self.read(info) if info.file_size else b""
        except PictureError as error:
            raise SourceError(f"{name}/{info.filename}: {error}") from None

    def read(self, info: zipfile.ZipInfo) -> bytes:
        if info.file_size > MAX_BYTES:
            raise PictureError(_TOO_LARGE)
        if info.flag_bits & 1:
            raise PictureError("encrypted in the archive")
        try:
            with self._lock:
                member = self._archive.open(info)
            try:
                data = member.read(MAX_BYTES + 1)
            finally:
                with self._lock:
                    member.close()
        except (*_DAMAGE, ValueError, NotImplementedError, RuntimeError) as error:
            raise PictureError(f"damaged in the archive: {error}") from None
        if len(data) > MAX_BYTES:
            raise PictureError(_TOO_LARGE)
        if not data:
            raise PictureError("empty file")
        return data
