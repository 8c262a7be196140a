from __future__ import annotations

import os
import signal
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pytest

from nasnet.errors import InputError, PictureError, SourceError
from nasnet.pictures import recipes
from nasnet.pictures.augment import PRESETS, Augmentation, augment
from nasnet.pictures.batches import Example, Failure, Loader, LoaderOptions, TrainBatch
from nasnet.pictures.decode import Decoding
from nasnet.pictures.sources import Example as DatasetExample
from tests.support.pictures import encoded, jpeg, pixels

OPTIONS = LoaderOptions(
    batch_size=4, size=(24, 32), seed=3, augment=PRESETS["default"], threads=2, cache_bytes=0
)


@dataclass(slots=True)
class Picture:
    """A labelled picture that counts how often it is read."""

    id: str
    label: int
    data: Any
    reads: list[str] = field(default_factory=list)

    @property
    def read(self) -> Callable[[], Any]:
        return self._read

    def _read(self) -> Any:
        self.reads.append(threading.current_thread().name)
        if isinstance(self.data, Exception):
            raise self.data
        return self.data


def pictures(count: int, *, bad: Sequence[int] = ()) -> list[Picture]:
    made = [
        Picture(f"{row}.jpg", row % 3, jpeg(40 + row, 60 - row, seed=row)) for row in range(count)
    ]
    for row in bad:
        made[row].data = b"no picture" if row % 2 else PictureError("cannot be read: gone")
    return made


def batches(
    examples: Sequence[Example], options: LoaderOptions = OPTIONS, *, epoch: int = 0, start: int = 0
) -> list[TrainBatch]:
    with Loader(examples, options) as loader:
        return list(loader.epoch(epoch, start=start))


def assert_same(found: Sequence[TrainBatch], expected: Sequence[TrainBatch]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for name in (f.name for f in fields(TrainBatch)):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def decoders() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("decode")]


@pytest.fixture(autouse=True)
def _no_threads_left() -> Iterator[None]:
    assert decoders() == []
    yield
    assert decoders() == []


# -- what comes


def test_batches_are_labelled_pictures_of_the_size_asked_for() -> None:
    examples = pictures(10)
    found = batches(examples)
    assert [batch.step for batch in found] == [0, 1]
    for batch in found:
        assert batch.epoch == 0
        assert batch.images.shape == (4, 24, 32, 3)
        assert batch.images.dtype == np.uint8
        assert batch.labels.dtype == batch.mixed.dtype == batch.rows.dtype == np.int64
        assert batch.share.dtype == np.float32
        assert batch.labels.tolist() == [examples[row].label for row in batch.rows]
        assert batch.ids == tuple(examples[row].id for row in batch.rows)
        np.testing.assert_array_equal(batch.mixed, batch.labels)
        assert (batch.share == 1).all()
    rows = [row for batch in found for row in batch.rows]
    assert len(set(rows)) == 8
    assert rows != sorted(rows)


def test_examples_of_datasets_serve() -> None:
    data = jpeg()
    found = batches([DatasetExample(str(row), row, lambda: data) for row in range(4)])
    assert sorted(found[0].labels.tolist()) == [0, 1, 2, 3]


def test_arrays_and_images_serve_as_well_as_bytes() -> None:
    from PIL import Image

    array = pixels()
    shown = [
        batches([Picture("same", 0, data)], replace(OPTIONS, batch_size=1))[0].images
        for data in (array, Image.fromarray(array), encoded(array, "PNG"))
    ]
    np.testing.assert_array_equal(shown[0], shown[1])
    np.testing.assert_array_equal(shown[0], shown[2])


def test_epochs_differ_in_order_and_views() -> None:
    examples = pictures(8)
    first, second = batches(examples, epoch=0), batches(examples, epoch=1)
    orders = [[row for batch in epoch for row in batch.rows] for epoch in (first, second)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(8))
    shown = [
        dict(zip(rows, np.concatenate([b.images for b in epoch]), strict=True))
        for rows, epoch in zip(orders, (first, second), strict=True)
    ]
    assert all((shown[0][row] != shown[1][row]).any() for row in range(8))


def test_views_come_again_after_as_many_epochs_as_asked_for() -> None:
    examples = pictures(4)
    options = replace(OPTIONS, views=2, shuffle=False)
    epochs = [batches(examples, options, epoch=epoch)[0].images for epoch in range(4)]
    np.testing.assert_array_equal(epochs[0], epochs[2])
    np.testing.assert_array_equal(epochs[1], epochs[3])
    assert (epochs[0] != epochs[1]).any()


