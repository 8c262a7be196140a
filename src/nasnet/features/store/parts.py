"""A feature set under way, on one machine or many: a folder of parts and what it says of its run.

Every file in it appears whole or not at all, so a part that is there is done, whoever wrote it:

    x.parquet.parts/            or, on a cluster, the folder that is asked for
        _lock                   held by the system for as long as the run lives; only on a disk
        _nasnet.json            the manifest: what the run is; written first
        part-00000000.parquet   some rows in order
        final-x.parquet         the finished file under way
The manifest is rewritten as `publishing` when the finished files are whole; from then on the run is
done, and whoever comes next only moves them into place and removes the folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nasnet.errors import OutputError
from nasnet.features import parquet
from nasnet.features.feature_set import meta_of
from nasnet.features.store.formats import Tables, write_parquet
from nasnet.features.store.manifest import Manifest, column_texts, decode_manifest, vector_text
from nasnet.features.store.output import Output
from nasnet.features.store.place import Place
from nasnet.system import lock, sweep

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

_LOCK = "_lock"
_MANIFEST = "_nasnet.json"  # what begins with _ is passed over by Spark, Arrow and their like
_PART = "part-{:08d}.parquet"
_FINAL = "final-"
_SHARD = b"nasnet.shard"  # in a part's metadata: the name of its shard
_READERS = 16  # footers read at once: far stores answer late, but many at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What the end of a part tells about it.

    Attributes:
        shard: name of its shard, nothing where parts are of no shards.
        rows: in it.
        failures: rows without a vector.
    """

    shard: str
    rows: int
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The folder; a process on any machine that sees it may be given one.

    Attributes:
        place: where it is.
        output: the finished file that is made of the parts; None if the folder is what is asked
            for.
    """

    place: Place
    output: Output | None = None

    @property
    def name(self) -> str:
        """What the user asked for."""
        return self.place.name if self.output is None else self.output.name

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder on a disk, so that no other run writes into it; a far one has no locks.

        What a finished run left in it is tidied up first; if no run has begun in it at the end, it
        is removed, unless it is what was asked for.

        Raises:
            OutputError: it cannot be made, or another run holds it.
        """
        path, taken = self.place.path, None
        if path is not None:
            taken = lock(path, name=_LOCK, what=self.name, parents=self.output is None)
        try:
            self._tidy()
            yield
        finally:
            begun = self.place.exists(_MANIFEST)
            if taken is not None:
                taken.remove()
            if self.output is not None and not begun:
                self.place.remove_folder()

    def manifest(self) -> Manifest | None:
        """What the run in this folder is, None if there is none.

        Raises:
            OutputError: it cannot be read, is damaged, or of another version.
        """
        data = self.place.read(_MANIFEST)
        if data is None:
            return None
        remedy = f"remove {self.place.name}, or use --overwrite"
        return decode_manifest(data, f"{self.place.name}/{_MANIFEST}", remedy)

    def write_manifest(self, manifest: Manifest) -> None:
        """Say what the run is, making the folder if need be.

        Raises:
            OutputError: the disk is full, or the like.
        """
        self.place.make()
        self._write(_MANIFEST, lambda path: path.write_bytes(manifest.encode()))

    def numbers(self) -> list[int]:
        """Which parts are there, whole or not, in order.

        Raises:
            OutputError: the folder cannot be listed.
        """
        digits = ((name, name[5:-8]) for name in self.place.names() if name.endswith(".parquet"))
        return sorted(
            int(text)
            for name, text in digits
            if text.isdecimal() and name == _PART.format(int(text))
        )

    def find(self, manifest: Manifest) -> dict[int, Part]:
        """The parts of a run, by number; one that is cut off, or of another run, is none.

        Raises:
            OutputError: the folder cannot be listed, or a part cannot be read.
        """
        there = self.numbers()
        with ThreadPoolExecutor(_READERS) as threads:
            ends = threads.map(lambda number: self._end(number, manifest), there)
            return {
                number: part for number, part in zip(there, ends, strict=True) if part is not None
            }

    def remove(self, numbers: Iterable[int]) -> None:
        """Remove parts.

        Raises:
            OutputError: one cannot be removed.
        """
        for number in numbers:
            self.place.remove(_PART.format(number))

    def write(
        self, number: int, schema: pyarrow.Schema, tables: Tables, *, shard: str = ""
    ) -> None:
        """Write a part; it is there when all of it is, and replaces one of its number.

        Raises:
            OutputError: the disk is full, or the like; nothing of it is left.
        """
        schema = schema.with_metadata({**schema.metadata, _SHARD: shard.encode()})
        # Parts on a disk that are read once and thrown away are not worth packing.
        packed = self.output is None or self.place.path is None
        self._write(
            _PART.format(number),
            lambda path: write_parquet(
                path, schema, tables, packed=packed, alone=self.output is not None
            ),
        )

    def schema(self, number: int) -> pyarrow.Schema:
        """The columns of a part.

        Raises:
            OutputError: as for `tables`.
        """
        with self._read(number) as file:
            return parquet.schema_of(file)

    def tables(self, number: int, columns: Sequence[str] | None = None) -> Iterator[pyarrow.Table]:
        """The rows of a part in order, a few at a time; all columns if none are named.

        Raises:
            OutputError: it is not there, or was damaged since it was written.
        """
        with self._read(number) as file:
            yield from parquet.tables(file, columns or file.schema_arrow.names)

    @contextmanager
    def _read(self, number: int) -> Iterator[pyarrow.parquet.ParquetFile]:
        import pyarrow

        try:
            with self._opened(number) as file:
                yield file
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            raise OutputError(
                f"{self.place.name}/{_PART.format(number)}: damaged ({error}); remove it and start "
                "the command that wrote it again: what is lost is computed anew"
            ) from error

    def table(self, number: int, columns: Sequence[str] | None = None) -> pyarrow.Table:
        """All rows of a part; all columns if none are named.

        Raises:
            OutputError: as for `tables`.
        """
        import pyarrow

        return pyarrow.concat_tables(list(self.tables(number, columns)))

    def publish(
        self, manifest: Manifest, schema: pyarrow.Schema, rows: int, tables: Tables
    ) -> None:
        """Make the finished file, put it in its place and remove the folder, all or nothing.

        Raises:
            OutputError: the disk is full, or the like; the parts stay.
        """
        output = self.output
        assert output is not None
        self.place.write(
            f"{_FINAL}{output.file}",
            lambda path: output.format.write(path, schema, rows, tables),
            files=[f"{_FINAL}{file}" for file in output.files],
            remedy=f"all rows are safe in {self.place.name}: make room and start the same command "
            "again",
        )
        names = tuple(output.files)
        self.write_manifest(replace(manifest, publishing=names))
        self._move(names)
        self.clear()

    def clear(self) -> None:
        """Remove all that is ours but the lock; the manifest last: it says whether rows count.

        Raises:
            OutputError: something cannot be removed.
        """
        self.remove(self.numbers())
        self._remove_unfinished()
        self.place.remove(_MANIFEST)

    def _tidy(self) -> None:
        """Finish what an earlier run had all but finished, and remove what it left half-written."""
        try:
            manifest = self.manifest()
        except OutputError:
            manifest = None
        if manifest is not None and manifest.publishing:
            self._move(manifest.publishing)
            self.clear()
        elif self.output is not None or manifest is not None:
            self._remove_unfinished()

    def _move(self, names: Sequence[str]) -> None:
        assert self.output is not None
        for name in names:
            if self.place.exists(f"{_FINAL}{name}"):
                self.place.move(f"{_FINAL}{name}", self.output.place, name)

    def _remove_unfinished(self) -> None:
        path = self.place.path
        if path is not None:
            sweep(path, everyone=True)
        for name in self.place.names():
            if name.startswith(_FINAL) and self.output is not None:
                self.place.remove(name)

    def _write(self, file: str, write: Callable[[Path], object]) -> None:
        self.place.write(
            file,
            write,
            remedy="what was safe stays: make room and start the same command again",
        )

    @contextmanager
    def _opened(self, number: int) -> Iterator[pyarrow.parquet.ParquetFile]:
        far = self.place.path is None
        with (
            self.place.opened(_PART.format(number)) as raw,
            parquet.reading(raw, pre_buffer=far) as file,
        ):
            yield file

    def _end(self, number: int, manifest: Manifest) -> Part | None:
        """What the end of a part says, None if it is not whole or not of this run."""
        import pyarrow

        with self.place.told("read"):
            try:
                with self._opened(number) as file:
                    schema, found = parquet.schema_of(file), file.metadata
                    meta = meta_of(schema)
                    same = {**meta, **asdict(manifest.meta)} == meta
                    kinds = (vector_text(schema), column_texts(schema))
                    if not same or kinds != (manifest.vector, manifest.columns):
                        return None
                    column = schema.names.index("error")
                    groups = [found.row_group(index) for index in range(found.num_row_groups)]
                    # Parquet numbers its leaf columns, Arrow the fields of the schema. Here they
                    # agree, since no field before it, the vector included, has more than one leaf.
                    nulls = sum(group.column(column).statistics.null_count for group in groups)
                    shard = schema.metadata[_SHARD].decode()
                    return Part(shard=shard, rows=found.num_rows, failures=found.num_rows - nulls)
            except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
                return None
            except pyarrow.ArrowException:
                return None
            except OSError as error:
                if error.errno is None and self.place.path is not None:
                    return None  # an end that says nonsense
                raise
