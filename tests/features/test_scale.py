"""Bulk work on a cluster: whatever ends in the middle, every picture has its row, once."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings, strategies as st

import nasnet
from nasnet import EmbedOptions, EngineOptions, SinkOptions, SourceOptions
from nasnet.errors import ClusterError, InputError, MissingExtraError, OutputError, SourceError
from nasnet.features.cluster.options import ClusterOptions, PartDone, WorkerInfo
from nasnet.features.cluster.running import _drive, _Progress, embed_on_cluster
from nasnet.features.cluster.tasks import Outcome, Tasks, layout_of
from nasnet.features.cluster.work import compute
from nasnet.features.embed import extractor_of
from nasnet.features.feature_set import FeatureMeta, feature_schema
from nasnet.features.store import open_sink, record_batch
from nasnet.features.store.beginning import Run, open_parts, pending
from nasnet.features.store.manifest import Manifest
from nasnet.features.store.merge import merge
from nasnet.features.store.parts import Part, Parts
from nasnet.features.store.place import Place, open_place
from nasnet.pictures.sources import Item, Shard, Split, split_source
from tests.support import ROOT
from tests.support.pictures import jpeg
from tests.support.sink_rows import DIMENSIONS, META, rows

SMALL = EmbedOptions(size=(48, 48), engine=EngineOptions(threads=1, batch_size=3))
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="ray is not installed"
)
without_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is not None, reason="ray is installed"
)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Seventy-two files, some of them broken."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(72):
        data = b"broken" if number % 9 == 4 else jpeg(seed=number)
        (folder / f"{number:02d}.jpg").write_bytes(data)
    return folder


def test_one_worker_killed_one_run_stopped_and_each_row_is_there_once(
    photos: Path, tmp_path: Path
) -> None:
    """One cluster for all of it: starting it takes longer than the work."""
    pytest.importorskip("ray")
    temporary = tempfile.mkdtemp(prefix="nn", dir="/tmp")  # Ray's sockets want short paths
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ADDRESS": "",
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.support.cluster_run", str(photos), str(tmp_path), temporary],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = child.communicate(timeout=1200)
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
        shutil.rmtree(temporary, ignore_errors=True)
    assert child.returncode == 0, err
    found = json.loads(out.splitlines()[-1])
    assert found["killed_worker"] == {"killed": 1, "retried": 1, "rows": 72, "shards": 12}
    assert found["stopped"]["rows"] == 72
    assert found["stopped"]["resumed"] == 6 * (found["stopped"]["parts"] - 1) >= 18
    assert found["deadly"] == {
        "outcomes": [[0, "its worker ended each time (out of memory?)"], [1, 1]],
        "attempts": "xx",
        "parts": [1],
    }
    assert "72 rows, 64 vectors, 8 failed" in found["command"]
    one = nasnet.read_features(tmp_path / "one.parquet")
    assert len(one.ids) == len(set(one.ids)) == 72
    for name in ("killed.parquet", "parts.npy", "command.parquet"):
        other = nasnet.read_features(tmp_path / name)
        assert (other.ids, other.errors) == (one.ids, one.errors), name
        np.testing.assert_array_equal(other.vectors, one.vectors, name)
        assert other.meta.source == one.meta.source
    assert not list(tmp_path.glob("*.shards"))


@needs_ray
def test_what_a_cluster_cannot_do_is_said_before_it_begins(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "x.parquet"
    with pytest.raises(InputError, match="join the two by nasnet merge"):
        embed_on_cluster(
            photos,
            output,
            weights="seeded:7",
            options=EmbedOptions(sink=SinkOptions(mode="append")),
        )
    with pytest.raises(InputError, match="leave --shard to single machines"):
        embed_on_cluster(photos, output, options=EmbedOptions(source=SourceOptions(shard=(0, 2))))
    output.write_bytes(b"")
    with pytest.raises(OutputError, match="is there already"):
        embed_on_cluster(photos, output, weights="seeded:7")
    with pytest.raises(OutputError, match="is read by this command"):
        embed_on_cluster(photos, photos, weights="seeded:7")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds other things"):
        embed_on_cluster(photos, tmp_path / "other", weights="seeded:7")
    with pytest.raises(SourceError, match="no such file"):
        embed_on_cluster(tmp_path / "none", tmp_path / "y.npy", weights="seeded:7")
    sink = open_sink(tmp_path / "z.npy", meta=META, dimensions=DIMENSIONS)
    sink.write(rows(0, 3))
    sink.close()
    with pytest.raises(OutputError, match="left of a run on one machine"):
        embed_on_cluster(photos, tmp_path / "z.npy", weights="seeded:7")
    with pytest.raises(InputError, match="worker_cores starts at 1, found 0"):
        ClusterOptions(worker_cores=0)


@without_ray
def test_without_ray_the_extra_is_named(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match=r"nasnet\[ray\]"):
        embed_on_cluster(photos, tmp_path / "x.npy", weights="seeded:7")


class Nodes:
    """What `layout_of` asks Ray for."""

    def __init__(self, *machines: dict[str, float]) -> None:
        self._machines = machines

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": machine} for machine in self._machines]


def test_workers_fit_into_their_machines() -> None:
    cpu, gpu = EngineOptions(), EngineOptions(engine="torch", device="cuda")
    large, small = {"CPU": 30.0, "GPU": 8.0}, {"CPU": 4.0}
    layout = layout_of(Nodes(large, small), ClusterOptions(), cpu)
    assert (layout.workers, layout.cores, layout.gpus) == (3, 8, 0)
    layout = layout_of(Nodes(large, small), ClusterOptions(worker_cores=4), cpu)
    assert (layout.workers, layout.cores) == (8, 4)
    layout = layout_of(Nodes(large, small), ClusterOptions(), gpu)
    assert (layout.workers, layout.cores, layout.gpus) == (7, 4, 1)
    assert layout_of(Nodes(small), ClusterOptions(max_workers=1), cpu).workers == 1
    with pytest.raises(ClusterError, match="4 cores and a GPU for a worker: its 1 machines"):
        layout_of(Nodes(small), ClusterOptions(), gpu)


@pytest.fixture
def memory() -> Iterator[str]:
    """A far store, as far as this process goes."""
    import fsspec

    yield "memory://nasnet-test/run"
    system = fsspec.filesystem("memory")
    if system.exists("/nasnet-test"):
        system.rm("/nasnet-test", recursive=True)


def begun(name: str) -> tuple[partial[PartDone], Parts, FeatureMeta]:
    """What computes a shard, where to, and what the run is."""
    extractor = extractor_of("seeded:7", SMALL)
    parts = open_parts(name, folder=True)
    meta = extractor.meta("photos")
    parts.write_manifest(Manifest(meta=meta, vector="float[1056]", shard_rows=25))
    schema = feature_schema(extractor.dimensions, meta)
    return partial(compute, extractor, parts, schema), parts, meta


def test_a_worker_writes_whole_parts_to_a_far_store(photos: Path, memory: str) -> None:
    work, parts, meta = begun(memory)
    system = parts.place.system
    shards = list(split_source(photos).shards(25))
    done = [work(shard) for shard in shards]
    assert [one.rows for one in done] == [25, 25, 22]
    assert sum(one.failures for one in done) == sum(
        one.reasons["not a picture (text)"] for one in done
    )
    manifest = parts.manifest()
    assert manifest is not None
    assert manifest.meta == meta
    found = parts.find(manifest)
    assert [found[number].shard for number in range(3)] == [shard.name for shard in shards]
    assert [found[number].rows for number in range(3)] == [25, 25, 22]
    assert sum(part.failures for part in found.values()) == 8
    ids = [
        id
        for number in range(3)
        for table in parts.tables(number)
        for id in table["id"].to_pylist()
    ]
    assert ids == sorted(path.name for path in photos.iterdir())
    # one that is cut off is none
    data = system.cat_file(f"{parts.place.root}/part-00000001.parquet")
    system.pipe_file(f"{parts.place.root}/part-00000001.parquet", data[:-9])
    assert sorted(parts.find(manifest)) == [0, 2]
    with pytest.raises(OutputError, match="is not finished"):
        merge([memory], "memory://nasnet-test/all.parquet")
    work(shards[1])
    parts.write_manifest(replace(manifest, shards=3, rows=72, failures=8))
    assert merge([memory], "memory://nasnet-test/all.npy").rows == 72
    assert system.exists("/nasnet-test/all.ids.jsonl")
    # a part of another run, which a worker that lived on may have written, is none either
    assert parts.find(replace(manifest, meta=replace(meta, created="later"))) == {}
    parts.clear()
    assert parts.numbers() == []
    assert parts.manifest() is None


def test_a_worker_tells_a_source_that_is_not_what_it_was(photos: Path, tmp_path: Path) -> None:
    work, parts, _ = begun(str(tmp_path / "run"))
    shard = next(split_source(photos).shards(5))
    less = Shard(number=0, name=shard.name, rows=6, items=shard.items)
    with pytest.raises(SourceError, match="had 6 rows, now it has 5"):
        work(less)
    unseen = Shard(number=0, name="x", rows=5, items=shard.items, folder=str(tmp_path / "none"))
    with pytest.raises(ClusterError, match="does not see"):
        work(unseen)
    assert parts.numbers() == []
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["_nasnet.json"]


def test_a_damaged_manifest_and_a_failing_writer_leave_nothing_half_done(tmp_path: Path) -> None:
    parts = open_parts(tmp_path / "run", folder=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "_nasnet.json").write_text('{"manifest": 1}')
    with pytest.raises(OutputError, match="damaged"):
        parts.manifest()

    def tables() -> Iterator[pyarrow.Table]:
        schema = feature_schema(DIMENSIONS, META)
        yield pyarrow.Table.from_batches([record_batch(rows(0, 3), schema)])
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left"):
        parts.write(0, feature_schema(DIMENSIONS, META), tables())
    assert parts.numbers() == []
    assert len(list((tmp_path / "run").iterdir())) == 1
    with pytest.raises(OutputError, match="cannot be written to"):
        open_place("nonsense://x", {})


@pytest.mark.parametrize("where", ["disk", "far"])
@pytest.mark.parametrize("suffix", [".parquet", ".npy"])
@pytest.mark.parametrize("stopped", ["before", "between", "after"])
def test_a_finished_file_of_parts_appears_whole_wherever_it_is_stopped(
    where: str, suffix: str, stopped: str, memory: str, tmp_path: Path
) -> None:
    """One publish step for all: the finished files are made, announced, and moved."""
    folder = str(tmp_path) if where == "disk" else "memory://nasnet-test"
    parts = open_parts(f"{folder}/x{suffix}")
    schema = feature_schema(DIMENSIONS, META)
    manifest = Manifest(meta=META, vector=f"float[{DIMENSIONS}]", shard_rows=4)

    def some(start: int) -> Iterator[pyarrow.Table]:
        yield pyarrow.Table.from_batches([record_batch(rows(start, start + 4), schema)])

    with parts.held():
        parts.write_manifest(manifest)
        for number in range(2):
            parts.write(number, schema, some(4 * number), shard=f"shard {number}")
        assert parts.find(manifest)[1] == Part(shard="shard 1", rows=4, failures=0)
        assert parts.find(manifest)[0].failures == 1

    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    class Stopped(Place):
        """Ends where the test says, as a kill would."""

        def write(self, file: str, *rest: Any, **options: Any) -> None:
            if stopped == "before" and file == "_nasnet.json":
                broken()
            super().write(file, *rest, **options)

        def move(self, file: str, to: Place, name: str) -> None:
            if stopped == "between" and name == f"x{suffix}":
                broken()
            super().move(file, to, name)

        def remove(self, file: str) -> None:
            if stopped == "after" and file == "part-00000001.parquet":
                broken()
            super().remove(file)

    place = Stopped(name=parts.place.name, root=parts.place.root, system=parts.place.system)
    with pytest.raises(KeyboardInterrupt), (dying := replace(parts, place=place)).held():
        dying.publish(manifest, schema, 8, chain.from_iterable(map(parts.tables, range(2))))
    output = parts.output
    assert output is not None
    assert output.exists == (stopped == "after")
    with parts.held():
        if stopped == "before":
            assert sorted(parts.find(manifest)) == [0, 1]
            parts.publish(manifest, schema, 8, chain.from_iterable(map(parts.tables, range(2))))
    assert output.place.names() == sorted(output.files)
    if where == "far":
        for file in output.files:
            output.place.system.get_file(f"{output.place.root}/{file}", str(tmp_path / file))
    found = nasnet.read_features(tmp_path / f"x{suffix}")
    assert found.ids == [f"{number}.jpg" for number in range(8)]
    assert found.meta == META


def test_a_run_is_not_gone_on_with_in_another_way(photos: Path, tmp_path: Path) -> None:
    """Parts that are shards and parts that follow each other are never mixed."""
    output = tmp_path / "x.npy"
    parts = open_parts(output)
    with parts.held():
        parts.write_manifest(Manifest(meta=META, vector="float[5]", shard_rows=4))
    with pytest.raises(OutputError, match="left of a run on a cluster: go on with that one"):
        open_sink(output, meta=META, dimensions=DIMENSIONS)
    assert parts.manifest() is not None
    overwrite = SinkOptions(mode="overwrite")
    sink = open_sink(output, meta=META, dimensions=DIMENSIONS, options=overwrite)
    sink.write(rows(0, 3))
    assert sink.finish() == (3, 0)
    assert sorted(path.name for path in tmp_path.iterdir() if path != photos) == [
        "x.ids.jsonl",
        "x.json",
        "x.npy",
    ]


def test_a_folder_of_other_things_is_left_as_it_is(tmp_path: Path) -> None:
    names = ["final-report.txt", "part-1.parquet", "mine"]
    for name in names:
        (tmp_path / name).write_text("mine")
    parts = open_parts(tmp_path, folder=True)
    for mode in ("resume", "overwrite"):
        with parts.held(), suppress(OutputError):
            pending(parts, mode, shards=True)
            parts.clear()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_a_worker_that_lives_on_writes_nothing_into_another_run(
    photos: Path, tmp_path: Path
) -> None:
    work, parts, meta = begun(str(tmp_path / "run"))
    manifest = parts.manifest()
    assert manifest is not None
    shard = next(split_source(photos).shards(5))
    other = replace(manifest, meta=replace(meta, created="later"))

    def overwritten() -> Iterator[Item]:
        yield from shard.items()
        parts.write_manifest(other)

    with pytest.raises(OutputError, match="is another run's now"):
        work(replace(shard, items=overwritten))
    with pytest.raises(OutputError, match="is another run's now"):
        work(shard)
    parts.clear()
    (tmp_path / "run").rmdir()
    with pytest.raises(OutputError, match="is another run's now"):
        work(shard)
    assert not (tmp_path / "run").exists()


def test_a_machine_of_another_precision_writes_nothing(photos: Path, tmp_path: Path) -> None:
    work, parts, meta = begun(str(tmp_path / "run"))
    schema = feature_schema(1056, replace(meta, precision="bf16"))
    shard = next(split_source(photos).shards(5))
    extractor, *_ = work.args
    done = compute(extractor, parts, schema, shard)
    assert (done.worker.precision, done.rows, parts.numbers()) == ("f32", 0, [])
    run = progress(9, 3, meta=replace(meta, precision="bf16"))
    with pytest.raises(ClusterError, match="the machines differ: bf16 and f32 are"):
        run.take(Outcome(shard=shard, part=done))


# What may become of an attempt at a shard: it is drawn, the driver is the real one.
FATES = st.lists(
    st.sampled_from(["done", "done", "done", "lost", "lost after it was written", "error"]),
    max_size=60,
)


class Fate:
    """Tasks that fare as drawn, tried again as Ray does; what they wrote is in `written`."""

    def __init__(self, fates: Iterator[str], members: int, attempts: int) -> None:
        self.written: dict[int, Part] = {}
        self.workers = (WorkerInfo(node="n", pid=1, engine="e", precision="f32"),)
        self.most = 0
        self._fates = fates
        self._members = members
        self._attempts = attempts
        self._at: list[Shard] = []

    @property
    def busy(self) -> bool:
        return bool(self._at)

    @property
    def free(self) -> bool:
        return len(self._at) < self._members

    def submit(self, shard: Shard, schema: object) -> None:
        assert self.free
        self._at.append(shard)
        self.most = max(self.most, len(self._at))

    def wait(self, seconds: float) -> list[Outcome]:
        shard = self._at.pop(len(self._at) // 2)
        rows = len(list(shard.items()))
        for attempt in range(self._attempts):
            fate = next(self._fates, "done")
            if fate in ("done", "lost after it was written"):
                self.written[shard.number] = Part(shard=shard.name, rows=rows, failures=0)
            if fate == "done":
                part = PartDone(
                    worker=self.workers[0], rows=rows, failures=0, reasons={}, attempt=attempt
                )
                return [Outcome(shard=shard, part=part)]
        return [Outcome(shard=shard, error="far away")]


def progress(
    count: int, shard_rows: int, *, found: Mapping[int, Part] | None = None, meta: Any = META
) -> _Progress:
    split = split_source([(f"{number}", b"x") for number in range(count)])
    manifest = Manifest(meta=meta, vector="float[4]", shard_rows=shard_rows)
    return _Progress(
        split=Split(name=split.name, count=count, shards=split.shards),
        begun=Run(manifest=manifest, schema=cast(Any, None), found=found or {}),
        on_event=None,
    )


@settings(deadline=None, max_examples=60)
@given(FATES, st.integers(1, 4), st.integers(1, 30), st.integers(1, 4))
def test_whatever_becomes_of_workers_all_is_done_once(
    fates: list[str], members: int, count: int, attempts: int
) -> None:
    """A run that gives shards up ends with an error; the next ones find what is there."""
    drawn, found = iter(fates), dict[int, Part]()
    while True:
        run = progress(count, 4, found=found)
        tasks = Fate(drawn, members, attempts)
        try:
            _drive(run, cast(Tasks, tasks), attempts)
            break
        except ClusterError as error:
            assert f"{len(run.given_up)} shards could not be computed" in str(error)  # noqa: PT017
        finally:
            assert tasks.most <= members
            assert not set(tasks.written) & set(found), "what is there is not computed again"
            found |= tasks.written
    assert run.done == count
    assert run.shards == -(-count // 4)
    assert sorted(found) == list(range(run.shards))


def test_a_shard_that_fails_each_time_is_named_when_the_others_are_done() -> None:
    run = progress(9, 3)
    tasks = Fate(iter(["error", "error", "done", "done"]), 1, 2)
    with pytest.raises(
        ClusterError, match=r"1 shards could not be computed, tried 2 times .*far away"
    ):
        _drive(run, cast(Tasks, tasks), 2)
    assert len(tasks.written) == 2


def test_too_many_failures_end_a_run_at_once() -> None:
    """A shard that ends its worker each time is recorded; nothing goes on for ever."""
    run = progress(100, 1)
    tasks = Fate(itertools.repeat("lost"), 4, 3)
    with pytest.raises(ClusterError, match=r"16 shards could not be computed, tried 3 times"):
        _drive(run, cast(Tasks, tasks), 3)
    assert tasks.written == {}
    assert run.shards <= 16 + 4 + 1
