"""Where pictures come from: each kind of source becomes an ordered stream of items.

Called by `embedding`; lists here, while bytes are read in the pipeline's decode threads.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from nasnet.errors import InputError, PictureError, SourceError, needs

__all__ = ["MAX_BYTES", "SUFFIXES", "Item", "Source", "SourceOptions", "open_source"]

# Files of a folder or archive that count as pictures, unless all files are asked for.
SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif"),
        *(".bmp", ".dib", ".tif", ".tiff", ".avif", ".heic", ".heif"),
    }
)
MAX_BYTES = 512 << 20  # one encoded picture; more is a mistake or an attack

# What `samples:` stands for: the photographs among the files in scikit-image's own wheel.
_SAMPLES = (
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "moon.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "retina.jpg",
    "rocket.jpg",
)
# Scheme of a URL -> the extra that brings its filesystem.
_EXTRAS = {"http": "http", "https": "http", "s3": "s3", "gs": "gcs", "gcs": "gcs", "hf": "hf"}
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
_TABLES = (".parquet", ".arrow", ".feather", ".ipc")


@dataclass(frozen=True, slots=True)
class Item:
    """One picture to come.

    Attributes:
        id: what its row is called: the path within the folder or archive, the line of the list.
        read: gives encoded bytes, an array or a PIL image; raises `PictureError` if it cannot.
            May be called in any thread, once.
    """

    id: str
    read: Callable[[], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """How a source is read.

    Attributes:
        column: of a table: the column with encoded pictures; found by its type if not given.
        id_column: of a table: the column with ids; the struct's path or the row number if not.
        all_files: take every file of a folder or archive, whatever its name.
        shard: (i, n) takes every n-th item, starting at i.
    """

    column: str | None = None
    id_column: str | None = None
    all_files: bool = False
    shard: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        """Refuse a shard that does not exist."""
        index, count = self.shard
        if count < 1 or not 0 <= index < count:
            raise InputError(f"shard {index} of {count} does not exist: shards count from 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An ordered stream of items.

    Attributes:
        name: what the user called it, for messages.
        count: how many items there will be, None where only reading tells.
        start: begins the stream anew.
    """

    name: str
    count: int | None
    start: Callable[[], Iterator[Item]]

    def __iter__(self) -> Iterator[Item]:
        return self.start()


def open_source(spec: Any, *, options: SourceOptions | None = None) -> Source:  # noqa: ANN401
    """Recognise a source and open it.

    Args:
        spec: a path or text (folder, picture, glob, `.txt` list, `-`, archive, table, URL,
            `samples:`), or an iterable of paths, bytes, arrays, PIL images, or (id, any of these).
        options: how to read it.

    Raises:
        SourceError: it does not exist, cannot be read, or holds no pictures.
    """
    options = options or SourceOptions()
    source = _open_text(os.fspath(spec), options) if isinstance(spec, str | Path) else _open(spec)
    if source.count == 0:
        raise SourceError(f"{source.name}: no pictures in it")
    index, shards = options.shard
    if shards == 1:
        return source
    return Source(
        name=f"{source.name}, shard {index} of {shards}",
        count=None if source.count is None else len(range(index, source.count, shards)),
        start=lambda: islice(source.start(), index, None, shards),
    )


def _open_text(text: str, options: SourceOptions) -> Source:
    if text == "samples:":
        return _samples()
    if text == "-":
        return _listed("-", _lines(sys.stdin.buffer.read()), Path.cwd())
    if "://" in text:
        return _paths(text, [text], Path.cwd())
    path = Path(text)
    lower = text.lower()
    if path.is_dir():
        return _folder(path, options)
    if path.is_file():
        if lower.endswith(_ARCHIVES):
            from nasnet.source_archive import open_archive

            return open_archive(path, all_files=options.all_files)
        if lower.endswith(_TABLES):
            from nasnet.source_table import open_table

            return open_table(path, column=options.column, id_column=options.id_column)
        if lower.endswith((".txt", ".lst", ".list")):
            return _listed(text, _lines(_whole(path)), path.parent)
        return _paths(text, [text], Path.cwd())
    if glob.has_magic(text):
        names = glob.glob(text, recursive=True)  # noqa: PTH207 - takes absolute patterns too
        found = sorted(name for name in names if Path(name).is_file())
        if not found:
            raise SourceError(f"{text}: no file has such a name")
        return _paths(text, found, Path.cwd())
    raise SourceError(f"{text}: no such file or folder")


