"""Where something is written: the row of a table its name means, and whether the place is free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from nasnet.errors import InputError, NasnetError, OutputError
from nasnet.system import sweep


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What other libraries raise while they write is said as an error of ours.

    Raises:
        OutputError: something cannot be written.
    """
    try:
        yield
    except (NasnetError, OSError):  # who makes the place says what the system has against it
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise OutputError(f"{path} cannot be written: {reason}") from error


class Row(Protocol):
    """What a table of formats or targets says about the files of a row."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What a file's name ends in; none for what only `to` can mean."""

    @property
    def folder(self) -> bool:
        """Whether it is a folder."""

    @property
    def taken(self) -> str:
        """Ending of the file that is there if it is; the path itself if empty."""


Kind = TypeVar("Kind", bound=Row)


def row_for(
    path: Path, table: Mapping[str, Kind], to: str | None, *, what: str, overwrite: bool
) -> tuple[str, Kind]:
    """The row of a table that an output means, and makes sure that its place is free.

    Args:
        path: the output.
        table: key -> row; the first row with an ending is the one that it means.
        to: a key; told from the ending if not given.
        what: a row is called, for messages.
        overwrite: what is there may be replaced.

    Raises:
        InputError: no such key, or an ending that means none.
        OutputError: something is there already.
    """
    key = to or key_for(path, table, what=what)
    if key not in table:
        raise InputError(f"no {what} {key!r}; there are {', '.join(table)}")
    row = table[key]
    sweep(path.parent, path.name)  # a run that is refused leaves nothing of killed ones either
    if path.is_dir() and not row.folder:
        raise OutputError(f"{path} is a folder: name a file in it")
    if row.folder and path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file: name a folder")
    taken = Path(f"{path}{row.taken}")
    if taken.exists() and not overwrite:
        raise OutputError(f"{taken} exists: name another place, or overwrite it")
    return key, row


def key_for(path: Path, table: Mapping[str, Row], *, what: str) -> str:
    """The key that a file's name means.

    Raises:
        InputError: none; the text lists them.
    """
    for key, row in table.items():
        if row.suffixes and path.name.lower().endswith(row.suffixes):
            return key
    known = ", ".join(f"{row.suffixes[0]} ({key})" for key, row in table.items() if row.suffixes)
    folders = ", ".join(key for key, row in table.items() if row.folder)
    raise InputError(
        f"{path}: its name does not tell the {what}; end it in one of {known}, or name it (`to`)"
        + (f" (folders: {folders})" if folders else "")
    )
