"""The torch engine compiled by torch: slow to make, the same numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nasnet.compute import engine
from nasnet.compute.engine import EngineOptions
from nasnet.weights.weights import Weights
from tests.support.golden import relative_error

pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),  # inside torch.compile
]
STEM = ("Stem",)


def test_a_compiled_network_gives_the_same_numbers(mobile: Weights) -> None:
    images = np.random.default_rng(0).random((3, 48, 48, 3), dtype=np.float32)
    exact = engine.run(engine.create(mobile, EngineOptions(engine="torch")), images, STEM)["Stem"]
    made = engine.create(mobile, EngineOptions(engine="torch", compile=True))
    found = engine.run(made, images, STEM)["Stem"]
    assert found.shape == exact.shape == (3, 6, 6, 88)
    assert relative_error(found, exact) < 1e-5


def test_a_machine_without_a_compiler_says_so(tmp_path: Path) -> None:
    code = (
        "import numpy as np\n"
        "from nasnet.compute import engine\n"
        "from nasnet.compute.engine import EngineOptions\n"
        "from nasnet.errors import UnsupportedError\n"
        "from nasnet.weights.weights import seeded\n"
        "made = engine.create(seeded(7), EngineOptions(engine='torch', compile=True))\n"
        "try:\n"
        "    engine.run(made, np.zeros((2, 32, 32, 3), np.uint8), ('Stem',))\n"
        "except UnsupportedError as error:\n"
        "    print(error)\n"
    )
    nowhere = {"CXX": str(tmp_path / "none"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | nowhere,
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.stdout.startswith("torch cannot compile the network here (")
    assert found.stdout.count("\n") == 1
