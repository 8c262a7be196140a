from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from nasnet.compute import engine
from nasnet.compute.engine import (
    Compiled,
    EngineOptions,
    Images,
    ModelKey,
    Outputs,
    Precision,
    key_for,
    padded,
)
from nasnet.compute.openvino_engine import process_core
from nasnet.errors import MissingExtraError, UnsupportedError
from nasnet.weights.weights import Weights, seeded


def key(height: int) -> ModelKey:
    images = np.zeros((1, height, 40, 3), np.float32)
    return key_for(images, ("global_pool",), batch=4, alone=True)


def test_only_a_few_models_stay_compiled() -> None:
    made: list[int] = []

    def compile_model(wanted: ModelKey) -> int:
        made.append(wanted.height)
        return wanted.height

    models = Compiled(compile_model, keep=2)
    for height in (32, 33, 32, 34, 32, 33):
        assert models.get(key(height)) == height
    assert made == [32, 33, 34, 33], "the least recently used one left"


def test_a_single_picture_gets_a_model_of_its_own() -> None:
    one, four = (np.zeros((n, 32, 32, 3), np.uint8) for n in (1, 4))
    assert key_for(one, ("Stem",), batch=4, alone=True).batch == 1
    assert key_for(one, ("Stem",), batch=4, alone=False).batch == 4
    assert key_for(four, ("Stem",), batch=4, alone=True).batch == 4


def test_short_batches_are_filled_up() -> None:
    images = np.arange(2, dtype=np.float32).reshape(2, 1, 1, 1)
    assert padded(images, 4)[:, 0, 0, 0].tolist() == [0, 1, 1, 1]


