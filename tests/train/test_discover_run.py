"""A whole small search, and what a run refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from nasnet.errors import InputError, SourceError
from nasnet.network.cost import multiply_adds
from nasnet.train.discover.comparing import CompareOptions, compare
from nasnet.train.discover.options import DiscoverOptions
from nasnet.train.discover.progress import DiscoverEvent
from nasnet.train.discover.run import discover
from nasnet.weights.networks import network_of

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
    networks = {"cifar": network_of("cifar"), "best.toml": network_of(run / "best.toml")}
    options = CompareOptions(seeds=1, cells=1, stem=8, pictures=16, epochs=1)
    told: list[str] = []
    compare(networks, data, tmp_path / "cmp", options, on_note=told.append)
    assert "the test part" in told[0]
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
