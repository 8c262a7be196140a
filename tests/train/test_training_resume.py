"""Runs that are stopped, killed or cut short go on as if nothing had been; bad checkpoints."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nasnet.compute.torch.model import NASNet
from nasnet.errors import OutputError, TrainingError
from nasnet.train.loop import Logs, TrainEvent
from nasnet.train.loop.checkpoint import check_identity, read_checkpoint, write_checkpoint
from nasnet.train.recipe import OptimizerRecipe
from tests.support import ROOT
from tests.support.leftovers import left_by_a_killed_run
from tests.support.training import SPEC, loader, network, same, saved, trainer, untimed
from tests.support.training_resumed import COSINE, EVERYTHING, killing, start


def log(folder: Path) -> list[str]:
    """The log without its column of seconds."""
    lines = (folder / "log.csv").read_text().splitlines()
    place = lines[0].split(",").index("seconds")
    rows = [line.split(",") for line in lines]
    return [",".join(row[:place] + row[place + 1 :]) for row in rows]


def check_equal(one: Path, other: Path) -> None:
    """Weights, averages, the optimizer's memory, what was logged: all bit for bit."""
    assert same(saved(one), saved(other))
    assert log(one) == log(other)
    states = [read_checkpoint(path / "checkpoint.safetensors")[1] for path in (one, other)]
    for state in states:
        state.pop("seconds")
        state["history"] = untimed(state["history"])
    assert states[0] == states[1]


