"""Commands killed at each call that changes the disk: the old or the new is whole, nothing stays.

A part of the points, drawn by a seed; `NASNET_CRASH_POINTS=all` tries all of them (ten minutes).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.disk_calls import available

ALL = os.environ.get("NASNET_CRASH_POINTS") == "all"
# Which are tried by default, and how many of their states: those that compute take seconds each.
SHARES = {
    "embed": 0.1,
    "embed --append": 0,
    "embed --overwrite": 0,
    "merge": 1,
    "merge --overwrite": 1,
    "merge --overwrite, three files": 1,
    "index": 1,
    "index --append": 1,
    "index --overwrite": 1,
    "convert": 0.5,
    "convert --overwrite": 0.5,
    "convert, two files": 0,
    "convert --overwrite, two files": 0.3,
    "export": 0.5,
    "export --overwrite": 0,
    "finetune": 0.05,
    "finetune --overwrite": 0,
}


@pytest.mark.skipif(not available(), reason="needs Linux on x86_64 or aarch64")
@pytest.mark.parametrize("scenario", [name for name, share in SHARES.items() if ALL or share])
def test_a_command_killed_anywhere_leaves_the_old_or_the_new(scenario: str, tmp_path: Path) -> None:
    share = "1" if ALL else str(SHARES[scenario])
    command = [
        sys.executable,
        "-m",
        "tests.support.crash_points",
        scenario,
        share,
        str(tmp_path / "x"),
    ]
    alone = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # forked, so without threads
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **alone}
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["calls"] > 5
    assert told["states"] > 3
    assert told["tried"] > 0
    assert told["wrong"] == []
