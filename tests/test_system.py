"""Files that appear whole or not at all; locks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nasnet.errors import OutputError
from nasnet.features.fitting import small_fit
from nasnet.system import lock, staged, sweep, write_whole
from tests.support.leftovers import left_by_a_killed_run

# Writes the same thing over and over, and is killed at the n-th call of one of these.
KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from nasnet import system
kind, place, call, number = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
calls = 0
owner, name = {"fsync": (os, "fsync"), "replace": (Path, "replace"), "mkdir": (Path, "mkdir"),
               "exchange": (system, "_exchange"), "rmtree": (shutil, "rmtree")}[call]
real = getattr(owner, name)
def killed(*args, **kwargs):
    global calls
    calls += 1
    if calls == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **kwargs)
setattr(owner, name, killed)
if kind == "file":
    system.write_whole(place, b"new" * 1000)
elif kind == "files":
    with system.staged(place, last=".index") as made:
        Path(f"{made}.data").write_bytes(b"new")
        Path(f"{made}.index").write_bytes(b"new")
else:
    with system.staged(place, overwrite=True) as made:
        made.mkdir()
        (made / "a").write_bytes(b"new")
        (made / "b").write_bytes(b"new")
print("done")
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("call", ["fsync", "replace", "mkdir", "rmtree"])
@pytest.mark.parametrize("number", [1, 2])
def test_a_file_is_the_old_or_the_new_one_at_any_kill(
    call: str, number: int, tmp_path: Path
) -> None:
    place = tmp_path / "x.bin"
    place.write_bytes(b"old")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, "file", str(place), call, str(number)],
        check=False,
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL or killed.stdout == b"done\n"
    assert place.read_bytes() in (b"old", b"new" * 1000)
    write_whole(place, b"next")
    assert place.read_bytes() == b"next"
    assert names(tmp_path) == ["x.bin"], "the next run removes what a killed one left"


@pytest.mark.parametrize("call", ["fsync", "mkdir", "exchange", "rmtree"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_folder_is_the_old_or_the_new_one_at_any_kill(
    call: str, number: int, tmp_path: Path
) -> None:
    place = tmp_path / "folder"
    place.mkdir()
    (place / "a").write_bytes(b"old")
    subprocess.run(
        [sys.executable, "-c", KILLED, "folder", str(place), call, str(number)],
        check=False,
        capture_output=True,
    )
    found = {path.name: path.read_bytes() for path in place.iterdir()}
    assert found in ({"a": b"old"}, {"a": b"new", "b": b"new"})
    with staged(place, overwrite=True) as made:
        made.mkdir()
    assert names(tmp_path) == ["folder"]
    assert names(place) == []


@pytest.mark.parametrize("number", [1, 2])
def test_the_file_that_says_the_others_are_there_comes_last(number: int, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", KILLED, "files", str(tmp_path / "c"), "replace", str(number)],
        check=False,
        capture_output=True,
    )
    whole = [name for name in names(tmp_path) if not name.startswith(".")]
    assert whole == [[], ["c.data"]][number - 1]


def test_what_a_living_process_writes_is_left_alone(tmp_path: Path) -> None:
    with staged(tmp_path / "x") as place:
        place.write_bytes(b"slow")
        with staged(tmp_path / "x") as other:
            other.write_bytes(b"quick")
        assert (tmp_path / "x").read_bytes() == b"quick"
    assert (tmp_path / "x").read_bytes() == b"slow"


def test_only_leftovers_are_swept(tmp_path: Path) -> None:
    left_by_a_killed_run(tmp_path / "x")
    left_by_a_killed_run(tmp_path / "y")
    for name in (".mine.tmp", ".x.tmp", ".x.abcdef-1-zz.tmp"):
        (tmp_path / name).mkdir()
    elsewhere = ".x.000000-1-0123abcd.tmp"  # another machine's, whose processes nobody knows here
    (tmp_path / elsewhere).mkdir()
    sweep(tmp_path, "x")
    mine = {".mine.tmp", ".x.tmp", ".x.abcdef-1-zz.tmp"}
    assert {name for name in names(tmp_path) if not name.startswith(".y.")} == {*mine, elsewhere}
    sweep(tmp_path, everyone=True)
    assert set(names(tmp_path)) == mine


def test_what_other_machines_left_days_ago_is_swept(tmp_path: Path) -> None:
    for name in (".x.000000-1-0123abcd.tmp", ".x.000000-1-0123abce.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_bytes(b"half")
        os.utime(tmp_path / name, (0, 0))
    os.utime(tmp_path / ".x.000000-1-0123abcd.tmp" / "x", (0, 0))  # nobody is at work on it
    sweep(tmp_path, "x")
    assert names(tmp_path) == [".x.000000-1-0123abce.tmp"]


def test_a_folder_moved_away_by_a_killed_run_comes_back(tmp_path: Path) -> None:
    """Where folders cannot be exchanged, a run may be killed between its two renames."""
    left_by_a_killed_run(tmp_path / "f")
    (left,) = tmp_path.iterdir()
    (left / "f.old").mkdir()
    (left / "f.old" / "old").touch()
    sweep(tmp_path, "f")
    assert names(tmp_path) == ["f"]
    assert names(tmp_path / "f") == ["old"]


def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "x"
    place.write_bytes(b"old")

    def fail() -> None:
        with staged(place) as made:
            made.write_bytes(b"half")
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fail()
    assert place.read_bytes() == b"old"
    assert names(tmp_path) == ["x"]
    with pytest.raises(OutputError, match="no folder"):
        write_whole(tmp_path / "no" / "x", b"")


@pytest.mark.parametrize("name", ["a" * 250, "ä" * 120, "new\nline", "back\\slash", "[x]*?"])
def test_any_name_can_be_written(name: str, tmp_path: Path) -> None:
    write_whole(tmp_path / name, b"x")
    assert names(tmp_path) == [name]


def test_without_an_exchange_the_old_folder_is_moved_away_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(name: object, use_errno: bool) -> object:
        raise OSError("no library")

    monkeypatch.setattr("ctypes.CDLL", none)
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "old").touch()
    with staged(tmp_path / "f", overwrite=True) as made:
        made.mkdir()
        (made / "new").touch()
    assert names(tmp_path) == ["f"]
    assert names(tmp_path / "f") == ["new"]


def test_a_folder_is_held_by_one_run(tmp_path: Path) -> None:
    first = lock(tmp_path / "run")
    with pytest.raises(OutputError, match="is being written by another run"):
        lock(tmp_path / "run")
    first.release()
    second = lock(tmp_path / "run")
    second.remove()
    assert names(tmp_path / "run") == []


def write_two(folder: Path) -> None:
    with staged(folder / "p") as part:
        part.with_name("aaa").write_bytes(b"new")
        part.with_name("pipe").write_bytes(b"new")


def test_what_is_no_regular_file_is_never_replaced(tmp_path: Path) -> None:
    """`-o /dev/null` by root put a file in the device's place, for every process of the machine."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    link = tmp_path / "link"
    link.symlink_to(pipe)
    for place in (pipe, link):
        with pytest.raises(OutputError, match=r"not a regular file; name a file"):
            write_whole(place, b"new")
    # The files beside a beginning of names are all looked at before the first appears.
    with pytest.raises(OutputError, match=r"pipe cannot be written: it is not a regular file"):
        write_two(tmp_path)
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert names(tmp_path) == ["link", "pipe"]
    with pytest.raises(OutputError, match=r"/dev holds devices; name a file"):
        write_whole(Path("/dev/nasnet-test-no-such-device"), b"new")


def test_small_fits_use_one_thread_of_blas() -> None:
    threads = pytest.importorskip("threadpoolctl")

    def most() -> int:
        pools = threads.threadpool_info()
        return max(int(one["num_threads"]) for one in pools if one["user_api"] == "blas")

    with threads.threadpool_limits(3, user_api="blas"):
        with small_fit(1000):
            assert most() == 1
        with small_fit(1 << 40):
            assert most() == 3
