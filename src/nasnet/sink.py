"""Where vectors go: parts on the way, one finished file at the end, nothing lost to a kill.

Called by `embedding`. While a run is under way its rows lie in `<output>.parts/`, whole parts
only; the finished file appears by renaming.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from nasnet.errors import OutputError
from nasnet.features import FeatureMeta, feature_schema, read_meta
from nasnet.sink_formats import FORMATS, old_rows, write_atomically

if TYPE_CHECKING:
    import pyarrow
    from filelock import FileLock

__all__ = ["Batch", "Sink", "SinkOptions", "open_sink", "record_batch"]

_MANIFEST = "manifest.json"
_LOCK = "lock"
# What two runs into one output must agree on; the rest of the metadata may differ.
_IDENTITY = (
    "weights_fingerprint",
    "endpoint",
    "recipe",
    "recipe_text",
    "size",
    "precision",
    "source",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Some rows in order.

    Attributes:
        ids: one a row.
        vectors: float32 [rows, dimensions]; what stands in rows with an error does not count.
        widths: int32, of the upright picture in pixels; 0 where unknown.
        heights: int32, alike.
        errors: why there is no vector, or None.
    """

    ids: list[str]
    vectors: npt.NDArray[np.float32]
    widths: npt.NDArray[np.int32]
    heights: npt.NDArray[np.int32]
    errors: list[str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkOptions:
    """How a feature set is written.

    Attributes:
        mode: `resume` continues an unfinished run and refuses to touch a finished file;
            `overwrite` starts anew; `append` keeps the vectors of a finished file, adds pictures
            it does not have, and tries its failed ones again.
        part_rows: rows in one part; what a kill can cost.
        part_seconds: a part is closed after this long even with fewer rows.
    """

    mode: Literal["resume", "overwrite", "append"] = "resume"
    part_rows: int = 512
    part_seconds: float = 10.0


def record_batch(batch: Batch, schema: pyarrow.Schema) -> pyarrow.RecordBatch:
    """A batch as Arrow: null vectors and sizes where there is an error."""
    import pyarrow

    failed = np.array([error is not None for error in batch.errors], bool)
    dimensions = schema.field("vector").type.list_size
    values = pyarrow.array(np.ascontiguousarray(batch.vectors, np.float32).reshape(-1))
    vectors = pyarrow.FixedSizeListArray.from_arrays(values, dimensions, mask=pyarrow.array(failed))
    arrays = [
        pyarrow.array(batch.ids, pyarrow.string()),
        vectors,
        pyarrow.array(batch.widths, pyarrow.int32(), mask=failed),
        pyarrow.array(batch.heights, pyarrow.int32(), mask=failed),
        pyarrow.array(batch.errors, pyarrow.string()),
    ]
    return pyarrow.RecordBatch.from_arrays(arrays, schema=schema)


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
    if output.suffix not in FORMATS:
        raise OutputError(
            f"{output}: no format for {output.suffix or 'a name without ending'!r}; "
            f"there are {', '.join(FORMATS)}"
        )
    if output.is_dir():
        raise OutputError(f"{output} is a folder: name a file in it")
    exists = output.exists()
    if exists and options.mode == "resume":
        raise OutputError(
            f"{output} is there already: --append adds what it lacks, --overwrite starts anew"
        )
    if exists and options.mode == "append":
        _check_alike(read_meta(output), meta, str(output), source=False)
    parts = output.with_name(output.name + ".parts")
    try:
        parts.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{parts} cannot be made: {error.strerror}") from error
    held = _take_lock(parts / _LOCK, output)
    try:
        return Sink(output, parts, held, meta, dimensions, options)
    except BaseException:
        held.release()
        raise


class Sink:
    """An output being written; holds its lock until `finish` or `close`."""

    def __init__(
        self,
        output: Path,
        parts: Path,
        held: FileLock,
        meta: FeatureMeta,
        dimensions: int,
        options: SinkOptions,
    ) -> None:
        self.output = output
        self.dimensions = dimensions
        self.schema = feature_schema(dimensions, meta)
        self._parts = parts
        self._held = held
        self._meta = meta
        self._options = options
        self._appends = options.mode == "append" and output.exists()
        self._waiting: list[pyarrow.RecordBatch] = []
        self._waiting_rows = 0
        self._since = time.monotonic()
        self._counts = self._take_over()
        self._known = self._vector_ids() if self._appends else frozenset()

    @property
    def resume_at(self) -> int:
        """Rows that earlier, unfinished runs committed."""
        return sum(self._counts)

    def committed(self) -> Iterator[tuple[str, bool]]:
        """Id of each committed row, and whether it failed, in order."""
        import pyarrow.parquet

        for number in range(len(self._counts)):
            table = pyarrow.parquet.read_table(self._part(number), columns=["id", "error"])
            errors = table["error"].to_pylist()
            yield from zip(
                table["id"].to_pylist(), (error is not None for error in errors), strict=True
            )

    def wants(self, id: str) -> bool:
        """Whether a picture is to be computed; not if the file appended to has its vector."""
        return id not in self._known

    def write(self, batch: Batch) -> None:
        """Take rows; they are safe once their part is whole.

        Raises:
            OutputError: the disk is full, or the like; parts so far stay for the next run.
        """
        self._waiting.append(record_batch(batch, self.schema))
        self._waiting_rows += len(batch.ids)
        old = time.monotonic() - self._since > self._options.part_seconds
        if self._waiting_rows >= self._options.part_rows or old:
            self.flush()

    def flush(self) -> None:
        """Close the part under way."""
        import pyarrow
        import pyarrow.parquet

        self._since = time.monotonic()
        if not self._waiting:
            return
        table = pyarrow.Table.from_batches(self._waiting, schema=self.schema)

        def write(temporary: Path) -> None:
            # Uncompressed: parts are read once and thrown away.
            pyarrow.parquet.write_table(table, temporary, compression="none", use_dictionary=False)

        write_atomically(self._part(len(self._counts)), write)
        self._counts.append(table.num_rows)
        self._waiting, self._waiting_rows = [], 0

    def finish(self) -> tuple[int, int]:
        """Make the finished file of the parts, and remove them.

        Returns:
            Rows in the file, and how many of them have no vector.

        Raises:
            OutputError: there are no rows, or the disk is full; the parts stay.
        """
        self.flush()
        if not self._counts and not self._appends:
            raise OutputError(f"{self.output}: no rows were written, so no file was made")
        new = {id for id, _ in self.committed()} if self._appends else set()
        counted = [0, 0]

        def tables() -> Iterator[pyarrow.Table]:
            for table in self._tables(new):
                counted[0] += table.num_rows
                counted[1] += table["vector"].null_count
                yield table

        rows = self.resume_at
        if self._appends:
            rows += sum(table.num_rows for table in old_rows(self.output, self.schema, new))
        FORMATS[self.output.suffix](self.output, self.schema, self._meta, rows, tables())
        self._held.release()
        shutil.rmtree(self._parts, ignore_errors=True)
        return counted[0], counted[1]

    def close(self) -> None:
        """Stop for now: what is waiting becomes a part, and the lock is given back."""
        try:
            self.flush()
        finally:
            self._held.release()

    def _part(self, number: int) -> Path:
        return self._parts / f"part-{number:05d}.parquet"

    def _tables(self, replaced: set[str]) -> Iterator[pyarrow.Table]:
        import pyarrow.parquet

        if self._appends:
            yield from old_rows(self.output, self.schema, replaced)
        for number in range(len(self._counts)):
            table = pyarrow.parquet.read_table(self._part(number))
            yield table.replace_schema_metadata(self.schema.metadata)

    def _take_over(self) -> list[int]:
        """Find what an earlier run left; returns the row counts of its whole parts."""
        manifest = self._parts / _MANIFEST
        if self._options.mode == "overwrite" or not manifest.exists():
            self._clear()
            text = json.dumps({"appends": self._appends, **asdict(self._meta)}, indent=1)
            write_atomically(manifest, lambda path: path.write_text(text, encoding="utf-8"))
            return []
        try:
            found = json.loads(manifest.read_text(encoding="utf-8"))
            appended = found.pop("appends")
            before = FeatureMeta(**found)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise OutputError(
                f"{manifest}: damaged ({error}); remove {self._parts} or use --overwrite"
            ) from error
        _check_alike(before, self._meta, str(self._parts))
        if appended != self._appends:
            raise OutputError(
                f"{self._parts} is left of a run {'with' if appended else 'without'} --append: "
                "start it that way again, or remove the folder"
            )
        counts: list[int] = []
        for leftover in self._parts.glob("*.tmp"):
            leftover.unlink()
        while (rows := _whole_rows(self._part(len(counts)), self.dimensions)) is not None:
            counts.append(rows)
        for extra in self._parts.glob("part-*.parquet"):
            if int(extra.stem.removeprefix("part-")) >= len(counts):
                extra.unlink()
        return counts

    def _clear(self) -> None:
        for file in self._parts.iterdir():
            if file.name != _LOCK:
                file.unlink()

    def _vector_ids(self) -> frozenset[str]:
        ids: list[str] = []
        for table in old_rows(self.output, self.schema, set()):
            valid = table.filter(table["error"].is_null())
            ids.extend(valid["id"].to_pylist())
        return frozenset(ids)


def _whole_rows(part: Path, dimensions: int) -> int | None:
    """Rows of a part, None if it is not there, not whole, or not ours."""
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(part)
        kind = file.schema_arrow.field("vector").type
        fits = getattr(kind, "list_size", None) == dimensions
        return int(file.metadata.num_rows) if fits else None
    except (OSError, KeyError, pyarrow.ArrowException):
        return None


def _check_alike(before: FeatureMeta, now: FeatureMeta, where: str, *, source: bool = True) -> None:
    for key in _IDENTITY:
        if key == "source" and not source:
            continue
        old, new = getattr(before, key), getattr(now, key)
        if old != new:
            raise OutputError(
                f"{where} was made with {key.replace('_', ' ')} {old}, this run has {new}: "
                "run it as before, name another output, or use --overwrite"
            )


def _take_lock(lock: Path, output: Path) -> FileLock:
    """One run at a time; the system frees the lock of a run that died, however it died."""
    from filelock import FileLock, Timeout

    held = FileLock(lock, blocking=False)
    try:
        held.acquire()
    except Timeout:
        raise OutputError(
            f"{output} is being written by another run, which holds {lock}: wait for it"
        ) from None
    except OSError as error:
        raise OutputError(f"{lock} cannot be made: {error.strerror or error}") from error
    return held
