"""A whole small search, and what a run refuses."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from nasnet.errors import InputError, SourceError
from nasnet.network.cost import multiply_adds
from nasnet.network.spec import PRESETS
from nasnet.system import write_whole
from nasnet.train.discover import run as running
from nasnet.train.discover.comparing import CompareOptions, compare
from nasnet.train.discover.options import DiscoverOptions
from nasnet.train.discover.progress import DiscoverEvent
from nasnet.train.discover.run import discover, searchable
from nasnet.weights.networks import network_of, write_network
from tests.support.cli import invoke

# Small enough for a test: eight trainings of one step.
OPTIONS = DiscoverOptions(
    trainings=2,
    baseline=False,
    skeleton="cifar",
    pictures=16,
    epochs=1,
    held_out=8,
    multiply_adds=100_000_000,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("dark", "light"):
            place = folder / part / name
            place.mkdir(parents=True)
            for at in range(12):
                pixels = rng.integers(0, 120, (32, 32, 3)) + 120 * (name == "light")
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"{at}.png")
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search from beginning to end, once for all tests."""
    folder = tmp_path_factory.mktemp("run")
    events: list[DiscoverEvent] = []
    found = discover(data, folder, OPTIONS, on_progress=events.append)
    assert len(found.records) == 8
    assert events[-1].planned == 8
    assert events[-1].fidelity == 2
    return folder


def test_what_a_run_leaves(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "trials.jsonl").read_text().splitlines()]
    assert [row["error"] for row in rows] == [""] * 8
    assert [row["fidelity"] for row in rows] == [0, 0, 1, 1, 2, 2, 2, 2]
    assert all(0 <= row["score"] <= 1 for row in rows)
    for name in ("milliseconds", "latency_ratio"):
        assert [row[name] is not None for row in rows[4:]] == [True, False] * 2
    table = pq.read_table(run / "table.parquet").to_pylist()
    assert sorted(row["code"] for row in table) == sorted(row["code"] for row in rows)
    best = network_of(run / "best.toml")
    assert 0.96e8 <= multiply_adds(best) <= 1e8
    assert "in 8 trainings" in (run / "best.toml").read_text()
    assert "A search for cells" in (run / "report.html").read_text()