def test_a_picture_looks_alike_in_whatever_list_it_comes() -> None:
    examples = pictures(6)
    options = replace(OPTIONS, shuffle=False, batch_size=2)
    whole = np.concatenate([batch.images for batch in batches(examples, options)])
    part = np.concatenate([batch.images for batch in batches(examples[2:], options)])
    np.testing.assert_array_equal(whole[2:], part)


def test_ids_need_not_be_valid_text() -> None:
    assert batches([Picture("a\udcff\ud800", 0, jpeg())])[0].ids == ("a\udcff\ud800",)


def test_crops_are_views_of_one_picture_in_consecutive_rows() -> None:
    examples = pictures(4)
    options = replace(OPTIONS, batch_size=2, crops=3)
    found = batches(examples, options)
    single = batches(examples, replace(options, crops=1))
    assert len(found) == 2
    for batch, one in zip(found, single, strict=True):
        assert batch.images.shape == (6, 24, 32, 3)
        assert batch.rows.tolist() == np.repeat(one.rows, 3).tolist()
        np.testing.assert_array_equal(batch.images[::3], one.images)
        assert (batch.images[0] != batch.images[1]).any()
    assert {len(e.reads) for e in examples} == {2}  # once for each of the two loaders


# -- on what it does not depend


@pytest.mark.parametrize("mixing", [{}, {"mixup": 0.4}, {"mixup": 0.2, "cutmix": 1.0, "crops": 2}])
def test_threads_and_caches_change_nothing(mixing: dict[str, Any]) -> None:
    examples = pictures(12, bad=[3, 8])
    options = replace(OPTIONS, **mixing)
    expected = batches(examples, replace(options, threads=1), epoch=1)
    for threads, cache in ((2, 0), (7, 1 << 30), (3, 60_000)):
        loader = Loader(examples, replace(options, threads=threads, cache_bytes=cache))
        with loader:
            list(loader.epoch(0))
            assert_same(list(loader.epoch(1)), expected)


@pytest.mark.parametrize("start", [0, 1, 3, 5, 6, 9])
def test_a_resumed_epoch_is_the_tail_of_an_unbroken_one(start: int) -> None:
    examples = pictures(14, bad=[0, 5, 6])
    options = replace(OPTIONS, batch_size=2, mixup=0.3)
    unbroken = batches(examples, options, epoch=4)
    assert len(unbroken) == 7
    assert_same(batches(examples, options, epoch=4, start=start), unbroken[start:])


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("mixing", [{}, {"mixup": 0.3, "cutmix": 0.5}, {"crops": 2}])
def test_replicas_together_have_the_batches_of_one_process(
    world: int, mixing: dict[str, Any]
) -> None:
    examples = pictures(21, bad=[2, 9])
    options = replace(OPTIONS, batch_size=8, **mixing)
    alone = batches(examples, options, epoch=2)
    shares = [
        batches(examples, replace(options, replica=(rank, world)), epoch=2) for rank in range(world)
    ]
    joined = [
        TrainBatch(
            epoch=2,
            step=step,
            ids=tuple(id for part in parts for id in part.ids),
            **{
                name: np.concatenate([getattr(part, name) for part in parts])
                for name in ("images", "labels", "mixed", "share", "rows")
            },
        )
        for step, parts in enumerate(zip(*shares, strict=True))
    ]
    assert_same(joined, alone)


def test_cached_pictures_are_read_once() -> None:
    examples = pictures(8)
    with Loader(examples, replace(OPTIONS, cache_bytes=1 << 30)) as loader:
        for epoch in range(3):
            list(loader.epoch(epoch))
        assert {len(e.reads) for e in examples} == {1}


def test_the_cache_keeps_to_its_bytes() -> None:
    examples = [Picture(str(row), 0, pixels(10, 10, seed=row)) for row in range(8)]
    with Loader(examples, replace(OPTIONS, cache_bytes=3 * 300 + 299)) as loader:
        for epoch in range(3):
            list(loader.epoch(epoch))
        assert sorted(len(e.reads) for e in examples) == [1] * 3 + [3] * 5


def test_large_pictures_are_kept_at_twice_the_size() -> None:
    examples = [Picture("large", 0, jpeg(600, 900))]
    options = replace(OPTIONS, batch_size=1, size=(30, 30), cache_bytes=60 * 90 * 3)
    with Loader(examples, options) as loader:
        list(loader.epoch(0))
        list(loader.epoch(1))
    assert len(examples[0].reads) == 1


