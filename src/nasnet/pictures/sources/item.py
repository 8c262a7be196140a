"""What a source is made of: items, options, ids, and which names count as pictures.

It opens no file.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from nasnet.errors import InputError, PictureError

if TYPE_CHECKING:
    import pyarrow

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".zip")
TABLES = (".parquet", ".arrow", ".feather", ".ipc")
TEXT_LISTS = (".txt", ".lst", ".list")
CSV_TABLES = (".csv", ".tsv")
_KINDS = 6  # endings in one sentence
MAX_BYTES = 512 << 20  # one encoded picture; more is a mistake or an attack

Kind = Literal["folder", "glob", "picture", "list", "csv", "tar", "zip", "table"]
Opener = Callable[[], BinaryIO]


@dataclass(frozen=True, slots=True)
class Item:
    """One picture to come, with the columns its source has beside it.

    Attributes:
        id: what its row is called: the path within the folder or archive, the line of the list.
            Two items may have the same one: one input gives one row.
        read: gives encoded bytes, an array or a PIL image; raises `PictureError` with the reason
            if it cannot. May be called in any thread, also after the stream has moved on; of a
            stream only once, of labelled data often.
        label: a class's name or number; None where the data have none, or nobody asked.
        split: `train`, `validation` or `test`; empty if the data say none, or nobody asked.
        kept: values of the columns that are kept, in the order of the source's; None for none.
    """

    id: str
    read: Callable[[], Any]
    label: int | str | None = None
    split: str = ""
    kept: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """How a source is read.

    Attributes:
        kind: what the source is; its content and name tell if not given.
        column: of a table: the column with encoded pictures, or with their paths or URLs; found
            by its type, or by its name (path, file, url, ...), if not given.
        id_column: of a table: the column with ids; the picture's path, or the row's number, if not
            given.
        keep: a column to write beside the vectors, and to search by; may be given more than once.
            Tables and CSV have columns; of an archive's picture `0.jpg`, `txt` and `cls` are what
            `0.txt` and `0.cls` say, and other names are keys in `0.json`; in class folders,
            `class` is the folder and `split` train, validation or test.
        keep_all: keep all columns but those of pictures.
        all_files: take every file of a folder or archive, whatever its name.
        shard: which part of how many to take, counted from 0; the others are not read. The
            items are cut into equal parts where they can be counted, else the files of a pattern
            are, and of anything else every n-th item is taken.
        storage_options: for fsspec, such as `{"anon": True}` for s3.
    """

    kind: Kind | None = None
    column: str | None = None
    id_column: str | None = None
    keep: tuple[str, ...] = ()
    keep_all: bool = False
    all_files: bool = False
    shard: tuple[int, int] = (0, 1)
    storage_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a shard that does not exist, and a name where names are expected."""
        keep: object = self.keep
        if isinstance(keep, str):  # it would be taken for a list of letters
            raise InputError(f"keep is a list of columns, such as [{keep!r}]")
        shard: object = self.shard
        if not isinstance(shard, tuple | list) or len(shard) != 2:
            raise InputError(f"shard is which part of how many, such as (0, 8), not {shard!r}")
        index, count = self.shard
        if count < 1 or not 0 <= index < count:
            raise InputError(f"shard {index} of {count} does not exist: shards count from 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An ordered stream of items.

    Attributes:
        name: what the user called it, for messages and for telling runs apart.
        kind: what it was taken for.
        count: how many items there will be, None where only reading tells.
        start: begins the stream anew, if the source can be read twice.
        part: begins a stream of the items from one number up to another (or the end), where that
            costs less than passing over those before.
        seams: item numbers where it is cut best, such as the first row of each row group.
        files: the archives and tables that make it up, in order, if there are many.
        passed: endings of names -> how many files of a folder or archive were passed over; of a
            tar only known once it has been read.
        columns: names and types of the columns that are kept, as pyarrow has them.
        remarks: what a user should know about them.
    """

    name: str
    kind: str
    count: int | None
    start: Callable[[], Iterator[Item]]
    part: Callable[[int, int | None], Iterator[Item]] | None = None
    seams: tuple[int, ...] = ()
    files: tuple[str, ...] = ()
    passed: Mapping[str, int] = field(default_factory=dict)
    columns: tuple[pyarrow.Field, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know, once it has been read."""
        passed = f"{passed_over(self.passed)} (--all-files takes them)" if self.passed else ""
        return (*self.remarks, passed) if passed else self.remarks

    def __iter__(self) -> Iterator[Item]:
        return self.start()

    def between(self, start: int, stop: int | None) -> Iterator[Item]:
        """The items from number `start` up to `stop`, which is not among them, or the end."""
        if self.part is not None:
            return self.part(start, stop)
        return islice(self.start(), start, stop)


def even_cuts(count: int, parts: int, seams: Sequence[int] = ()) -> list[tuple[int, int]]:
    """Where to cut `count` things into consecutive parts: (first, last + 1) of each.

    Sizes differ by one at most, larger ones first; but an edge moves to a seam that is nearer
    than half a part, so that no row group is read by two.
    """
    edges = [-(-count * part // parts) for part in range(parts + 1)]
    for place in range(1, parts):
        edge = edges[place]
        at = bisect_left(seams, edge)
        near = min(seams[max(0, at - 1) : at + 1], key=lambda seam: abs(seam - edge), default=edge)
        if 2 * parts * abs(near - edge) < count:
            edges[place] = near
    return list(pairwise(edges))


def passed_over(endings: Mapping[str, int]) -> str:
    """A sentence on files passed over for their names, by ending, the most frequent first."""
    count = sum(endings.values())
    ranked = sorted(endings.items(), key=lambda one: (-one[1], not one[0], one[0]))
    kinds = [f"{number:,} {ending or 'without ending'}" for ending, number in ranked[:_KINDS]]
    rest = sum(number for _, number in ranked[_KINDS:])
    kinds += [f"{rest:,} others"] if rest else []
    files = "1 file that is" if count == 1 else f"{count:,} files that are"
    return f"passed over {files} not called like a picture: {', '.join(kinds)}"


def id_of_path(path: str | bytes) -> str:
    r"""A path as text that every file format can hold; `path_of_id` is its inverse.

    Most paths are their own id. Bytes that are not UTF-8 are written as `\xNN` (two lower-case
    hexadecimal digits), and so is the backslash of a path that has such a sequence of its own.
    """
    try:
        raw = os.fsencode(path)
    except UnicodeEncodeError:  # half a surrogate pair: text, but no path anywhere
        return valid_text(str(path))
    return re.sub(rb"\\(?=x[0-9a-f]{2})", rb"\\x5c", raw).decode("utf-8", "backslashreplace")


def path_of_id(id: str) -> str:
    """The path, as the file system knows it, that an id of a folder, glob or list stands for."""

    def byte(found: re.Match[bytes]) -> bytes:
        return bytes([int(found[1], 16)])

    return os.fsdecode(re.sub(rb"\\x([0-9a-f]{2})", byte, id.encode()))


def valid_text(text: str) -> str:
    """Text a user gave as an id, with what no encoding can hold written out."""
    return text.encode("utf-8", "backslashreplace").decode()


def refusal(reason: str) -> Callable[[], bytes]:
    """What reads an item that cannot be read."""

    def read() -> bytes:
        raise PictureError(reason)

    return read
