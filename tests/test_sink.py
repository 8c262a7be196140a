from __future__ import annotations

import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from nasnet.errors import InputError, OutputError
from nasnet.features import check_same_space, read_features, read_meta
from nasnet.sink import SinkOptions, open_sink
from tests.contract.test_sink_contract import DIMENSIONS, META, check, rows, write


def test_an_unknown_ending_lists_the_formats(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.csv.*there are \.parquet, \.arrow, \.npy"):
        open_sink(tmp_path / "x.csv", meta=META, dimensions=5)


def test_a_place_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be made: No such file or directory"):
        open_sink(tmp_path / "no" / "x.npy", meta=META, dimensions=5)
    (tmp_path / "d.npy").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        open_sink(tmp_path / "d.npy", meta=META, dimensions=5)


def test_two_runs_do_not_write_one_output(tmp_path: Path) -> None:
    sink = open_sink(tmp_path / "x.npy", meta=META, dimensions=DIMENSIONS)
    with pytest.raises(OutputError, match="is being written by another run"):
        open_sink(tmp_path / "x.npy", meta=META, dimensions=DIMENSIONS)
    sink.close()
    open_sink(tmp_path / "x.npy", meta=META, dimensions=DIMENSIONS).close()


def test_the_lock_of_a_killed_run_is_free(tmp_path: Path) -> None:
    code = (
        "import sys, time; from nasnet.sink import open_sink; from pathlib import Path\n"
        "from tests.contract.test_sink_contract import META\n"
        "sink = open_sink(Path(sys.argv[1]), meta=META, dimensions=5)\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "x.npy")],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    with pytest.raises(OutputError, match="written by another run"):
        open_sink(tmp_path / "x.npy", meta=META, dimensions=DIMENSIONS)
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


def test_a_damaged_part_and_all_after_it_are_done_again(tmp_path: Path) -> None:
    output = tmp_path / "x.parquet"
    sink = open_sink(output, meta=META, dimensions=DIMENSIONS, options=SinkOptions(part_rows=4))
    for start in range(0, 16, 4):
        sink.write(rows(start, start + 4))
    sink.close()
    part = tmp_path / "x.parquet.parts" / "part-00001.parquet"
    part.write_bytes(part.read_bytes()[:-5])
    again = open_sink(output, meta=META, dimensions=DIMENSIONS)
    assert again.resume_at == 4
    again.close()
    write(output, 16)
    check(output, 16)


def test_no_rows_make_no_file(tmp_path: Path) -> None:
    sink = open_sink(tmp_path / "x.npy", meta=META, dimensions=DIMENSIONS)
    with pytest.raises(OutputError, match="no rows were written"):
        sink.finish()
    sink.close()
    assert not (tmp_path / "x.npy").exists()


def test_a_full_disk_loses_nothing_that_was_safe(tmp_path: Path) -> None:
    output = tmp_path / "x.parquet"
    options = SinkOptions(part_rows=50)
    sink = open_sink(output, meta=META, dimensions=DIMENSIONS, options=options)
    sink.write(rows(0, 50))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            sink.write(rows(50, 100))
        with pytest.raises(OutputError, match="cannot be written"):
            sink.close()  # tries once more, and gives the lock back all the same
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert open_sink(output, meta=META, dimensions=DIMENSIONS).resume_at == 50


def test_vectors_of_different_spaces_are_not_compared() -> None:
    check_same_space(META, replace(META, source="other", created="later"))
    with pytest.raises(InputError, match=r"recipe is photo/1 here and tf1-hub/1 there"):
        check_same_space(META, replace(META, recipe="tf1-hub/1"))


def test_files_that_are_no_feature_sets_are_refused(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"id": ["a"]}), tmp_path / "x.parquet")
    with pytest.raises(OutputError, match="not written by nasnet"):
        read_meta(tmp_path / "x.parquet")
    (tmp_path / "y.parquet").write_text("hello")
    with pytest.raises(OutputError, match="not a readable feature set"):
        read_features(tmp_path / "y.parquet")
    with pytest.raises(OutputError, match=r"z\.json: not readable"):
        read_meta(tmp_path / "z.npy")