def test_pictures_are_turned_upright_as_the_recipe_says() -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(pixels(40, 80), "JPEG", quality=95, exif=exif)
    options = replace(OPTIONS, batch_size=1, augment=PRESETS["none"], size=(40, 20))
    for recipe, upright in (("photo", True), ("tf1-hub", False)):
        found = batches([Picture("turned", 0, data)], replace(options, recipe=recipe))[0].images[0]
        decoded = recipes.open_picture(data, Decoding(upright=upright), target=(80, 40)).pixels
        shown = augment(
            decoded, size=(40, 20), options=PRESETS["none"], random=np.random.default_rng(0)
        )
        assert np.abs(found.astype(int) - shown).mean() < 3


# -- mixing


def unmixed(examples: Sequence[Example], options: LoaderOptions) -> list[TrainBatch]:
    return batches(examples, replace(options, mixup=0.0, cutmix=0.0))


@pytest.mark.parametrize("crops", [1, 2])
def test_mixup_mixes_neighbours_both_ways_round(crops: int) -> None:
    examples = pictures(16)
    options = replace(OPTIONS, batch_size=8, mixup=0.5, crops=crops)
    shares = set()
    for mixed, plain in zip(batches(examples, options), unmixed(examples, options), strict=True):
        np.testing.assert_array_equal(mixed.labels, plain.labels)
        assert mixed.ids == plain.ids
        for pair in range(4):
            for view in range(crops):
                one, two = 2 * pair * crops + view, (2 * pair + 1) * crops + view
                share = float(mixed.share[one])
                shares.add(share)
                assert mixed.share[two] == mixed.share[one]
                assert mixed.mixed[one] == mixed.labels[two]
                assert mixed.mixed[two] == mixed.labels[one]
                a, b = plain.images[one].astype(float), plain.images[two].astype(float)
                np.testing.assert_allclose(
                    mixed.images[one], share * a + (1 - share) * b, atol=0.501
                )
                np.testing.assert_allclose(
                    mixed.images[two], share * b + (1 - share) * a, atol=0.501
                )
    assert len(shares) == 8 * crops
    assert all(0 <= share <= 1 for share in shares)


def test_cutmix_tells_the_share_of_pixels_left() -> None:
    examples = [
        Picture(str(row), row, np.full((20, 20, 3), 10 * row, np.uint8)) for row in range(8)
    ]
    options = replace(OPTIONS, batch_size=8, augment=PRESETS["none"], cutmix=1.0)
    (batch,) = batches(examples, options)
    for row in range(8):
        own = (batch.images[row] == 10 * batch.labels[row]).all(axis=2)
        assert own.mean() == pytest.approx(batch.share[row])
        assert (batch.images[row][~own] == 10 * batch.mixed[row]).all()
    assert (batch.share < 1).any()


def test_the_odd_picture_of_a_last_batch_stays_unmixed() -> None:
    options = replace(OPTIONS, mixup=0.5, drop_last=False)
    found = batches(pictures(7), options)
    assert [len(batch.rows) for batch in found] == [4, 3]
    assert found[1].share[2] == 1
    assert found[1].mixed[2] == found[1].labels[2]
    assert (found[1].share[:2] < 1).all()


# -- how many


@pytest.mark.parametrize(
    ("count", "options", "sizes"),
    [
        (10, {}, [4, 4]),
        (10, {"drop_last": False}, [4, 4, 2]),
        (3, {}, [3]),
        (3, {"mixup": 1.0}, [2]),
        (1, {"mixup": 1.0}, [1]),
        (7, {"batch_size": 8, "replica": (1, 2)}, [3]),
        (7, {"batch_size": 8, "replica": (1, 2), "mixup": 1.0}, [2]),
        (10, {"batch_size": 4, "replica": (0, 2), "drop_last": False}, [2, 2, 1]),
    ],
)
def test_batches_shrink_to_what_there_is(
    count: int, options: dict[str, Any], sizes: list[int]
) -> None:
    with Loader(pictures(count), replace(OPTIONS, **options)) as loader:
        assert loader.steps() == len(sizes)
        assert [len(batch.rows) for batch in loader.epoch(0)] == sizes


