"""Every format of feature sets must pass this: what was written is read, whatever was killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nasnet.errors import OutputError
from nasnet.features.feature_set import read_features, read_meta
from nasnet.features.store import FORMATS, Batch, SinkOptions, open_sink
from tests.support import ROOT
from tests.support.sink_rows import DIMENSIONS, META, check, check_signatures, opened, rows, write


def repaired(*numbers: int) -> Batch:
    """Rows with vectors, whatever they had before."""
    batches = [rows(number, number + 1) for number in numbers]
    return Batch(
        ids=[batch.ids[0] for batch in batches],
        vectors=np.concatenate([batch.vectors for batch in batches]),
        widths=np.concatenate([batch.widths for batch in batches]),
        heights=np.concatenate([batch.heights for batch in batches]),
        errors=[None for _ in numbers],
        file_bytes=[size for batch in batches for size in batch.file_bytes],
        signatures=[one for batch in batches for one in batch.signatures],
    )


@pytest.fixture(params=list(FORMATS))
def output(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"features{request.param}"


def test_what_is_written_is_read(output: Path) -> None:
    write(output, 40)
    check(output, 40)
    assert read_meta(output) == META
    assert sorted(output.parent.iterdir()) == sorted(FORMATS[output.suffix].files(output))


def test_rows_count_and_failures_are_told(output: Path) -> None:
    sink = opened(output)
    sink.write(rows(0, 20))
    assert sink.finish() == (20, 3)
    sink.close()


def test_a_stopped_run_is_gone_on_with(output: Path) -> None:
    sink = opened(output)
    sink.write(rows(0, 8))
    sink.write(rows(8, 13))
    assert sink.resume_at == 8
    sink.close()  # what waits becomes a part
    assert not output.exists()
    again = opened(output)
    assert again.resume_at == 13
    expected = [(f"{n}.jpg", n % 7 == 3) for n in range(13)]
    assert list(again.committed()) == expected
    again.write(rows(13, 40))
    assert again.finish() == (40, 6)
    again.close()
    check(output, 40)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked and killed")
@pytest.mark.parametrize("scenario", ["new", "append", "overwrite", "sync"])
@pytest.mark.parametrize("suffix", [".parquet", ".npy"])
def test_killed_anywhere_it_ends_with_every_row_once(
    suffix: str, scenario: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.support.killed_sink", suffix, scenario, "1", "4"]
    done = subprocess.run(
        [*command, str(tmp_path)], check=False, capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["lines"] > 500
    assert told["wrong"] == []


def test_a_finished_file_is_not_touched_unasked(output: Path) -> None:
    write(output, 10)
    before = output.read_bytes()
    with pytest.raises(OutputError, match="--append adds what it lacks, --overwrite starts anew"):
        write(output, 10)
    assert output.read_bytes() == before
    assert not output.with_name(output.name + ".parts").exists()


def test_overwriting_keeps_the_old_file_until_the_new_one_is_whole(output: Path) -> None:
    write(output, 10)
    sink = opened(output, "overwrite")
    sink.write(rows(0, 8))
    check(output, 10)
    sink.close()
    check(output, 10)
    write(output, 25)  # the overwriting run, gone on with
    check(output, 25)
    write(output, 5, mode="overwrite")
    check(output, 5)


def test_overwriting_begins_from_the_beginning_each_time(output: Path) -> None:
    sink = opened(output, "overwrite")
    sink.write(rows(0, 8))
    sink.close()
    again = opened(output, "overwrite")
    assert again.resume_at == 0
    again.close()


def test_appending_repairs_failures_in_place_and_adds_what_is_new(output: Path) -> None:
    write(output, 12)
    sink = opened(output, "append")
    assert [n for n in range(14) if sink.wants(f"{n}.jpg")] == [3, 10, 12, 13]
    sink.write(repaired(3))
    sink.write(rows(10, 11))
    sink.write(rows(12, 14))
    assert sink.finish() == (14, 1)
    sink.close()
    found = read_features(output)
    assert found.ids == [f"{n}.jpg" for n in range(14)]
    assert found.errors == [None if n != 10 else "bad" for n in range(14)]
    kept = [n for n in range(14) if n != 10]
    np.testing.assert_array_equal(found.vectors[kept, 0], kept)
    check_signatures(output, replace(rows(0, 14), errors=found.errors))


def test_appending_nothing_changes_nothing(output: Path) -> None:
    write(output, 10)
    sink = opened(output, "append")
    assert sink.finish() == (10, 1)
    check(output, 10)


def test_appending_to_what_is_not_there_begins_it(output: Path) -> None:
    write(output, 10, mode="append")
    check(output, 10)


def test_an_append_that_was_stopped_is_gone_on_with_as_such(output: Path) -> None:
    write(output, 10)
    sink = opened(output, "append", part_rows=2)
    sink.write(rows(10, 12))
    sink.close()
    check(output, 10)
    with pytest.raises(OutputError, match="a run with --append is unfinished"):
        opened(output)
    again = opened(output, "append")
    assert again.resume_at == 2
    assert [id for id, _ in again.committed()] == ["10.jpg", "11.jpg"]
    again.write(rows(12, 15))
    assert again.finish() == (15, 2)
    check(output, 15)


def test_an_id_that_occurs_twice_is_two_rows_each_with_its_own_fate(output: Path) -> None:
    sink = opened(output)
    batch = rows(0, 4)
    twice = Batch(
        ids=["a", "a", "b", "a"],
        vectors=batch.vectors,
        widths=batch.widths,
        heights=batch.heights,
        errors=["bad", None, None, "bad"],
    )
    sink.write(twice)
    sink.finish()
    sink = opened(output, "append")
    asked = ["b", "a", "a", "c", "a", "a"]
    assert [sink.wants(id) for id in asked] == [False, True, False, True, True, True]
    new = rows(5, 9)
    sink.write(replace(new, ids=["a", "c", "a", "a"], errors=[None, None, None, None]))
    assert sink.finish() == (6, 0)
    found = read_features(output)
    assert found.ids == ["a", "a", "b", "a", "c", "a"]
    np.testing.assert_array_equal(found.vectors[:, 0], [5, 1, 2, 7, 6, 8])


def test_a_file_that_changed_under_an_unfinished_append_is_not_mixed_with_it(output: Path) -> None:
    write(output, 10)
    sink = opened(output, "append", part_rows=2)
    sink.write(rows(10, 12))
    sink.close()
    parts = output.with_name(output.name + ".parts")
    aside = parts.rename(output.parent / "aside")
    write(output, 5, mode="overwrite")
    aside.rename(parts)
    with pytest.raises(OutputError, match="has changed since a run with --append began"):
        opened(output, "append")


def test_other_weights_recipes_or_types_are_never_mixed_in(output: Path) -> None:
    sink = opened(output, part_rows=2)
    sink.write(rows(0, 4))
    sink.close()
    other = replace(META, weights_fingerprint="xyz")
    with pytest.raises(OutputError, match="made with weights fingerprint abc, this run has xyz"):
        open_sink(output, meta=other, dimensions=DIMENSIONS)
    half = SinkOptions(vector_dtype="float16")
    with pytest.raises(OutputError, match=r"of float\[5\], this run makes halffloat\[5\]"):
        open_sink(output, meta=META, dimensions=DIMENSIONS, options=half)
    with pytest.raises(OutputError, match=r"of float\[5\], this run makes float\[6\]"):
        open_sink(output, meta=META, dimensions=6)
    write(output, 10)
    append = SinkOptions(mode="append")
    with pytest.raises(OutputError, match="recipe photo/1, this run has slim"):
        open_sink(output, meta=replace(META, recipe="slim"), dimensions=DIMENSIONS, options=append)
    with pytest.raises(OutputError, match=r"vectors of float\[5\]"):
        open_sink(output, meta=META, dimensions=6, options=append)
    check(output, 10)
    elsewhere = replace(META, source="elsewhere", created="later", engine="another")
    open_sink(output, meta=elsewhere, dimensions=DIMENSIONS, options=append).close()


def test_half_precision_halves_and_says_so(output: Path) -> None:
    options = SinkOptions(vector_dtype="float16")
    sink = open_sink(output, meta=META, dimensions=DIMENSIONS, options=options)
    sink.write(rows(0, 10))
    sink.finish()
    check(output, 10)
    assert read_features(output).vectors.dtype == np.float32
    again = SinkOptions(vector_dtype="float16", mode="append")
    sink = open_sink(output, meta=META, dimensions=DIMENSIONS, options=again)
    sink.write(rows(10, 12))
    sink.finish()
    check(output, 12)


@pytest.mark.parametrize("suffix", [".parquet", ".npy"])
def test_memory_does_not_grow_with_the_rows(suffix: str, tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path; import numpy as np\n"
        "from dataclasses import replace\n"
        "from nasnet.features.store import Batch, SinkOptions, open_sink\n"
        "from tests.support.sink_rows import META\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "def run(name, count):\n"
        "    sink = open_sink(Path(name), meta=META, dimensions=1056)\n"
        "    ones = np.ones(256, np.int32)\n"
        "    for start in range(0, count, 256):\n"
        "        sink.write(Batch(ids=[str(n) for n in range(start, start + 256)],\n"
        "            vectors=np.full((256, 1056), start, np.float32), widths=ones,\n"
        "            heights=ones, errors=[None] * 256))\n"
        "    sink.finish()\n"
        "run(sys.argv[1] + 'few' + sys.argv[2], 8192); few = peak()\n"
        "run(sys.argv[1] + 'many' + sys.argv[2], 24576); print(peak() - few)\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, f"{tmp_path}/", suffix],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert int(out.stdout) < 35, "69 MB of vectors more than before"
