"""The notebooks of the documentation run from their first cell to their last."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

pytestmark = pytest.mark.interop

NOTEBOOKS = ROOT / "docs" / "notebooks"
# What a notebook has to say in the end: one that runs may still show nonsense.
SAYS = {
    "hub_code": "['first.jpg', 'second.jpg']",
    "similar_photos": "14 groups of copies",
    "own_classifier": "name='coffee'",
}


@pytest.mark.parametrize("name", SAYS)
def test_a_notebook_runs(name: str, tmp_path: Path) -> None:
    for package in ("nbformat", "nbclient", "ipykernel"):
        pytest.importorskip(package)
    run = ROOT / "tests" / "support" / "notebook_run.py"
    command = [sys.executable, str(run), str(NOTEBOOKS / f"{name}.ipynb"), str(tmp_path)]
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": path, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert SAYS[name] in done.stdout


def test_every_notebook_is_run() -> None:
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(SAYS)
