"""The benchmark's own arithmetic, its turns and its report; no speed is judged here."""

from __future__ import annotations

import io
import json
import sys
import time
import xml.etree.ElementTree as ElementTree
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from benchmarks import __main__ as command, running
from benchmarks.chart import bars, chart
from benchmarks.child import serve
from benchmarks.matrix import operations_a_second
from benchmarks.operations import costs, table as operations_table
from benchmarks.peers import PEERS, QUICK, absent, make_peer, write_vectors
from benchmarks.photos import make_photos, network_input
from benchmarks.precision import cost, table
from benchmarks.quality import likeness
from benchmarks.report import Context, best_batch, markdown, share, to_json
from benchmarks.running import Calls, Measured, Results, RunOptions, agreement
from benchmarks.statistic import Spread, percentile, ratio, spread
from benchmarks.timing import rate_of
from benchmarks.turns import Child, LeftOutError, schedule
from nasnet.network.build import build_plan
from nasnet.network.spec import CIFAR
from nasnet.network.summary import summarise

CONTEXT = Context(
    machine="a machine",
    cores=2,
    python="3",
    command="python -m benchmarks",
    load=3.0,
    multiply_adds=1_000_000,
)


def options(*words: str) -> RunOptions:
    return command.parsed(command._parser().parse_args(words))


def measured_run() -> Results:
    """Two peers; the machine was half as fast in the second round."""
    return Results(
        peers={
            "nasnet-f32": Measured(
                version="openvino 1",
                arithmetic="f32",
                error=0.0,
                cosine=1.0,
                rates={1: [10.0, 5.0, 10.0], 4: [80.0, 40.0, 80.0]},
                core_rates={1: [10.0, 10.0, 10.0], 4: [40.0, 40.0, 40.0]},
                latency=[[10.0, 12.0], [20.0, 22.0], [10.0, 10.0]],
                peak_mb=300.0,
                jpeg=[60.0, 30.0, 60.0],
                jpeg_peak_mb=400.0,
                cold=[1.0, 2.0],
                calls=Calls(count=1000, second_ms=50.0, last_ms=49.0, early_mb=300, late_mb=301),
            ),
            "keras-predict": Measured(
                version="keras 3",
                arithmetic="f32",
                rates={4: [40.0, 20.0, 40.0]},
                core_rates={4: [20.0, 20.0, 20.0]},
                latency=[[40.0], [80.0], [40.0]],
                jpeg=[20.0, 10.0, 20.0],
            ),
        },
        matrix={"f32": [2e8, 1e8, 2e8]},
        core_matrix={"f32": [1e8, 1e8, 1e8]},
        absent={"timm": "pip install timm"},
        failed={"cadene": "OSError: no memory"},
        files=7,
    )


def test_percentiles_are_numpys() -> None:
    values = list(np.random.default_rng(0).random(17))
    for part in (0.0, 0.25, 0.5, 0.99, 1.0):
        assert percentile(values, part) == pytest.approx(np.percentile(values, part * 100))
    assert spread([3.0, 1.0, 2.0]) == Spread(median=2.0, low=1.5, high=2.5, count=3)
    assert spread([4.0, 1.0]).iqr == 1.5
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_a_ratio_is_taken_round_by_round() -> None:
    found = ratio([10.0, 20.0, 80.0], [5.0, 10.0, 40.0])
    assert found == Spread(median=2.0, low=2.0, high=2.0, count=3)
    assert ratio([10.0], []) is None


def test_agreement_is_the_largest_difference_and_the_smallest_cosine() -> None:
    expected = np.array([[3, 4], [1, 0]], np.float32)
    found = np.array([[3, 4], [0.6, 0.8]], np.float32)
    error, cosine = agreement(found, expected)
    assert error == pytest.approx(0.2)
    assert cosine == pytest.approx(0.6)


def test_everyone_has_a_turn_in_every_round() -> None:
    rounds = list(schedule(list(PEERS), 6))
    assert all(sorted(order) == sorted(PEERS) for order in rounds)
    assert len({tuple(order) for order in rounds}) > 1, "nobody always comes after another"
    assert rounds == list(schedule(list(PEERS), 6)), "the same seed, the same order"


