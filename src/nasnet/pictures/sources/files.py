"""Pictures in files of their own: folders, globs, lists on disk or standard input."""

from __future__ import annotations

import codecs
import errno
import glob
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import unquote_to_bytes

from nasnet.errors import PictureError, SourceError, os_errors
from nasnet.pictures.decode.endings import SUFFIXES, ending_of, looks_like_picture
from nasnet.pictures.sources.item import (
    ARCHIVES,
    MAX_BYTES,
    TABLES,
    Item,
    Opener,
    Source,
    id_of_path,
    passed_over,
    refusal,
    valid_text,
)
from nasnet.pictures.sources.remote import read_url
from nasnet.text import LONGEST_MARK, SAVE_AS_UTF8, encoding_of

_REASONS: Mapping[int, str] = {
    errno.ENOENT: "no such file",
    errno.ENOTDIR: "no such file",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EISDIR: "a folder, not a picture",
    errno.ELOOP: "symbolic links that lead nowhere",
    errno.ENXIO: "not a regular file",  # a socket
}
_CHUNK = 1 << 16


def read_file(path: str) -> bytes:
    """The bytes of one file.

    Raises:
        PictureError: it is not there, not readable, empty, too large, or not a regular file.
    """
    try:
        with open(path, "rb", opener=_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise PictureError("not a regular file")
            if status.st_size > MAX_BYTES:
                raise PictureError(f"larger than {MAX_BYTES >> 20} MB")
            data = file.read()
    except OSError as error:
        text = _REASONS.get(error.errno or 0) or error.strerror or str(error)
        text = text.lower() or type(error).__name__
        if error.errno == errno.ENOENT:
            if other := meant_by(path):
                return read_file(other)
            if valid_text(path) != path:
                text += "; the name is not UTF-8: save the list or table it stands in as UTF-8"
            elif os.sep == "/" and "\\" in path:
                text += ", neither with / for its backslashes"
            elif os.path.islink(path):  # noqa: PTH114 - names that are no UTF-8
                text = "a symbolic link to what is not there"
        raise PictureError(text) from None
    except PictureError:
        raise
    except ValueError as error:
        raise PictureError(f"not a path: {error}") from None
    if not data:
        raise PictureError("empty file")
    return data


def _at_once(path: str, flags: int) -> int:
    """Open without waiting: a pipe that is called x.jpg would block for ever."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def open_file(path: str) -> BinaryIO:
    """Open a local archive, table or list.

    Raises:
        SourceError: it cannot be read.
    """
    with os_errors(SourceError, f"{id_of_path(path)}: cannot be read"):
        return cast(BinaryIO, open(path, "rb"))  # noqa: PTH123 - names that are no UTF-8


@contextmanager
def refusals(path: str) -> Iterator[None]:
    """What the file system says against opening something becomes a `SourceError` with its name."""
    try:
        yield
    except FileNotFoundError:
        link = os.path.islink(path)  # noqa: PTH114 - text may be no UTF-8
        what = "a symbolic link to what is not there" if link else "no such file or folder"
        raise SourceError(f"{id_of_path(path)}: {what}") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise SourceError(f"{id_of_path(path)}: cannot be opened: {why}") from error


def local_path(text: str) -> str:
    """The path a file URL stands for; other texts as they are."""
    if not text.startswith("file://"):
        return text
    path = text.removeprefix("file://").removeprefix("localhost")
    if os.name == "nt":
        from urllib.request import url2pathname  # brings http and ssl with it

        return url2pathname(path)
    try:
        return os.fsdecode(unquote_to_bytes(os.fsencode(path)))
    except UnicodeEncodeError:  # half a surrogate pair: text, but no path anywhere
        return path


def named(text: str, folder: str, storage: Mapping[str, Any]) -> Callable[[], bytes]:
    """What reads the picture a list, table or call names: a URL, or a path seen from a folder."""
    text = local_path(text)
    if "://" in text:
        return partial(read_url, text, storage)
    path = os.path.join(folder, text)  # noqa: PTH118 - names that are no UTF-8 stay as they are
    return partial(read_file, path)


def meant_by(path: str) -> str:
    """The one file that a path which is not there must mean; empty if there is none, or several.

    Tables from Windows have backslashes, and some data sets name a picture without its ending.
    """
    if os.sep == "/" and "\\" in path:
        path = path.replace("\\", "/")
        if os.path.isfile(path):  # noqa: PTH113 - names that are no UTF-8
            return path
    if looks_like_picture(path):
        return ""
    found = {}
    for ending in SUFFIXES:
        for other in (path + ending, path + ending.upper()):
            with suppress(OSError, ValueError):
                status = os.stat(other)  # noqa: PTH116 - where case does not count, both are one
                if stat.S_ISREG(status.st_mode):
                    found[status.st_dev, status.st_ino] = other
    return found.popitem()[1] if len(found) == 1 else ""


def paths_source(
    name: str, kind: str, names: list[str], folder: str, storage: Mapping[str, Any]
) -> Source:
    """A few pictures, each named by its path or URL."""

    def part(first: int, last: int | None) -> Iterator[Item]:
        return (Item(id_of_path(one), named(one, folder, storage)) for one in names[first:last])

    return Source(name=name, kind=kind, count=len(names), start=partial(part, 0, None), part=part)


def folder_source(root: Path, *, all_files: bool) -> Source:
    """All pictures below a folder, by relative path in bytewise order.

    Hidden files and folders are passed over. Symbolic links are followed, but never into a folder
    that the walk is in already. A folder below that cannot be listed is one row with that reason.

    Raises:
        SourceError: it cannot be listed, or has no pictures.
    """
    top = os.fsencode(root)

    def start() -> Iterator[Item]:
        for relative, reason in files_below(top, all_files=all_files):
            path = os.fsdecode(os.path.join(top, relative))  # noqa: PTH118 - bytes
            read = refusal(reason) if reason else partial(read_file, path)
            yield Item(id_of_path(relative), read)

    # Walked twice, once to count: a list of millions of paths is never held in memory.
    passed: Counter[str] = Counter()
    with os_errors(SourceError, f"{root}: cannot be listed"):
        count = sum(1 for _ in files_below(top, all_files=all_files, passed=passed))
    if not count:
        what = "files" if all_files else "pictures (.jpg, .png, ...; see --all-files)"
        seen = f"; {passed_over(passed)}" if passed else ""
        inside = sorted(entry.name for entry in os.scandir(root) if not entry.name.startswith("."))
        tables = [one for one in inside if one.lower().endswith((".parquet", ".arrow", ".tar"))]
        hint = f"; for the tables and archives in it give {str(root / '*')!r}" if tables else ""
        raise SourceError(f"{root}: no {what} in it{seen}{hint}")
    return Source(
        name=os.path.normpath(root), kind="folder", count=count, start=start, passed=passed
    )


def files_below(
    top: bytes, *, all_files: bool, passed: Counter[str] | None = None
) -> Iterator[tuple[bytes, str]]:
    """Relative paths below a folder, `/` between their parts, each with a reason or ''.

    Endings of files that are not taken for their names are counted in `passed`.
    """
    passed = Counter() if passed is None else passed
    home = os.stat(top)  # noqa: PTH116 - bytes
    stack = [(b"", iter(_listed(top, all_files, passed)), (home.st_dev, home.st_ino))]
    while stack:
        prefix, names, _ = stack[-1]
        name = next(names, None)
        if name is None:
            stack.pop()
        elif not name.endswith(b"/"):
            yield prefix + name, ""
        else:
            below = os.path.join(top, prefix + name)  # noqa: PTH118 - bytes
            try:
                status = os.stat(below)  # noqa: PTH116 - bytes
                identity = (status.st_dev, status.st_ino)
                if all(identity != above for _, _, above in stack):
                    names = iter(_listed(below, all_files, passed))
                    stack.append((prefix + name, names, identity))
            except OSError as error:
                reason = _REASONS.get(error.errno or 0) or str(error.strerror).lower()
                yield prefix + name, f"folder cannot be listed: {reason}"


def _listed(folder: bytes, all_files: bool, passed: Counter[str]) -> list[bytes]:
    """Names of a folder in order; those of folders end in `/`, so that whole paths sort right."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(b"."):
                continue
            if is_folder(entry):
                found.append(entry.name + b"/")
            elif all_files or looks_like_picture(entry.name):
                found.append(entry.name)
            else:
                passed[ending_of(entry.name)] += 1
    return sorted(found)


def is_folder(entry: os.DirEntry[bytes]) -> bool:
    """Whether an entry is a folder, or a link to one; what vanished meanwhile is none."""
    try:
        return entry.is_dir()
    except OSError:  # links in a circle, say; a picture's name still makes it a row
        return False


def glob_names(pattern: str, *, all_files: bool, passed: Counter[str] | None = None) -> list[str]:
    """Files that match a pattern, in bytewise order.

    Where the pattern leaves the ending open (`scans/*`), only pictures and containers of pictures
    count, unless all files are asked for; endings of the others are counted in `passed`.

    Raises:
        SourceError: there are none.
    """
    matches = glob.glob(pattern, recursive=True)  # noqa: PTH207 - takes absolute patterns too
    files = [name for name in matches if not os.path.isdir(name)]  # noqa: PTH112 - text
    ending = os.path.splitext(pattern)[1]  # noqa: PTH122 - text
    if not files:
        raise SourceError(f"{pattern}: no file has such a name")
    if glob.has_magic(ending) or not ending:
        able = (*ARCHIVES, *TABLES)
        kept = [n for n in files if looks_like_picture(n) or n.lower().endswith(able)]
        others = Counter(map(ending_of, set(files) - set(kept)))
        if not all_files:
            files = kept
            if passed is not None:
                passed.update(others)
        if not files:
            what = f"of {len(matches)} matches none looks like a picture"
            raise SourceError(f"{pattern}: {what}; {passed_over(others)}")
    return sorted(files, key=os.fsencode)


def list_source(
    name: str,
    opener: Opener,
    folder: str,
    storage: Mapping[str, Any],
    *,
    once: bool = False,
    keep_open: bool = False,
) -> Source:
    """Pictures named in a text: one path or URL a line, or with NUL bytes between them.

    Empty lines and lines that begin with # do not count. Paths are seen from `folder`. `once`: the
    text is a stream, read as it comes, and not counted before; `keep_open`: what `opener` gives
    belongs to somebody else.

    Raises:
        SourceError: it cannot be read, or names nothing.
    """

    def start() -> Iterator[Item]:
        file = opener()
        with nullcontext() if keep_open else file:
            for raw in _names(file, name):
                yield Item(id_of_path(raw), named(os.fsdecode(raw), folder, storage))

    count = None
    if not once:
        with os_errors(SourceError, f"{name}: cannot be read"), opener() as file:
            count = sum(1 for _ in _names(file, name))
        if not count:
            raise SourceError(f"{name}: the list names no pictures")
    return Source(name=name, kind="list", count=count, start=start)


def _names(file: BinaryIO, name: str = "-") -> Iterator[bytes]:
    """Entries of a list, read a piece at a time and given out as soon as they are whole.

    Raises:
        SourceError: it is in another encoding.
    """
    pieces = _pieces(name, file)
    rest = next(pieces, b"")
    # The first separator tells: what `find -print0` writes has NUL bytes and no comments.
    while b"\0" not in rest and b"\n" not in rest and (more := next(pieces, b"")):
        rest += more
    if b"\0\n\0" in rest:  # no name is a line feed alone
        raise SourceError(f"{name}: UTF-16 without its mark: {SAVE_AS_UTF8}")
    end = b"\0" if b"\0" in rest else b"\n"
    more = rest
    while more:
        *whole, rest = rest.split(end)
        yield from _entries(whole, end)
        more = next(pieces, b"")
        rest += more
    yield from _entries([rest], end)


def _pieces(name: str, file: BinaryIO) -> Iterator[bytes]:
    """The bytes of a list as they come; of one that begins with a byte order mark, as UTF-8.

    Bytes that follow no mark are those of file names, whatever their encoding.
    """
    read = getattr(file, "read1", file.read)
    head: bytes = read(_CHUNK)
    while len(head) < LONGEST_MARK and (more := read(_CHUNK)):
        head += more
    encoding = encoding_of(head)
    if encoding == "utf-8":
        while head:
            yield head
            head = read(_CHUNK)
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        while head:
            if text := decoder.decode(head):  # not the half of a character
                yield text.encode()
            head = read(_CHUNK)
        decoder.decode(b"", final=True)
    except UnicodeError as error:
        raise SourceError(f"{name}: its mark says {encoding.upper()}, but {error}") from None


def _entries(lines: list[bytes], end: bytes) -> list[bytes]:
    if end == b"\0":
        return [line for line in lines if line]
    stripped = [line.strip() for line in lines]
    return [line for line in stripped if line and not line.startswith(b"#")]
