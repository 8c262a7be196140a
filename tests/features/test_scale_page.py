"""The plan in the docs is the one its script makes, and its arithmetic holds."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from benchmarks.plan import MEANING, Assumed, Measured, make, render
from tests.support import ROOT

PAGE = ROOT / "docs" / "scale.md"


def test_the_page_shows_what_the_script_prints() -> None:
    assert render(Measured(), Assumed(), "f32") in PAGE.read_text(encoding="utf-8")
    assert set(MEANING) == {*asdict(Measured()), *asdict(Assumed())}


def test_a_plan_by_hand() -> None:
    measured = replace(Measured(), rate_f32=100.0, rate_cores=2, start_s=0.0)
    assumed = replace(
        Assumed(),
        pictures=3_600_000,
        machines=5,
        machine_cores=4,
        worker_cores=2,
        scaling=1.0,
        shard_rows=1000,
        interruptions=0.0,
        machine_price=2.0,
    )
    plan = make(measured, assumed, "f32")
    assert (plan.workers, plan.shards) == (10, 3600)
    assert plan.rate == pytest.approx(1000)
    assert plan.shard_s == pytest.approx(10)
    assert plan.hours == pytest.approx(1 + 10 / 3600)
    assert plan.usd == pytest.approx(plan.hours * 5 * 2)
    # half a shard (5 s) and 355 s for each machine taken away, a tenth of them an hour
    lossy = replace(assumed, interruptions=0.1, replacement_s=355.0)
    assert make(measured, lossy, "f32").lost == pytest.approx(0.1 * 360 / 3600)
    assert make(measured, lossy, "f32").rate == pytest.approx(990)


def test_each_figure_can_be_given() -> None:
    out = subprocess.run(
        [sys.executable, "-m", "benchmarks.plan", "--machines", "7", "--precision", "bf16"],
        cwd=PAGE.parent.parent,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "| machines | 7 |" in out
    assert "| workers | 14 |" in out
    assert "planned, bf16" in out
