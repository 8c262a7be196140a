"""Damaged files of every kind, read in processes of their own; see `tests.support.fuzz`."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support import ROOT

COUNT = os.environ.get("FUZZ_COUNT", "")  # 2000 for the whole, which takes some minutes


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of Linux")
def test_no_damaged_file_ends_in_anything_but_an_error_of_ours() -> None:
    how = ["--count", COUNT] if COUNT else ["--small", "--count", "150", "--seed", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.fuzz", *how],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
