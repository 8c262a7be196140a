"""Every format of feature sets must pass this: what was written is read, whatever was killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nasnet.errors import OutputError
from nasnet.features import FeatureMeta, read_features, read_meta
from nasnet.sink import Batch, SinkOptions, open_sink
from nasnet.sink_formats import FORMATS

META = FeatureMeta(
    module="seeded:7",
    weights_fingerprint="abc",
    weights_status="untrained",
    network="nasnet_mobile",
    endpoint="global_pool",
    recipe="photo/1",
    recipe_text="crop=whole",
    size="224x224",
    precision="f32",
    engine="none",
    source="photos",
    version="0",
    created="2026-01-01T00:00:00+00:00",
)
DIMENSIONS = 5


def rows(start: int, end: int) -> Batch:
    """Row n has vector [n, n, ...]; every seventh failed."""
    numbers = np.arange(start, end)
    return Batch(
        ids=[f"{n}.jpg" for n in numbers],
        vectors=np.repeat(numbers[:, None], DIMENSIONS, axis=1).astype(np.float32),
        widths=numbers.astype(np.int32),
        heights=numbers.astype(np.int32) + 1,
        errors=["bad" if n % 7 == 3 else None for n in numbers],
    )


def check(path: Path, count: int) -> None:
    found = read_features(path)
    assert found.ids == [f"{n}.jpg" for n in range(count)]
    expected = rows(0, count)
    assert found.errors == expected.errors
    failed = np.array([error is not None for error in expected.errors])
    assert np.isnan(found.vectors[failed]).all()
    np.testing.assert_array_equal(found.vectors[~failed], expected.vectors[~failed])


@pytest.fixture(params=list(FORMATS))
def output(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"features{request.param}"


def write(output: Path, count: int, *, mode: str = "resume", part_rows: int = 8) -> None:
    options = SinkOptions(mode=mode, part_rows=part_rows)  # type: ignore[arg-type]
    sink = open_sink(output, meta=META, dimensions=DIMENSIONS, options=options)
    try:
        for start in range(sink.resume_at, count, 3):
            sink.write(rows(start, min(start + 3, count)))
        sink.finish()
    finally:
        sink.close()


def test_what_is_written_is_read(output: Path) -> None:
    write(output, 40)
    check(output, 40)
    assert read_meta(output) == META
    assert not output.with_name(output.name + ".parts").exists()
    assert not list(output.parent.glob(".*.tmp"))


CHILD = """
import os, sys
from pathlib import Path
from tests.contract.test_sink_contract import DIMENSIONS, META, rows
from nasnet import sink as room
from nasnet.sink import SinkOptions, open_sink
output, count, deaths = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
# Die at a random moment: at the n-th rename, before or after it, or at the n-th batch.
real, seen = os.replace, [0]
def dying(self, target):
    seen[0] += 1
    if seen[0] == deaths: os._exit(9)
    result = real(self, target)
    if seen[0] == -deaths: os._exit(9)
    return Path(target)
Path.replace = dying
sink = open_sink(output, meta=META, dimensions=DIMENSIONS, options=SinkOptions(part_rows=8))
for start in range(sink.resume_at, count, 3):
    sink.write(rows(start, min(start + 3, count)))
    if deaths > 100 and start > deaths - 100: os._exit(9)
sink.finish()
sink.close()
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_anywhere_it_ends_with_every_row_once(output: Path, seed: int) -> None:
    moments = random.Random(seed).sample([1, 2, 3, 4, 5, 6, -2, -3, -6, 105, 111, 130], 3)
    died = 0
    for deaths in moments:
        child = subprocess.run(
            [sys.executable, "-c", CHILD, str(output), "40", str(deaths)],
            check=False,
            cwd=Path(__file__).parent.parent.parent,
            env={**os.environ, "PYTHONPATH": "."},
        )
        assert child.returncode in (0, 9)
        died += child.returncode == 9
        if output.exists():
            break
    assert died
    if not output.exists():
        write(output, 40)
    check(output, 40)


def test_a_finished_file_is_not_touched_unasked(output: Path) -> None:
    write(output, 10)
    before = output.read_bytes()
    with pytest.raises(OutputError, match="--append adds what it lacks, --overwrite starts anew"):
        write(output, 10)
    assert output.read_bytes() == before
    write(output, 5, mode="overwrite")
    check(output, 5)


def test_appending_keeps_vectors_and_tries_failures_again(output: Path) -> None:
    write(output, 10)
    sink = open_sink(output, meta=META, dimensions=DIMENSIONS, options=SinkOptions(mode="append"))
    assert [n for n in range(12) if sink.wants(f"{n}.jpg")] == [3, 10, 11]
    again = rows(3, 4)
    sink.write(
        Batch(
            ids=again.ids,
            vectors=again.vectors,
            widths=again.widths,
            heights=again.heights,
            errors=[None],
        )
    )
    sink.write(rows(11, 13))
    assert sink.finish() == (12, 0)
    sink.close()
    found = read_features(output)
    kept = [n for n in range(10) if n != 3]
    assert found.ids == [f"{n}.jpg" for n in [*kept, 3, 11, 12]]
    np.testing.assert_array_equal(found.vectors[:, 0], [*kept, 3, 11, 12])


def test_other_weights_or_recipes_are_never_mixed_in(output: Path) -> None:
    sink = open_sink(output, meta=META, dimensions=DIMENSIONS, options=SinkOptions(part_rows=2))
    sink.write(rows(0, 4))
    sink.close()
    from dataclasses import replace

    other = replace(META, weights_fingerprint="xyz")
    with pytest.raises(OutputError, match="made with weights fingerprint abc, this run has xyz"):
        open_sink(output, meta=other, dimensions=DIMENSIONS)
    write(output, 10)
    with pytest.raises(OutputError, match="recipe photo/1, this run has slim"):
        open_sink(
            output,
            meta=replace(META, recipe="slim"),
            dimensions=DIMENSIONS,
            options=SinkOptions(mode="append"),
        )
    check(output, 10)
