"""A finished feature set made to be what its source is now: new pictures in, gone ones out.

The k-th time an id comes along, it means the k-th row of that id. Rows of pictures that have not
changed keep their vectors and take the columns of now; those of changed and failed ones are
replaced where they stand; new ones follow.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

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
        left: dict[int, list[int]] = {}
        unlisted: list[str] = []
        for number, table in enumerate(new):
            follow = left.setdefault(number, [])
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
        for id, rows in self._old.items():
            if rows and id.startswith(tuple(unlisted)):
                self._kept.update((row.place[1], ()) for row in rows)
        self.removed = self._count - len(self._kept) - len(places)
        return Plan(kept=self._kept, places=places, left=left, old=self._count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The rows of now.

    Attributes:
        kept: row of the finished set -> the columns of its picture of now.
        places: row of the finished set -> part and row that replace it.
        left: part -> its rows that follow at the end.
        old: rows of the finished set.
    """

    kept: dict[int, tuple[Any, ...]]
    places: dict[int, tuple[int, int]]
    left: dict[int, list[int]]
    old: int

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.kept) + len(self.places) + sum(map(len, self.left.values()))

    @property
    def alike(self) -> bool:
        """Whether the finished set has all of them and no other."""
        return len(self.kept) == self.old and not any(self.left.values())

    def tables(
        self,
        old: Tables,
        new: Callable[[int], pyarrow.Table],
        schema: pyarrow.Schema,
        order: Sequence[int],
    ) -> Tables:
        """They, in order.

        `old` comes without the user's columns; `order` is the place of each of these among the
        values of an item.
        """
        import pyarrow

        first = 0
        for table in old:
            rows = range(first, first + table.num_rows)
            first += table.num_rows
            kept = [row for row in rows if row in self.kept]
            found = [self.places[row] for row in rows if row in self.places]
            mine = table.take(pyarrow.array([row - rows.start for row in kept], pyarrow.int64()))
            for field, place in zip(list(schema)[len(OWN_COLUMNS) :], order, strict=True):
                values = [(self.kept[row] or [None] * len(order))[place] for row in kept]
                mine = mine.append_column(field, pyarrow.array(values, field.type))
            parts = [mine.select(schema.names).cast(schema)]
            parts += [new(number).slice(row, 1).cast(schema) for number, row in found]
            order_of_now = np.argsort([*kept, *(row for row in rows if row in self.places)])
            if len(order_of_now):
                yield pyarrow.concat_tables(parts).take(pyarrow.array(order_of_now))
        for number, some in self.left.items():
            if some:
                yield new(number).take(pyarrow.array(some, pyarrow.int64()))


def _seconds(created: str) -> float:
    """Seconds since 1970; 0 for what says no time, so that every file counts as written since."""
    try:
        return datetime.fromisoformat(created).timestamp()
    except ValueError:
        return 0.0