def test_too_few_pictures_are_said() -> None:
    with pytest.raises(SourceError, match="there are no pictures to load"):
        Loader([], OPTIONS)
    with pytest.raises(SourceError, match="1 pictures are too few for 2 processes"):
        Loader(pictures(1), replace(OPTIONS, replica=(0, 2)))
    with pytest.raises(InputError, match="2 processes cannot share a last batch of 1"):
        Loader(pictures(9), replace(OPTIONS, replica=(0, 2), drop_last=False))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size starts at 1, found 0"),
        ({"size": (224, 0)}, r"size starts at 1, found \(224, 0\)"),
        ({"crops": 0}, "crops starts at 1"),
        ({"threads": 0}, "threads starts at 1"),
        ({"seed": -1}, "seed starts at 0, found -1"),
        ({"mixup": -0.1}, "mixup starts at 0"),
        ({"cutmix": float("inf")}, "cutmix starts at 0"),
        ({"replica": (2, 2)}, r"rank from 0, found \(2, 2\)"),
        ({"replica": (0, 3)}, "a batch of 4 cannot be shared by 3 processes"),
        ({"replica": (0, 4), "mixup": 0.2}, "even batch in each process, found 4 over 4"),
        ({"augment": None, "mixup": 0.2}, "need augment"),
        ({"augment": None, "crops": 2}, "need augment"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(OPTIONS, **options)


def test_wrong_recipes_and_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="no recipe 'nope'"):
        Loader(pictures(1), replace(OPTIONS, recipe="nope"))
    with (
        Loader(pictures(4), OPTIONS) as loader,
        pytest.raises(InputError, match="epoch and start begin at 0, found 0 and -1"),
    ):
        loader.epoch(0, start=-1)


# -- evaluation

EVALUATION = replace(OPTIONS, augment=None)


@pytest.mark.parametrize("recipe", ["photo/1", "tf1-hub/1", "cadene-eval/1"])
def test_evaluation_shows_every_picture_once_by_the_recipe(recipe: str) -> None:
    examples = pictures(6)
    found = batches(examples, replace(EVALUATION, recipe=recipe), epoch=5)
    assert [batch.rows.tolist() for batch in found] == [[0, 1, 2, 3], [4, 5]]
    shown = np.concatenate([batch.images for batch in found])
    for example, image in zip(examples, shown, strict=True):
        expected = recipes.prepare(example.data, recipes.get_recipe(recipe), 24, 32).pixels
        if expected.dtype != np.uint8:
            expected = expected * 255
        np.testing.assert_allclose(image, expected, atol=0.501)


def test_evaluation_leaves_out_what_cannot_be_read() -> None:
    noted: list[Failure] = []
    examples = pictures(13, bad=[0, 4, 5, 6, 7, 12])
    with Loader(examples, EVALUATION, on_failure=noted.append) as loader:
        found = [list(loader.epoch(0)), list(loader.epoch(0))]
    assert [(b.step, b.rows.tolist()) for b in found[0]] == [(0, [1, 2, 3]), (2, [8, 9, 10, 11])]
    assert_same(found[1], found[0])
    assert [failure.id for failure in noted] == [f"{r}.jpg" for r in (0, 4, 5, 6, 7, 12)]


def test_evaluation_is_shared_by_replicas_without_gaps() -> None:
    examples = pictures(9)
    rows = {
        rank: [
            b.rows.tolist()
            for b in batches(examples, replace(EVALUATION, batch_size=4, replica=(rank, 2)))
        ]
        for rank in range(2)
    }
    assert rows == {0: [[0, 1], [4, 5], [8]], 1: [[2, 3], [6, 7]]}


# -- what goes wrong


def test_unreadable_pictures_are_replaced_by_the_next_and_told_once() -> None:
    bad = [1, 4, 5]
    examples = pictures(12, bad=bad)
    noted: list[Failure] = []
    with Loader(examples, OPTIONS, on_failure=noted.append) as loader:
        found = list(loader.epoch(0))
        again = list(loader.epoch(0))
    assert_same(again, found)
    assert [len(batch.rows) for batch in found] == [4, 4, 4]
    order = np.random.default_rng([OPTIONS.seed, 0]).permutation(12).tolist()
    expected = []
    for place in range(12):
        while order[place % 12] in bad:
            place += 1
        expected.append(order[place % 12])
    assert [row for batch in found for row in batch.rows] == expected
    wanted = [row for row in order if row in bad]
    assert [failure.id for failure in noted] == [examples[row].id for row in wanted]
    reasons = {failure.id: failure.reason for failure in noted}
    assert reasons["4.jpg"] == "cannot be read: gone"
    assert reasons["1.jpg"] == "not a picture (text)"
    assert all(len(examples[row].reads) <= OPTIONS.threads for row in bad)  # type: ignore[operator]


