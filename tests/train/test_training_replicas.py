"""Two processes that share every batch do what one does; `torchrun` and gloo, on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

import nasnet
from nasnet.train.loop import ALONE
from nasnet.train.loop.checkpoint import read_checkpoint
from tests.support import ROOT
from tests.support.pictures import jpeg
from tests.support.training import saved
from tests.support.training_replicas import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replicas")
    for what in ("labelled", "taught", "apart", "stopped"):
        (folder / what).mkdir()
        (folder / "alone" / what).mkdir(parents=True)
    (folder / "trained").mkdir()
    (folder / "trained" / "checkpoint.safetensors").write_text("damaged")
    for name in ("cat", "dog"):
        (folder / "data" / name).mkdir(parents=True)
        for number in range(5):
            (folder / "data" / name / f"{number}.jpg").write_bytes(jpeg(seed=number))
    code = folder / "both.py"
    # Once in some runs gloo's threads (torch 2.13) abort a process at its very end, after all is
    # written and the group is gone: it ends without taking the interpreter apart.
    code.write_text(
        "import os, sys; from pathlib import Path\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.support.training_replicas import both\n"
        f"both(Path({str(folder)!r}))\n"
        "sys.stdout.flush(); sys.stderr.flush(); os._exit(0)\n"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", str(code)),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return folder


@contextmanager
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("what", ["labelled", "taught"])
def test_two_processes_do_what_one_does(folder: Path, what: str) -> None:
    with one_thread():
        expected = run(folder / "alone" / what, what, ALONE)
    found = json.loads((folder / "0.json").read_text())[what]
    assert len(found) == 9
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    one, two = saved(folder / "alone" / what), saved(folder / what)
    assert set(one) == set(two)
    for name, value in one.items():
        if not name.startswith("optimizer/"):  # gradients, whose rounding grows with the steps
            close = 1e-4 * np.abs(value).max() + 1e-5
            np.testing.assert_allclose(two[name], value, atol=close, err_msg=name)


def test_with_statistics_of_its_own_part_each_process_has_the_same_weights(folder: Path) -> None:
    found = json.loads((folder / "0.json").read_text())
    assert not np.allclose(found["apart"], found["labelled"], rtol=1e-4)
    one, two = (
        json.loads((folder / "apart" / f"{rank} weights.json").read_text()) for rank in range(2)
    )
    assert one == two


def test_only_the_first_process_tells_and_writes(folder: Path) -> None:
    assert json.loads((folder / "1.json").read_text())["labelled"] == []
    assert [path.name for path in (folder / "labelled").iterdir()] == ["checkpoint.safetensors"]


def test_a_recipe_is_followed_by_both(folder: Path) -> None:
    module = nasnet.Module(folder / "trained")
    assert module(np.zeros((1, 32, 32, 3), np.float32)).shape == (1, 2)
    assert (folder / "trained" / "log.csv").read_text().count("\n") == 2


def test_a_signal_to_one_process_stops_both_and_both_go_on(folder: Path) -> None:
    for rank in range(2):
        assert json.loads((folder / f"{rank}.json").read_text())["stopped"] == "stopped"
    again = json.loads((folder / "0.json").read_text())["labelled again"]
    assert len(again) == 4  # two of the second epoch's three steps were accumulated, and saved
    one, two = saved(folder / "labelled"), saved(folder / "stopped")
    assert all(np.array_equal(one[name], two[name]) for name in one)
    states = [
        read_checkpoint(folder / name / "checkpoint.safetensors")[1]
        for name in ("labelled", "stopped")
    ]
    assert states[0]["moves"] == states[1]["moves"] == 6