def elsewhere(folder: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in another process; `folder` is there."""
    lines = (
        "import signal, torch; from pathlib import Path\n"
        "from nasnet.compute.torch.model import NASNet; from nasnet.errors import OutputError\n"
        "from nasnet.train.loop import Logs\n"
        "from tests.support.training import loader, trainer\n"
        "from tests.support.training_resumed import EVERYTHING, killing, start\n"
        f"folder = Path({str(folder)!r})\n{code}"
    )
    return subprocess.run(
        [sys.executable, "-c", lines],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    start(folder, **EVERYTHING)
    return folder


def test_runs_from_one_seed_are_equal(unbroken: Path, tmp_path: Path) -> None:
    start(tmp_path / "run", **EVERYTHING)
    check_equal(unbroken, tmp_path / "run")


def test_killed_in_mid_epoch_it_goes_on_as_if_nothing_had_been(
    unbroken: Path, tmp_path: Path
) -> None:
    # Step 4 of epoch 2 is done, step 2 was the last one saved.
    code = "start(folder, killing(1, 4, signal.SIGKILL), **EVERYTHING)"
    found = elsewhere(tmp_path / "run", code)
    assert found.returncode == -signal.SIGKILL, found.stderr
    _, state = read_checkpoint(tmp_path / "run" / "checkpoint.safetensors")
    assert (state["epoch"], state["step"], state["moves"]) == (1, 2, 4)
    start(tmp_path / "run", **EVERYTHING)
    check_equal(unbroken, tmp_path / "run")


def test_interrupted_in_mid_epoch_it_goes_on_as_if_nothing_had_been(
    unbroken: Path, tmp_path: Path
) -> None:
    # The first of two accumulated batches: the second is waited for, then all is saved.
    code = "start(folder, killing(1, 3, signal.SIGINT), checkpoint_seconds=1e9, **EVERYTHING)"
    found = elsewhere(tmp_path / "run", code)
    assert found.returncode == -signal.SIGINT, found.stderr
    assert "KeyboardInterrupt" in found.stderr
    _, state = read_checkpoint(tmp_path / "run" / "checkpoint.safetensors")
    assert (state["epoch"], state["step"], state["moves"]) == (1, 4, 5)
    start(tmp_path / "run", **EVERYTHING)
    check_equal(unbroken, tmp_path / "run")


@pytest.mark.parametrize(("epoch", "step"), [(0, 1), (0, 5), (1, 5)])
def test_wherever_it_is_stopped_it_goes_on(
    unbroken: Path, tmp_path: Path, epoch: int, step: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path, killing(epoch, step, signal.SIGTERM), **EVERYTHING)
    start(tmp_path, **EVERYTHING)
    check_equal(unbroken, tmp_path)


def test_stopped_again_and_again_it_ends(unbroken: Path, tmp_path: Path) -> None:
    def stopping() -> Callable[[TrainEvent], None]:
        told: list[TrainEvent] = []

        def stop(event: TrainEvent) -> None:
            if event.kind == "step" and not told:
                told.append(event)
                signal.raise_signal(signal.SIGINT)

        return stop

    for _ in range(6):  # two epochs of three moves
        with pytest.raises(KeyboardInterrupt):
            start(tmp_path, stopping(), **EVERYTHING)
    start(tmp_path, stopping(), **EVERYTHING)
    check_equal(unbroken, tmp_path)


@pytest.mark.parametrize("kind", ["rmsprop", "sgd"])
def test_other_optimizers_resume_alike(tmp_path: Path, kind: Any) -> None:
    options: dict[str, Any] = {
        "optimizer": OptimizerRecipe(kind=kind, learning_rate=0.01),
        "epochs": 1,
    }
    start(tmp_path / "one", **options)
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path / "two", killing(0, 3, signal.SIGINT), **options)
    start(tmp_path / "two", **options)
    check_equal(tmp_path / "one", tmp_path / "two")


def test_float16s_scale_is_resumed(tmp_path: Path) -> None:
    start(tmp_path / "one", epochs=1, precision="f16")
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path / "two", killing(0, 3, signal.SIGINT), epochs=1, precision="f16")
    start(tmp_path / "two", epochs=1, precision="f16")
    check_equal(tmp_path / "one", tmp_path / "two")


def test_a_stop_while_validating_takes_effect_between_epochs(tmp_path: Path) -> None:
    made = trainer(tmp_path)

    def validate(weights: Any) -> dict[str, float]:
        signal.raise_signal(signal.SIGINT)
        return {}

    with loader() as batches, pytest.raises(KeyboardInterrupt):
        made.fit(lambda epoch: batches, validate)
    _, state = read_checkpoint(made.checkpoint)
    assert (state["epoch"], state["step"]) == (1, 0)
    with loader() as batches:  # in the same process too, as in a notebook
        result = made.fit(lambda epoch: batches)
    assert len(result.history) == 2


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    def stop(event: TrainEvent) -> None:
        if event.kind == "step":
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    made = trainer(tmp_path, on_event=stop)
    with loader() as batches, pytest.raises(KeyboardInterrupt):
        made.fit(lambda epoch: batches)
    assert not made.checkpoint.exists()


def test_a_stopped_run_leaves_no_threads(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path, killing(0, 2, signal.SIGINT))
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(10)  # a log's writer may still be emptying its queue
    assert not [thread for thread in left if thread.is_alive()]


def test_it_runs_in_a_thread_that_gets_no_signals(tmp_path: Path) -> None:
    ended = []
    thread = threading.Thread(target=lambda: ended.append(start(tmp_path, epochs=1)))
    thread.start()
    thread.join(60)
    assert ended[0].history


# -- checkpoints that cannot be written, or read


def test_a_full_disk_leaves_the_old_checkpoint_and_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        start(folder, killing(0, 2, signal.SIGINT))
    before = (folder / "checkpoint.safetensors").read_bytes()
    code = (
        "import resource\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) // 2},) * 2)\n"
        "try:\n    start(folder)\n"
        "except OutputError as error:\n    print(error)\n"
    )
    found = elsewhere(folder, code)
    path = folder / "checkpoint.safetensors"
    assert found.stdout == (
        f"{path} cannot be written: File too large; the checkpoint before it is kept\n"
    ), found.stderr
    assert path.read_bytes() == before
    assert not list(folder.glob("*.tmp")) + list(folder.glob(".*.tmp"))
    start(folder)  # there is room again
    start(tmp_path / "unbroken")
    check_equal(folder, tmp_path / "unbroken")


def test_best_weights_and_logs_on_a_full_disk_are_one_line_too(tmp_path: Path) -> None:
    code = (
        "import resource\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "torch.set_num_threads(1)\n"
        "made = trainer(folder, net=NASNet('mobile', num_classes=3))\n"
        "logs = Logs(folder)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096,) * 2)\n"
        "try:\n"
        "    with loader(count=2, batch_size=2) as batches:\n"
        "        made.fit(lambda epoch: batches, lambda weights: {'accuracy': 1.0})\n"
        "except OutputError as error:\n    print(error)\n"
    )
    found = elsewhere(tmp_path, code)
    assert "best.safetensors cannot be written: File too large" in found.stdout, found.stderr
    assert found.stdout.count("\n") == 1
    (tmp_path / "log.csv").mkdir()
    logs = Logs(tmp_path)
    with pytest.raises(OutputError, match=r"log\.csv cannot be written: Is a directory"):
        logs.rewrite([{"epoch": 1.0}])
    logs.close()


def test_a_checkpoint_that_cannot_be_replaced_stays(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    path.mkdir()  # no file can take its place
    with pytest.raises(OutputError, match="cannot be written: Is a directory"):
        write_checkpoint(path, {"x": torch.ones(2)}, {})
    assert list(tmp_path.iterdir()) == [path]


def test_what_killed_runs_left_half_written_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".mine.tmp").write_bytes(b"whole")
    for name in ("checkpoint.safetensors", "best.safetensors"):
        left_by_a_killed_run(tmp_path / name)
    assert not trainer(tmp_path).resume()
    assert [path.name for path in tmp_path.iterdir()] == [".mine.tmp"]


@pytest.fixture
def done(tmp_path: Path) -> Path:
    """A finished run of one epoch."""
    start(tmp_path, epochs=1, ema=0.5)
    return tmp_path


def damaged(data: bytes) -> Mapping[str, bytes]:
    header = int.from_bytes(data[:8], "little")
    return {
        "empty": b"",
        "short": data[: len(data) // 2],
        "header": data[:20] + b"#" * 8 + data[28:],
        "other": b"\x02\0\0\0\0\0\0\0{}",
        "state": data[: 8 + header].replace(b'epoch\\":', b'epuch\\":') + data[8 + header :],
    }


def test_damaged_checkpoints_are_one_error(done: Path) -> None:
    path = done / "checkpoint.safetensors"
    for what, data in damaged(path.read_bytes()).items():
        path.write_bytes(data)
        with pytest.raises(TrainingError) as found:
            trainer(done, epochs=1, ema=0.5).resume()
        assert str(path) in str(found.value), what
        assert "\n" not in str(found.value), what


def test_checkpoints_of_other_networks_are_refused(done: Path) -> None:
    wide = network(aux_head=True)
    with pytest.raises(TrainingError, match="does not fit this network: tensor ema/aux"):
        trainer(done, net=wide, epochs=1, ema=0.5).resume()
    other = trainer(done, net=NASNet(SPEC, num_classes=7), epochs=1, ema=0.5)
    with pytest.raises(TrainingError, match="does not fit this network: tensor ema/final"):
        other.resume()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 3}, r"\(options.epochs was 1, now it is 3\)"),
        ({"ema": 0.25}, r"\(options.ema was 0.5, now it is 0.25\)"),
        ({"schedule": COSINE}, r"\(options.schedule.kind was 'constant', now it is 'cosine'\)"),
        ({"identity": {"data": "new"}}, r"\(data was 'made', now it is 'new'\)"),
    ],
)
def test_a_run_of_something_else_is_refused_and_says_what_differs(
    done: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(TrainingError, match=message) as found:
        trainer(done, **{"epochs": 1, "ema": 0.5, **options}).resume()
    assert "belongs to another run" in str(found.value)
    assert str(done / "checkpoint.safetensors") in str(found.value)


def test_of_tables_in_a_list_the_value_is_named_that_differs(tmp_path: Path) -> None:
    was = {"recipe": {"stages": [{"epochs": 1, "size": 64}, {"epochs": 2, "size": 96}]}}
    now = {"recipe": {"stages": [{"epochs": 1, "size": 64}, {"epochs": 2, "size": 128}]}}
    with pytest.raises(TrainingError, match=r"\(recipe.stages 2.size was 96, now it is 128\)"):
        check_identity(was, now, tmp_path)
    with pytest.raises(TrainingError, match=r"\(size was \[64, 64\], now it is \[64, 96\]\)"):
        check_identity({"size": [64, 64]}, {"size": [64, 96]}, tmp_path)


def test_what_no_result_depends_on_may_change(done: Path) -> None:
    free: dict[str, Any] = {"checkpoint_seconds": 9.0, "patience": 3, "device": "auto"}
    identity = {"data": "made", "younger": 1}
    assert trainer(done, epochs=1, ema=0.5, identity=identity, **free).resume()


def test_numbers_come_back_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    random = np.random.default_rng(0)
    state = {"sums": random.random(20).tolist(), "text": "ä\n"}
    images = torch.from_numpy(random.standard_normal((2, 3, 4, 5)))
    tensors = {"x": images.to(memory_format=torch.channels_last), "count": torch.tensor(3.0)}
    write_checkpoint(path, tensors, state)
    found, back = read_checkpoint(path)
    assert back == state
    assert set(found) == set(tensors)
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert json.dumps(back) == json.dumps(state)
