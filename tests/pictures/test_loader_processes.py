"""Batches made in processes: the very ones of a loader, its failures, and what ends it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from nasnet.errors import InputError, SourceError
from nasnet.pictures.augment import PRESETS
from nasnet.pictures.batch_processes import ProcessLoader, open_loader
from nasnet.pictures.batches import Failure, Loader, LoaderOptions, TrainBatch
from nasnet.pictures.sources import Example
from nasnet.pictures.sources.files import read_file
from tests.support.pictures import jpeg

OPTIONS = LoaderOptions(batch_size=8, size=(24, 32), seed=3, augment=PRESETS["default"], mixup=0.4)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    folder = tmp_path_factory.mktemp("pictures")
    made = []
    for row in range(22):
        file = folder / f"{row}.jpg"
        file.write_bytes(b"no picture" if row == 5 else jpeg(40 + row, 60 - row, seed=row))
        made.append(Example(file.name, row % 3, partial(read_file, str(file))))
    return made


def assert_same(found: Sequence[TrainBatch], expected: Sequence[TrainBatch]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for field in fields(TrainBatch):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


@pytest.fixture(scope="module")
def told() -> list[Failure]:
    return []


@pytest.fixture(scope="module")
def shared(examples: list[Example], told: list[Failure]) -> Iterator[ProcessLoader]:
    loader = open_loader(examples, OPTIONS, processes=4, on_failure=told.append)
    assert isinstance(loader, ProcessLoader)
    with closing(loader):
        yield loader


def test_batches_are_those_of_one_process(
    examples: list[Example], shared: ProcessLoader, told: list[Failure]
) -> None:
    failures: list[Failure] = []
    with Loader(examples, OPTIONS, on_failure=failures.append) as alone:
        assert shared.steps() == alone.steps() == 2
        for epoch, start in ((0, 0), (1, 1), (2, 0)):
            wanted = list(alone.epoch(epoch, start=start))
            assert_same(list(shared.epoch(epoch, start=start)), wanted)
    assert told == failures
    assert [failure.id for failure in told] == ["5.jpg"]


def test_an_epoch_that_is_left_leaves_the_next_one_whole(
    examples: list[Example], shared: ProcessLoader
) -> None:
    left = iter(shared.epoch(0))
    next(left)
    left.close()  # type: ignore[attr-defined]
    with Loader(examples, OPTIONS) as alone:
        assert_same(list(shared.epoch(3)), list(alone.epoch(3)))


def test_a_process_that_is_killed_ends_the_epoch_with_a_reason(shared: ProcessLoader) -> None:
    list(shared.epoch(0))
    os.kill(shared._workers[1].process.pid, signal.SIGKILL)
    with pytest.raises(SourceError, match=r"which loads pictures, .*(fewer workers|start again)"):
        list(shared.epoch(1))
    assert len(list(shared.epoch(1))) == 2  # with new processes


def test_what_no_process_can_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    bad = [Example(str(n), 0, partial(read_file, str(tmp_path / "bad.jpg"))) for n in range(8)]
    loader = ProcessLoader(bad, replace(OPTIONS, mixup=0.0), processes=2)
    with closing(loader), pytest.raises(SourceError, match="no picture of 8 can be read"):
        list(loader.epoch(0))


@pytest.mark.parametrize(
    ("options", "processes", "taken"),
    [
        (OPTIONS, 4, 4),
        (OPTIONS, 7, 4),
        (OPTIONS, 3, 2),  # pairs stay together
        (replace(OPTIONS, mixup=0.0), 8, 8),
        (replace(OPTIONS, replica=(1, 2)), 4, 2),
        (OPTIONS, 1, 0),
        (OPTIONS, 0, 0),
        (replace(OPTIONS, batch_size=32), 4, 0),  # more than there are
        (replace(OPTIONS, augment=None, mixup=0.0), 4, 0),
        (replace(OPTIONS, drop_last=False), 4, 0),
    ],
)
def test_a_batch_is_shared_evenly_or_not_at_all(
    examples: list[Example], options: LoaderOptions, processes: int, taken: int
) -> None:
    loader = open_loader(examples, options, processes=processes)
    with closing(loader):
        assert (loader._processes if isinstance(loader, ProcessLoader) else 0) == taken


def test_pictures_in_memory_stay_in_this_process(examples: list[Example]) -> None:
    data = jpeg()
    some = [Example(one.id, 0, lambda: data) for one in examples]
    assert isinstance(open_loader(some, OPTIONS, processes=2), Loader)


def test_misuse_is_named(examples: list[Example]) -> None:
    with pytest.raises(InputError, match="5 processes cannot share 22 pictures in batches of 8"):
        ProcessLoader(examples, OPTIONS, processes=5)
    loader = ProcessLoader(examples, OPTIONS, processes=2)
    with pytest.raises(InputError, match="epoch and start begin at 0, found -1 and 0"):
        loader.epoch(-1)
    loader.close()
    with pytest.raises(InputError, match="the loader is closed"):
        loader.epoch(0)
