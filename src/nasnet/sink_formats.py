"""The file formats of finished feature sets: Parquet, Arrow, and .npy with its neighbours.

Called by `sink`; each writer streams tables into a temporary name and renames it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nasnet.errors import OutputError
from nasnet.features import FeatureMeta, ids_file, meta_file, vectors_of

if TYPE_CHECKING:
    import pyarrow

__all__ = ["FORMATS", "old_rows", "write_atomically"]

Tables = Iterator["pyarrow.Table"]
Writer = Callable[[Path, "pyarrow.Schema", FeatureMeta, int, Tables], None]

_ROWS = 4096  # read at once from a file that is appended to


def write_atomically(target: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name, make it safe on disk, rename it.

    Raises:
        OutputError: it cannot be written; nothing of it is left.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def old_rows(output: Path, schema: pyarrow.Schema, replaced: set[str]) -> Tables:
    """Rows of a finished file, without its failed ones that were tried again."""
    import pyarrow
    import pyarrow.compute

    skip = pyarrow.array(sorted(replaced), pyarrow.string())
    for table in _READERS[output.suffix](output, schema):
        failed = table["error"].is_valid()
        again = pyarrow.compute.is_in(table["id"], value_set=skip)
        kept = table.filter(pyarrow.compute.invert(pyarrow.compute.and_(failed, again)))
        yield kept.replace_schema_metadata(schema.metadata)


def _write_parquet(
    output: Path, schema: pyarrow.Schema, meta: FeatureMeta, rows: int, tables: Tables
) -> None:
    import pyarrow.parquet

    def write(temporary: Path) -> None:
        # Vectors hardly compress and dictionaries only cost; text columns gain from zstd.
        with pyarrow.parquet.ParquetWriter(
            temporary,
            schema,
            compression={"id": "zstd", "vector.list.element": "none", "error": "zstd"},
            use_dictionary=["error"],
        ) as writer:
            for table in tables:
                writer.write_table(table)

    write_atomically(output, write)


def _write_arrow(
    output: Path, schema: pyarrow.Schema, meta: FeatureMeta, rows: int, tables: Tables
) -> None:
    import pyarrow
    import pyarrow.ipc

    def write(temporary: Path) -> None:
        with (
            pyarrow.OSFile(str(temporary), "wb") as file,
            pyarrow.ipc.new_file(file, schema) as writer,
        ):
            for table in tables:
                writer.write_table(table)

    write_atomically(output, write)


def _write_npy(
    output: Path, schema: pyarrow.Schema, meta: FeatureMeta, rows: int, tables: Tables
) -> None:
    """Vectors in .npy, NaN for failures; ids and reasons as JSON lines; metadata as JSON."""
    dimensions = schema.field("vector").type.list_size
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, dimensions)}

    def write(temporary: Path) -> None:
        def write_ids(beside: Path) -> None:
            index = 0
            with (
                temporary.open("wb") as vectors,
                beside.open("w", encoding="utf-8") as lines,
            ):
                np.lib.format.write_array_header_1_0(vectors, header)
                for table in tables:
                    vectors.write(vectors_of(table).astype("<f4", copy=False).tobytes())
                    for row in table.drop_columns(["vector"]).to_pylist():
                        lines.write(json.dumps({"index": index, **row}, ensure_ascii=False) + "\n")
                        index += 1

        write_atomically(ids_file(output), write_ids)
        text = json.dumps(asdict(meta), indent=1, ensure_ascii=False)
        write_atomically(meta_file(output), lambda path: path.write_text(text, encoding="utf-8"))

    # The array itself is renamed last: where it is, its neighbours are.
    write_atomically(output, write)


def _read_parquet(output: Path, schema: pyarrow.Schema) -> Tables:
    import pyarrow
    import pyarrow.parquet

    for batch in pyarrow.parquet.ParquetFile(output).iter_batches(_ROWS):
        yield pyarrow.Table.from_batches([batch])


def _read_arrow(output: Path, schema: pyarrow.Schema) -> Tables:
    import pyarrow
    import pyarrow.ipc

    with pyarrow.memory_map(str(output)) as mapped, pyarrow.ipc.open_file(mapped) as reader:
        for index in range(reader.num_record_batches):
            yield pyarrow.Table.from_batches([reader.get_batch(index)])


def _read_npy(output: Path, schema: pyarrow.Schema) -> Tables:
    import pyarrow

    dimensions = schema.field("vector").type.list_size
    vectors = np.load(output, mmap_mode="r", allow_pickle=False)
    with ids_file(output).open(encoding="utf-8") as lines:
        start = 0
        while rows := [json.loads(line) for _, line in zip(range(_ROWS), lines, strict=False)]:
            values = np.ascontiguousarray(vectors[start : start + len(rows)]).reshape(-1)
            failed = pyarrow.array([row["error"] is not None for row in rows])
            column = pyarrow.FixedSizeListArray.from_arrays(
                pyarrow.array(values), dimensions, mask=failed
            )
            others = {
                name: pyarrow.array([row[name] for row in rows], schema.field(name).type)
                for name in ("id", "width", "height", "error")
            }
            arrays = [column if name == "vector" else others[name] for name in schema.names]
            yield pyarrow.Table.from_arrays(arrays, schema=schema)
            start += len(rows)


FORMATS: Mapping[str, Writer] = {
    ".parquet": _write_parquet,
    ".arrow": _write_arrow,
    ".npy": _write_npy,
}
_READERS: Mapping[str, Callable[[Path, pyarrow.Schema], Tables]] = {
    ".parquet": _read_parquet,
    ".arrow": _read_arrow,
    ".npy": _read_npy,
}