def script(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_children_answer_in_turn_and_end_with_their_input() -> None:
    code = (
        'import json, sys; print(\'{"version": "1"}\', flush=True)\n'
        "for line in sys.stdin: print(json.dumps({'got': json.loads(line)['x']}), flush=True)"
    )
    one, other = (Child(script(code), threads=1) for _ in range(2))
    try:
        assert one.ready() == other.ready() == {"version": "1"}
        for number in range(3):
            assert one.ask({"x": number}) == {"got": number}
            assert other.ask({"x": -number}) == {"got": -number}
    finally:
        one.close()
        other.close()


def test_a_child_that_fails_says_why() -> None:
    child = Child(script("import sys; sys.exit('out of luck')"), threads=1)
    try:
        with pytest.raises(LeftOutError, match="out of luck"):
            child.ready()
        with pytest.raises(LeftOutError, match="out of luck"):
            child.ask({})
    finally:
        child.close()


def test_a_child_that_takes_too_long_is_ended() -> None:
    child = Child(script("import time; time.sleep(600)"), threads=1, patience=0.2)
    try:
        with pytest.raises(LeftOutError, match="ended with status"):
            child.ready()
    finally:
        child.close()


def test_rates_are_above_nothing() -> None:
    square = np.ones((64, 64), np.float32)
    found = operations_a_second(lambda: square @ square, 64, 0.01)
    assert found.wall > 0
    assert found.core > 0
    calls: list[int] = []
    rate_of(lambda: calls.append(1), 4, 0)
    assert len(calls) == 2, "at least two"


def test_a_share_holds_each_round_against_its_own_limit() -> None:
    results = measured_run()
    assert best_batch(results.peers["nasnet-f32"]) == 4
    assert best_batch(Measured(version="", arithmetic="f32")) is None
    for core in (False, True):
        found = share(results, "nasnet-f32", CONTEXT.multiply_adds, core=core)
        assert found is not None
        assert (found.low, found.median, found.high) == pytest.approx((0.8, 0.8, 0.8))
    results.peers["nasnet-f32"].arithmetic = "bf16"
    assert share(results, "nasnet-f32", CONTEXT.multiply_adds) is None, "no such limit measured"


def test_the_report_names_machine_ratios_and_who_is_missing() -> None:
    report = markdown(measured_run(), options("--quick"), CONTEXT)
    row = next(line for line in report.splitlines() if line.startswith("| Keras NASNetMobile, p"))
    assert "40.0 (30.0-40.0) | 4 | 40% | 40% | 2.00x" in row
    for text in (
        "a machine, 2 cores",
        "the machine was shared",
        "limit is 100 in f32",
        "| Keras NASNetMobile, predict | 40.0 | 79.2 | 3.81x |",
        "7 JPEG files to a Parquet file",
        "| 1000 | 50 | 49 | 300 | 301 |",
        "not installed; `pip install timm`",
        "OSError: no memory",
    ):
        assert text in report, text


def test_a_report_of_one_section_has_no_other() -> None:
    results = measured_run()
    for measured in results.peers.values():
        measured.rates, measured.latency, measured.jpeg, measured.calls = {}, [], [], None
    report = markdown(results, options("--quick"), CONTEXT)
    assert "Cold start" in report
    assert "Throughput" not in report
    assert "JPEG" not in report


def test_the_json_has_every_round_and_the_summary() -> None:
    found = json.loads(to_json(measured_run(), options("--quick"), CONTEXT))
    assert found["peers"]["nasnet-f32"]["rates"]["4"] == [80.0, 40.0, 80.0]
    assert found["summary"]["keras-predict"]["nasnet-f32_to_this"]["median"] == 2.0
    assert found["context"]["machine"] == "a machine"
    assert found["absent"] == {"timm": "pip install timm"}


def test_the_chart_is_svg_with_a_bar_a_peer_and_the_limit() -> None:
    text = chart(measured_run(), CONTEXT.multiply_adds)
    root = ElementTree.fromstring(text)
    kinds = [element.tag.rpartition("}")[2] for element in root]
    assert kinds.count("rect") == 1 + 2
    assert "limit, f32: 100" in text
    ElementTree.fromstring(bars("a < b & c", {}, {}))


def test_peers_that_are_not_installed_come_with_their_pip_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert absent(["cadene"]) == {"cadene": "pip install torch pretrainedmodels"}


def test_options_and_their_refusals() -> None:
    quick, whole = options("--quick", "--threads", "1"), options("--peers", "openvino,cadene")
    assert quick.seconds < whole.seconds
    assert quick.calls < whole.calls == 1000
    assert whole.peers == ("openvino", "cadene")
    assert quick.peers == QUICK
    assert set(QUICK) < set(options().peers) == set(PEERS)
    assert (quick.time_limit, whole.time_limit) == (120, None)
    assert options("--time-limit", "3").time_limit == 180
    with pytest.raises(SystemExit, match=r"no caffe; there are nasnet-f32"):
        options("--peers", "caffe")
    with pytest.raises(SystemExit, match="no cooking"):
        options("--sections", "cooking")
    assert command.multiply_adds() == pytest.approx(564e6, rel=0.01)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = np.random.default_rng(0).integers(0, 256, (2, 600, 300, 3), np.uint8)
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    for number, pixels in enumerate(source):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return make_photos(folder / "photos", count=3, source=str(folder))


def test_when_the_time_is_up_a_round_ends_the_run_and_nobody_new_starts(tmp_path: Path) -> None:
    results = Results()
    told: list[str] = []
    kept: list[int] = []

    def stage(seconds: float) -> running._Stage:
        return running._Stage(
            options=options("--rounds", "3"),
            results=results,
            folder=tmp_path,
            photos="",
            pixels=tmp_path / "none.npy",
            say=told.append,
            keep=lambda: kept.append(len(told)),
            deadline=time.monotonic() + seconds,
        )

    assert list(stage(3600).rounds("cold start")) == [0, 1, 2]
    assert len(kept) == 3, "what each round brought is kept"
    assert list(stage(-1).rounds("cold start")) == [0]
    assert told[-1] == "cold start: the time is up after 1 of 3 rounds"
    with ExitStack() as stack:
        assert stage(-1).started(["openvino"], stack) == {}
    assert results.failed == {"openvino": "the time was up before it started"}


def test_photos_are_repeated_until_there_are_enough(photos: Path) -> None:
    from PIL import Image

    files = sorted(photos.iterdir())
    assert [file.name for file in files] == ["00000.jpg", "00001.jpg", "00002.jpg"]
    with Image.open(files[0]) as picture:
        assert picture.size == (250, 500)
    assert network_input(str(photos), 5).shape == (5, 224, 224, 3)


def test_a_peers_process_does_every_task(photos: Path, tmp_path: Path) -> None:
    pixels = tmp_path / "pixels.npy"
    np.save(pixels, network_input(str(photos), 2))
    vectors, table = tmp_path / "vectors.npy", tmp_path / "table.parquet"
    tasks = [
        {"do": "first"},
        {"do": "vectors", "output": str(vectors), "count": 2},
        {"do": "latency", "seconds": 0},
        {"do": "throughput", "batch": 3, "seconds": 0},
        {"do": "jpeg", "photos": str(photos), "output": str(table)},
        {"do": "calls", "calls": 8},
        {"do": "peak"},
        {"do": "nothing we know"},
    ]
    given = io.StringIO("".join(json.dumps(task) + "\n" for task in tasks))
    answers = io.StringIO()
    serve("nasnet-f32", 1, pixels, given, answers)
    told, first, _, latency, rate, jpeg, calls, peak, error = map(
        json.loads, answers.getvalue().splitlines()
    )
    assert told["arithmetic"] == "f32"
    assert first["width"] == 1056
    assert np.load(vectors).shape == (2, 1056)
    assert len(latency["ms"]) == 3
    assert rate["wall"] > 0
    assert jpeg["pictures"] == 3
    assert table.exists()
    assert len(calls["ms"]) == 8
    assert peak["mb"] > 10
    assert "nothing we know" in error["error"]


def test_the_naive_graph_computes_the_same_network(photos: Path) -> None:
    pixels = network_input(str(photos), 2)
    ours, naive = make_peer("nasnet-f32", 1), make_peer("openvino", 1)
    error, _ = agreement(naive.compute(naive.prepare(pixels)), ours.compute(ours.prepare(pixels)))
    assert error < 1e-5


def test_vectors_are_written_with_their_ids(tmp_path: Path) -> None:
    import pyarrow.parquet

    file = tmp_path / "vectors.parquet"
    assert write_vectors(file, ["a", "b"], np.ones((2, 3), np.float32)) == 2
    table = pyarrow.parquet.read_table(file)
    assert table.column("id").to_pylist() == ["a", "b"]
    assert table.column("vector").to_pylist() == [[1.0] * 3] * 2


def test_the_cost_of_a_precision_is_that_of_the_worst_picture_too() -> None:
    expected = np.eye(4, dtype=np.float32) + np.float32(0.1)
    found = expected.copy()
    assert cost(found, expected).smallest == pytest.approx(1.0)
    assert cost(found, expected).neighbours == 1.0
    found[0] = -found[0]
    worse = cost(found, expected)
    assert worse.smallest == pytest.approx(-1.0)
    assert worse.median == pytest.approx(1.0)
    assert worse.error == pytest.approx(2.0)
    text = table({"bf16": worse, "f16": "this device has none"}, 4, "seeded:7")
    assert "| bf16 |  |  | -1.000000 |" in text
    assert "this device has none" in text


def test_what_a_picture_costs_is_counted_from_the_plan() -> None:
    plan = build_plan(CIFAR)
    found = costs(plan)
    assert sum(cost.multiply_adds for cost in found.values()) == summarise(plan).multiply_adds
    assert found["relu"].fused == 0 < found["relu"].values
    assert found["global_pool"].values == 8 * 8 * 768 + 768
    text = operations_table(found, size=2, bandwidth=1000, rate=1)
    limit = 1e12 / 2 / summarise(plan).multiply_adds
    assert f"arithmetic {limit:,.0f}, " in text


def test_likeness_is_one_of_a_linear_map_and_none_of_chance() -> None:
    random = np.random.default_rng(0)
    seen, new = (random.standard_normal((n, 8)).astype(np.float32) for n in (400, 50))
    through = random.standard_normal((8, 12)).astype(np.float32)
    assert likeness(seen, seen @ through + 3, new, new @ through + 3) == "1.000 ±0.000"
    other = random.standard_normal((50, 12)).astype(np.float32)
    assert abs(float(likeness(seen, seen @ through, new, other).split()[0])) < 0.15
