"""Opens an output and writes rows to it; a run that was stopped or killed continues."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nasnet.errors import InputError, OutputError
from nasnet.features.feature_set import FeatureMeta, feature_schema, read_meta, read_schema
from nasnet.features.store.append import Known, plan_merge
from nasnet.features.store.formats import FORMATS, Tables
from nasnet.features.store.manifest import Manifest, check_continues, vector_text
from nasnet.features.store.parts import Parts, open_parts
from nasnet.features.store.rows import Batch, record_batch, with_nan

if TYPE_CHECKING:
    import pyarrow

_KNOWN = ("id", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkOptions:
    """How a feature set is written.

    Attributes:
        mode: `resume` continues an unfinished run and refuses to touch a finished file;
            `overwrite` starts anew; `append` keeps the vectors of a finished file, adds pictures
            it does not have, and tries its failed ones again.
        part_rows: rows in one part; what a kill can cost.
        part_seconds: a part is closed after this long even with fewer rows.
        vector_dtype: how vectors are stored; `float16` halves the file and keeps three digits.
    """

    mode: Literal["resume", "overwrite", "append"] = "resume"
    part_rows: int = 512
    part_seconds: float = 10.0
    vector_dtype: Literal["float32", "float16"] = "float32"

    def __post_init__(self) -> None:
        """Refuse parts that could hold nothing."""
        if self.part_rows < 1 or not self.part_seconds >= 0:
            raise InputError(
                "part_rows starts at 1 and part_seconds at 0, found "
                f"{self.part_rows} and {self.part_seconds}"
            )


def open_sink(
    output: Path, *, meta: FeatureMeta, dimensions: int, options: SinkOptions | None = None
) -> Sink:
    """Open an output for writing, or for writing on.

    Args:
        output: `.parquet`, `.arrow` or `.npy`.
        meta: what the feature set will say about itself.
        dimensions: length of a vector.
        options: how to write.

    Raises:
        OutputError: the format is not known, the place cannot be written, another run holds it,
            a finished file is in the way, or an unfinished run was started differently.
    """
    options = options or SinkOptions()
    try:
        os.fspath(output).encode()
    except UnicodeEncodeError:
        raise OutputError(
            f"{output!r} is no UTF-8, which those who read feature sets expect: name another file"
        ) from None
    if output.suffix not in FORMATS:
        raise OutputError(
            f"{output}: no format for {output.suffix or 'a name without ending'!r}; "
            f"there are {', '.join(FORMATS)}"
        )
    if output.is_dir():
        raise OutputError(f"{output} is a folder: name a file in it")
    folder = output.with_name(output.name + ".parts")
    if options.mode == "resume" and output.exists() and not folder.exists():
        raise _in_the_way(output)
    schema = feature_schema(dimensions, meta, vector_dtype=options.vector_dtype)
    parts = open_parts(folder, output)
    try:
        manifest = _take_up(parts, schema, meta, options.mode)
        return Sink(parts, manifest, schema, options)
    except BaseException:
        if parts.begun:
            parts.release()
        else:
            parts.remove()  # leave nothing
        raise


def _take_up(parts: Parts, schema: pyarrow.Schema, meta: FeatureMeta, mode: str) -> Manifest:
    """Decide what this run is: a new one, or one that continues; the parts are in order then."""
    output = parts.output
    exists = output.exists()
    pending = parts.read_manifest() if mode != "overwrite" else None
    if pending is None:
        if exists and mode == "resume":
            raise _in_the_way(output)
        appends = exists and mode == "append"
        if not exists and mode != "overwrite":
            _check_neighbours(output)
        manifest = Manifest(
            mode="append" if appends else "overwrite" if exists else "new",
            vector=vector_text(schema),
            base=_base(output) if appends else "",
            meta=meta,
        )
        if appends:
            there = vector_text(read_schema(output))
            check_continues(
                read_meta(output), there, meta, manifest.vector, str(output), source=False
            )
        parts.clear()
        parts.write_manifest(manifest)
        return manifest
    _check_start(pending, output, mode, exists)
    check_continues(pending.meta, pending.vector, meta, vector_text(schema), str(parts.folder))
    parts.find(schema)
    return pending


class Sink:
    """An output being written; held by this run until `finish` or `close`."""

    def __init__(
        self, parts: Parts, manifest: Manifest, schema: pyarrow.Schema, options: SinkOptions
    ) -> None:
        self.output = parts.output
        self.schema = schema
        self._parts = parts
        self._manifest = manifest
        self._options = options
        self._format = FORMATS[self.output.suffix]
        self._waiting: list[pyarrow.RecordBatch] = []
        self._since = time.monotonic()
        self._done = False
        appends = manifest.mode == "append"
        self._known = Known(self._old(_KNOWN)) if appends else None

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return int(self.schema.field("vector").type.list_size)

    @property
    def resume_at(self) -> int:
        """Rows of this run that are safe in whole parts, those of earlier, killed runs included."""
        return sum(self._parts.counts)

    def committed(self) -> Iterator[tuple[str, bool]]:
        """Id of each safe row, and whether it failed, in order."""
        for table in self._parts.tables(_KNOWN):
            failed = table["error"].is_valid().to_pylist()
            yield from zip(table["id"].to_pylist(), failed, strict=True)

    def wants(self, id: str) -> bool:
        """Whether a picture is to be computed; not if the file appended to has its vector.

        To be asked once for each picture of the source, in its order, those that an earlier run
        has committed included: the second time an id comes along, its second row is meant.
        """
        return self._known is None or self._known.wants(id)

    def write(self, batch: Batch) -> None:
        """Take rows; they are safe once their part is whole.

        Raises:
            OutputError: the disk is full, or the like; parts so far stay for the next run.
        """
        self._waiting.append(record_batch(batch, self.schema))
        old = time.monotonic() - self._since > self._options.part_seconds
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
            self._parts.add(with_nan(pyarrow.Table.from_batches(self._waiting, self.schema)))
            self._waiting = []

    def finish(self) -> tuple[int, int]:
        """Make the finished file of the parts, and remove them.

        Returns:
            Rows in the file, and how many of them have no vector.

        Raises:
            OutputError: there are no rows, or the disk is full; the parts stay.
        """
        self.flush()
        if not self._parts.counts and self._known is None:
            raise OutputError(f"{self.output}: no rows were written, so no file was made")
        rows, tables = self._all()
        failures = 0

        def counted() -> Tables:
            nonlocal failures
            for table in tables:
                failures += table.num_rows - table["error"].null_count
                yield table.cast(self.schema)

        self._parts.publish(
            self._manifest,
            self._format.files(self.output),
            lambda target: self._format.write(target, self.schema, rows, counted()),
        )
        self._done = True
        self._parts.remove()
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
            if self._parts.counts:
                self._parts.release()
            else:
                self._parts.remove()  # nothing was done: leave nothing

    def _old(self, columns: tuple[str, ...]) -> Tables:
        return self._format.read(self.output, self.schema, columns)

    def _all(self) -> tuple[int, Tables]:
        """All rows of the finished file, and how many they are."""
        if self._known is None:
            return self.resume_at, self._parts.tables()
        merge = plan_merge(self._old(_KNOWN), self._parts.tables(("id",)))
        rows = self._format.rows(self.output) + self.resume_at - merge.replaced

        @lru_cache(maxsize=2)
        def part(number: int) -> pyarrow.Table:
            return self._parts.table(number)

        old = self._old(tuple(self.schema.names))
        return rows, merge.tables(old, part, len(self._parts.counts))


def _in_the_way(output: Path) -> OutputError:
    return OutputError(
        f"{output} is there already: --append adds what it lacks, --overwrite starts anew"
    )


def _base(output: Path) -> str:
    """Tells whether a finished file is still the same."""
    return f"{FORMATS[output.suffix].rows(output)} rows of {read_meta(output).created}"


def _check_start(pending: Manifest, output: Path, mode: str, exists: bool) -> None:
    """Refuse to go on with a run that meant something else."""
    if pending.mode == "append":
        if mode != "append":
            raise OutputError(
                f"{output}: a run with --append is unfinished: start it that way again, or use "
                "--overwrite"
            )
        if not exists or _base(output) != pending.base:
            raise OutputError(
                f"{output} has changed since a run with --append began: remove {output}.parts "
                "and start again"
            )
    elif exists and (mode == "append" or pending.mode == "new"):
        raise OutputError(
            f"{output} is there, and {output}.parts is left of another run for it: remove one of "
            "them"
        )


def _check_neighbours(output: Path) -> None:
    for file in FORMATS[output.suffix].files(output):
        if file.exists():
            raise OutputError(f"{file} is there already, and {output} would need that name")
