from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nasnet.errors import InputError, PictureError
from nasnet.pictures.recipes import DEFAULT, RECIPES, describe, get_recipe, prepare
from tests.support.pictures import encoded, jpeg, pixels


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("size", [(60, 80), (300, 200), (37, 411)])
def test_every_recipe_brings_any_picture_to_size(name: str, size: tuple[int, int]) -> None:
    found = prepare(jpeg(*size), RECIPES[name], 96, 128)
    assert found.pixels.shape == (96, 128, 3)
    assert (found.height, found.width) == size
    if found.pixels.dtype == np.float32:
        assert 0 <= found.pixels.min() <= found.pixels.max() <= 1
    else:
        assert found.pixels.dtype == np.uint8


def test_names_work_without_version_and_unknown_ones_list_the_known() -> None:
    assert get_recipe("photo") is get_recipe("photo/1") is RECIPES[DEFAULT]
    with pytest.raises(InputError, match="photo/1, tf1-hub/1"):
        get_recipe("photo/99")


def test_descriptions_tell_recipes_apart() -> None:
    texts = {describe(recipe) for recipe in RECIPES.values()}
    assert len(texts) == len(RECIPES)
    assert all("\n" not in text for text in texts)


def test_a_picture_may_come_as_bytes_path_image_or_array(tmp_path: Path) -> None:
    recipe = RECIPES["photo/1"]
    data = encoded(pixels(), "PNG")
    expected = prepare(data, recipe, 64, 64).pixels
    path = tmp_path / "a.png"
    path.write_bytes(data)
    for given in (pixels(), Image.fromarray(pixels()), memoryview(data), path, str(path)):
        np.testing.assert_array_equal(prepare(given, recipe, 64, 64).pixels, expected)
    with pytest.raises(PictureError, match="int is neither bytes, a path, an image nor an array"):
        prepare(7, recipe, 64, 64)
    with pytest.raises(PictureError, match="cannot be read: No such file"):
        prepare(tmp_path / "none.png", recipe, 64, 64)


def test_a_picture_of_the_right_size_is_left_as_it_is() -> None:
    for name in ("photo/1", "tf1-hub/1", "tf2-hub/1"):
        found = prepare(pixels(64, 64), RECIPES[name], 64, 64).pixels
        scaled = found if found.dtype == np.uint8 else np.rint(found * 255)
        np.testing.assert_array_equal(scaled, pixels(64, 64))


def test_cadene_eval_keeps_proportions_and_cuts_the_ends() -> None:
    stripes = np.zeros((300, 900, 3), np.uint8)
    stripes[:, 300:600] = 255  # the middle square
    found = prepare(stripes, RECIPES["cadene-eval/1"], 224, 224).pixels
    assert found.min() == 255
    wide = prepare(stripes, RECIPES["cadene-eval/1"], 64, 128).pixels
    assert wide.shape == (64, 128, 3)
    with pytest.raises(PictureError, match="too long and thin for this recipe: 60000x1"):
        prepare(np.zeros((1, 60_000, 3), np.uint8), RECIPES["cadene-eval/1"], 331, 331)


def test_slim_eval_takes_the_middle_of_both_sides() -> None:
    framed = np.zeros((160, 320, 3), np.uint8)
    framed[10:150, 20:300] = 255
    assert prepare(framed, RECIPES["slim-eval/1"], 96, 96).pixels.min() == 1.0


def test_photo_shows_all_of_the_picture() -> None:
    framed = np.full((160, 320, 3), 255, np.uint8)
    framed[:, -10:] = 0
    framed[:10] = 0
    found = prepare(framed, RECIPES["photo/1"], 64, 64).pixels
    assert found[0].max() < 30
    assert found[:, -1].max() < 30
