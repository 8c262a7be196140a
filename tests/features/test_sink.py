"""Sinks where they are odd: places, locks, damage, full disks, what the files look like."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nasnet.errors import InputError, OutputError
from nasnet.features.arrow import vectors_of
from nasnet.features.feature_set import (
    feature_schema,
    read_features,
)
from nasnet.features.store import Batch, Sink, SinkOptions, open_sink, record_batch
from nasnet.features.store.beginning import open_parts
from nasnet.features.store.merge import merge
from nasnet.pictures.sources import open_source
from tests.support import ROOT
from tests.support.pictures import jpeg
from tests.support.sink_rows import DIMENSIONS, META, check, opened, rows, write

BAD = [3, 10, 17, 24, 31, 38]  # of 40 rows, as `rows` makes them


def test_an_unknown_ending_lists_the_formats(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.csv: the ending .*: \.parquet, \.arrow, .*\.npy"):
        opened(tmp_path / "x.csv")


def test_a_place_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r": no folder .*: make it first"):
        opened(tmp_path / "no" / "x.npy")
    (tmp_path / "d.npy").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        opened(tmp_path / "d.npy")


def test_two_runs_do_not_write_one_output(tmp_path: Path) -> None:
    sink = opened(tmp_path / "x.npy")
    with pytest.raises(OutputError, match="is being written by another run"):
        opened(tmp_path / "x.npy")
    sink.close()
    opened(tmp_path / "x.npy").close()


def test_the_lock_of_a_killed_run_is_free(tmp_path: Path) -> None:
    code = (
        "import sys, time; from nasnet.features.store import open_sink; from pathlib import Path\n"
        "from tests.support.sink_rows import META\n"
        "sink = open_sink(Path(sys.argv[1]), meta=META, dimensions=5)\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "x.npy")],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    with pytest.raises(OutputError, match="written by another run"):
        opened(tmp_path / "x.npy")
    child.kill()  # and not waited for: a zombie holds no lock
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            write(tmp_path / "x.npy", 10)
            break
        except OutputError:
            time.sleep(0.05)
    check(tmp_path / "x.npy", 10)
    child.wait()
    child.stdout.close()


def test_a_run_that_did_nothing_leaves_nothing(tmp_path: Path) -> None:
    opened(tmp_path / "x.npy").close()
    sink = opened(tmp_path / "x.npy")
    with pytest.raises(OutputError, match="no rows were written"):
        sink.finish()
    sink.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "other"])
def test_a_damaged_part_and_all_after_it_are_done_again(damage: str, tmp_path: Path) -> None:
    output = tmp_path / "x.parquet"
    sink = opened(output, part_rows=4)
    for start in range(0, 16, 4):
        sink.write(rows(start, start + 4))
    sink.close()
    part = tmp_path / "x.parquet.parts" / "part-00000001.parquet"
    if damage == "gone":
        part.unlink()
    elif damage == "other":
        pq.write_table(pq.read_table(part).drop_columns(["vector"]), part)
    else:
        part.write_bytes(part.read_bytes()[:-5] if damage == "cut" else b"")
    again = opened(output)
    assert again.resume_at == 4
    again.close()
    write(output, 16)
    check(output, 16)


def test_numbers_that_change_on_disk_are_noticed(tmp_path: Path) -> None:
    output = tmp_path / "x.parquet"
    sink = open_sink(output, meta=META, dimensions=64)
    vectors = np.arange(128, dtype=np.float32).reshape(2, 64)
    two = rows(0, 2)
    sink.write(
        Batch(
            ids=two.ids, vectors=vectors, widths=two.widths, heights=two.heights, errors=two.errors
        )
    )
    sink.flush()
    part = tmp_path / "x.parquet.parts" / "part-00000000.parquet"
    data = part.read_bytes()
    place = data.index(vectors[1].tobytes()[:64])
    part.write_bytes(data[:place] + b"\x01" + data[place + 1 :])
    with pytest.raises(
        OutputError, match=r"part-00000000\.parquet: damaged .*; remove it and start"
    ):
        sink.finish()
    sink.close()
    part.unlink()
    again = open_sink(output, meta=META, dimensions=64)
    assert again.resume_at == 0
    again.close()


def test_a_damaged_manifest_is_said_and_nothing_is_removed(tmp_path: Path) -> None:
    output = tmp_path / "x.npy"
    sink = opened(output)
    sink.write(rows(0, 8))
    sink.close()
    manifest = tmp_path / "x.npy.parts" / "_nasnet.json"
    whole = manifest.read_text()
    for damage in (whole[:30], "[]", json.dumps({**json.loads(whole), "manifest": 99})):
        manifest.write_text(damage)
        with pytest.raises(OutputError, match=r"_nasnet\.json: damaged.* or use --overwrite"):
            opened(output)
    assert (tmp_path / "x.npy.parts" / "part-00000000.parquet").exists()
    manifest.write_text(whole)
    write(output, 10)
    check(output, 10)


def test_other_peoples_files_beside_an_array_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("mine")
    with pytest.raises(OutputError, match=r"x\.json is there already, and .*x\.npy would need"):
        opened(tmp_path / "x.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_a_pipe_in_the_outputs_place_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    pipe = tmp_path / "x.parquet"
    os.mkfifo(pipe)
    options = SinkOptions(mode="overwrite")
    with pytest.raises(OutputError, match=r"x\.parquet cannot be written: it is not a regular"):
        open_sink(pipe, meta=META, dimensions=DIMENSIONS, options=options)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_part_is_closed_after_a_while_even_with_few_rows(tmp_path: Path) -> None:
    options = SinkOptions(part_seconds=0.0)
    sink = open_sink(tmp_path / "x.npy", meta=META, dimensions=DIMENSIONS, options=options)
    sink.write(rows(0, 2))
    assert sink.resume_at == 2
    sink.close()


@pytest.mark.skipif(os.name != "posix", reason="limits are those of POSIX")
def test_a_full_disk_loses_nothing_that_was_safe(tmp_path: Path) -> None:
    """The size of files is limited in a process of its own: writing fails as on a full disk."""
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from nasnet.errors import OutputError\n"
        "from nasnet.features.store import SinkOptions, open_sink\n"
        "from tests.support.sink_rows import META, rows\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "output, room = Path(sys.argv[1]), int(sys.argv[2])\n"
        "options = SinkOptions(part_rows=50)\n"
        "sink = open_sink(output, meta=META, dimensions=5, options=options)\n"
        "start = sink.resume_at\n"
        "try:\n"
        "    for start in range(start, 3000, 50):\n"
        "        if start >= 1500: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))\n"
        "        sink.write(rows(start, start + 50))\n"
        "    sink.finish()\n"
        "except OutputError as error: print(start, error)\n"
        "try: sink.close()\n"
        "except OutputError: pass\n"
    )

    def run(output: Path, room: int) -> str:
        return subprocess.run(
            [sys.executable, "-c", code, str(output), str(room)],
            check=True,
            capture_output=True,
            text=True,
            cwd=ROOT,
        ).stdout

    output = tmp_path / "x.npy"
    parts = tmp_path / "x.npy.parts"
    assert "1500" in run(output, 500)
    assert opened_rows(output) == 1500
    told = run(output, 60_000)  # enough for parts, not for the finished file
    assert "all rows are safe" in told
    assert "make room" in told
    assert not [path.name for path in parts.iterdir() if path.name.startswith("final")]
    assert opened_rows(output) == 3000
    write(output, 3000)
    check(output, 3000)


def opened_rows(output: Path) -> int:
    sink = opened(output)
    sink.close()
    return sink.resume_at


def test_a_parquet_file_looks_as_the_table_in_the_manual_says(tmp_path: Path) -> None:
    output = tmp_path / "x.parquet"
    write(output, 40)
    file = pq.ParquetFile(output)
    kinds = [str(field.type) for field in file.schema_arrow]
    vectors, signatures = "list<element: float>", "fixed_size_binary[520]"
    assert kinds == ["string", vectors, "int32", "int32", "string", "int64", signatures]
    assert file.num_row_groups == 1, "small parts make no small row groups"
    table = file.read()
    assert table["width"].null_count == 6
    assert [n for n, one in enumerate(table["vector"].to_pylist()) if one is None] == BAD
    assert table["vector"][4].as_py() == [4] * DIMENSIONS
    assert file.schema_arrow.metadata[b"nasnet.weights_status"] == b"untrained"
    assert file.schema_arrow.metadata[b"nasnet.recipe"] == b"photo/1"
    file.close()


def test_vectors_of_a_parquet_file_are_of_fixed_size_where_no_picture_failed(
    tmp_path: Path,
) -> None:
    output = tmp_path / "x.parquet"
    sink = opened(output)
    sink.write(rows(0, 3))
    sink.finish()
    assert str(pq.read_schema(output).field("vector").type) == "fixed_size_list<element: float>[5]"
    sink = opened(output, "append")
    sink.write(rows(3, 5))
    sink.finish()
    assert str(pq.read_schema(output).field("vector").type) == "list<element: float>"
    check(output, 5)


def test_all_parts_of_a_folder_have_vectors_of_one_type(tmp_path: Path) -> None:
    schema = feature_schema(DIMENSIONS, META)
    parts = open_parts(tmp_path / "folder", folder=True)
    parts.place.make()
    for number, (start, end) in enumerate([(0, 3), (3, 6)]):  # without a failure, and with one
        batch = record_batch(rows(start, end), schema)
        parts.write(number, schema, iter([pa.Table.from_batches([batch])]))
    kinds = [pq.read_schema(file).field("vector").type for file in (tmp_path / "folder").iterdir()]
    assert list(map(str, kinds)) == ["list<element: float>"] * 2


def with_nan_as_once(output: Path, count: int) -> None:
    """A Parquet file as earlier versions wrote them."""
    write(output, count)
    schema = feature_schema(DIMENSIONS, META)
    batch = rows(0, count)
    table = pa.Table.from_batches([record_batch(batch, schema)])
    numbers = pa.array(vectors_of(table).reshape(-1))
    vectors = pa.FixedSizeListArray.from_arrays(numbers, DIMENSIONS).cast(schema.field(1).type)
    pq.write_table(table.set_column(1, schema.field(1), vectors), output)
    assert pq.read_table(output)["vector"].null_count == 0


def test_earlier_files_with_nan_are_read_merged_and_added_to(tmp_path: Path) -> None:
    old, whole = tmp_path / "old.parquet", tmp_path / "whole.parquet"
    with_nan_as_once(old, 40)
    check(old, 40)
    merge([old], whole)
    sink = opened(old, "append")
    sink.write(rows(40, 42))
    sink.finish()
    for output, count in ((whole, 40), (old, 42)):
        check(output, count)
        found = pq.read_table(output)["vector"].to_pylist()
        assert [n for n, one in enumerate(found) if one is None] == BAD


def test_an_arrow_file_has_nulls_and_nan_beneath_them(tmp_path: Path) -> None:
    output = tmp_path / "x.arrow"
    write(output, 40)
    with pa.memory_map(str(output)) as mapped, pa.ipc.open_file(mapped) as reader:
        table = reader.read_all()
        assert table["vector"].null_count == 6
        assert np.isnan(table["vector"].chunk(0).values[15:20]).all()


def test_an_array_file_can_be_mapped_and_its_neighbours_read_by_anyone(tmp_path: Path) -> None:
    output = tmp_path / "x.npy"
    write(output, 10)
    vectors = np.load(output, mmap_mode="r")
    assert vectors.shape == (10, DIMENSIONS)
    lines = [json.loads(line) for line in (tmp_path / "x.ids.jsonl").read_text().splitlines()]
    none = {"width": None, "height": None, "file_bytes": None, "signature": None}
    assert lines[3] == {"index": 3, "id": "3.jpg", "error": "bad", **none}
    signature = base64.b64encode(rows(4, 5).signatures[0] or b"").decode()
    some = {"width": 4, "height": 5, "file_bytes": 1004, "signature": signature}
    assert lines[4] == {"index": 4, "id": "4.jpg", "error": None, **some}
    assert json.loads((tmp_path / "x.json").read_text())["weights_fingerprint"] == "abc"


def test_text_that_no_file_can_hold_is_written_out() -> None:
    schema = feature_schema(1, META)
    one = Batch(
        ids=["a\ud800"],
        vectors=np.zeros((1, 1), np.float32),
        widths=np.ones(1, np.int32),
        heights=np.ones(1, np.int32),
        errors=["b\udcff"],
    )
    found = record_batch(one, schema)
    assert found["id"].to_pylist() == [r"a\ud800"]
    assert found["error"].to_pylist() == [r"b\udcff"]


def test_only_three_kinds_of_numbers_are_stored() -> None:
    with pytest.raises(InputError, match="float32, float16 or int8, not 'int16'"):
        feature_schema(5, META, vector_dtype="int16")


def test_a_large_append_finds_its_rows_again(tmp_path: Path) -> None:
    output = tmp_path / "x.parquet"
    write(output, 9000, part_rows=700)  # more than one row group
    sink = opened(output, "append", part_rows=100)
    again = [n for n in range(9100) if sink.wants(f"{n}.jpg")]
    assert again == [n for n in range(9000) if n % 7 == 3] + list(range(9000, 9100))
    for start in range(0, len(again), 30):
        numbers = np.array(again[start : start + 30])
        sink.write(
            Batch(
                ids=[f"{n}.jpg" for n in numbers],
                vectors=np.repeat(numbers[:, None], DIMENSIONS, axis=1).astype(np.float32),
                widths=numbers.astype(np.int32),
                heights=numbers.astype(np.int32),
                errors=[None] * len(numbers),
            )
        )
    assert sink.finish() == (9100, 0)
    found = read_features(output)
    assert found.ids == [f"{n}.jpg" for n in range(9100)]
    np.testing.assert_array_equal(found.vectors[:, 2], np.arange(9100))


def test_opening_the_room_imports_nothing_heavy() -> None:
    code = (
        "import sys, nasnet.features.store; "
        "print([m for m in ('pyarrow', 'filelock', 'fsspec') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "[]"


def called(sink: Sink) -> str:
    return str(sink.schema.metadata[b"nasnet.source"].decode())


def test_a_run_goes_on_however_the_source_is_spelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "my photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(jpeg())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.jpg").write_bytes(jpeg())

    def sink_of(spelling: str) -> Sink:
        name = open_source(spelling).name
        return open_sink(
            tmp_path / "f.parquet", meta=replace(META, source=name), dimensions=DIMENSIONS
        )

    monkeypatch.chdir(tmp_path)
    sink = sink_of("my photos")
    sink.write(rows(0, 3))
    sink.close()
    spellings = ["./my photos/", "other/../my photos", str(photos), photos.as_uri()]
    for spelling in spellings:
        sink = sink_of(spelling)
        assert sink.resume_at == 3
        assert called(sink) == "my photos", "it is called as it was"
        sink.close()
    monkeypatch.chdir(tmp_path / "other")
    sink_of("../my photos").close()
    sink_of(photos.as_uri()).close()
    with pytest.raises(OutputError, match="made with source my photos, this run has"):
        sink_of(str(tmp_path / "other"))
