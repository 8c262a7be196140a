"""Columns beside the pictures of a source: which there are, of what types, and row by row."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from nasnet.errors import SourceError
from nasnet.pictures.sources import Source, SourceOptions, open_source, split_source
from tests.support.pictures import jpeg

PICTURE = jpeg(8, 8)
SAMPLES: Mapping[str, bytes] = {
    "cat/0.jpg": PICTURE,
    "cat/0.json": b'{"price": 1, "tags": ["a", "b"], "box": {"x": 1}, "mixed": 1}',
    "cat/0.txt": b"12\n",
    "dog/1.cls": b"3",
    "dog/1.jpg": PICTURE,
    "dog/1.json": b'{"price": 2.5, "tags": [], "mixed": "one", "new": true}',
    "dog/2.jpg": PICTURE,
}


def columns(source: Source) -> dict[str, list[Any]]:
    """Values as Python has them, by column."""
    rows = [[getattr(one, "as_py", lambda one=one: one)() for one in i.kept] for i in source]
    return {field.name: [row[n] for row in rows] for n, field in enumerate(source.columns)}


def types(source: Source) -> dict[str, str]:
    return {field.name: str(field.type) for field in source.columns}


def opened(spec: Path | str, *keep: str, **options: Any) -> Source:
    return open_source(spec, options=SourceOptions(keep=keep, **options))


def archive(path: Path, members: Mapping[str, bytes] = SAMPLES) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as packed:
            for name, data in members.items():
                packed.writestr(name, data)
        return path
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def table(path: Path, **values: Any) -> Path:
    rows = len(next(iter(values.values())))
    pq.write_table(pa.table({"picture": [PICTURE] * rows, **values}), path, row_group_size=2)
    return path


def test_a_cell_of_csv_is_what_all_cells_of_its_column_are(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(
        "path,whole,price,code,ok,day,moment,local,word,none\n"
        "a.jpg,3,1,007,true,2024-02-29,2024-01-01T10:00:00Z,2024-01-01 10:00,x,\n"
        "b.jpg,,.5,8,False,,,,,\n"
        'c.jpg,-4,nan,9,,2025-01-01,2024-01-01T12:00:00+02:00,,"y, z"\n'
    )
    source = opened(file, keep_all=True)
    assert types(source) == {
        "whole": "int64",
        "price": "double",
        "code": "string",
        "ok": "bool",
        "day": "date32[day]",
        "moment": "timestamp[us, tz=UTC]",
        "local": "timestamp[us]",
        "word": "string",
        "none": "null",
    }
    found = columns(source)
    moment = datetime(2024, 1, 1, 10, tzinfo=UTC)
    assert str(found.pop("price")) == "[1.0, 0.5, nan]"
    assert found == {
        "whole": [3, None, -4],
        "code": ["007", "8", "9"],
        "ok": [True, False, None],
        "day": [date(2024, 2, 29), None, date(2025, 1, 1)],
        "moment": [moment, None, moment],
        "local": [datetime(2024, 1, 1, 10), None, None],
        "word": ["x", None, "y, z"],
        "none": [None, None, None],
    }


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".zip"])
def test_files_beside_the_pictures_of_an_archive_are_columns(tmp_path: Path, ending: str) -> None:
    source = opened(archive(tmp_path / f"a{ending}"), keep_all=True)
    assert [item.id for item in source] == ["cat/0.jpg", "dog/1.jpg", "dog/2.jpg"]
    assert all(item.read() == PICTURE for item in source)
    assert columns(source) == {
        "price": [1.0, 2.5, None],
        "tags": [["a", "b"], [], None],
        "box": ['{"x": 1}', None, None],
        "mixed": ["1", "one", None],
        "txt": ["12", None, None],
        "new": [None, True, None],
        "cls": [None, 3, None],
        "class": ["cat", "dog", "dog"],
    }
    assert types(source)["txt"] == "string"
    assert types(source)["tags"] == "list<item: string>"
    assert columns(opened(tmp_path / f"a{ending}", "cls")) == {"cls": [None, 3, None]}


def test_a_damaged_file_beside_a_picture_is_named(tmp_path: Path) -> None:
    tar = archive(tmp_path / "a.tar", {"0.jpg": PICTURE, "0.json": b"{"})
    with pytest.raises(SourceError, match=r"a\.tar: json of 0\.jpg: no readable JSON"):
        opened(tar, "price")


def test_class_folders_are_a_column_and_so_are_their_splits(tmp_path: Path) -> None:
    for name in ("train/cat/a.jpg", "train/dog/deep/b.jpg", "val/cat/c.jpg", "other/d.jpg"):
        path = tmp_path / "split" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PICTURE)
    found = columns(opened(tmp_path / "split", keep_all=True))
    assert found == {
        "class": [None, "cat", "dog", "cat"],
        "split": [None, "train", "train", "validation"],
    }
    assert columns(opened(tmp_path / "split" / "train", "class")) == {"class": ["cat", "dog"]}
    with pytest.raises(SourceError, match="no column 'class' to keep; it has none"):
        opened(tmp_path / "split" / "val" / "cat", "class")


def test_a_table_gives_its_own_types(tmp_path: Path) -> None:
    file = table(
        tmp_path / "a.parquet",
        id=["u", "v", "w"],
        width=[1, 2, 3],
        price=pa.array([1, None, 3], pa.int16()),
        brand=pa.array(["x", None, "x"]).dictionary_encode(),
        pair=pa.array([[1, 2], None, [3, 4]], pa.list_(pa.float32(), 2)),
        second=pa.array([1, 2, 3], pa.timestamp("s")),
        mask=[b"1", b"2", b"3"],
    )
    source = opened(file, keep_all=True, column="picture", id_column="id")
    assert [item.id for item in source] == ["u", "v", "w"]
    # Those that Parquet gives back, so that what is read is what was written.
    assert types(source) == {
        "price": "int16",
        "brand": "string",
        "pair": "list<element: float>",
        "second": "timestamp[ms]",
    }
    assert columns(source)["pair"] == [[1, 2], None, [3, 4]]
    assert [note.partition(":")[2] for note in source.notes] == [
        " width: every feature set has columns of its own by such names",
        " mask: binary data; --keep takes a column all the same",
    ]
    assert columns(opened(file, "mask", column="picture")) == {"mask": [b"1", b"2", b"3"]}


def test_what_cannot_be_kept_is_said_in_a_line(tmp_path: Path) -> None:
    span = pa.array([None], pa.month_day_nano_interval())
    feather.write_feather(
        pa.table({"picture": [PICTURE], "width": [1], "id": ["a"], "span": span}),
        tmp_path / "a.arrow",
    )
    for name, why in {
        "prize": "no column 'prize' to keep; it has picture, width, id, span",
        "width": "column 'width' cannot be kept: every feature set has .* by that name; rename it",
        "id": "column 'id' cannot be kept: .*; --id-column takes the ids from it",
        "span": "column 'span' cannot be kept: Parquet has no month_day_nano_interval",
    }.items():
        with pytest.raises(SourceError, match=why):
            opened(tmp_path / "a.arrow", name)
    (tmp_path / "list.txt").write_text("a.jpg\n")
    with pytest.raises(SourceError, match="no column 'class' to keep: a list has no columns"):
        opened(tmp_path / "list.txt", "class")
    assert opened(tmp_path / "list.txt", keep_all=True).columns == ()


def test_many_files_have_columns_of_types_that_hold_all(tmp_path: Path) -> None:
    table(tmp_path / "a.parquet", price=[1, 2, 3], word=["x"] * 3)
    table(tmp_path / "b.parquet", price=[0.5], word=["y"], more=[1])
    pattern = str(tmp_path / "*.parquet")
    source = opened(pattern, keep_all=True)
    assert types(source) == {"price": "double", "word": "string"}
    assert columns(source) == {"price": [1, 2, 3, 0.5], "word": ["x", "x", "x", "y"]}
    halves = [opened(pattern, keep_all=True, shard=(part, 2)) for part in (0, 1)]
    assert [types(half) for half in halves] == [types(source)] * 2
    assert [columns(half)["price"] for half in halves] == [[1, 2], [3, 0.5]]
    # On a cluster.
    split = split_source(pattern, options=SourceOptions(keep_all=True))
    assert split.columns == source.columns
    rows = [item.kept for shard in split.shards(2) for item in shard.items()]
    assert rows == [item.kept for item in source]
    table(tmp_path / "c.parquet", price=["cheap"], word=["z"])
    with pytest.raises(SourceError, match=r"c\.parquet: column 'price' is string, but int64 in"):
        opened(pattern, "price")
    (tmp_path / "c.parquet").unlink()
    table(tmp_path / "c.parquet", word=["z"])
    with pytest.raises(SourceError, match=r"c\.parquet: no column 'price' to keep; it has"):
        opened(pattern, "price")


def test_a_value_that_comes_later_and_does_not_fit_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nasnet.pictures.sources.opening.MANY", 1)  # as if there were thousands
    for number, price in enumerate([1, 2, 2.5]):
        beside = {f"{number}.jpg": PICTURE, f"{number}.json": json.dumps({"p": price}).encode()}
        archive(tmp_path / f"{number}.tar", beside)
    items = iter(opened(str(tmp_path / "*.tar"), "p"))
    assert [next(items).kept[0].as_py() for _ in range(2)] == [1, 2]
    with pytest.raises(SourceError, match=r"2\.tar: 2\.jpg: 'p' is double, but int64 in files"):
        next(items)
