"""A search that is driven: what is kept, what a kill loses, what a crash costs."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from nasnet.errors import InputError, TrainingError
from nasnet.train.discover.driving import drive
from nasnet.train.discover.records import TRIALS, Journal, Record
from nasnet.train.discover.search import Search
from nasnet.train.discover.strategies import RandomSearch
from nasnet.train.discover.workers import Ended, Workers
from tests.support import searched
from tests.support.made_up_space import Letters

KILLS = 10


def table(journal: Journal) -> list[dict[str, object]]:
    """What the trainings came to, but for the time they took."""
    rows = [asdict(one) for one in journal.records]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def test_ten_kills_change_nothing_in_the_table(tmp_path: Path) -> None:
    """Two jobs, killed with -9 at random moments: only what was under way is trained again."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    rng = random.Random(5)
    command = [sys.executable, "-m", "tests.support.searched", str(broken), "2"]
    trials = broken / TRIALS
    for _ in range(KILLS):
        before = trials.read_bytes() if trials.exists() else b""
        process = subprocess.Popen(command)
        until = time.monotonic() + 60
        # Killed a moment after its first result, so that each of the runs gets somewhere.
        while process.poll() is None and time.monotonic() < until:
            if trials.exists() and len(trials.read_bytes()) > len(before):
                break
            time.sleep(0.005)
        time.sleep(rng.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert trials.read_bytes().startswith(before)
    with trials.open("ab") as file:
        file.write(b'{"code": "half a li')
    found = searched.run(broken, 2)
    assert len({one.id for one in found.records}) == len(found.records)
    expected = searched.run(whole, 1)
    key = str
    assert sorted(table(found), key=key) == sorted(table(expected), key=key)


def crash(how: str) -> str:
    if how == "signal":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "error":
        raise InputError("a fault in one line")
    if how == "fault":
        raise ZeroDivisionError("of the code")
    return "fine"


def test_a_crash_costs_one_child() -> None:
    with Workers[str, str](crash, jobs=1, preload=[__name__]) as workers:
        ended: list[Ended[str, str]] = []
        for how in ("signal", "error", "fault", "none"):
            workers.start(how, how)
            while not (some := workers.wait(60)):
                pass
            ended += some
    assert ended == [
        Ended("signal", None, "the process ended with status -11"),
        Ended("error", None, "a fault in one line"),
        Ended("fault", None, "ZeroDivisionError: of the code"),
        Ended("none", "fine", ""),
    ]


def linger(seconds: float, file: str) -> None:
    Path(file).write_text(str(os.getpid()))
    time.sleep(seconds)


def test_children_end_when_the_search_stops(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with Workers[str, None](linger, jobs=1, preload=[__name__]) as workers:
        workers.start("one", 60.0, str(file))
        while not file.exists() or not file.read_text():
            workers.wait(0.01)
        pid = int(file.read_text())
        os.kill(pid, signal.SIGTERM)  # of a terminal that is closed: who started it decides
        assert not workers.wait(0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


class Failing(searched.Sleeping):
    def start(self, trial: object, workers: Workers[tuple[str, int, int], Record]) -> None:
        workers.start(trial.id, "error")  # type: ignore[attr-defined]


def test_a_search_whose_trainings_all_fail_stops(tmp_path: Path) -> None:
    search: Search[Letters] = Search(searched.SPACE, (RandomSearch(),), trainings=20)

    def told(records: object) -> Search[Letters]:
        for record in journal.records:
            search.tell(record.id, record.score)
        return search

    journal = Journal(tmp_path)
    workers = Workers[tuple[str, int, int], Record](crash, jobs=1)  # type: ignore[arg-type]
    with workers, pytest.raises(TrainingError, match="first 5 trainings failed"):
        drive(told, journal, Failing(), workers)
    assert len(journal.records) == 5


def test_a_line_that_is_no_result_is_named(tmp_path: Path) -> None:
    (tmp_path / TRIALS).write_text("{}\n")
    with pytest.raises(InputError, match=rf"{TRIALS}, line 1 is not a result of a training"):
        Journal(tmp_path)
