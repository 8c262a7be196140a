"""Reading feature sets back, and keeping apart what must not be compared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import nasnet
from nasnet.errors import InputError, OutputError
from nasnet.features.arrow import vectors_of
from nasnet.features.feature_set import (
    SPACE,
    as_features,
    check_same_space,
    feature_schema,
    read_features,
    read_meta,
    read_schema,
)
from nasnet.features.store import FORMATS, record_batch
from tests.support.sink_rows import DIMENSIONS, META, opened, rows, write


@pytest.mark.parametrize("suffix", list(FORMATS))
def test_vectors_come_as_one_array_with_nan_where_there_is_none(
    suffix: str, tmp_path: Path
) -> None:
    write(tmp_path / f"x{suffix}", 30, part_rows=7)
    found = read_features(tmp_path / f"x{suffix}")
    assert found.vectors.shape == (30, DIMENSIONS)
    assert found.vectors.dtype == np.float32
    assert found.meta == META
    np.testing.assert_array_equal(
        np.isnan(found.vectors[:, 0]), [error is not None for error in found.errors]
    )
    assert read_schema(tmp_path / f"x{suffix}").equals(feature_schema(DIMENSIONS, META))


def test_an_array_is_mapped_not_read(tmp_path: Path) -> None:
    write(tmp_path / "x.npy", 10)
    assert isinstance(read_features(tmp_path / "x.npy").vectors, np.memmap)


@pytest.mark.parametrize("key", SPACE)
def test_vectors_of_different_spaces_are_not_compared(key: str) -> None:
    check_same_space(META, replace(META, source="other", created="later", precision="bf16"))
    with pytest.raises(InputError, match=f"{key.replace('_', ' ')} is .* here and other.* there"):
        check_same_space(META, replace(META, **{key: "other"}))


def test_slices_of_tables_give_their_own_vectors() -> None:
    schema = feature_schema(DIMENSIONS, META)
    table = pa.Table.from_batches([record_batch(rows(0, 10), schema)] * 2)
    found = vectors_of(table.slice(4, 12))
    expected = np.concatenate([rows(4, 10).vectors, rows(0, 6).vectors])
    expected[[6 + 3]] = np.nan
    np.testing.assert_array_equal(found, expected)
    assert vectors_of(table.slice(0, 0)).shape == (0, DIMENSIONS)


def test_what_is_not_finished_is_said_so(tmp_path: Path) -> None:
    sink = opened(tmp_path / "x.parquet")
    sink.write(rows(0, 8))
    sink.close()
    with pytest.raises(OutputError, match=r"x\.parquet is not finished: start the command"):
        read_features(tmp_path / "x.parquet")


def test_a_set_that_pyarrow_read_is_one_too(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", 30)  # with failures, so its vectors are lists of any length
    found, table = read_features(tmp_path / "x.parquet"), pq.read_table(tmp_path / "x.parquet")
    assert not pa.types.is_fixed_size_list(table.schema.field("vector").type)
    for some in (table, table.slice(7)):
        again = as_features(some)
        assert again.ids == found.ids[-len(some) :]
        np.testing.assert_array_equal(again.vectors, found.vectors[-len(some) :])


def test_files_that_are_no_feature_sets_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "x.parquet")
    with pytest.raises(OutputError, match="not written by nasnet: it has no column of vectors"):
        read_meta(tmp_path / "x.parquet")
    schema = feature_schema(DIMENSIONS, META).remove_metadata()
    pq.write_table(schema.empty_table(), tmp_path / "m.parquet")
    with pytest.raises(OutputError, match="not written by nasnet: its metadata lack 'module'"):
        read_features(tmp_path / "m.parquet")
    for name in ("y.parquet", "y.arrow"):
        (tmp_path / name).write_text("hello")
        with pytest.raises(OutputError, match=rf"{name}: not a readable feature set"):
            read_features(tmp_path / name)
    with pytest.raises(OutputError, match=r"z\.json: not readable"):
        read_meta(tmp_path / "z.npy")
    np.save(tmp_path / "z.npy", np.zeros((2, 3), np.float32))
    with pytest.raises(OutputError, match=r"z\.npy: a plain array, with no z\.json beside it"):
        read_features(tmp_path / "z.npy")
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8")
    for place in (tmp_path, tmp_path / "a.jpg"):
        with pytest.raises(OutputError, match=r"nasnet embed SOURCE -o features\.parquet makes"):
            read_features(place)
        with pytest.raises(OutputError, match=r"nasnet embed SOURCE -o features\.parquet makes"):
            nasnet.open_index(place)
    with pytest.raises(OutputError, match=r"a\.jpg: not a readable feature set: .* \.parquet"):
        nasnet.merge([tmp_path / "a.jpg"], tmp_path / "m2.parquet")
    with pytest.raises(OutputError, match=r"none\.parquet: not a readable .*: no such file$"):
        read_features(tmp_path / "none.parquet")


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".npy"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_files_that_were_cut_off_are_refused(suffix: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    write(path, 30)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(OutputError, match="not a readable feature set"):
        read_features(path)


def test_an_array_and_its_ids_must_agree(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    write(path, 10)
    lines = (tmp_path / "x.ids.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "x.ids.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(OutputError, match="10 vectors, but 9 ids beside it"):
        read_features(path)
    (tmp_path / "x.ids.jsonl").write_text("no json\n")
    with pytest.raises(OutputError, match=r"x\.ids\.jsonl, line 1: no readable JSON"):
        read_features(path)
    (tmp_path / "x.ids.jsonl").write_text("".join(lines))
    np.save(path, np.zeros((10, 5), np.int64))
    with pytest.raises(OutputError, match=r"its array is int64 \[10, 5\]"):
        read_features(path)
    (tmp_path / "x.json").write_text(json.dumps(["no", "object"]))
    with pytest.raises(OutputError, match=r"x\.json: a JSON object was expected"):
        read_features(path)
