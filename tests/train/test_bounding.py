"""What pictures of one colour drive beyond bounds is brought back; photographs stay."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nasnet.compute.engine import EngineOptions, create, run
from nasnet.errors import InputError
from nasnet.network.code import encode
from nasnet.network.spec import PRESETS
from nasnet.pictures.sources import Example
from nasnet.train.bounding import bounded
from nasnet.weights.opening import open_weights
from nasnet.weights.weights import seeded, write_safetensors
from tests.support.cli import invoke
from tests.support.pictures import jpeg, pixels

SMALL = dataclasses.replace(
    PRESETS["cifar"], name="small", num_cells=3, num_conv_filters=8, stem_filters=8
)
PHOTOS = [Example(f"{seed}.jpg", 0, partial(jpeg, seed=seed)) for seed in range(12)]


def test_what_leaves_the_usual_range_is_brought_back_and_the_rest_stays() -> None:
    before = seeded(3, spec=encode(SMALL))
    told: list[str] = []
    found = bounded(before, PHOTOS, photos=12, on_change=lambda name, *_: told.append(name))
    assert told, "flat pictures leave the range of these"
    assert [name for name, _, _ in found.changes] == told
    assert all(after < first for _, first, after in found.changes)
    arrays = found.weights.arrays
    changed = {name for name in arrays if not np.array_equal(arrays[name], before.arrays[name])}
    assert changed == set(told)
    # The middle of what photographs are is where it was.
    photos = np.stack([pixels(32, 32, seed=seed) for seed in range(12)])
    one, other = (
        run(create(w, EngineOptions(model_cache=False)), photos, ("global_pool",))["global_pool"]
        for w in (before, found.weights)
    )
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    assert np.median((one * other).sum(1) / lengths) > 0.98


def test_too_few_photographs_are_refused() -> None:
    broken = [Example("a.jpg", 0, lambda: b"no picture")] * 5
    with pytest.raises(InputError, match="0 of 5 pictures can be read"):
        bounded(seeded(3, spec=encode(SMALL)), broken)


@pytest.mark.parametrize("colour", [(255, 0, 0), (255, 0, 255), (0, 255, 0), (255, 255, 255)])
def test_the_weights_of_the_package_keep_flat_pictures_within_bounds(
    colour: tuple[int, int, int],
) -> None:
    """The last weights reached 114 times what photographs do, at a red picture in Cell_9."""
    from skimage import data

    shown = (data.astronaut(), data.coffee(), data.chelsea())
    photos = np.stack([np.asarray(Image.fromarray(one).resize((224, 224))) for one in shown])
    flat = np.full((1, 224, 224, 3), colour, np.uint8)
    engine = create(open_weights("builtin").weights, EngineOptions())
    names = tuple(f"Cell_{number}" for number in range(12))
    usual, found = run(engine, photos, names), run(engine, flat, names)
    for name in names:
        assert found[name].max() < 3 * usual[name].max(), name


def test_pack_bounds_by_a_folder_of_photographs(tmp_path: Path) -> None:
    for photo in PHOTOS:
        (tmp_path / photo.id).write_bytes(photo.read())
    write_safetensors(seeded(3, spec=encode(SMALL)), tmp_path / "small.safetensors")
    asked = ("weights", "pack", tmp_path / "small.safetensors", "--full")
    told = invoke(*asked, "-o", tmp_path / "new.safetensors", "--bound", tmp_path)
    assert "widths beyond the usual range, now" in told.stderr
    packed = open_weights(tmp_path / "new.safetensors").weights
    given = open_weights(tmp_path / "small.safetensors").weights
    changed = [n for n, v in given.arrays.items() if not np.array_equal(v, packed.arrays[n])]
    assert changed
    assert all(name in told.stderr for name in changed)
    none = invoke(*asked, "-o", tmp_path / "x.safetensors", "--bound", "none")
    assert none.exit_code != 0
    assert "none" in none.stderr
    assert not (tmp_path / "x.safetensors").exists()