def test_failures_are_told_by_the_thread_that_iterates() -> None:
    threads = set()
    with Loader(
        pictures(8, bad=[2, 3]),
        OPTIONS,
        on_failure=lambda failure: threads.add(threading.current_thread()),
    ) as loader:
        list(loader.epoch(0))
    assert threads == {threading.current_thread()}


@pytest.mark.parametrize("options", [OPTIONS, EVALUATION, replace(OPTIONS, mixup=1.0)])
def test_nothing_readable_at_all_is_an_error(options: LoaderOptions) -> None:
    noted: list[Failure] = []
    loader = Loader(pictures(10, bad=range(10)), options, on_failure=noted.append)
    with loader, pytest.raises(SourceError, match=r"no picture of 10 can be read; 0\.jpg: cannot"):
        list(loader.epoch(0))
    assert len({failure.id for failure in noted}) == len(noted)


def test_one_readable_picture_fills_all_places() -> None:
    examples = pictures(6, bad=[0, 1, 2, 4, 5])
    assert [batch.rows.tolist() for batch in batches(examples)] == [[3] * 4]


def test_other_errors_of_reading_end_the_run() -> None:
    examples = pictures(8)
    examples[5].data = RuntimeError("out of order")
    with pytest.raises(RuntimeError, match="out of order"):
        batches(examples)


# -- threads


def test_decoding_runs_only_a_few_batches_ahead() -> None:
    examples = pictures(60)
    with Loader(examples, OPTIONS) as loader:
        iterator = loader.epoch(0)
        assert decoders() == []
        next(iterator)
        assert sum(len(e.reads) for e in examples) <= 4 * 4
        next(iterator)
        assert sum(len(e.reads) for e in examples) <= 5 * 4


def test_an_iterator_closed_early_leaves_no_thread() -> None:
    with Loader(pictures(40), OPTIONS) as loader:
        iterator = loader.epoch(0)
        next(iterator)
        assert decoders() != []
        iterator.close()  # type: ignore[attr-defined]
        assert decoders() == []
        assert len(list(loader.epoch(1))) == 10


def test_a_loop_left_by_an_interrupt_leaves_no_thread() -> None:
    loader = Loader(pictures(40), OPTIONS)

    def run() -> None:
        for batch in loader.epoch(0):
            if batch.step == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), loader:
        run()
    assert decoders() == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals cannot be sent to oneself")
def test_an_interrupt_while_waiting_leaves_no_thread() -> None:
    release = threading.Event()
    data = jpeg()

    def slow() -> bytes:
        release.wait(20)
        return data

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        release.set()

    examples = [DatasetExample(str(row), 0, slow) for row in range(8)]
    timer = threading.Timer(0.2, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt), Loader(examples, OPTIONS) as loader:
        next(loader.epoch(0))
    timer.join()
    assert decoders() == []


def test_a_closed_loader_says_so() -> None:
    loader = Loader(pictures(40), OPTIONS)
    iterator = loader.epoch(0)
    next(iterator)
    loader.close()
    assert decoders() == []
    with pytest.raises(InputError, match="the loader is closed"):
        next(iterator)
    with pytest.raises(InputError, match="the loader is closed"):
        loader.epoch(1)
    loader.close()


def test_two_epochs_may_be_under_way_at_once() -> None:
    examples = pictures(12)
    with Loader(examples, OPTIONS) as loader:
        pairs = list(zip(loader.epoch(0), loader.epoch(1), strict=True))
    assert_same([one for one, _ in pairs], batches(examples, epoch=0))
    assert_same([other for _, other in pairs], batches(examples, epoch=1))


def test_views_come_from_the_seed_the_epoch_and_the_name() -> None:
    """What stored answers of a teacher rest on: the streams may not change unnoticed."""
    array = pixels(30, 30)
    options = replace(OPTIONS, batch_size=1, augment=Augmentation(), size=(20, 20))
    (found,) = batches([Picture("a/b.jpg", 0, array)], options, epoch=6)
    random = np.random.default_rng([OPTIONS.seed, 6, zlib.crc32(b"a/b.jpg"), 0, 2])
    expected = augment(array, size=(20, 20), options=Augmentation(), random=random)
    np.testing.assert_array_equal(found.images[0], expected)
