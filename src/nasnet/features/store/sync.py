"""A finished feature set that is added to, or made to be what its source is now.

The k-th time an id comes along, it means the k-th row of that id. Rows that are tried again,
because they have no vector or their picture has changed, are replaced where they stand; new ones
follow. Where a set is synchronised, rows of pictures that have not changed take the columns of now,
and those of pictures that are gone go out.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nasnet.features.store.formats import Tables
from nasnet.pictures.sources import OWN_COLUMNS, Item
from nasnet.pictures.sources.stamps import has_changed

if TYPE_CHECKING:
    import pyarrow

COLUMNS = ("id", "error", "file_bytes")
_UNLISTED = "folder cannot be listed"  # pictures below it are not gone


@dataclass(frozen=True, slots=True)
class _Row:
    place: tuple[int, int]  # of a part and a row in it; of a finished set (0, row)
    failed: bool
    size: int | None


Rows = dict[str, deque[_Row]]
Rows64 = npt.NDArray[np.int64]


def _rows(tables: Iterable[pyarrow.Table], *, whole: bool) -> Rows:
    """The rows of parts, or of one set that comes in several tables."""
    found: Rows = defaultdict(deque)
    first = 0
    for number, table in enumerate(tables):
        columns = (table[name].to_pylist() for name in COLUMNS)
        for row, (id, error, size) in enumerate(zip(*columns, strict=True)):
            place = (0, first + row) if whole else (number, row)
            found[id].append(_Row(place, error is not None, size))
        first += table.num_rows
    return found


class Known:
    """What a finished set has, asked once for each picture of the source, in its order.

    It holds about 100 bytes a row in memory.
    """

    def __init__(self, tables: Iterable[pyarrow.Table]) -> None:
        self._rows: dict[str, str] = {}  # id -> a letter for each row: v(ector) or e(rror)
        for table in tables:
            failed = table["error"].is_valid().to_pylist()
            for id, bad in zip(table["id"].to_pylist(), failed, strict=True):
                self._rows[id] = self._rows.get(id, "") + ("e" if bad else "v")

    def wants(self, id: str) -> bool:
        """Whether this picture is to be computed: its row has no vector, or is not there."""
        rows = self._rows.pop(id, "")
        if len(rows) > 1:
            self._rows[id] = rows[1:]
        return not rows.startswith("v")


def plan_append(old: Iterable[pyarrow.Table], new: Iterator[pyarrow.Table]) -> Plan:
    """How a finished set and new rows make a larger set.

    Of the old rows it sees ids and errors, of the new ones ids, a table a part.
    """
    import pyarrow

    failed: dict[str, deque[int]] = defaultdict(deque)  # id -> rows without a vector
    count = 0
    for table in old:
        bad = np.flatnonzero(np.asarray(table["error"].is_valid()))
        if len(bad):
            ids = table["id"].take(pyarrow.array(bad)).to_pylist()
            for row, id in zip(bad.tolist(), ids, strict=True):
                failed[id].append(count + row)
        count += table.num_rows
    places: dict[int, tuple[int, int]] = {}
    left: dict[int, Rows64] = {}
    for number, table in enumerate(new):
        follow = []
        for row, id in enumerate(table["id"].to_pylist()):
            if failed.get(id):
                places[failed[id].popleft()] = (number, row)
            else:
                follow.append(row)
        left[number] = np.array(follow, np.int64)
    return Plan(kept=None, places=places, left=left, old=count)


class Synced:
    """What a finished set and an interrupted run have, asked once for each picture of the source.

    Attributes:
        added: pictures that the set had not.
        changed: pictures that are others than they were.
        removed: rows of pictures that are gone; known once `plan` was called.
    """

    def __init__(
        self,
        old: Iterable[pyarrow.Table],
        old_created: str,
        done: Iterable[pyarrow.Table],
        done_created: str,
    ) -> None:
        """Read what there is.

        The tables have ids, errors and sizes, those of the run (`done`) one a part; `old_created`
        says when the set's pictures were seen, ISO 8601, and `done_created` when the run began.
        """
        self.added = self.changed = self.removed = 0
        self._old = _rows(old, whole=True)
        self._count = sum(map(len, self._old.values()))
        self._done = _rows(done, whole=False)
        self._since, self._begun = _seconds(old_created), _seconds(done_created)
        self._kept: dict[int, tuple[Any, ...]] = {}  # row of the set -> its columns of now
        # Of each id, the rows of the set that new rows replace, -1 for none.
        self._targets: dict[str, deque[int]] = defaultdict(deque)
        self._unused: set[tuple[int, int]] = set()  # part and row: not of pictures of now

    def wants(self, item: Item) -> bool:
        """Whether a picture is to be computed: it is new, changed, or failed before."""
        old = self._old[item.id].popleft() if self._old.get(item.id) else None
        if old is not None and not (old.failed or has_changed(item, old.size, self._since)):
            self._kept[old.place[1]] = item.kept
            return False
        self.added += old is None
        self.changed += old is not None and not old.failed
        self._targets[item.id].append(-1 if old is None else old.place[1])
        if self._done.get(item.id):
            done = self._done[item.id].popleft()
            if done.failed or not has_changed(item, done.size, self._begun):
                return False
            self._unused.add(done.place)
        return True

    def plan(self, new: Iterable[pyarrow.Table]) -> Plan:
        """How the finished set and the new rows make the set of now.

        Of the new rows it sees ids and errors, a table a part.
        """
        for rows in self._done.values():
            self._unused.update(row.place for row in rows)
        places: dict[int, tuple[int, int]] = {}
        left: dict[int, Rows64] = {}
        unlisted: list[str] = []
        for number, table in enumerate(new):
            follow = []
            pairs = zip(table["id"].to_pylist(), table["error"].to_pylist(), strict=True)
            for row, (id, error) in enumerate(pairs):
                if (number, row) in self._unused:
                    continue
                if error is not None and error.startswith(_UNLISTED):
                    unlisted.append(f"{id.rstrip('/')}/")
                target = self._targets[id].popleft()
                if target < 0:
                    follow.append(row)
                else:
                    places[target] = (number, row)
            left[number] = np.array(follow, np.int64)
        for id, rows in self._old.items():
            if rows and id.startswith(tuple(unlisted)):
                self._kept.update((row.place[1], ()) for row in rows)
        self.removed = self._count - len(self._kept) - len(places)
        return Plan(kept=self._kept, places=places, left=left, old=self._count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The rows of now.

    Attributes:
        kept: row of the finished set -> the columns of its picture of now; None if all rows that
            are not replaced stay as they are.
        places: row of the finished set -> part and row that replace it.
        left: part -> its rows that follow at the end.
        old: rows of the finished set.
    """

    kept: dict[int, tuple[Any, ...]] | None
    places: dict[int, tuple[int, int]]
    left: dict[int, Rows64]
    old: int

    @property
    def rows(self) -> int:
        """How many there are."""
        stay = self.old - len(self.places) if self.kept is None else len(self.kept)
        return stay + len(self.places) + sum(map(len, self.left.values()))

    @property
    def alike(self) -> bool:
        """Whether the finished set has all of them and no other."""
        return self.kept is not None and len(self.kept) == self.rows == self.old

    def tables(
        self,
        old: Tables,
        new: Callable[[int], pyarrow.Table],
        schema: pyarrow.Schema,
        order: Sequence[int],
    ) -> Tables:
        """They, in order.

        Where columns of now are taken, `old` comes without the user's columns; `order` is the
        place of each of these among the values of an item.
        """
        import pyarrow

        first = 0
        for table in old:
            rows = range(first, first + table.num_rows)
            first += table.num_rows
            replaced = [row for row in rows if row in self.places]
            if self.kept is None and not replaced:
                yield table
                continue
            stay = rows if self.kept is None else self.kept
            kept = [row for row in rows if row in stay and row not in self.places]
            mine = table.take(pyarrow.array([row - rows.start for row in kept], pyarrow.int64()))
            if self.kept is not None:
                for field, place in zip(list(schema)[len(OWN_COLUMNS) :], order, strict=True):
                    values = [(self.kept[row] or [None] * len(order))[place] for row in kept]
                    mine = mine.append_column(field, pyarrow.array(values, field.type))
            parts = [mine.select(schema.names).cast(schema)]
            found = (self.places[row] for row in replaced)
            parts += [new(number).slice(row, 1).cast(schema) for number, row in found]
            order_of_now = np.argsort([*kept, *replaced])
            if len(order_of_now):
                yield pyarrow.concat_tables(parts).take(pyarrow.array(order_of_now))
        for number, some in self.left.items():
            if len(some):
                yield new(number).take(pyarrow.array(some))


def _seconds(created: str) -> float:
    """Seconds since 1970; 0 for what says no time, so that every file counts as written since."""
    try:
        return datetime.fromisoformat(created).timestamp()
    except ValueError:
        return 0.0