def _samples() -> Source:
    data = needs("skimage.data", extra="samples")
    folder = Path(str(data.__file__)).parent
    names = [name for name in _SAMPLES if (folder / name).is_file()]
    return _paths("samples:", names, folder)


def _folder(root: Path, options: SourceOptions) -> Source:
    """All pictures below a folder, by relative path in bytewise order; links loop nowhere."""

    def failed(error: OSError) -> NoReturn:
        raise SourceError(f"{error.filename}: cannot be listed: {error.strerror}") from error

    names: list[str] = []
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(root, onerror=failed, followlinks=True):
        status = os.stat(folder)  # noqa: PTH116 - os.walk gives text
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = os.path.relpath(folder, root)
        for name in files:
            if name.startswith(".") or not (options.all_files or _is_picture(name)):
                continue
            names.append(name if below == "." else f"{below}/{name}".replace(os.sep, "/"))
    if not names:
        what = "files" if options.all_files else "pictures (.jpg, .png, ...; see --all-files)"
        raise SourceError(f"{root}: no {what} in it")
    return _paths(str(root), sorted(names, key=os.fsencode), root)


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122 - it is text


def _whole(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error


def _lines(data: bytes) -> list[str]:
    """Paths of a list: one a line with # comments, or with NUL bytes between (find -print0)."""
    if b"\0" in data:
        return [os.fsdecode(part) for part in data.split(b"\0") if part]
    lines = (line.strip() for line in os.fsdecode(data.removeprefix(b"\xef\xbb\xbf")).splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _listed(name: str, paths: list[str], folder: Path) -> Source:
    if not paths:
        raise SourceError(f"{name}: the list names no pictures")
    return _paths(name, paths, folder)


def _paths(name: str, paths: list[str], folder: Path) -> Source:
    def start() -> Iterator[Item]:
        for path in paths:
            if "://" in path:
                yield Item(path, lambda url=path: _read_url(url))  # type: ignore[misc]
            else:
                yield Item(readable(path), lambda file=folder / path: _read_file(file))  # type: ignore[misc]

    return Source(name=name, count=len(paths), start=start)


def readable(path: str) -> str:
    r"""A path as valid text: bytes that are no UTF-8 are written as \xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _read_file(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise PictureError(f"larger than {MAX_BYTES >> 20} MB")
        return path.read_bytes()
    except OSError as error:
        raise PictureError(_reason(error)) from None


def _reason(error: OSError) -> str:
    return (error.strerror or str(error) or type(error).__name__).lower()


def _read_url(url: str) -> bytes:
    import fsspec

    try:
        with fsspec.open(url, "rb") as file:
            data: bytes = file.read(MAX_BYTES + 1)
    except ImportError as error:
        extra = _EXTRAS.get(url.partition("://")[0].lower())
        remedy = f"it needs: pip install 'nasnet[{extra}]'" if extra else str(error)
        raise PictureError(f"cannot be fetched: {remedy}") from None
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise PictureError(f"cannot be fetched: {text}") from None
    if len(data) > MAX_BYTES:
        raise PictureError(f"larger than {MAX_BYTES >> 20} MB")
    return data


def _open(pictures: Iterable[Any]) -> Source:
    """Whatever Python has: paths, bytes, arrays, PIL images, or pairs of an id and one of them."""
    if isinstance(pictures, bytes | bytearray) or not hasattr(pictures, "__iter__"):
        raise SourceError(
            f"a source must be a path or an iterable of pictures, found {type(pictures).__name__}"
        )

    def start() -> Iterator[Item]:
        for index, entry in enumerate(pictures):
            pair = isinstance(entry, tuple) and len(entry) == 2
            picture = entry[1] if pair else entry
            named = readable(os.fspath(picture)) if isinstance(picture, str | Path) else str(index)
            yield Item(str(entry[0]) if pair else named, lambda one=picture: _given(one))  # type: ignore[misc]

    count = len(pictures) if isinstance(pictures, Sized) else None
    return Source(name=f"a Python {type(pictures).__name__}", count=count, start=start)


def _given(picture: Any) -> Any:  # noqa: ANN401
    if isinstance(picture, str) and "://" in picture:
        return _read_url(picture)
    return _read_file(Path(picture)) if isinstance(picture, str | Path) else picture
