"""The folder a cluster writes to, on a disk all machines share or behind any URL fsspec knows.

A part is one shard; it appears whole or not at all, and the same shard always makes the same part,
so that two who compute it lose time and nothing else:

    features/
        _nasnet.json            what the run is, and, once it is over, how many rows there are
        part-00000000.parquet   the rows of shard 0, in order
        part-00000001.parquet
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasnet.errors import NasnetError, OutputError, PictureError
from nasnet.features import parquet
from nasnet.features.store.manifest import Manifest, decode_manifest
from nasnet.pictures.sources.remote import file_system
from nasnet.system import staged, sweep

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

SHARD_KEY = b"nasnet.shard"  # in a part's metadata: the name of its shard
_MANIFEST = "_nasnet.json"  # what begins with _ is passed over by Spark, Arrow and their like
_PART = "part-{:08d}.parquet"
_READERS = 16  # footers read at once: far stores answer late, but many at a time
_ROWS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder.

    Attributes:
        name: what the user called it; a path is absolute.
        system: fsspec's file system.
        root: the folder on it.
        local: whether the operating system knows it as a folder.
    """

    name: str
    system: Any
    root: str
    local: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What the end of a part tells about it.

    Attributes:
        shard: name of its shard.
        rows: in it.
        failures: rows without a vector.
    """

    shard: str
    rows: int
    failures: int


def open_place(name: str | os.PathLike[str], storage: Mapping[str, Any]) -> Place:
    """Find the file system of a folder; nothing is made yet.

    Raises:
        OutputError: there is no such file system.
        MissingExtraError: its package is not installed.
    """
    text = os.fspath(name)
    if "://" not in text:
        text = os.path.abspath(text)  # noqa: PTH100 - workers may run elsewhere
    try:
        system, root = file_system(text, storage)
    except (PictureError, OSError) as error:
        raise OutputError(f"{text} cannot be written to: {error}") from error
    protocols = system.protocol if isinstance(system.protocol, tuple) else (system.protocol,)
    return Place(name=text, system=system, root=root.rstrip("/"), local="file" in protocols)


def is_run(place: Place) -> bool:
    """Whether a run was begun here."""
    with _told(place, "read"):
        return bool(place.system.exists(f"{place.root}/{_MANIFEST}"))


def read_manifest(place: Place) -> Manifest | None:
    """What the run in this folder is, None if there is none.

    Raises:
        OutputError: it cannot be read, is damaged, or of another version of this package.
    """
    with _told(place, "read"):
        place.system.invalidate_cache()
        try:
            data = place.system.cat_file(f"{place.root}/{_MANIFEST}")
        except FileNotFoundError:
            return None
    return decode_manifest(data, f"{place.name}/{_MANIFEST}", "use --overwrite to start anew")


def write_manifest(place: Place, manifest: Manifest) -> None:
    """Say what the run is, making the folder if need be.

    Raises:
        OutputError: it cannot be written.
    """
    with _told(place, "written to"):
        place.system.makedirs(place.root, exist_ok=True)
    write_files(place, _MANIFEST, lambda path: path.write_bytes(manifest.encode()))


def find_parts(place: Place) -> dict[int, Part]:
    """The whole parts, by number; one that is cut off, as a killed upload may leave it, is none.

    Raises:
        OutputError: the folder cannot be listed.
    """
    there = numbers(place)
    with ThreadPoolExecutor(_READERS) as threads:
        found = threads.map(lambda number: _footer(place, number), there)
        return {number: part for number, part in zip(there, found, strict=True) if part is not None}


def write_part(place: Place, number: int, write: Callable[[Path], None]) -> None:
    """Write a part; it is there when all of it is.

    Args:
        place: the folder.
        number: of the shard.
        write: makes the file, given its path.

    Raises:
        OutputError: it cannot be written; nothing of it is left.
    """
    write_files(place, _PART.format(number), write)


def write_files(
    place: Place, name: str, write: Callable[[Path], object], names: Sequence[str] = ()
) -> None:
    """Write a file, and those that belong to it; each is there when all of it is.

    Args:
        place: the folder.
        name: of the file; it appears last.
        write: makes it and the others beside it, given its path.
        names: of all of them in the order in which they shall appear, if there are others.

    Raises:
        OutputError: something cannot be written; what was there before is kept.
    """
    if place.local:
        with staged(Path(place.root) / name, last=name) as whole:
            write(whole)
        return
    try:
        # A far store shows an upload once it is complete: it is sent from a file that is whole.
        with tempfile.TemporaryDirectory(prefix="nasnet-") as folder:
            write(Path(folder) / name)
            with _told(place, "written to"):
                for one in names or (name,):
                    place.system.put_file(str(Path(folder) / one), f"{place.root}/{one}")
    except OSError as error:
        text = f"{place.name}/{name} cannot be written: {error.strerror or error}"
        raise OutputError(text) from error


def read_part(
    place: Place, number: int, columns: Sequence[str] | None = None, *, rows: int = _ROWS
) -> Iterator[pyarrow.Table]:
    """The rows of a part in order, a few at a time.

    Raises:
        OutputError: it is not there, or damaged.
    """
    import pyarrow

    try:
        with _parquet(place, number) as file:
            names = columns if columns is not None else file.schema_arrow.names
            yield from parquet.tables(file, names, rows=rows)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise OutputError(
            f"{place.name}/{_PART.format(number)}: damaged ({error}); remove it, and run the "
            "command that wrote it again"
        ) from error


def clear(place: Place) -> None:
    """Remove a run; its manifest first, so that what is left half-way is no run.

    Raises:
        OutputError: something cannot be removed.
    """
    with _told(place, "cleared"):
        if place.system.exists(f"{place.root}/{_MANIFEST}"):
            place.system.rm_file(f"{place.root}/{_MANIFEST}")
        for number in numbers(place):
            place.system.rm_file(f"{place.root}/{_PART.format(number)}")
    tidy(place)


def tidy(place: Place) -> None:
    """Remove what killed workers left half-written; only a disk keeps such things."""
    if place.local and Path(place.root).is_dir():
        sweep(Path(place.root), everyone=True)


def remove_place(place: Place) -> None:
    """Remove a local run and its folder, if nothing else is in it."""
    clear(place)
    try:
        Path(place.root).rmdir()
    except OSError:  # somebody keeps something of his own in it
        return


def numbers(place: Place) -> list[int]:
    """Which parts are there, whole or not, in order.

    Raises:
        OutputError: the folder cannot be listed.
    """
    with _told(place, "listed"):
        place.system.invalidate_cache()
        try:
            names = place.system.ls(place.root, detail=False)
        except FileNotFoundError:
            return []
    found = []
    for name in names:
        last = str(name).rstrip("/").rpartition("/")[2]
        digits = last.removeprefix("part-").removesuffix(".parquet")
        if digits.isdigit() and last == _PART.format(int(digits)):
            found.append(int(digits))
    return sorted(found)


@contextmanager
def _parquet(place: Place, number: int) -> Iterator[pyarrow.parquet.ParquetFile]:
    """A part opened for reading; a far one through fsspec."""
    path = f"{place.root}/{_PART.format(number)}"
    if place.local:
        with parquet.reading(path) as file:
            yield file
        return
    with (
        place.system.open(path, "rb") as raw,
        parquet.reading(raw, pre_buffer=True) as file,
    ):
        yield file


def _footer(place: Place, number: int) -> Part | None:
    """What the end of a part says, None if the part is not whole."""
    import pyarrow

    with _told(place, "read"):
        try:
            with _parquet(place, number) as file:
                found, schema = file.metadata, file.schema_arrow
                column = schema.names.index("error")
                groups = [found.row_group(index) for index in range(found.num_row_groups)]
                # Of the columns `error` is the last, and the vector is one leaf as well.
                nulls = sum(group.column(column).statistics.null_count for group in groups)
                shard = schema.metadata[SHARD_KEY].decode()
                return Part(shard=shard, rows=found.num_rows, failures=found.num_rows - nulls)
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return None
        except pyarrow.ArrowException:
            return None
        except OSError as error:
            if error.errno is None and place.local:  # a footer that says nonsense
                return None
            raise


@contextmanager
def _told(place: Place, what: str) -> Iterator[None]:
    """Errors of a file system, whatever its package calls them, become one of ours."""
    try:
        yield
    except NasnetError:
        raise
    except Exception as error:  # fsspec's packages raise what they like
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise OutputError(f"{place.name} cannot be {what}: {reason}") from error
