"""Adding to a finished feature set: which pictures it lacks, and the old and new rows together.

The k-th time an id comes along, it means the k-th row of that id: rows with a vector are kept, rows
without one are tried again and replaced where they stand, new ones follow.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nasnet.features.store.formats import Tables

if TYPE_CHECKING:
    import pyarrow


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


class Merge:
    """Which new rows take the places of old ones."""

    def __init__(
        self, places: dict[str, deque[tuple[int, int]]], used: dict[int, set[int]]
    ) -> None:
        self._places = places  # id -> (table, row) of the new rows for its failed rows, in order
        self._used = used  # table -> its rows that take an old row's place

    @property
    def replaced(self) -> int:
        """How many old rows get new content."""
        return sum(map(len, self._used.values()))

    def tables(self, old: Tables, new: Callable[[int], pyarrow.Table], count: int) -> Tables:
        """All rows: the old ones in their order, then the new ones that are none's replacement.

        Args:
            old: the finished set.
            new: gives the n-th table of new rows.
            count: how many there are.
        """
        for table in old:
            yield self._renewed(table, new)
        for number in range(count):
            table = new(number)
            used = self._used.get(number)
            if used:
                kept = np.ones(table.num_rows, bool)
                kept[sorted(used)] = False
                table = table.filter(_mask(kept))
            if table.num_rows:
                yield table

    def _renewed(self, table: pyarrow.Table, new: Callable[[int], pyarrow.Table]) -> pyarrow.Table:
        import pyarrow

        failed = np.flatnonzero(np.asarray(table["error"].is_valid()))
        ids = table["id"].take(pyarrow.array(failed)).to_pylist() if len(failed) else []
        order = np.arange(table.num_rows)
        found: list[pyarrow.Table] = []
        for row, id in zip(failed, ids, strict=True):
            if self._places.get(id):
                number, place = self._places[id].popleft()
                order[row] = table.num_rows + len(found)
                found.append(new(number).slice(place, 1))
        if not found:
            return table
        schema = found[0].schema
        return pyarrow.concat_tables([table.cast(schema), *found]).take(pyarrow.array(order))


def plan_merge(old: Iterable[pyarrow.Table], new: Iterator[pyarrow.Table]) -> Merge:
    """Find out which new rows replace which old ones.

    Args:
        old: ids and errors of the finished set.
        new: ids of the new rows, a table a part.
    """
    failed: Counter[str] = Counter()
    for table in old:
        bad = table.filter(table["error"].is_valid())
        failed.update(bad["id"].to_pylist())
    places: dict[str, deque[tuple[int, int]]] = {}
    used: dict[int, set[int]] = {}
    for number, table in enumerate(new):
        for row, id in enumerate(table["id"].to_pylist()):
            if failed.get(id, 0) > 0:
                failed[id] -= 1
                places.setdefault(id, deque()).append((number, row))
                used.setdefault(number, set()).add(row)
    return Merge(places, used)


def _mask(kept: npt.NDArray[np.bool_]) -> pyarrow.Array:
    import pyarrow

    return pyarrow.array(kept)
