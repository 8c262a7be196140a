"""What a command writes never takes the place of what it reads, whatever the flags say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

import nasnet
from nasnet.errors import OutputError
from tests.support.cli import invoke
from tests.support.feature_sets import features, table_of
from tests.support.pictures import jpeg

W = ("-w", "seeded:7", "--size", "32")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A picture, a list, tables of pictures, a set, an array: all that is read."""
    monkeypatch.chdir(tmp_path)
    Path("a.jpg").write_bytes(jpeg(seed=1))
    Path("list.csv").write_text("path\na.jpg\n")
    pyarrow.parquet.write_table(pyarrow.table({"picture": [jpeg(seed=1)]}), "pictures.parquet")
    Path("shards").mkdir()
    pyarrow.parquet.write_table(pyarrow.table({"picture": [jpeg(seed=2)]}), "shards/0.parquet")
    pyarrow.parquet.write_table(table_of(features(3)), "set.parquet")
    np.save("old.npy", np.ones([1, 1056], np.float32))
    Path("ids.txt").write_text("a.jpg\n")
    return tmp_path


@pytest.mark.parametrize(
    "asked",
    [
        ("embed", "pictures.parquet", "-o", "pictures.parquet", *W),
        ("embed", "pictures.parquet", "-o", "./shards/../pictures.parquet", *W),
        ("embed", "pictures.parquet", "-o", "pictures.parquet", "--shard", "0/1", *W),
        ("embed", "shards/*.parquet", "-o", "shards/0.parquet", *W),
        ("embed", "a.jpg", "-o", "new.parquet", "--page", "a.jpg", *W),
        ("embed", "a.jpg", "-o", "new.parquet", "--page", "new.parquet", *W),
        ("classify", "list.csv", "-o", "list.csv", *W),
        ("classify", "pictures.parquet", "-o", "pictures.parquet", "--shard", "0/2", *W),
        ("adopt", "old.npy", "--ids", "ids.txt", "--recipe", "photo", "-o", "old.npy", *W[:2]),
        ("search", "set.parquet", "--id", "000000.jpg", "--page", "set.parquet"),
        ("search", "set.parquet", "a.jpg", "--page", "a.jpg"),
        ("dedup", "set.parquet", "--page", "set.parquet"),
        ("outliers", "set.parquet", "--page", "set.parquet"),
        ("map", "set.parquet", "-o", "set.parquet", "--method", "pca"),
        ("info", "--picture", "a.jpg"),
    ],
    ids=" ".join,
)
def test_nothing_that_is_read_is_replaced(folder: Path, asked: tuple[str, ...]) -> None:
    files = [one for one in folder.rglob("*") if one.is_file()]
    before = {file: file.read_bytes() for file in files}
    for refused in (invoke(*asked), invoke(*asked, "--overwrite")):
        assert refused.exit_code == 1, refused.output
        assert "--overwrite" not in refused.stderr
        assert refused.stderr.count("\n") == 1
    after = {one: one.read_bytes() for one in folder.rglob("*") if one.is_file()}
    assert after == before


def test_what_lies_where_an_array_would_have_its_metadata_stays(folder: Path) -> None:
    Path("new.json").write_text('{"mine": 1}')
    for asked in (
        ("embed", "a.jpg", "-o", "new.npy", *W, "--overwrite"),
        ("merge", "set.parquet", "-o", "new.npy", "--overwrite"),
    ):
        refused = invoke(*asked)
        assert refused.exit_code == 1, refused.output
        assert "new.json is there already, and new.npy would need that name" in refused.stderr
        assert Path("new.json").read_text() == '{"mine": 1}'
    Path("new.json").unlink()
    for _ in range(2):
        assert invoke("merge", "set.parquet", "-o", "new.npy", "--overwrite").exit_code == 0
    Path("new.npy").unlink()  # what is left is ours
    assert invoke("merge", "set.parquet", "-o", "new.npy", "--overwrite").exit_code == 0


def test_a_drawing_is_replaced_when_that_is_asked_for(tmp_path: Path) -> None:
    drawing = tmp_path / "cells.svg"
    drawing.write_text("mine")
    refused = invoke("info", "--picture", drawing)
    assert refused.exit_code == 1
    assert "--overwrite" in refused.stderr
    assert drawing.read_text() == "mine"
    assert invoke("info", "--picture", drawing, "--overwrite").exit_code == 0
    assert drawing.read_text() != "mine"


def test_a_program_does_not_lose_its_table_either(folder: Path) -> None:
    options = nasnet.EmbedOptions(sink=nasnet.SinkOptions(mode="overwrite"), size=(32, 32))
    there = Path("pictures.parquet").resolve()
    with pytest.raises(OutputError, match="is read by this command"):
        nasnet.embed_to_file("pictures.parquet", there, weights="seeded:7", options=options)
