"""A user's columns on their way: into feature sets, through stops, appends and merges."""

from __future__ import annotations

import datetime
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import nasnet
from nasnet import EmbedOptions, SourceOptions
from nasnet.errors import OutputError
from nasnet.features.feature_set import read_features, read_schema
from nasnet.features.store import FORMATS, SinkOptions, open_sink
from nasnet.features.store.merge import merge
from tests.support.cli import invoke
from tests.support.pictures import jpeg
from tests.support.sink_rows import DIMENSIONS, META, Mode, rows

VALUES = {
    "n": pa.array([1, None, 3], pa.int8()),
    "price": [1.5, float("nan"), None],
    "brand": ["x", None, "\u00e9"],
    "ok": [True, None, False],
    "moment": pa.array([datetime.datetime(2024, 1, 1, 10), None, None], pa.timestamp("us", "UTC")),
    "day": [datetime.date(2024, 1, 1), None, None],
    "exact": [Decimal("1.50"), None, Decimal("-2.00")],
    "tags": [["a", "b"], None, []],
}


def write(output: Path, kept: pa.Table, mode: Mode = "overwrite", first: int = 0) -> None:
    """Rows with these columns, three at a time."""
    options = SinkOptions(mode=mode, part_rows=3)
    fields = tuple(kept.schema)
    sink = open_sink(output, meta=META, dimensions=DIMENSIONS, kept=fields, options=options)
    for start in range(0, kept.num_rows, 3):
        batch = rows(first + start, first + min(start + 3, kept.num_rows))
        values = list(zip(*kept.slice(start, 3).to_pydict().values(), strict=True))
        sink.write(replace(batch, kept=values))
    sink.finish()


@pytest.mark.parametrize("ending", FORMATS)
def test_columns_come_back_as_they_were(tmp_path: Path, ending: str) -> None:
    kept = pa.table(VALUES)
    write(tmp_path / f"x{ending}", kept)
    found = read_features(tmp_path / f"x{ending}").columns
    assert found is not None
    mine = found.select(kept.column_names)
    assert mine.schema.types == kept.schema.types
    assert str(mine.to_pydict()) == str(kept.to_pydict())  # a nan equals no other
    assert found["width"].to_pylist() == [0, 1, 2]
    # A reader of tables finds them by their names.
    if ending == ".parquet":
        assert pq.read_table(tmp_path / "x.parquet")["brand"].to_pylist() == ["x", None, "\u00e9"]


def test_lines_of_json_refuse_what_they_hold_badly(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"x\.npy: the \.npy format cannot hold column 'box'"):
        write(tmp_path / "x.npy", pa.table({"box": [{"x": 1}]}))
    assert not list(tmp_path.iterdir())


def test_rows_appended_have_the_columns_that_are_there(tmp_path: Path) -> None:
    output = tmp_path / "x.parquet"
    write(output, pa.table({"price": [0.5, 1.5, 2.5], "word": ["a", "b", "c"]}))
    # Of another order and a narrower type.
    more = pa.table({"word": ["d"], "price": [7]})
    sink = open_sink(
        output,
        meta=META,
        dimensions=DIMENSIONS,
        kept=tuple(more.schema),
        options=SinkOptions(mode="append"),
    )
    sink.write(replace(rows(4, 5), kept=[("d", 7)]))
    sink.finish()
    found = read_features(output)
    assert found.ids == ["0.jpg", "1.jpg", "2.jpg", "4.jpg"]
    assert found.columns is not None
    assert found.columns["price"].to_pylist() == [0.5, 1.5, 2.5, 7.0]
    assert found.columns["word"].to_pylist() == ["a", "b", "c", "d"]
    for other in (pa.table({"price": [1.5]}), pa.table({"price": ["x"], "word": ["y"]})):
        with pytest.raises(OutputError, match="keeps price double, word string, this run price"):
            write(output, other, mode="append")


def test_a_run_goes_on_with_the_columns_it_began_with(tmp_path: Path) -> None:
    output = tmp_path / "x.parquet"
    fields = (pa.field("price", pa.float64()),)
    sink = open_sink(output, meta=META, dimensions=DIMENSIONS, kept=fields)
    sink.write(replace(rows(0, 3), kept=[(1.0,), (2.0,), (None,)]))
    sink.close()
    with pytest.raises(OutputError, match="keeps price double, this run no columns: name the same"):
        open_sink(output, meta=META, dimensions=DIMENSIONS)
    sink = open_sink(output, meta=META, dimensions=DIMENSIONS, kept=fields)
    assert sink.resume_at == 3
    sink.write(replace(rows(3, 5), kept=[(4.0,), (5.0,)]))
    sink.finish()
    found = read_features(output).columns
    assert found is not None
    assert found["price"].to_pylist() == [1, 2, None, 4, 5]


def test_sets_of_different_columns_merge_with_nulls(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", pa.table({"price": [1, 2, 3], "word": ["a", "b", "c"]}))
    write(
        tmp_path / "b.npy", pa.table({"price": [0.5], "day": [datetime.date(2024, 1, 1)]}), first=4
    )
    merge([tmp_path / "a.parquet", tmp_path / "b.npy"], tmp_path / "c.arrow")
    found = read_features(tmp_path / "c.arrow").columns
    assert found is not None
    assert found.select(["price", "word", "day"]).to_pydict() == {
        "price": [1, 2, 3, 0.5],
        "word": ["a", "b", "c", None],
        "day": [None, None, None, datetime.date(2024, 1, 1)],
    }
    write(tmp_path / "d.parquet", pa.table({"price": ["cheap"]}), first=8)
    with pytest.raises(OutputError, match=r"d\.parquet: column 'price' is string, but int64 in"):
        merge([tmp_path / "a.parquet", tmp_path / "d.parquet"], tmp_path / "e.parquet")


def test_embed_keeps_the_columns_of_its_source(tmp_path: Path) -> None:
    table = pa.table(
        {
            "picture": [jpeg(32, 32, seed=1), b"none", jpeg(32, 32, seed=2)],
            "name": ["a", "b", "c"],
            "price": pa.array([10, 20, None], pa.uint16()),
            "tags": [["x"], None, []],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    reading = SourceOptions(column="picture", id_column="name", keep=("price", "tags"))
    options = EmbedOptions(size=(32, 32), source=reading)
    found = nasnet.embed(tmp_path / "t.parquet", weights="seeded:7", options=options)
    assert found.column_names[-2:] == ["price", "tags"]
    assert found["price"].type == pa.uint16()
    assert (
        found.select(["price", "tags"]).to_pydict() == table.select(["price", "tags"]).to_pydict()
    )
    run = invoke(
        *("embed", tmp_path / "t.parquet", "-o", tmp_path / "x.parquet", "-w", "seeded:7"),
        *("--size", "32", "--column", "picture", "--id-column", "name", "--keep-all", "-q"),
    )
    assert run.exit_code == 0
    written = read_features(tmp_path / "x.parquet")
    assert written.columns is not None
    assert written.columns["tags"].to_pylist() == [["x"], None, []]
    assert read_schema(tmp_path / "x.parquet").names[-2:] == ["price", "tags"]
    assert np.isnan(written.vectors[1]).all()  # a picture that failed has its columns too
    assert written.columns["price"].to_pylist() == [10, 20, None]