def test_the_same_seed_gives_the_same_table_by_the_clock_too(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run, through the command line, whose hours are over after its first two cells."""
    monkeypatch.setattr(running, "_STEP", 2)
    done = invoke(
        *("discover", data, "-o", tmp_path / "run", "--hours", "1e-9", "--no-baseline"),
        *("--skeleton", "cifar", "--pictures", "16", "--epochs", "1", "--held-out", "8"),
        *("--multiply-adds", "100000000"),
    )
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(tmp_path / "run" / "best.toml")
    assert "8 trainings; see report.html" in done.stderr
    assert "times the milliseconds of NASNet-A" in done.stderr
    assert "trainings = 2" in (tmp_path / "run" / "discover.toml").read_text()
    first, again = (
        pq.read_table(place / "table.parquet").drop(["seconds", "milliseconds", "latency_ratio"])
        for place in (run, tmp_path / "run")
    )
    assert again.equals(first)


def test_by_the_clock_a_search_grows_until_half_of_its_hours_are_over(
    data: Path, tmp_path: Path
) -> None:
    """Trainings of a quarter of an hour each, which are not done: 16 of them take four hours."""
    options = replace(OPTIONS, trainings=None, hours=8.0, strategy="random")
    write_whole(tmp_path / "discover.toml", b"")
    one = running._Run(tmp_path, searchable(data, None, 0), options, None)
    rng = np.random.default_rng(0)

    grown = []
    while trials := one.search(one.journal.records).ask():
        if trials[0].fidelity == 1:
            break
        grown.append(one.now.trainings)
        record = one.failed(trials[0], "")
        one.journal.append(replace(record, score=float(rng.random()), seconds=900.0))
    assert sorted(set(grown)) == [10, 20]
    assert sum(record.fidelity == 0 for record in one.journal.records) == 21  # and NASNet-A
    assert "trainings = 20" in (tmp_path / "discover.toml").read_text()
    again = running._Run(tmp_path, searchable(data, None, 0), options, None)
    assert [trial.id for trial in again.search(again.journal.records).ask()] == [
        trial.id for trial in trials
    ]


def test_the_networks_of_the_front_can_be_named(run: Path) -> None:
    import tomllib

    rows = tomllib.loads((run / "front.toml").read_text())["networks"]
    assert {row["budget"] for row in rows} <= {50_000_000, 100_000_000, 200_000_000}
    for row in rows:
        assert multiply_adds(network_of(row["network"])) == row["multiply_adds"] <= row["budget"]


def test_a_run_that_is_over_trains_nothing_again(run: Path, data: Path) -> None:
    before = (run / "trials.jsonl").read_bytes()
    found = discover(data, run, OPTIONS)
    assert (run / "trials.jsonl").read_bytes() == before
    assert found.best.spec == network_of(run / "best.toml")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seed": 1}, "with other pictures|with seed 0, not 1"),
        ({"epochs": 2}, "with epochs 1, not 2"),
        ({"skeleton": "mobile"}, "with multiply_adds|with skeleton cifar, not mobile"),
        ({"trainings": 3}, "the best of 2 cells are being trained again already"),
    ],
)
def test_a_run_of_another_search_is_refused(
    run: Path, data: Path, changes: dict[str, object], told: str
) -> None:
    before = (run / "trials.jsonl").read_bytes()
    with pytest.raises(InputError, match=told):
        discover(data, run, replace(OPTIONS, **changes))  # type: ignore[arg-type]
    assert (run / "trials.jsonl").read_bytes() == before


def test_other_pictures_are_refused(run: Path, data: Path) -> None:
    with pytest.raises(InputError, match="with other pictures"):
        discover(data / "train", run, OPTIONS)


def test_a_budget_that_nothing_fits_is_refused_at_once(data: Path, tmp_path: Path) -> None:
    options = DiscoverOptions(multiply_adds=1_000_000)
    with pytest.raises(InputError, match=r"no width of .* costs 1,000,000 multiply-adds"):
        discover(data, tmp_path, options)
    assert not list(tmp_path.iterdir())


def test_one_class_is_refused(data: Path, tmp_path: Path) -> None:
    one = tmp_path / "one"
    one.mkdir()
    (one / "dark").symlink_to(data / "train" / "dark")
    with pytest.raises(SourceError, match=r"only one class \(dark\)"):
        discover(one, tmp_path / "run", OPTIONS)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"hours": 1.0, "trainings": 5}, "hours or trainings, not both"),
        ({"trainings": 1}, "trainings starts at 2"),
        ({"jobs": 0}, "jobs starts at 1"),
        ({"max_latency_ratio": float("nan")}, "max_latency_ratio starts at 0, found nan"),
    ],
)
def test_options_that_cannot_be_meant(values: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        DiscoverOptions(**values)  # type: ignore[arg-type]


def test_a_comparison_goes_on_with_more_seeds(run: Path, data: Path, tmp_path: Path) -> None:
    names = ("cifar", str(run / "best.toml"))
    networks = {name: network_of(name) for name in names}
    options = CompareOptions(seeds=1, cells=1, stem=8, pictures=16, epochs=1)
    done = invoke(
        *("compare", *names, data, "-o", tmp_path / "cmp", "--seeds", "1"),
        *("--cells", "1", "--stem", "8", "--pictures", "16", "--epochs", "1"),
    )
    assert done.exit_code == 0, done.output
    assert "the test part of" in done.stderr
    assert "One seed gives no bound for it." in done.stdout
    assert "Traceback" not in done.output
    assert "best.toml" in (tmp_path / "cmp" / "report.html").read_text()
    first = (tmp_path / "cmp" / "trials.jsonl").read_text()
    found = compare(networks, data, tmp_path / "cmp", replace(options, seeds=2))
    lines = (tmp_path / "cmp" / "trials.jsonl").read_text()
    assert lines.startswith(first)
    rows = [json.loads(line) for line in lines.splitlines()]
    assert [(row["arms"][0], row["seed"]) for row in rows] == [
        (name, seed) for seed in (-1, 0, 1) for name in networks
    ]
    assert [list(one.test) for one in found.networks] == [
        [row["score"] for row in rows if row["arms"] == [name] and row["seed"] >= 0]
        for name in networks
    ]
    with pytest.raises(InputError, match="with epochs 1, not 2"):
        compare(networks, data, tmp_path / "cmp", replace(options, epochs=2))


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["cifar"], "name two networks or more, and then the pictures"),
        (["cifar", "cifar"], "a network is named twice"),
        (["cifar", "BEST"], "two of the networks cifar, .* are the same"),
        (
            ["cifar", "mobile"],
            r"\(32 px for cifar, 224 px for mobile\): name --size",
        ),
        (["cifar", "nothing.toml"], "nothing.toml"),
    ],
)
def test_a_comparison_that_cannot_be_meant_is_refused_in_one_line(
    data: Path, tmp_path: Path, names: list[str], told: str
) -> None:
    write_network(tmp_path / "alike.toml", replace(PRESETS["cifar"], name="alike"))
    networks = [str(tmp_path / "alike.toml") if name == "BEST" else name for name in names]
    done = invoke("compare", *networks, data, "-o", tmp_path / "cmp")
    assert done.exit_code in (1, 2)
    assert re.search(told, done.stderr)
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "cmp" / "trials.jsonl").exists()
