"""A user's columns on their way: into feature sets, through stops, appends and merges."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import nasnet
from nasnet import EmbedOptions, SourceOptions
from nasnet.errors import InputError, OutputError
from nasnet.features.columns import groups_by, words_of_rows
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


def test_a_shop_is_searched_within_what_its_columns_say(tmp_path: Path) -> None:
    """A table with its columns becomes vectors, an index, and answers that a condition fits."""
    n = 12
    table = pa.table(
        {
            "picture": [jpeg(32, 32, seed=row) for row in range(n)],
            "name": [f"{'ab'[row % 2]}/{row}" for row in range(n)],
            "price": [float(row) if row % 5 else None for row in range(n)],
            "brand": ["Acme" if row % 3 else "it's" for row in range(n)],
        }
    )
    pq.write_table(table, tmp_path / "shop.parquet")
    common = ("-w", "seeded:7", "--size", "32", "--column", "picture", "--id-column", "name")
    for arguments in (
        ("embed", tmp_path / "shop.parquet", "-o", tmp_path / "f.parquet", "--keep-all", *common),
        ("index", tmp_path / "f.parquet", "-o", tmp_path / "shop.index"),
    ):
        assert invoke(*arguments).exit_code == 0
    where = "price < 8 and brand = 'Acme'"
    expected = {"b/1", "a/2", "a/4", "b/7"}
    for place in (tmp_path / "shop.index", tmp_path / "f.parquet"):
        found = invoke("search", place, "--id", "b/11", "--where", where, "--json")
        near = json.loads(found.stdout)["nearest"]
        assert {one["id"] for one in near} == expected
        assert near[0]["columns"].keys() == {"price", "brand"}
        # As exact as a search through all that leaves out what does not fit.
        every = json.loads(invoke("search", place, "--id", "b/11", "--json", "-k", 20).stdout)
        assert near == [one for one in every["nearest"] if one["id"] in expected]
        listed = invoke("search", place, "--where", where, "-k", 3)
        assert [line.split()[0] for line in listed.stdout.splitlines()] == ["b/1", "a/2", "a/4"]
        assert "price 1, brand Acme" in listed.stdout
        assert "4 of 12 pictures, of which 3 are shown" in listed.stderr
    index = nasnet.open_index(tmp_path / "shop.index")
    rows, _ = index.nearest(index.vectors([3]), 3, where=pc.field("folder") == "a")
    assert all(index.ids[row].startswith("a/") for row in rows[0])
    assert index.search(index.vectors([3]), 3, where="price > 100")[0] == [[]]
    wrong = invoke("search", tmp_path / "shop.index", "--id", "b/1", "--where", "prize < 8")
    assert wrong.exit_code == 2
    assert wrong.stderr.count("\n") == 1
    assert "no column 'prize'; there are id (string), width (int32)" in wrong.stderr
    page = tmp_path / "found.html"
    source = ("--source", tmp_path / "shop.parquet", "--page", page)
    invoke("search", tmp_path / "shop.index", "--id", "b/11", "--where", where, *source)
    assert "price 7, brand Acme" in page.read_text()


def test_an_index_takes_sets_of_other_columns(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", pa.table({"price": [1, 2, 3]}))
    write(tmp_path / "b.parquet", pa.table({"price": [0.5], "word": ["x"]}), first=4)
    nasnet.build_index(tmp_path / "a.parquet", tmp_path / "i")
    nasnet.add_to_index(tmp_path / "i", tmp_path / "b.parquet")
    index = nasnet.open_index(tmp_path / "i")
    assert index.columns.select(["price", "word"]).to_pydict() == {
        "price": [1, 2, 3, 0.5],
        "word": [None, None, None, "x"],
    }
    assert index.matching("price < 2").tolist() == [0, 3]
    write(tmp_path / "c.parquet", pa.table({"price": ["cheap"]}), first=8)
    with pytest.raises(InputError, match=r"the columns do not go together: .*price"):
        nasnet.add_to_index(tmp_path / "i", tmp_path / "c.parquet")
    assert len(nasnet.open_index(tmp_path / "i")) == 4


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


def test_a_column_makes_groups_and_words() -> None:
    table = pa.table(
        {
            "width": [1] * 20,
            "price": [None, *(float(one) for one in range(19))],
            "stars": [row % 3 for row in range(20)],
            "brand": ["x", None] * 10,
        }
    )
    by_price = groups_by(table, "price")
    assert by_price[:2] == ["", "0 to 3.6"]
    assert by_price[-1] == "14.4 to 18"
    assert len(set(by_price)) == 6
    assert groups_by(table, "stars")[:4] == ["0", "1", "2", "0"]
    assert groups_by(table, "brand")[:2] == ["x", ""]
    words = words_of_rows(table, np.array([1, 2]))
    assert words == ["price 0, stars 1", "price 1, stars 2, brand x"]
    assert words_of_rows(table.select(["width"]), np.array([1])) == []


def test_a_map_is_coloured_by_a_column(tmp_path: Path) -> None:
    write(tmp_path / "f.parquet", pa.table({"brand": ["x", "y", "x"]}))
    drawn = ("map", tmp_path / "f.parquet", "-o", tmp_path / "m.html", "--method", "pca")
    (tmp_path / "0.jpg").write_bytes(jpeg(8, 8))
    source = ("--source", tmp_path)
    assert invoke(*drawn, *source, "--colour", "brand").exit_code == 0
    page = (tmp_path / "m.html").read_text()
    assert '"groups": ["x", "y"]' in page
    assert '"words": ["brand x", "brand y", "brand x"]' in page
    wrong = invoke(*drawn, *source, "--colour", "brant", "--overwrite")
    assert wrong.exit_code == 2
    assert "no 'brant'; there are auto, folder, clusters, none" in wrong.stderr
    assert "file_bytes, brand" in wrong.stderr
