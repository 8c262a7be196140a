"""Opens an output and writes rows to it; a run that was stopped or killed continues."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, count, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from nasnet.errors import InputError, OutputError, check_ranges
from nasnet.features.columns import kept_fields
from nasnet.features.feature_set import FeatureMeta, read_meta, read_schema
from nasnet.features.store.beginning import Run, open_parts, pending, take_up
from nasnet.features.store.form import Form, VectorType, form_of, form_to_add, wanted_form
from nasnet.features.store.formats import FORMATS, Tables
from nasnet.features.store.parts import Parts
from nasnet.features.store.rows import Batch, record_batch
from nasnet.features.store.sync import COLUMNS as SYNCED, Known, Synced, plan_append
from nasnet.pictures.sources import OWN_COLUMNS
from nasnet.system import unbroken

if TYPE_CHECKING:
    import pyarrow

_KNOWN = ("id", "error")
_FITTED = ("vector", "error")
_FIRST_SECONDS = 1.0  # until the first part is closed; each may take twice as long as the last


Mode = Literal["resume", "overwrite", "append", "sync"]
MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkOptions:
    """How a feature set is written.

    Attributes:
        mode: `resume` continues an unfinished run and refuses to touch a finished file;
            `overwrite` starts anew; `append` keeps the vectors of a finished file, adds pictures
            it does not have, and tries its failed ones again; `sync` also computes those anew that
            have changed, and leaves out those that are gone.
        part_rows: rows in one part; a killed run loses no more than one.
        part_seconds: a part is closed after this long even with fewer rows; a run's first parts
            after 1, 2, 4 ... seconds.
        vector_dtype: how vectors are stored: `float32`; `float16`, which halves the file and keeps
            three digits; or `int8`, a quarter, which keeps 99 of 100 nearest neighbours and no
            lengths. With `append` what the file has, else `float32`, if not given.
        normalize: store vectors of length 1, whose products are cosines.
        pca: dimensions to keep of the principal components of the run's own vectors, such as 256;
            or a feature set whose projection is to be taken. It is stored in the file, and
            searches and `append` use it.
    """

    mode: Mode = "resume"
    part_rows: int = 512
    part_seconds: float = 10.0
    vector_dtype: VectorType | None = None
    normalize: bool = False
    pca: int | Path | None = None

    def __post_init__(self) -> None:
        """Refuse parts that could hold nothing, and a mode that does not exist."""
        if self.mode not in MODES:
            raise InputError(f"no mode {self.mode!r}; there are {', '.join(MODES)}")
        check_ranges(self, {"part_rows": "[1, inf)", "part_seconds": "[0, inf]"})


def check_place(output: Path, mode: Mode) -> None:
    """Refuse what `open_sink` would refuse of an output, before weights are downloaded for it.

    Raises:
        OutputError: the format is not known, the place cannot be written, another run holds it, or
            a finished file is in the way.
    """
    parts = open_parts(output)
    with parts.held():
        pending(parts, mode, shards=False)


def open_sink(
    output: Path,
    *,
    meta: FeatureMeta,
    dimensions: int,
    kept: Sequence[pyarrow.Field] = (),
    options: SinkOptions | None = None,
) -> Sink:
    """Open an output for writing, or for writing on.

    Raises:
        OutputError: the format is not known, the place cannot be written, another run holds it,
            a finished file is in the way, or an unfinished run was started differently.
    """
    options = options or SinkOptions()
    parts = open_parts(output)
    with ExitStack() as stack:
        stack.enter_context(parts.held())
        form = wanted_form(
            options.vector_dtype,
            normalize=options.normalize,
            pca=options.pca,
            dimensions=dimensions,
        )
        if options.mode in ("append", "sync") and output.exists():
            form = form_to_add(form_of(read_schema(output)), form, str(output))
        run = take_up(parts, meta, options.mode, dimensions=dimensions, form=form, kept=kept)
        held = ExitStack()
        sink = Sink(output, parts, run, options, held, [field.name for field in kept], form)
        held.push(stack.pop_all())
    return sink


class Sink:
    """An output being written; held by this run until `finish` or `close`."""

    def __init__(
        self,
        output: Path,
        parts: Parts,
        run: Run,
        options: SinkOptions,
        held: ExitStack,
        kept: Sequence[str],
        form: Form,
    ) -> None:
        self.output = output
        self.schema = run.schema
        # A set that is appended to may have the columns in another order.
        self._order = [kept.index(field.name) for field in kept_fields(run.schema)]
        self._parts = parts
        self._manifest = run.manifest
        self._options = options
        self._form = form
        self._held = held
        self._format = FORMATS[output.suffix]
        # Rows come in order, so those after a part that is missing are computed again.
        self._counts = [
            run.found[number].rows for number in takewhile(run.found.__contains__, count())
        ]
        parts.remove(number for number in parts.numbers() if number >= len(self._counts))
        self._waiting: list[pyarrow.RecordBatch] = []
        self._last: pyarrow.Table | None = None  # what was waiting at the end
        self._since = time.monotonic()
        # The first parts are small: a run that is killed again and again gets forward.
        self._seconds = min(_FIRST_SECONDS, options.part_seconds)
        self._done = False
        continues = run.manifest.mode in ("append", "sync")
        self._known: Known | Synced | None = None
        if options.mode == "sync":
            parts_of = (parts.table(number, SYNCED) for number in range(len(self._counts)))
            old = self._old(SYNCED) if continues else iter(())
            created = read_meta(output).created if continues else ""
            self._known = Synced(old, created, parts_of, run.manifest.meta.created)
        elif continues:
            self._known = Known(self._old(_KNOWN))

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return int(self.schema.field("vector").type.list_size)

    @property
    def resume_at(self) -> int:
        """Rows of this run that are safe in whole parts, those of earlier, killed runs included."""
        return sum(self._counts)

    def committed(self) -> Iterator[tuple[str, bool]]:
        """Id of each safe row, and whether it failed, in order."""
        for number in range(len(self._counts)):
            for table in self._parts.tables(number, _KNOWN):
                failed = table["error"].is_valid().to_pylist()
                yield from zip(table["id"].to_pylist(), failed, strict=True)

    def wants(self, id: str) -> bool:
        """Whether a picture is to be computed; not if the file appended to has its vector.

        To be asked once for each picture of the source, in its order, those that an earlier run
        has committed included: the second time an id comes along, its second row is meant.
        """
        return not isinstance(self._known, Known) or self._known.wants(id)

    @property
    def synced(self) -> Synced | None:
        """What a run that synchronises knows; it is to be asked in place of `wants`."""
        return self._known if isinstance(self._known, Synced) else None

    def write(self, batch: Batch) -> None:
        """Take rows; they are safe once their part is whole.

        Raises:
            OutputError: the disk is full, or the like; parts so far stay for the next run.
        """
        kept = [[row[place] for place in self._order] for row in batch.kept]
        self._waiting.append(record_batch(replace(batch, kept=kept), self.schema))
        old = time.monotonic() - self._since > self._seconds
        if old or sum(rows.num_rows for rows in self._waiting) >= self._options.part_rows:
            self.flush()

    def flush(self) -> None:
        """Close the part under way.

        Raises:
            OutputError: the disk is full, or the like; the rows are kept for another try.
        """
        import pyarrow

        self._since = time.monotonic()
        if self._waiting:
            table = pyarrow.Table.from_batches(self._waiting, self.schema)
            with unbroken():  # else rows might be written twice
                self._parts.write(len(self._counts), self.schema, iter([table]))
                self._counts.append(table.num_rows)
                self._waiting = []
            self._seconds = min(2 * self._seconds, self._options.part_seconds)

    def finish(self) -> tuple[int, int]:
        """Make the finished file of the parts, and remove them.

        Returns:
            Rows in the file, and how many of them have no vector.

        Raises:
            OutputError: there are no rows, or the disk is full; the parts stay.
        """
        import pyarrow

        # The last rows go into the finished file from memory: `close` makes a part of them if it
        # cannot be written.
        some = self._waiting
        self._last = pyarrow.Table.from_batches(some, self.schema) if some else None
        numbers = range(len(self._counts) + (self._last is not None))
        if not numbers and self._known is None:
            raise OutputError(f"{self.output}: no rows were written, so no file was made")
        raw = chain.from_iterable(self._rows(number, _FITTED) for number in numbers)
        form = self._form.made(raw, self._total)
        schema = form.schema(self.schema, self._manifest.meta)
        rows, tables = self._all(numbers, form, schema)
        if tables is None:
            self._parts.clear()
            self._done = True
            self._held.close()
            return rows, 0
        failures = 0

        def counted() -> Tables:
            nonlocal failures
            for table in tables:
                failures += table.num_rows - table["error"].null_count
                # A cast brings all of pyarrow's compute functions into a process that had none.
                same = table.schema.equals(schema)  # whatever its metadata says
                yield (
                    table.replace_schema_metadata(schema.metadata) if same else table.cast(schema)
                )

        self._parts.publish(self._manifest, schema, rows, counted())
        self._done = True
        self._held.close()
        return rows, failures

    def close(self) -> None:
        """Stop for now: what is waiting becomes a part, and the next run may have the output.

        Raises:
            OutputError: the disk is full, or the like; only what was waiting is lost.
        """
        if self._done:
            return
        self._done = True
        try:
            self.flush()
        finally:
            if not self._counts:
                self._parts.clear()  # nothing was done: leave nothing
            self._held.close()

    def _old(self, columns: tuple[str, ...]) -> Tables:
        return self._format.read(self.output, read_schema(self.output), columns)

    @property
    def _total(self) -> int:
        """Rows of this run that are there when it ends."""
        return self.resume_at + (0 if self._last is None else self._last.num_rows)

    def _rows(self, number: int, columns: tuple[str, ...] = ()) -> Tables:
        """The rows of a part, or those after the last one; all columns if none are named."""
        if number < len(self._counts):
            yield from self._parts.tables(number, columns)
        else:
            assert self._last is not None
            yield self._last.select(columns) if columns else self._last

    def _table(self, number: int, columns: tuple[str, ...] = ()) -> pyarrow.Table:
        import pyarrow

        return pyarrow.concat_tables(list(self._rows(number, columns)))

    def _all(self, numbers: range, form: Form, schema: pyarrow.Schema) -> tuple[int, Tables | None]:
        """All rows of the finished file, and how many they are; None if it has just these."""
        if self._known is None:
            tables = chain.from_iterable(map(self._rows, numbers))
            return self._total, (form.given_to(table, schema) for table in tables)

        @lru_cache(maxsize=2)
        def part(number: int) -> pyarrow.Table:
            return form.given_to(self._table(number), schema)

        if isinstance(self._known, Synced):
            plan = self._known.plan(self._table(number, _KNOWN) for number in numbers)
            if plan.alike and not numbers and not self._order:
                return plan.rows, None
            there = self._manifest.mode == "sync"
            old = self._old(OWN_COLUMNS) if there else iter(())
        else:
            ids = (self._table(number, ("id",)) for number in numbers)
            plan, old = plan_append(self._old(_KNOWN), ids), self._old(tuple(schema.names))
        return plan.rows, plan.tables(old, part, schema, self._order)
