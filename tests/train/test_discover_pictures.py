"""Small pictures of a search: which ones, what is kept, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nasnet.errors import InputError, SourceError
from nasnet.pictures.sources import Dataset, open_dataset
from nasnet.train.discover.small_pictures import SmallPictures, array_of, opened, small_pictures


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Three classes of other colours, ten training pictures and four test pictures each."""
    folder = tmp_path_factory.mktemp("data")
    for part, count in (("train", 10), ("test", 4)):
        for number, name in enumerate(("a", "b", "c")):
            place = folder / part / name
            place.mkdir(parents=True)
            for at in range(count):
                pixels = np.full((20, 24, 3), 60 * number + at, np.uint8)
                Image.fromarray(pixels).save(place / f"{at}.png")
    (folder / "train" / "a" / "9.png").write_bytes(b"no picture")
    return open_dataset(folder, measured="validation")


def made(data: Dataset, folder: Path, pictures: int = 0) -> SmallPictures:
    return small_pictures(data, folder, 16, pictures=pictures)


def test_the_test_part_stays_closed(data: Dataset) -> None:
    every = [example.id for example in (*data.train, *data.validation)]
    assert len(every) == 30
    assert not [id for id in every if "test" in id]


def test_pictures_are_those_of_the_data(data: Dataset, tmp_path: Path) -> None:
    found = made(data, tmp_path)
    assert found.images.shape == (29, 16, 16, 3)
    assert found.train + sum(len(labels) for _, labels in found.held_out(99)) == 29
    colours = np.asarray(found.images[:, 8, 8, 0], np.int64)
    np.testing.assert_array_equal(colours // 60, found.labels)
    ids = {(example.label, int(Path(example.id).stem)) for example in data.train}
    train = colours[: found.train]
    assert {(c // 60, c % 60) for c in train.tolist()} == ids - {(0, 9)}


def test_a_share_of_the_pictures_has_all_classes_alike(data: Dataset, tmp_path: Path) -> None:
    found = made(data, tmp_path, pictures=6)
    assert np.bincount(found.labels[:6]).tolist() == [2, 2, 2]


def test_what_is_there_is_read_again_and_checked(data: Dataset, tmp_path: Path) -> None:
    first = made(data, tmp_path)
    place = array_of(tmp_path, 16)
    stamp = (place / "images.npy").stat().st_mtime_ns
    np.testing.assert_array_equal(made(data, tmp_path).images, first.images)
    assert (place / "images.npy").stat().st_mtime_ns == stamp
    with pytest.raises(InputError, match="holds other pictures"):
        made(data, tmp_path, pictures=6)
    with pytest.raises(InputError, match="holds other pictures"):
        made(replace(data, train=data.train[1:]), tmp_path)
    raw = bytearray((place / "images.npy").read_bytes())
    raw[-5] ^= 1
    (place / "images.npy").write_bytes(raw)
    with pytest.raises(SourceError, match="is damaged"):
        made(data, tmp_path)
    (place / "labels.npy").unlink()
    with pytest.raises(SourceError, match="cannot be read"):
        opened(place)


def test_batches_are_the_seeds(data: Dataset, tmp_path: Path) -> None:
    found = made(data, tmp_path)

    def epoch(seed: int, number: int) -> list[bytes]:
        return [b.images.tobytes() for b in found.batches(99, 8, seed).epoch(number)]

    assert epoch(1, 0) == epoch(1, 0)
    assert epoch(1, 0) != epoch(2, 0)
    assert epoch(1, 0) != epoch(1, 1)
    batches = found.batches(99, 8, 1)
    rows = np.concatenate([batch.rows for batch in batches.epoch(0)])
    assert len(rows) == 8 * batches.steps() == len(set(rows.tolist()))
    for batch in batches.epoch(3):
        np.testing.assert_array_equal(batch.labels, found.labels[batch.rows])
        # One colour each: moving and mirroring change nothing.
        np.testing.assert_array_equal(batch.images[:, 0, 0], found.images[batch.rows, 0, 0])


def test_moving_and_mirroring(tmp_path: Path) -> None:
    """A ramp from left to right is moved by up to an eighth, its border repeated, or mirrored."""
    ramp = np.broadcast_to(np.arange(16, dtype=np.uint8)[None, None, :, None], (64, 16, 16, 3))
    found = SmallPictures(images=ramp, labels=np.zeros(64, np.int64), train=64, classes=("a",))
    batch = next(iter(found.batches(64, 64, 0).epoch(0)))
    kinds = set()
    for picture in batch.images[:, 5, :, 0].astype(int):
        steps = np.diff(picture)
        kinds.add((int(np.sign(steps.sum())), int(picture[8])))
        assert set(np.unique(steps * np.sign(steps.sum()))) <= {0, 1}
        assert (steps == 0).sum() <= 2
    assert kinds == {(1, 8 + by) for by in range(-2, 3)} | {(-1, 7 + by) for by in range(-2, 3)}