def test_threads_may_come_first_together() -> None:
    """OpenVINO 2026.4 locks up for ever if two threads use it first at the same time."""
    code = (
        "import threading, numpy as np\n"
        "from nasnet.compute import engine\n"
        "from nasnet.weights.weights import seeded\n"
        "weights, start = seeded(1, spec='cifar'), threading.Barrier(4)\n"
        "def work():\n"
        "    start.wait()\n"
        "    made = engine.create(weights)\n"
        "    made.infer(np.zeros((2, 32, 32, 3), np.float32), ('global_pool',), alone=False)\n"
        "threads = [threading.Thread(target=work) for _ in range(4)]\n"
        "[thread.start() for thread in threads]\n"
        "[thread.join() for thread in threads]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_signals_are_taken_after_engines_went_in_any_order() -> None:
    """OpenVINO's plugin swaps the stack that signal handlers run on, and has to be watched."""
    code = (
        "import gc, signal\n"
        "import numpy as np\n"
        "from nasnet.compute import engine\n"
        "from nasnet.compute.engine import EngineOptions\n"
        "from nasnet.weights.weights import seeded\n"
        "images = np.zeros((1, 32, 32, 3), np.float32)\n"
        "def make():\n"
        "    made = engine.create(seeded(7, spec='cifar'), EngineOptions(threads=1))\n"
        "    made.infer(images, ('global_pool',), alone=True)\n"
        "    return made\n"
        "first, second = make(), make()\n"
        "for name in ('first', 'second'):\n"
        "    globals().pop(name).close()\n"
        "    gc.collect()\n"
        "signal.signal(signal.SIGTERM, lambda number, frame: print('taken'))\n"
        "signal.raise_signal(signal.SIGTERM)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=120, capture_output=True, text=True
    )
    assert found.stdout == "taken\n"


def test_a_device_that_is_not_there_is_said_with_those_that_are(mobile: Weights) -> None:
    for name in engine.ENGINES:
        with pytest.raises(UnsupportedError, match=r"no device 'NPU9'.*CPU"):
            engine.create(mobile, EngineOptions(engine=name, device="NPU9"))


def test_onnxruntime_refuses_a_precision_it_would_not_compute_in(mobile: Weights) -> None:
    with pytest.raises(UnsupportedError, match="f32 only"):
        engine.create(mobile, EngineOptions(engine="onnxruntime", precision="bf16"))


@pytest.mark.parametrize("name", list(engine.ENGINES))
def test_auto_says_what_it_became_and_is_near(name: engine.EngineName) -> None:
    pytest.importorskip(name)
    weights = seeded(7, spec="cifar")
    images = np.random.default_rng(5).random((1, 32, 32, 3), np.float32)
    exact, auto = (
        engine.create(weights, EngineOptions(engine=name, precision=precision, threads=1))
        for precision in ("f32", "auto")
    )
    assert auto.precision in ("f32", "bf16", "f16")
    one, other = (
        made.infer(images, ("global_pool",), alone=True)["global_pool"][0] for made in (exact, auto)
    )
    assert float(one @ other / np.linalg.norm(one) / np.linalg.norm(other)) > 0.999
    assert np.array_equal(one, other) == (auto.precision == "f32")


def test_a_precision_the_device_lacks_is_said_with_those_it_has(mobile: Weights) -> None:
    able = process_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    names: list[tuple[Precision, str]] = [("f16", "FP16"), ("bf16", "BF16")]
    lacking = [name for name, word in names if word not in able]
    if not lacking:
        pytest.skip("this processor has them all")
    with pytest.raises(UnsupportedError, match=f"CPU has no {lacking[0]} arithmetic"):
        engine.create(mobile, EngineOptions(precision=lacking[0]))


def test_bf16_is_refused_or_close(mobile: Weights) -> None:
    images = np.random.default_rng(0).random((4, 64, 64, 3), dtype=np.float32)
    exact = engine.run(engine.create(mobile), images, ("global_pool",))["global_pool"]
    try:
        fast = engine.create(mobile, EngineOptions(precision="bf16"))
    except UnsupportedError as error:
        assert "no bf16" in str(error)  # noqa: PT017 - this machine has none
        return
    found = engine.run(fast, images, ("global_pool",))["global_pool"]
    cosine = (found * exact).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(exact, axis=1)
    assert (cosine > 0.999).all()
    assert not np.array_equal(found, exact), "it says bf16 and computes in f32"


def test_a_missing_extra_names_its_install_line(
    mobile: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'nasnet\[onnxruntime\]'"):
        engine.create(mobile, EngineOptions(engine="onnxruntime"))


@dataclass
class Recording:
    """Counts how it is called; what it computes is the first pixel of each picture."""

    streams: int
    apart: bool = True
    batch: int = 2
    name: str = "recording"
    device: str = "CPU"
    precision: str = "f32"
    calls: list[tuple[int, bool]] = field(default_factory=list)

    def infer(self, images: Images, endpoints: tuple[str, ...], *, alone: bool) -> Outputs:
        self.calls.append((len(images), alone))
        return {name: images[:, 0, 0, :1].astype(np.float32) for name in endpoints}

    def close(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize(
    ("streams", "apart", "count", "calls"),
    [
        (2, True, 1, [(1, True)]),
        (1, False, 1, [(1, False)]),
        (2, True, 2, [(2, True)]),  # one stream of two would idle: both cores take the batch
        (2, True, 3, [(1, False), (2, False)]),
        (8, True, 7, [(1, True), (2, True), (2, True), (2, True)]),
        (8, True, 9, [(1, False), (2, False), (2, False), (2, False), (2, False)]),
        (1, True, 4, [(2, False), (2, False)]),
    ],
)
def test_few_pictures_take_all_cores_many_a_core_each(
    streams: int, apart: bool, count: int, calls: list[tuple[int, bool]]
) -> None:
    images = np.arange(count * 3, dtype=np.uint8).reshape(count, 1, 1, 3)
    made = Recording(streams, apart)
    found = engine.run(made, images, ("first",))["first"]
    assert found[:, 0].tolist() == images[:, 0, 0, 0].tolist()
    assert sorted(made.calls) == calls


def test_openvino_reports_nothing_to_its_makers(tmp_path: Path) -> None:
    """Imported plainly, it starts a process that sends an event, and makes `~/intel`."""
    package = tmp_path / "openvino_telemetry"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('telemetry was imported')")
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "import sys\n"
        "from nasnet.compute.openvino_engine import process_core\n"
        "assert 'CPU' in process_core().available_devices\n"
        "assert 'openvino_telemetry' not in sys.modules\n"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": path, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(home.iterdir()) == []
