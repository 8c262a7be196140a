from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from nasnet.errors import InputError, PictureError
from nasnet.recipes import DEFAULT, RECIPES, describe, get_recipe, prepare
from nasnet.resize import bilinear, pillow_bilinear
from tests.pictures import encoded, jpeg, pixels


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


def test_a_picture_may_come_as_bytes_image_or_array() -> None:
    recipe = RECIPES["photo/1"]
    data = encoded(pixels(), "PNG")
    expected = prepare(data, recipe, 64, 64).pixels
    for given in (pixels(), Image.fromarray(pixels()), memoryview(data)):
        np.testing.assert_array_equal(prepare(given, recipe, 64, 64).pixels, expected)
    with pytest.raises(PictureError, match="int is neither bytes, an image nor an array"):
        prepare(7, recipe, 64, 64)


def test_a_picture_of_the_right_size_is_left_as_it_is() -> None:
    for name in ("photo/1", "tf1-hub/1", "tf2-hub/1"):
        found = prepare(pixels(64, 64), RECIPES[name], 64, 64).pixels
        scaled = found if found.dtype == np.uint8 else np.rint(found * 255)
        np.testing.assert_array_equal(scaled, pixels(64, 64))


@pytest.mark.parametrize("kernel", ["legacy", "half_pixel"])
@pytest.mark.parametrize(("source", "wanted"), [((9, 7), (5, 12)), ((300, 40), (64, 64))])
def test_bilinear_is_what_its_definition_says(
    kernel: str, source: tuple[int, int], wanted: tuple[int, int]
) -> None:
    image = pixels(*source)

    def position(index: int, size: int, count: int) -> float:
        if kernel == "legacy":
            return index * size / count
        return (index + 0.5) * size / count - 0.5

    expected = np.zeros((*wanted, 3))
    for row in range(wanted[0]):
        for column in range(wanted[1]):
            y, x = position(row, source[0], wanted[0]), position(column, source[1], wanted[1])
            top, left = int(np.floor(y)), int(np.floor(x))
            down, across = y - top, x - left
            rows = [min(max(r, 0), source[0] - 1) for r in (top, top + 1)]
            columns = [min(max(c, 0), source[1] - 1) for c in (left, left + 1)]
            corners = image[np.ix_(rows, columns)] / 255
            lines = corners[:, 0] * (1 - across) + corners[:, 1] * across
            expected[row, column] = lines[0] * (1 - down) + lines[1] * down
    found = bilinear(image, *wanted, kernel=kernel)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_pillow_bilinear_is_pillows() -> None:
    expected = np.asarray(Image.fromarray(pixels(90, 70)).resize((30, 20), Image.BILINEAR))
    np.testing.assert_array_equal(pillow_bilinear(pixels(90, 70), 20, 30), expected)
