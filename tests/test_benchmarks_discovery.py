"""The tables of trained cells are read as they are published; no table is part of the project."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr

from benchmarks import discovery_scores
from benchmarks.discovery import curves_of, predictor_on
from benchmarks.tables import NasBench201
from nasnet.train.discover.guided import Guided
from nasnet.train.discover.search import Search

NAMES = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> NasBench201:
    """All cells; one is as good as it has convolutions of 3x3."""
    lines = [
        "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*names) for names in product(NAMES, repeat=6)
    ]
    worth = [50.0 + 5 * line.count("nor_conv_3x3") for line in lines]
    table = {"cellstr": lines, "cifar10-val": worth, "cifar10-val-200": [w + 10 for w in worth]}
    path = tmp_path_factory.mktemp("tables") / "made.parquet"
    pq.write_table(pa.table(table), path)
    return NasBench201(path, "cifar10")


def test_every_cell_is_there_with_its_scores(space: NasBench201) -> None:
    assert len(space.cheap) == 5**6
    assert space.cheap[3, 3, 3, 3, 3, 3] == 80
    assert space.full[0, 1, 2, 3, 4, 0] == 65


def test_what_no_way_leads_through_costs_nothing_and_is_not_seen(space: NasBench201) -> None:
    """State 1 is fed and not read: its convolution does nothing."""
    dead, none = (3, 2, 0, 1, 0, 1), (0, 2, 0, 1, 0, 1)
    assert space.cost(dead) == space.cost(none)
    np.testing.assert_array_equal(space.features(dead), space.features(none))
    assert space.cost((3, 2, 1, 1, 0, 1)) > space.cost(none)
    deep, convolved = space.features((3, 0, 3, 0, 0, 1))[-3:-1]
    assert (deep, convolved) == (3, 2)


def test_a_mutation_is_another_operation_on_one_edge(space: NasBench201) -> None:
    rng = np.random.default_rng(0)
    cell = space.sample(rng)
    for _ in range(20):
        other = space.mutate(cell, rng)
        assert sum(a != b for a, b in zip(cell, other, strict=True)) == 1
        assert other in space.cheap


def test_the_guided_strategy_finds_the_best_of_15625(space: NasBench201) -> None:
    search = Search(space, (Guided(),), trainings=60)
    while trials := search.ask():
        for trial in trials:
            search.tell(trial.id, space.cheap[trial.cell])
    assert max(proposal.score or 0 for proposal in search.history("guided")) == 80


def test_the_predictor_is_judged_beside_the_cost(tmp_path: Path) -> None:
    """Accuracies that only the row of convolutions explains."""
    rng = np.random.default_rng(0)
    kinds = ["sep_conv_3x3", "skip_connect", "max_pool_3x3"]
    operations = rng.choice(kinds, (300, 8)).tolist()
    inputs = [[int(rng.integers(at // 2 + 2)) for at in range(8)] for _ in operations]
    accuracy = []
    for cell, reads in zip(operations, inputs, strict=True):
        row = [0, 0]
        for at in range(0, 8, 2):
            row.append(max(row[reads[i]] + (cell[i] == kinds[0]) for i in (at, at + 1)))
        accuracy.append(80.0 + max(row) + 0.1 * rng.normal())
    path = tmp_path / "darts.parquet"
    table = {"normal_ops": operations, "normal_inputs": inputs, "accuracy": accuracy}
    pq.write_table(pa.table(table), path)
    lines = predictor_on(path, repeats=2).splitlines()
    equal = {line.split("|")[1].strip(): float(line.split("|")[3]) for line in lines[3:]}
    assert equal["predictor"] > 0.5
    assert equal["predictor"] > equal["without the row of convolutions"] + 0.2
    assert abs(equal["cost alone"]) < 0.3


def _study(cells: int) -> list[dict[str, Any]]:
    """Lines of a study whose likelihood orders the cells as the longer training, accuracy not."""
    rng = np.random.default_rng(0)
    rows = []
    for cell in range(cells):
        base = {"cell": cell, "origin": ("mutation", "random")[cell % 2], "seconds": 1.0}
        for seed in (0, 1, 2):
            scores = dict.fromkeys(("speed", "last loss", "alike"), float(cell % 5))
            scores |= {"accuracy": rng.random(), "likelihood": cell + seed / 10}
            rows.append({**base, "kind": "labels", "seed": seed, "scores": scores})
        rows.append({**base, "kind": "long", "seed": 1000, "scores": {"accuracy": cell / cells}})
    return rows


def test_a_study_of_scores_tells_which_one_follows_the_longer_training() -> None:
    rows = _study(12)
    lines = {line.split(" | ")[0]: line for line in discovery_scores.table(rows).splitlines()}
    assert "| 3 | 1.00 (1.00 to 1.00) | 1.00 (1.00 to 1.00) |" in lines["| likelihood"]
    accuracy = np.array([r["scores"]["accuracy"] for r in rows if r["kind"] == "labels"])
    each = accuracy.reshape(12, 3)
    seeds = np.mean([spearmanr(each[:, a], each[:, b])[0] for a, b in ((0, 1), (0, 2), (1, 2))])
    longer = np.mean([spearmanr(each[:, a], np.arange(12))[0] for a in range(3)])
    assert f"| 3 | {seeds:.2f} (" in lines["| accuracy"]
    assert f") | {longer:.2f} (" in lines["| accuracy"]
    assert "| cosine" not in lines


def test_a_study_leaves_out_the_seed_that_not_all_cells_have() -> None:
    rows = [row for row in _study(12) if (row["cell"], row["seed"]) != (7, 2)]
    assert "| likelihood | labels | 2 | 1.00" in discovery_scores.table(rows)


def test_a_study_that_was_killed_goes_on_from_its_last_whole_line(tmp_path: Path) -> None:
    out = tmp_path / "scores.jsonl"
    discovery_scores.keep(out, {"cell": 0})
    discovery_scores.keep(out, {"cell": 1})
    out.write_bytes(out.read_bytes()[:-4])
    assert discovery_scores.read(out) == [{"cell": 0}]
    discovery_scores.keep(out, {"cell": 2})
    assert discovery_scores.read(out) == [{"cell": 0}, {"cell": 2}]


def test_the_last_score_says_as_much_as_the_whole_curve() -> None:
    """The figures in docs/discover.md, from its table."""
    docs = Path(__file__).parent.parent / "docs"
    lines = curves_of(docs / "discover-cifar10" / "table.parquet").splitlines()
    assert "31 longer trainings, 110 cells known" in lines[0]
    assert lines[3].startswith("| last epoch | 0.87 | +0.00 to +0.00 |")
    text = (docs / "discover.md").read_text()
    for line, name in ((lines[4], "first"), (lines[5], "both")):
        value = line.split(" | ")[1]
        assert line.startswith(f"| {name}")
        assert f"{value} by one of" in text.replace("\n", " ")
