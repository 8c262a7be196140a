"""What lies in an index's folder, and the one file that says what counts.

What it does not name is a leftover.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nasnet.errors import OutputError
from nasnet.features.feature_set import FeatureMeta
from nasnet.system import write_whole

CONTENTS = "index.json"
_FORMAT = "nasnet-index/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Rows that were added together: `NAME.npy`, unit vectors, and `NAME.ids.jsonl`."""

    name: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Approximate:
    """A faiss index over the first rows.

    Attributes:
        file: its name.
        rows: how many rows it covers; those behind are searched exactly.
        probes: lists of it that a search looks into.
        recall: recall@10 against exact search, measured when it was built.
    """

    file: str
    rows: int
    probes: int
    recall: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What an index holds.

    Attributes:
        kind: `exact` or `ivf`.
        dimensions: of a vector.
        meta: of the feature sets it was made from; those of the first for what may differ.
        parts: in the order of the rows.
        approximate: where there is one.
    """

    kind: str
    dimensions: int
    meta: FeatureMeta
    parts: tuple[Part, ...]
    approximate: Approximate | None = None

    @property
    def rows(self) -> int:
        """How many vectors there are."""
        return sum(part.rows for part in self.parts)


def write_contents(folder: Path, contents: Contents) -> None:
    """Replace the file that says what counts; from that moment on it does."""
    table = {"format": _FORMAT, **asdict(contents)}
    write_whole(folder / CONTENTS, json.dumps(table, indent=1).encode())


def read_contents(folder: Path) -> Contents:
    """What an index holds.

    Raises:
        OutputError: the folder is no index, or damaged.
    """
    file = folder / CONTENTS
    try:
        table: Any = json.loads(file.read_text(encoding="utf-8"))
        if table["format"] != _FORMAT:
            raise OutputError(f"{file}: format {table['format']!r}, this version reads {_FORMAT!r}")
        near = table["approximate"]
        return Contents(
            kind=table["kind"],
            dimensions=int(table["dimensions"]),
            meta=FeatureMeta(**table["meta"]),
            parts=tuple(Part(**part) for part in table["parts"]),
            approximate=None if near is None else Approximate(**near),
        )
    except OSError as error:
        raise OutputError(f"{folder} is no index: {file}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{file}: not readable: {error!r}") from None


def vectors_file(folder: Path, part: Part) -> Path:
    """A part's unit vectors."""
    return folder / f"{part.name}.npy"


def ids_of(folder: Path, part: Part) -> list[str]:
    """A part's ids.

    Raises:
        OutputError: they are missing or damaged.
    """
    file = folder / f"{part.name}.ids.jsonl"
    try:
        with file.open(encoding="utf-8") as lines:
            ids = [str(json.loads(line)) for line in lines]
    except (OSError, ValueError) as error:
        raise OutputError(f"{file}: not readable: {error}") from None
    if len(ids) != part.rows:
        raise OutputError(f"{file}: {len(ids)} ids, but the index names {part.rows}")
    return ids


def map_vectors(folder: Path, part: Part, dimensions: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A part's vectors, mapped from the file.

    Raises:
        OutputError: they are missing or damaged.
    """
    file = vectors_file(folder, part)
    try:
        found = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise OutputError(f"{file}: not readable: {error}") from None
    if found.shape != (part.rows, dimensions) or found.dtype != np.float32:
        raise OutputError(
            f"{file}: {found.dtype} {list(found.shape)}, but the index names float32 "
            f"{[part.rows, dimensions]}"
        )
    return found  # type: ignore[no-any-return]
