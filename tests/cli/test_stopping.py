"""What asks a command to stop: Ctrl-C, SIGTERM and SIGHUP keep the same."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import nasnet
from nasnet.system import STOP_SIGNALS, handled, stopped_alike, unbroken
from tests.support.cli import Result, invoke
from tests.support.pictures import jpeg

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")


def stopped_once_begun(parts: Path, numbers: list[signal.Signals], *arguments: object) -> Result:
    """Run a command in a process of its own, and send it signals once it has written a part.

    In this process they would meet what earlier tests have left: their threads, and the stack
    for signals that pytest's faulthandler sets up, which is small for a processor with AMX.
    """
    line = [sys.executable, "-m", "nasnet", *map(str, arguments)]
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as command:
        while not list(parts.glob("part-*")) and command.poll() is None:
            time.sleep(0.01)
        for number in numbers:
            command.send_signal(number)
        out, err = command.communicate()
    return Result(command.returncode, out, err)


def test_a_run_that_is_told_to_stop_keeps_all_its_rows(tmp_path: Path) -> None:
    photos, output = tmp_path / "photos", tmp_path / "f.parquet"
    photos.mkdir()
    for number in range(300):
        (photos / f"{number:03d}.jpg").write_bytes(jpeg(24, 24, seed=number % 7))
    command = ("embed", photos, "-o", output, "-w", "seeded:7", "--size", "64", "--part-rows", 32)
    parts = tmp_path / "f.parquet.parts"
    # Who closes a terminal or ends a service may send more than one.
    signals = [signal.SIGTERM, signal.SIGHUP, signal.SIGTERM]
    result = stopped_once_begun(parts, signals, *command)
    assert result.exit_code == 130
    assert "nasnet: stopped" in result.stderr
    assert not output.exists()
    assert not list(parts.glob(".*")), "nothing is half-written"
    result = invoke(*map(str, command))
    assert result.exit_code == 0, result.output
    kept = int(re.search(r"continued after (\d+) rows", result.stderr)[1])  # type: ignore[index]
    assert 0 < kept < 300
    found = nasnet.read_features(output)
    assert found.ids == [f"{number:03d}.jpg" for number in range(300)]
    assert not parts.exists()


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_every_signal_to_stop_is_an_interruption(number: signal.Signals) -> None:
    before = [signal.getsignal(one) for one in STOP_SIGNALS]

    def told() -> None:
        with stopped_alike():
            try:
                signal.raise_signal(number)
            except KeyboardInterrupt:
                if number != signal.SIGINT:
                    signal.raise_signal(signal.SIGTERM)  # does not disturb what is kept now
                raise

    with pytest.raises(KeyboardInterrupt):
        told()
    assert [signal.getsignal(one) for one in STOP_SIGNALS] == before


def test_what_is_ignored_stays_so() -> None:
    with handled([signal.SIGHUP], signal.SIG_IGN), stopped_alike():  # type: ignore[arg-type]
        signal.raise_signal(signal.SIGHUP)  # as under nohup


def test_a_step_that_must_not_be_broken_is_over_before_a_signal_stops() -> None:
    done = []

    def step() -> None:
        with stopped_alike(), unbroken():
            signal.raise_signal(signal.SIGTERM)
            done.append("whole")

    with pytest.raises(KeyboardInterrupt):
        step()
    assert done == ["whole"]
